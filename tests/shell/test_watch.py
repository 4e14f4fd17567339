from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from queue import Empty, SimpleQueue
from typing import Self

import pytest

from sortd.disk.mounts import mounts_of
from sortd.disk.watch import OVERFLOW, hint, watch
from sortd.domain.messages import Message, RescanDue, Touched
from tests.faults.kit import stopped
from tests.folders import make
from tests.namespaces import require_limits_of_its_own, with_inotify_limits
from tests.shell.listening import decode
from tests.waiting import PATIENCE_SECONDS, until

POLL_SECONDS = 0.2
QUEUED = Path("/proc/sys/fs/inotify/max_queued_events")


def touched(*paths: str) -> set[Message]:
    return {Touched(PurePath(path)) for path in paths}


class Ears:
    """A watcher and what it put in the inbox."""

    def __init__(self, root: Path, *, mode: str = "auto") -> None:
        self.inbox: SimpleQueue[Message] = SimpleQueue()
        self.watcher = watch(root, self.inbox, mode=mode, poll_seconds=POLL_SECONDS)
        self.heard: set[Message] = set()

    def drain(self) -> set[Message]:
        """Everything heard so far, without waiting for more."""
        with suppress(Empty):
            while True:
                self.heard.add(self.inbox.get_nowait())
        return self.heard

    def hear(self, *wanted: Message, seconds: float = PATIENCE_SECONDS) -> set[Message]:
        """Everything heard so far, as soon as all that is wanted is among it."""
        until = time.monotonic() + seconds
        while not set(wanted) <= self.heard:
            try:
                self.heard.add(self.inbox.get(timeout=max(0.0, until - time.monotonic())))
            except Empty:
                pytest.fail(f"not told of {set(wanted) - self.heard}, but of {self.heard}")
        return self.heard

    def hear_out(self, root: Path) -> set[Message]:
        """Everything that was told of what was done until now."""
        (root / "the last.mp4").touch()
        self.hear(*touched("the last.mp4"))
        return self.heard - touched("the last.mp4")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "root", {"cooking": {"soup.mp4": b"soup"}, "pets": {}, ".sortd": {}})


@pytest.fixture(params=["events", "polling"])
def ears(root: Path, request: pytest.FixtureRequest) -> Iterator[Ears]:
    ears = Ears(root, mode=request.param)
    with ears.watcher:
        assert ears.watcher.mode == request.param
        yield ears


class Apart:
    """A watcher in a process of its own, which `through` runs, and what it said."""

    def __init__(self, root: Path, *, through: Sequence[str] = (), mode: str = "auto") -> None:
        command = [*through, sys.executable, "-m", "tests.shell.listening", str(root), mode, str(POLL_SECONDS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.heard: set[Message] = set()
        self.mode, self.why, _ = self._state()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def lost(self) -> str:
        self._ask("state")
        return self._state()[2]

    def restart(self) -> None:
        self._ask("restart")
        self.mode, self.why, _ = self._state()

    def hear(self, *wanted: Message) -> None:
        """Return as soon as all that is wanted was heard."""
        while not set(wanted) <= self.heard:
            self.heard.add(decode(self._line()))

    def _ask(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def _state(self) -> tuple[str, str, str]:
        while "mode" not in (line := self._line()):
            self.heard.add(decode(line))
        return line["mode"], line["why"], line["lost"]

    def _line(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended, after {self.heard}"
        read: dict[str, str] = json.loads(line)
        return read


@pytest.fixture
def limited() -> Callable[..., Sequence[str]]:
    """Words that run what follows them with inotify limits of its own."""
    require_limits_of_its_own()
    return with_inotify_limits


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    if subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("clip.mp4", Touched(PurePath("clip.mp4"))),
        ("cooking/2024/soup.MKV", Touched(PurePath("cooking/2024/soup.MKV"))),
        ("clip.mp4.aria2", Touched(PurePath("clip.mp4"))),
        ("cooking/clip.mp4.nosort", Touched(PurePath("cooking/clip.mp4"))),
        ("cooking/.nosort", RescanDue("cooking/.nosort changed")),
        ("cooking/.sortd.toml", RescanDue("cooking/.sortd.toml changed")),
        ("", RescanDue("the root itself changed")),
        (".hidden.mp4", None),
        (".sortd/decisions.jsonl", None),
        ("@eaDir/clip.mp4", None),
        ("cooking/.trash/clip.mp4", None),
        ("film.mp4.download/film.mp4", None),
        ("clip.mp4.part", None),
        ("clip.srt", None),
        ("no extension", None),
        ("clip.mp4.part.aria2", None),
    ],
)
def test_what_an_event_says_to_the_loop(path: str, said: Message | None) -> None:
    assert hint(path, folder=False) == said


def test_what_happens_to_a_folder_is_said_of_the_folder() -> None:
    assert hint("cooking", folder=True) == Touched(PurePath("cooking"))
    assert hint("cooking.mp4", folder=True) == Touched(PurePath("cooking.mp4"))
    assert hint(".cooking", folder=True) is None
    assert hint("#recycle", folder=True) is None


def test_a_new_a_written_and_a_deleted_video_are_told_of(ears: Ears, root: Path) -> None:
    make(root, {"new.mp4": b"new"})
    ears.hear(*touched("new.mp4"))
    ears.heard.clear()

    (root / "cooking/soup.mp4").write_bytes(b"more soup")
    ears.hear(*touched("cooking/soup.mp4"))
    ears.heard.clear()

    (root / "new.mp4").unlink()
    ears.hear(*touched("new.mp4"))


def test_both_ends_of_a_move_are_told_of(ears: Ears, root: Path) -> None:
    (root / "cooking/soup.mp4").rename(root / "pets/soup.mp4")

    ears.hear(*touched("cooking/soup.mp4", "pets/soup.mp4"))


def test_a_renamed_folder_is_told_of_under_both_names(ears: Ears, root: Path) -> None:
    (root / "cooking").rename(root / "kitchen")

    ears.hear(*touched("cooking", "kitchen"))


def test_files_that_cross_the_border_are_told_of(ears: Ears, root: Path, tmp_path: Path) -> None:
    make(tmp_path / "outside", {"in.mp4": b"", "trip": {"day.mp4": b""}})

    (tmp_path / "outside/in.mp4").rename(root / "in.mp4")
    (tmp_path / "outside/trip").rename(root / "trip")
    (root / "cooking").rename(tmp_path / "outside/cooking")

    ears.hear(*touched("in.mp4", "trip", "cooking"))
    make(root / "trip", {"later.mp4": b""})
    ears.hear(*touched("trip/later.mp4"))


def test_what_is_left_alone_is_not_told_of(ears: Ears, root: Path) -> None:
    make(root / ".sortd", {"decisions.jsonl": b"x"})
    make(root, {"clip.mp4.part": b"", ".hidden.mp4": b"", "clip.srt": b"", "@eaDir": {"clip.mp4": b""}})

    assert ears.hear_out(root) == set()


def test_the_marks_that_speak_of_others_are_told_of(ears: Ears, root: Path) -> None:
    make(
        root, {"half.mp4.aria2": b"", "cooking": {"soup.mp4.nosort": b""}, "pets": {".sortd.toml": b"", ".nosort": b""}}
    )

    said = ears.hear(RescanDue("pets/.nosort changed"), RescanDue("pets/.sortd.toml changed"))
    ears.hear(*touched("half.mp4", "cooking/soup.mp4"))
    said.clear()
    (root / "half.mp4.aria2").unlink()
    ears.hear(*touched("half.mp4"))


@pytest.mark.parametrize(
    "name", [b"caf\xe9.mp4", b"a\nb.mp4", bytes(range(1, 32)) + b".mp4", b"-rf.mp4", b"a" * 251 + b".mp4"]
)
def test_a_name_is_told_byte_for_byte(ears: Ears, root: Path, name: bytes) -> None:
    (root / os.fsdecode(name)).touch()

    ears.hear(Touched(PurePath(os.fsdecode(name))))


def test_no_symlink_is_followed(ears: Ears, root: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {})
    make(root, {"link": outside, "again": PurePath()})
    make(outside, {"secret.mp4": b""})

    assert ears.hear_out(root) == set()


def test_every_file_of_folders_made_filled_and_renamed_in_a_hurry_is_found(ears: Ears, root: Path) -> None:
    for number in range(60):
        folder = make(root / "temporary", {"clip.mp4": b"clip"})
        folder.rename(root / f"trip {number}")

    ears.hear(*touched(*(f"trip {number}" for number in range(60))))
    if ears.watcher.lost():  # two folders were taken for one, and that was noticed
        ears.watcher.restart()
    for number in range(60):
        (root / f"trip {number}/late.mp4").touch()
    ears.hear(*touched(*(f"trip {number}/late.mp4" for number in range(60))))


def test_a_probe_file_is_heard_and_leaves_nothing(ears: Ears, root: Path) -> None:
    before = sorted(root.iterdir())

    assert ears.watcher.probe(timeout_seconds=PATIENCE_SECONDS)
    assert sorted(root.iterdir()) == before
    assert ears.inbox.empty()


def test_a_watcher_that_hears_nothing_fails_its_probe(root: Path) -> None:
    ears = Ears(root)
    with ears.watcher:
        pass

    assert not ears.watcher.probe(timeout_seconds=0.1)
    assert ears.watcher.lost()


def test_events_are_the_rule_and_need_no_excuse(root: Path) -> None:
    with Ears(root).watcher as watcher:
        assert (watcher.mode, watcher.why, watcher.lost()) == ("events", "", "")


def test_polling_as_configured_says_so(root: Path) -> None:
    with Ears(root, mode="polling").watcher as watcher:
        assert (watcher.mode, watcher.why) == ("polling", "the configuration asks for polling")


@pytest.mark.skipif(not QUEUED.exists(), reason="about inotify, which is Linux's")
def test_an_overflow_asks_for_a_rescan_and_what_comes_later_is_heard(root: Path) -> None:
    kept = int(QUEUED.read_text())
    with Apart(root) as watcher:
        with stopped(watcher.process.pid):
            busy, other = root / "busy", root / "other"
            busy.touch()
            for _ in range(kept // 2):  # each rename is two events: twice as many as are kept
                busy.rename(other)
                other.rename(busy)
        watcher.hear(RescanDue(OVERFLOW))
        assert watcher.lost()
        watcher.restart()
        assert not watcher.lost()
        make(root / "pets", {"late.mp4": b""})
        watcher.hear(*touched("pets/late.mp4"))


@pytest.mark.parametrize("mode", ["auto", "events"])
def test_a_tree_with_more_folders_than_may_be_watched_is_polled_as_a_whole(
    root: Path, mode: str, limited: Callable[..., Sequence[str]]
) -> None:
    for number in range(100):
        make(root / f"folder {number}", {})
    with Apart(root, through=limited(watches=20), mode=mode) as watcher:
        assert watcher.mode == "polling"
        assert watcher.why == "more folders than may be watched; raise the sysctl fs.inotify.max_user_watches"
        assert not watcher.lost()
        for number in range(100):
            make(root / f"folder {number}", {"clip.mp4": b""})
        watcher.hear(*touched(*(f"folder {number}/clip.mp4" for number in range(100))))


def test_a_limit_reached_while_running_is_noticed(root: Path, limited: Callable[..., Sequence[str]]) -> None:
    with Apart(root, through=limited(watches=20)) as watcher:
        assert watcher.mode == "events"
        for number in range(100):
            make(root / f"folder {number}", {})
        until(lambda: "fs.inotify.max_user_watches" in watcher.lost())
        watcher.restart()
        assert (watcher.mode, watcher.lost()) == ("polling", "")
        make(root / "folder 99", {"clip.mp4": b""})
        watcher.hear(*touched("folder 99/clip.mp4"))


def test_without_an_inotify_instance_the_tree_is_polled(root: Path, limited: Callable[..., Sequence[str]]) -> None:
    with Apart(root, through=limited(instances=0)) as watcher:
        assert watcher.mode == "polling"
        assert watcher.why == "more watchers than may be at once; raise the sysctl fs.inotify.max_user_instances"
        make(root, {"clip.mp4": b""})
        watcher.hear(*touched("clip.mp4"))


def test_folders_that_may_not_be_read_trouble_nobody_else(root: Path) -> None:
    script = f"""
import os, sys, time, queue, warnings
warnings.simplefilter("error")
from pathlib import Path
from sortd.disk.watch import watch
root = Path({str(root)!r})
(root / "cooking").chmod(0); (root / "pets").chmod(0)
for folder in (root, *root.parents):
    folder.stat().st_mode & 1 or folder.chmod(0o755)
root.chmod(0o777)
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
inbox = queue.SimpleQueue()
with watch(root, inbox, mode="auto", poll_seconds=1) as watcher:
    (root / "clip.mp4").touch()
    print(watcher.mode, watcher.why, watcher.lost(), inbox.get(timeout={PATIENCE_SECONDS}).path)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    (root / "cooking").chmod(0o755)
    (root / "pets").chmod(0o755)

    assert done.stdout == "events   clip.mp4\n", done.stderr


def test_a_root_that_was_made_again_is_noticed_and_heard_after_a_restart(
    ears: Ears, root: Path, tmp_path: Path
) -> None:
    root.rename(tmp_path / "aside")
    make(root, {})
    until(ears.watcher.lost)

    ears.watcher.restart()

    assert not ears.watcher.lost()
    make(root, {"clip.mp4": b""})
    ears.hear(*touched("clip.mp4"))


def test_a_deleted_root_is_not_alive_until_it_is_back(ears: Ears, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "aside")

    ears.watcher.restart()

    assert ears.watcher.lost()
    assert "cannot be watched" in ears.watcher.why
    (tmp_path / "aside").rename(root)
    ears.watcher.restart()
    assert not ears.watcher.lost()
    make(root, {"clip.mp4": b""})
    ears.hear(*touched("clip.mp4"))


def test_a_disk_that_is_unmounted_or_mounted_below_the_root_is_noticed(ears: Ears, root: Path) -> None:
    with mounted(root / "pets"):
        until(ears.watcher.lost)
        ears.watcher.restart()
        assert not ears.watcher.lost()
        make(root / "pets", {"cat.mp4": b""})
        ears.hear(*touched("pets/cat.mp4"))
    until(ears.watcher.lost)


def test_a_hidden_root_is_noticed(ears: Ears, root: Path) -> None:
    with mounted(root):
        until(ears.watcher.lost)
    ears.watcher.restart()
    assert not ears.watcher.lost()


def test_mounts_are_read_as_the_system_writes_them(tmp_path: Path) -> None:
    odd = make(tmp_path / "with space\tand \\ tab", {"inner": {}})
    holder, *below = mounts_of(odd)
    assert below == []

    with mounted(odd / "inner"):
        again, inner = mounts_of(odd)
        assert again == holder
        assert (inner.point, inner.kind, inner.is_remote) == (str(odd / "inner"), "tmpfs", False)
        assert mounts_of(odd / "inner") == (inner,)


def test_waiting_costs_nothing(root: Path) -> None:
    for number in range(200):
        make(root / f"folder {number}", {"clip.mp4": b""})

    def is_still() -> bool:
        before = time.process_time()
        time.sleep(1.0)
        return time.process_time() - before < 0.05

    with Ears(root).watcher:
        time.sleep(0.3)
        assert any(is_still() for _ in range(10))  # threads of other tests may still be ending


def test_in_a_chroot_whose_own_mount_is_not_told_of_no_mount_is_known(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("31 23 0:28 / /proc rw - proc proc rw\n")
    assert mounts_of(tmp_path, table=table) == ()
