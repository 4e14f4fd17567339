"""Trees that are deeper than anybody keeps videos in, by accident or by malice: the rest goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from queue import SimpleQueue

import pytest

from sortd.disk.folder_walk import DEEPEST
from sortd.disk.library import Library
from sortd.disk.watch import watch
from sortd.domain.messages import Message
from tests.stories.conftest import Household, taught


@pytest.fixture
def deep() -> Iterator[Callable[[Path, int], None]]:
    """Make folders in folders with a clip in every tenth; `rm` removes them, for Python's own way is too short."""
    made: list[Path] = []

    def make_one(top: Path, depth: int) -> None:
        made.append(top)
        top.mkdir(parents=True)
        folder = os.open(top, os.O_RDONLY)
        for n in range(depth):
            if n % 10 == 0:
                clip = os.open("clip.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
                os.write(clip, f"cats {100 + n}".encode())
                os.close(clip)
            os.mkdir("d", dir_fd=folder)
            below = os.open("d", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
        os.close(folder)

    yield make_one
    for top in made:
        subprocess.run([shutil.which("rm") or "rm", "-rf", str(top)], check=True)


@pytest.mark.fault("G8")
def test_what_stands_too_deep_is_left_told_once_and_the_rest_goes_on(
    household: Callable[..., Household], deep: Callable[[Path, int], None]
) -> None:
    hers = household(taught(10))
    deep(hers.root / "cats/deep", 10_000)
    hers.files({"new.mp4": b"dogs 77"})
    hers.settle()

    assert hers.home_of("dogs/new.mp4") == ("dogs", "sortd")
    [told] = hers.events("folders_too_deep")
    assert len(PurePath(told["path"]).parts) == DEEPEST + 1
    assert hers.home_of("cats/deep/clip.mp4") == ("cats", "owner")


@pytest.mark.fault("G8")
def test_a_scan_costs_what_stands_there_and_not_how_deep(tmp_path: Path, deep: Callable[[Path, int], None]) -> None:
    deep(tmp_path / "a/deep", 10_000)
    library = Library(tmp_path, levels=1, extensions=["mp4"], ignore=())

    began = time.process_time()
    scan = library.scan()
    assert time.process_time() - began < 1.0  # 0.02; it was 14 at a depth of 1,000, and did not end at 10,000
    assert len(scan.videos) == 1 + (DEEPEST - 2) // 10
    assert [len(folder.parts) for folder in scan.too_deep] == [DEEPEST + 1]
    assert not scan.unreadable
    assert not library.is_video(PurePath("a/deep", *["d"] * DEEPEST, "clip.mp4"))


@pytest.mark.fault("G8")
@pytest.mark.parametrize("mode", ["auto", "polling"])
def test_a_deep_tree_does_not_keep_the_watcher_from_hearing_the_rest(
    tmp_path: Path, deep: Callable[[Path, int], None], mode: str
) -> None:
    deep(tmp_path / "a/deep", 10_000)
    inbox: SimpleQueue[Message] = SimpleQueue()
    with watch(tmp_path, inbox, mode=mode, poll_seconds=0.2) as watcher:
        assert watcher.lost() == ""
        assert watcher.probe(timeout_seconds=60)


@pytest.mark.fault("G8")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_folder_mounted_within_itself_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/clip.mp4").touch()
    if subprocess.run(["mount", "--rbind", str(tmp_path), str(tmp_path / "a/b")], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        library = Library(tmp_path, levels=1, extensions=["mp4"], ignore=())
        assert list(library.scan()) == [PurePath("a/clip.mp4")]
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "a/b")], check=True)
