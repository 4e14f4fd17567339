"""The source of a copy goes only while it is provably what was copied and nobody writes it."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

import pytest

from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.fingerprint import content_of
from sortd.disk.move import FileMover, RecoveryState
from sortd.disk.open_writers import Writers, writers_of
from sortd.disk.regular_file import identity_of
from sortd.disk.transfer import aside, copy_verified, publish, temporary, withdraw
from sortd.domain.errors import MoveRefused, MoveUnfinished
from sortd.domain.move_plan import MoveStep
from sortd.domain.video import Fingerprint
from tests.folders import make, read
from tests.waiting import PATIENCE_SECONDS

PART = ".sortd-0123456789abcdef"
CLIP, FILED = PurePath("clip.mp4"), PurePath("cats/clip.mp4")
BEFORE = {"clip.mp4": b"the clip", "cats": {}, ".sortd": {}}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, as root")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "root", BEFORE)


def content(path: Path) -> Fingerprint:
    with path.open("rb") as file:
        found = content_of(file.fileno())
    assert found is not None
    return found


def copied(root: Path) -> tuple[MoveStep, ...]:
    identity = identity_of((root / CLIP).lstat())
    step = MoveStep(CLIP, FILED, identity)
    (copy,) = [copy for copy in copy_verified(root, PART, [step]) if copy is not None]
    return (MoveStep(CLIP, FILED, identity, copy),)


def published(root: Path, steps: tuple[MoveStep, ...]) -> None:
    fingerprint = Fingerprint(hashlib.blake2b((8).to_bytes(8, "little") + b"the clip", digest_size=16).hexdigest())
    publish(root, PART, steps, fingerprint=fingerprint, filesystems=Filesystems())


def edit_in_place(path: Path) -> None:
    """With size and time kept."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"THE CLIP")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """A writer that closed its descriptor and still writes into memory."""
    with path.open("r+b") as file:
        store = mmap.mmap(file.fileno(), 0)
    with store:
        yield store


def kept(root: Path) -> dict[str, object]:
    """What stands there, but for what belongs to sortd."""
    return {name: what for name, what in read(root).items() if name != ".sortd"}


@pytest.mark.fault("K2")
def test_a_source_that_is_edited_in_place_with_its_time_kept_withdraws_its_copy(root: Path) -> None:
    steps = copied(root)
    edit_in_place(root / CLIP)

    with pytest.raises(MoveRefused, match="changed"):
        published(root, steps)

    assert kept(root) == {"clip.mp4": b"THE CLIP", "cats": {}}


@pytest.mark.fault("K2")
@pytest.mark.parametrize("mode", ["r+b", "ab"])
def test_a_source_that_somebody_has_open_for_writing_withdraws_its_copy(root: Path, mode: str) -> None:
    steps = copied(root)

    with (root / CLIP).open(mode) as writer:
        with pytest.raises(MoveRefused, match="open for writing"):
            published(root, steps)
        writer.seek(0, os.SEEK_END)
        writer.write(b" goes on")

    assert kept(root) == {"clip.mp4": b"the clip goes on", "cats": {}}


@pytest.mark.fault("K2")
def test_a_source_that_is_written_through_memory_withdraws_its_copy(root: Path) -> None:
    steps = copied(root)

    with mapped(root / CLIP) as store:
        with pytest.raises(MoveRefused, match="open for writing"):
            published(root, steps)
        store[:3] = b"THE"

    assert kept(root) == {"clip.mp4": b"THE clip", "cats": {}}


@pytest.mark.fault("K2")
def test_a_source_that_nobody_writes_goes(root: Path) -> None:
    published(root, copied(root))

    assert kept(root) == {"cats": {"clip.mp4": b"the clip"}}


@pytest.mark.fault("K2")
def test_killed_while_the_source_waits_for_its_end_it_is_finished(root: Path) -> None:
    steps = copied(root)
    (root / temporary(PART, 0, FILED)).rename(root / FILED)
    (root / CLIP).rename(root / aside(PART, 0, CLIP))

    published(root, steps)

    assert kept(root) == {"cats": {"clip.mp4": b"the clip"}}


@pytest.mark.fault("K2")
def test_killed_while_the_source_waits_and_edited_it_gets_its_name_back(root: Path) -> None:
    steps = copied(root)
    (root / CLIP).rename(root / aside(PART, 0, CLIP))
    edit_in_place(root / aside(PART, 0, CLIP))

    withdraw(root, PART, steps, filesystems=Filesystems())

    assert kept(root) == {"clip.mp4": b"THE CLIP", "cats": {}}


@pytest.mark.fault("K2")
def test_a_source_that_waits_while_its_name_was_given_away_is_left_and_told(root: Path) -> None:
    steps = copied(root)
    (root / CLIP).rename(root / aside(PART, 0, CLIP))
    (root / CLIP).write_bytes(b"the owner's new one")

    with pytest.raises(MoveUnfinished, match="its name"):
        withdraw(root, PART, steps, filesystems=Filesystems())

    assert read(root)[aside(PART, 0, CLIP).name] == b"the clip"
    assert (root / CLIP).read_bytes() == b"the owner's new one"


@pytest.mark.fault("K4")
def test_the_only_copy_is_never_withdrawn_for_another_file_with_the_inode_of_the_source(root: Path) -> None:
    steps = copied(root)
    (root / temporary(PART, 0, FILED)).rename(root / FILED)
    status = (root / CLIP).stat()
    (root / CLIP).write_bytes(b"a newone")  # the source went, and its inode number was used again
    os.utime(root / CLIP, ns=(status.st_atime_ns, status.st_mtime_ns))

    withdraw(root, PART, steps, filesystems=Filesystems())

    assert kept(root) == {"clip.mp4": b"a newone", "cats": {"clip.mp4": b"the clip"}}


@pytest.mark.fault("K4")
def test_another_file_with_the_inode_size_and_time_of_the_copy_is_not_the_copy(root: Path) -> None:
    steps = copied(root)
    part = root / temporary(PART, 0, FILED)
    status = part.stat()
    part.rename(root / FILED)
    (root / FILED).write_bytes(b"a newone")
    os.utime(root / FILED, ns=(status.st_atime_ns, status.st_mtime_ns))

    with pytest.raises(MoveRefused):
        published(root, steps)

    assert kept(root) == {"clip.mp4": b"the clip", "cats": {"clip.mp4": b"a newone"}}


# Moves within one filesystem that a kill cut short


def recovered(root: Path, began_ns: int | None, identity=None, fingerprint=None) -> RecoveryState:
    return FileMover(root).recover(CLIP, FILED, identity=identity, fingerprint=fingerprint, began_ns=began_ns)


def intended(root: Path) -> dict[str, object]:
    mover = FileMover(root)
    return {
        "identity": identity_of((root / CLIP).lstat()),
        "fingerprint": content(root / CLIP),
        "began_ns": mover.clock(CLIP),
    }


@pytest.mark.fault("K4")
@pytest.mark.parametrize("place", [CLIP, FILED])
def test_another_file_with_the_inode_number_is_not_taken_for_what_was_moved(root: Path, place: PurePath) -> None:
    intent = intended(root)
    (root / CLIP).rename(root / place)
    (root / place).write_bytes(b"a newone")  # the very inode, with another content

    assert recovered(root, **intent) is RecoveryState.GONE
    assert (root / place).read_bytes() == b"a newone"


@pytest.mark.fault("K4")
def test_what_a_kill_left_under_two_names_keeps_the_new_one(root: Path) -> None:
    intent = intended(root)
    (root / FILED).hardlink_to(root / CLIP)

    assert recovered(root, **intent) is RecoveryState.MOVED
    assert kept(root) == {"cats": {"clip.mp4": b"the clip"}}


@pytest.mark.fault("K4")
def test_two_files_of_one_content_are_both_left(root: Path) -> None:
    intent = intended(root)
    shutil.copy2(root / CLIP, root / FILED)  # the owner's copy; the source was never touched
    assert recovered(root, **intent) is RecoveryState.NOT_MOVED

    (root / CLIP).chmod(0o600)  # as if a link had been made that shows another inode
    with pytest.raises(MoveUnfinished, match="hold the same"):
        recovered(root, **intent)

    assert kept(root) == {"clip.mp4": b"the clip", "cats": {"clip.mp4": b"the clip"}}


@pytest.mark.fault("K4")
def test_inodes_that_a_new_mount_numbered_anew_do_not_hide_a_move(root: Path) -> None:
    intent = intended(root)
    shutil.copy2(root / CLIP, root / FILED)
    (root / CLIP).unlink()

    assert recovered(root, **intent) is RecoveryState.MOVED


@pytest.mark.fault("K6")
def test_what_was_never_moved_was_not_put_back_whatever_clock_is_wrong(root: Path) -> None:
    intent = intended(root)
    assert recovered(root, **intent) is RecoveryState.NOT_MOVED

    (root / CLIP).chmod(0o600)
    assert recovered(root, **intent) is RecoveryState.NOT_MOVED
    assert recovered(root, **{**intent, "began_ns": None}) is RecoveryState.NOT_MOVED


@pytest.mark.fault("K6")
def test_moved_and_put_back_is_told_by_the_clock_of_the_filesystem_alone(root: Path) -> None:
    intent = intended(root)
    later = int(str(intent["began_ns"]))
    while FileMover(root).clock(CLIP) == later:  # the kernel's clock goes in steps
        pass
    (root / CLIP).rename(root / FILED)
    (root / FILED).rename(root / CLIP)

    assert recovered(root, **intent) is RecoveryState.PUT_BACK
    assert recovered(root, **{**intent, "began_ns": None}) is RecoveryState.NOT_MOVED
    # The server's clock was set back meanwhile: no veto follows from what cannot be told.
    assert recovered(root, **{**intent, "began_ns": later + 3600 * 10**9}) is RecoveryState.NOT_MOVED


# Who writes


ASK = "import sys; from sortd.disk.open_writers import writers_of; print(writers_of(sys.argv[1]))"
PROJECT = Path(__file__).parents[2]


def asked_as(path: Path, *options: str) -> str:
    """What a process of another user, or with other capabilities, is told."""
    command = ["setpriv", *options, sys.executable, "-P", "-c", ASK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


USER = ("--reuid", "1000", "--regid", "1000", "--clear-groups")


@pytest.fixture
def shown() -> Iterator[Path]:
    """A file of root's where anybody may read it."""
    folder = Path("/var/tmp") / f"sortd-writers-{os.getpid()}"  # noqa: S108 - others must reach it
    folder.mkdir(mode=0o755)
    folder.chmod(0o777)
    (folder / "clip.mp4").write_bytes(b"clip")
    (folder / "clip.mp4").chmod(0o644)
    yield folder / "clip.mp4"
    shutil.rmtree(folder)


@as_root
@pytest.mark.fault("K13")
def test_of_anothers_file_it_is_not_known_whether_it_is_written(shown: Path) -> None:
    assert asked_as(shown, *USER) == Writers.UNKNOWN
    with shown.open("ab"):
        assert asked_as(shown, *USER) == Writers.UNKNOWN


@as_root
@pytest.mark.fault("K13")
def test_its_owner_is_told(shown: Path) -> None:
    os.chown(shown, 1000, 1000)
    assert asked_as(shown, *USER) == Writers.NONE
    with shown.open("ab"):
        assert asked_as(shown, *USER) == Writers.SOME


@as_root
@pytest.mark.fault("K13")
def test_with_the_capability_alone_it_is_told_of_anothers_file_too(shown: Path) -> None:
    capable = (*USER, "--inh-caps", "-all,+lease", "--ambient-caps", "-all,+lease", "--bounding-set", "-all,+lease")
    assert asked_as(shown, *capable) == Writers.NONE
    with shown.open("ab"):
        assert asked_as(shown, *capable) == Writers.SOME
    with mapped(shown):
        assert asked_as(shown, *capable) == Writers.SOME


@as_root
@pytest.mark.fault("K13")
def test_a_writer_of_ones_own_is_seen_without_a_lease(shown: Path) -> None:
    shown.chmod(0o666)
    hold = "import sys, time; f = open(sys.argv[1], 'ab'); print('open', flush=True); time.sleep(600)"
    command = ["setpriv", *USER, sys.executable, "-c", hold, str(shown)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        writer.stdout.readline()
        assert asked_as(shown, *USER) == Writers.SOME
        writer.kill()


@as_root
@pytest.mark.fault("K13")
def test_children_of_a_service_with_the_capability_do_not_have_it() -> None:
    capable = (*USER, "--inh-caps", "-all,+lease", "--ambient-caps", "-all,+lease")
    child = ["grep", "CapEff", "/proc/self/status"]
    service = (
        "import subprocess, sys; from sortd.disk.open_writers import keep_capabilities_from_children as keep; "
        f"run = lambda: subprocess.run({child!r}, check=True); run(); keep(); run()"
    )
    command = ["setpriv", *capable, sys.executable, "-P", "-c", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    with_it, without = (int(line.split()[1], 16) for line in done.stdout.splitlines())
    assert (with_it, without) == (1 << 28, 0)


@pytest.mark.fault("K13")
def test_where_nothing_stands_nobody_writes(tmp_path: Path) -> None:
    assert writers_of(tmp_path / "gone.mp4") is Writers.NONE
