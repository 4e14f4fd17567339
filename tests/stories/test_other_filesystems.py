"""A library on a filesystem where no move is safe: everything else goes on, and nothing is there twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sortd.disk.filesystem_probe import survey
from tests.filesystems.mounts import CannotMount, passthrough
from tests.folders import make, read
from tests.stories.conftest import Household, taught


@pytest.fixture
def on_fuse(tmp_path: Path) -> Iterator[Household]:
    """A household whose videos stand on a plain FUSE filesystem: no exclusive rename, and links show other inodes."""
    (tmp_path / "scratch").mkdir()
    try:
        with passthrough(tmp_path / "fuse", tmp_path / "scratch") as fuse:
            home = Household(fuse, state={"dir": tmp_path / "state"}, move={"probation": []})
            try:
                yield home
            finally:
                home.kill()
    except CannotMount as lacking:
        pytest.skip(str(lacking))


@pytest.mark.fault("K1")
def test_where_no_move_is_safe_none_is_made_and_the_owner_is_told_once(on_fuse):
    home = on_fuse
    home.files(taught())
    home.files({"cats 90.mp4": b"cats 90", "cats 90.srt": b"meow", "dogs 91.mp4": b"dogs 91"})
    home.restart()

    (told,) = home.events("folder_refuses")
    assert told["category"] == "."
    assert "links show other inodes" in told["why"]
    assert not home.events("moved")
    assert home.tree == taught() | {"cats 90.mp4": b"cats 90", "cats 90.srt": b"meow", "dogs 91.mp4": b"dogs 91"}
    assert home.home_of("cats 90.mp4") == (None, None)
    assert home.store.videos.tally().labelled == 40
    assert home.store.journal.open_count() == 0


@pytest.mark.fault("K1")
def test_a_category_on_such_a_filesystem_takes_nothing_and_the_others_go_on(household, tmp_path):
    home = household(taught(), move={"probation": []})
    home.kill()
    (tmp_path / "scratch").mkdir()
    try:
        with passthrough(home.root / "cats", tmp_path / "scratch") as cats:
            make(cats, taught()["cats"])
            home.restart()
            home.files({"cats 90.mp4": b"cats 90", "dogs 91.mp4": b"dogs 91"})

            assert [line["category"] for line in home.events("folder_refuses")] == ["cats"]
            assert [str(line["to"]) for line in home.events("moved")] == ["dogs/dogs 91.mp4"]
            assert read(home.root)["cats 90.mp4"] == b"cats 90"
            assert not [name for name in read(cats) if name.startswith(".sortd")]
            assert [str(folder) for folder, _ in survey(home.root, [Path("cats"), Path("dogs")])] == [".", "cats"]
            home.kill()
    except CannotMount as lacking:
        pytest.skip(str(lacking))
