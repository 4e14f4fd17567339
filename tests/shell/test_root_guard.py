from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from sortd.disk.io_timeout import TimedIO
from sortd.disk.library_marker import MARKER, RootAway
from sortd.disk.root_guard import FoundLibrary, RootGuard, check_root, find, root_of
from sortd.domain.errors import ConfigError, LibraryUnavailable
from tests.folders import make, read
from tests.waiting import until

T = TypeVar("T")

HELD = """
import sys
from pathlib import Path
from sortd.disk.root_guard import RootGuard
with RootGuard.open(Path(sys.argv[1]), state=Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    return tmp_path / "states/sortd"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "Videos", {"clip.mp4": b"clip"})


@contextmanager
def service(root: Path, state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the library."""
    with subprocess.Popen(
        [sys.executable, "-c", HELD, root, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def rename_host(marker: Path, name: str) -> None:
    """What a marker would say, had a host of this name written it."""
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"host": name}))


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """A mount for as long as the block runs; skips where this process may not mount."""
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", arguments[-1]], check=True)


def test_a_folder_becomes_a_library_by_its_first_start(root: Path, states: Path) -> None:
    with RootGuard.open(root, state=None) as guard:
        marker = json.loads((root / MARKER).read_text())

        assert marker == {
            "version": 1,
            "library": guard.library,
            "host": platform.node(),
            "state": str(states / guard.library),
        }
        assert guard.state == states / guard.library
        assert guard.state.stat().st_mode & 0o777 == 0o700
        assert (guard.state / "root").read_bytes() == os.fsencode(root)
        assert guard.here() is None
        assert sorted(path.name for path in (root / ".sortd").iterdir()) == ["library.json"]
    assert read(root) == {"clip.mp4": b"clip"}


def test_a_library_is_the_same_at_its_next_start(root: Path) -> None:
    with RootGuard.open(root, state=None) as first:
        pass
    with RootGuard.open(root, state=None) as second:
        assert (second.library, second.state) == (first.library, first.state)


def test_a_state_directory_that_was_once_named_is_found_by_the_marker(root: Path, tmp_path: Path) -> None:
    with RootGuard.open(root, state=tmp_path / "my state") as first:
        assert first.state == tmp_path / "my state"
    with RootGuard.open(root, state=None) as second:
        assert second.state == tmp_path / "my state"


def test_a_library_that_was_renamed_keeps_its_state(root: Path, tmp_path: Path) -> None:
    with RootGuard.open(root, state=None) as before:
        pass
    moved = root.rename(tmp_path / "Films")
    with RootGuard.open(moved, state=None) as after:
        assert (after.library, after.state) == (before.library, before.state)
        assert (after.state / "root").read_bytes() == os.fsencode(moved)


def test_a_copy_of_a_library_is_not_taken_for_the_library(root: Path, tmp_path: Path) -> None:
    with RootGuard.open(root, state=None):
        pass
    copy = Path(shutil.copytree(root, tmp_path / "copy"))

    with pytest.raises(LibraryUnavailable, match=r"is a copy of .*Videos; to make it .* delete .*copy/\.sortd"):
        RootGuard.open(copy, state=None)
    shutil.rmtree(copy / ".sortd")
    with RootGuard.open(copy, state=None) as own, RootGuard.open(root, state=None) as other:
        assert own.library != other.library


def test_a_marker_from_another_host_does_not_say_where_our_state_is(root: Path, states: Path, tmp_path: Path) -> None:
    library = "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b"
    marker = {"version": 1, "library": library, "host": "another", "state": str(tmp_path / "elsewhere")}
    make(root / ".sortd", {"library.json": json.dumps(marker).encode()})

    with RootGuard.open(root, state=None, take_over=True) as guard:
        assert guard.library == library
        assert guard.state == states / library
        assert json.loads((root / MARKER).read_text())["host"] == platform.node()


def test_a_library_of_another_host_is_refused_until_it_is_taken_over(root: Path, tmp_path: Path) -> None:
    with RootGuard.open(root, state=tmp_path / "state"):
        pass
    rename_host(root / MARKER, "attic")

    with pytest.raises(LibraryUnavailable, match=r"served by the host attic; .* sortd run --take-over .*Videos"):
        RootGuard.open(root, state=tmp_path / "other state")
    with pytest.raises(LibraryUnavailable, match="served by the host attic"):
        RootGuard.open(root, state=tmp_path / "state")
    assert not (tmp_path / "other state").exists()
    found = find(root, state=tmp_path / "state")
    assert found is not None
    assert "served by the host attic" in found.foreign
    with RootGuard.open(root, state=tmp_path / "state", take_over=True):
        assert json.loads((root / MARKER).read_text())["host"] == platform.node()
    with RootGuard.open(root, state=tmp_path / "state") as guard:
        assert guard.here() is None


def test_a_host_that_was_renamed_keeps_its_library(root: Path, tmp_path: Path) -> None:
    for state in (None, tmp_path / "state"):
        with RootGuard.open(root, state=state) as before:
            rename_host(root / MARKER, "attic")
            rename_host(before.state / "library.json", "attic")
        found = find(root)
        assert found == FoundLibrary(before.library, before.state)
        with RootGuard.open(root, state=state) as after:
            assert (after.library, after.state) == (before.library, before.state)
            assert json.loads((root / MARKER).read_text())["host"] == platform.node()


def test_who_lost_a_library_to_another_host_lets_it_be(root: Path) -> None:
    with RootGuard.open(root, state=None) as guard:
        rename_host(root / MARKER, "attic")
        assert guard.here() == f"{root} is served by the host attic now"


def test_a_disk_that_does_not_answer_is_away_and_comes_back_by_itself(root: Path) -> None:
    answers = threading.Event()
    answers.set()
    hung: list[object] = []

    def look() -> None:
        if not answers.is_set():
            hung.append(None)
            answers.wait()

    class Disk(TimedIO):
        def ask(self, question: Callable[[], T]) -> T:
            return super().ask(lambda: (look(), question())[1])

    with RootGuard.open(root, state=None, patience=Disk(seconds=0.2)) as guard:
        answers.clear()
        for _ in range(3):
            assert guard.here() == f"{root}: the disk does not answer"
        assert len(hung) == 1, "a thread that hangs is not multiplied"
        answers.set()
        until(lambda: guard.here() is None)


def test_a_marker_is_not_believed_to_name_just_any_folder(root: Path, states: Path, tmp_path: Path) -> None:
    library = "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b"
    make(tmp_path / "precious", {"lock": b"mine"})
    for state in (str(tmp_path / "precious"), "a\0b"):
        marker = {"version": 1, "library": library, "host": platform.node(), "state": state}
        make(root / ".sortd", {"library.json": json.dumps(marker).encode()})
        with RootGuard.open(root, state=None) as guard:
            assert guard.state == states / library
    assert read(tmp_path / "precious") == {"lock": b"mine"}


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"version": 1, "library": "x", "host": "", "state": ""}']
)
def test_a_damaged_marker_is_one_clear_line(root: Path, content: bytes) -> None:
    make(root / ".sortd", {"library.json": content})

    with pytest.raises(LibraryUnavailable, match=r"library\.json is damaged"):
        RootGuard.open(root, state=None)
    assert (root / MARKER).read_bytes() == content


def test_a_marker_of_a_newer_sortd_is_left_alone(root: Path) -> None:
    marker = {"version": 2, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "", "state": ""}
    make(root / ".sortd", {"library.json": json.dumps(marker).encode()})

    with pytest.raises(LibraryUnavailable, match="another version"):
        RootGuard.open(root, state=None)


def test_a_second_service_ends_at_once_and_names_the_first(root: Path, tmp_path: Path) -> None:
    with service(root, tmp_path / "state") as first:
        said = f"already served by process {first.pid}"
        with pytest.raises(LibraryUnavailable, match=said):
            RootGuard.open(root, state=tmp_path / "state")
        with pytest.raises(LibraryUnavailable, match=said):
            RootGuard.open(root, state=tmp_path / "other state")
        with pytest.raises(LibraryUnavailable, match=said):
            RootGuard.open(root, state=None)


def test_a_second_service_is_found_out_through_a_bind_mount(root: Path, tmp_path: Path) -> None:
    door = make(tmp_path / "door", {})
    with (
        mounted("--bind", root, door),
        service(root, tmp_path / "state") as first,
        pytest.raises(LibraryUnavailable, match=f"already served by process {first.pid}"),
    ):
        RootGuard.open(door, state=tmp_path / "other state")


def test_a_lock_dies_with_its_service(root: Path, tmp_path: Path) -> None:
    with service(root, tmp_path / "state"):
        pass

    with RootGuard.open(root, state=tmp_path / "state") as guard:
        assert guard.here() is None


def test_one_state_directory_serves_one_library(root: Path, tmp_path: Path) -> None:
    with RootGuard.open(root, state=tmp_path / "state"):
        pass
    other = make(tmp_path / "Other", {})

    with pytest.raises(LibraryUnavailable, match=r"state is the state of another library, .*Videos"):
        RootGuard.open(other, state=tmp_path / "state")
    assert not (other / ".sortd").exists()


@pytest.mark.parametrize("inside", [".", "state", "cooking/state", "door/state"])
def test_the_state_is_never_kept_inside_the_library(root: Path, tmp_path: Path, inside: str) -> None:
    (tmp_path / "door").symlink_to(root)
    state = tmp_path / inside if inside.startswith("door") else root / inside

    with pytest.raises(ConfigError, match="inside the library"):
        RootGuard.open(root, state=state)
    assert read(root) == {"clip.mp4": b"clip"}


def test_nobody_means_the_whole_disk_or_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(tmp_path / "home", {"Videos": {}})
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "door").symlink_to(home)

    for folder in (Path("/"), home, tmp_path / "door", home / "Videos/.."):
        with pytest.raises(ConfigError):
            check_root(folder)
    check_root(home / "Videos")


def test_a_state_directory_that_cannot_be_written_is_one_clear_line(root: Path, tmp_path: Path) -> None:
    make(tmp_path, {"file": b""})

    with pytest.raises(LibraryUnavailable, match=r"file/state cannot be used: Not a directory"):
        RootGuard.open(root, state=tmp_path / "file/state")
    assert not (root / ".sortd").exists()


def test_a_full_disk_leaves_no_half_made_library(root: Path, tmp_path: Path) -> None:
    state = make(tmp_path / "state", {})
    with mounted("-t", "tmpfs", "-o", "size=4k", "none", state):
        (state / ".filler").write_bytes(b"x" * 4096)
        with pytest.raises(LibraryUnavailable, match="No space left on device"):
            RootGuard.open(root, state=state)
        assert not (root / ".sortd").exists()
        (state / ".filler").unlink()


def test_a_root_that_never_was_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(RootAway, match="is not there"):
        RootGuard.open(tmp_path / "gone", state=None)
    assert not (tmp_path / "gone").exists()


def test_an_emptied_root_is_away_and_never_a_new_library(root: Path, tmp_path: Path) -> None:
    with RootGuard.open(root, state=None) as guard:
        library, state = guard.library, guard.state
    shutil.rmtree(root)
    root.mkdir()

    for named in (None, tmp_path / "fresh state"):
        with pytest.raises(RootAway, match=r"without its marker .*; if all else is there, copy .*library\.json to"):
            RootGuard.open(root, state=named)
    assert read(root) == {}
    make(root, {".sortd": {}})
    shutil.copy(state / "library.json", root / MARKER)
    with RootGuard.open(root, state=None) as again:
        assert again.library == library


def test_a_hidden_disk_is_noticed_and_so_is_its_return(root: Path) -> None:
    with RootGuard.open(root, state=None) as guard:
        with mounted("-t", "tmpfs", "none", root):
            assert guard.here() == f"{root} is without its marker .sortd/library.json"
        assert guard.here() is None


def test_a_root_that_is_gone_or_another_or_unreadable_is_away(root: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "Other", {})
    with RootGuard.open(other, state=None):
        pass
    with RootGuard.open(root, state=None) as guard:
        root.rename(tmp_path / "aside")
        assert guard.here() == f"{root} is not there"
        other.rename(root)
        assert guard.here() == f"{root} is another library now"
        root.rename(other)
        (tmp_path / "aside").rename(root)
        assert guard.here() is None
        (root / MARKER).write_bytes(b"")
        assert guard.here() == f"{root / MARKER} is damaged"


def test_a_library_that_comes_back_from_a_backup_is_held_again(root: Path, tmp_path: Path) -> None:
    with RootGuard.open(root, state=tmp_path / "state") as guard:
        shutil.copytree(root, tmp_path / "backup")
        shutil.rmtree(root)
        (tmp_path / "backup").rename(root)

        assert guard.here() is None
        with pytest.raises(LibraryUnavailable, match=f"already served by process {os.getpid()}"):
            RootGuard.open(root, state=tmp_path / "other state")


def test_any_path_finds_its_library(root: Path, tmp_path: Path) -> None:
    make(root, {"cooking": {"2024": {"soup.mp4": b""}}})
    with RootGuard.open(root, state=None):
        pass

    assert root_of(root / "cooking/2024/soup.mp4") == root
    assert root_of(root / "cooking/not there/../x.mp4") == root
    assert root_of(root) == root
    assert root_of(tmp_path) is None


def test_a_reader_finds_library_and_state_and_makes_nothing(root: Path, tmp_path: Path) -> None:
    assert find(root) is None
    assert find(root, state=tmp_path / "state") is None
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "states").exists()
    with RootGuard.open(root, state=tmp_path / "state") as guard:
        found = FoundLibrary(guard.library, tmp_path / "state")
        assert find(root) == found
        assert find(root, state=tmp_path / "state") == found


def test_a_reader_finds_the_state_of_a_root_that_is_away(root: Path, tmp_path: Path) -> None:
    named = make(tmp_path / "Named", {})
    with RootGuard.open(root, state=None) as one, RootGuard.open(named, state=tmp_path / "state") as two:
        pass
    shutil.rmtree(root)
    shutil.rmtree(named)

    assert find(root) == FoundLibrary(one.library, one.state)
    assert find(named, state=tmp_path / "state") == FoundLibrary(two.library, two.state)
    assert find(tmp_path / "never") is None
