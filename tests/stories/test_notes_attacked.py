"""sortd's notes in bad company: links in their place, markers that came along, locks and eyes of other accounts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sortd.config.settings import Settings
from sortd.disk.library_marker import MARKER, marker_of
from sortd.disk.root_guard import RootGuard, root_of
from sortd.disk.watch import watch
from sortd.domain.category import CategoryName
from sortd.domain.decision_facts import VideoLabelled
from sortd.domain.errors import ConfigError, LibraryUnavailable
from sortd.domain.messages import Message
from sortd.domain.video import Fingerprint
from sortd.extract.registry import feature_space
from sortd.learn.classifier import Classifier
from sortd.store.decision_log import DecisionLog
from sortd.store.store import Store
from tests.accounts import STRANGER, as_account, with_accounts
from tests.folders import make
from tests.stories.conftest import taught
from tests.stories.service import SORTD
from tests.waiting import PATIENCE_SECONDS

PRECIOUS = b"the only copy"


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    monkeypatch.delenv("SORTD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    return tmp_path / "states/sortd"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "Videos", {"clip.mp4": b"clip"})


def library(root: Path, state: Path | None = None) -> Path:
    """Make it one; its state directory."""
    with RootGuard.open(root, state=state) as guard:
        return guard.state


def sortd(*command: str | Path, through: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    line = [*through, *SORTD, *map(str, command)]
    return subprocess.run(
        line,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, **environ},
        cwd="/",
    )


def snapshot(*folders: Path) -> Mapping[str, tuple[int, int, bytes]]:
    """Everything below these folders: mode, owner and content."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_uid,
            path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b"",
        )
        for path in paths
    }


# Never through a link


@pytest.mark.fault("S6")
@pytest.mark.parametrize("what", ["link", "dangling link", "file", "pipe"])
def test_what_stands_in_the_place_of_the_notes_is_not_written_through(root, tmp_path, what):
    elsewhere = make(tmp_path / "elsewhere", {"library.json": PRECIOUS})
    notes = root / ".sortd"
    match what:
        case "link":
            notes.symlink_to(elsewhere)
        case "dangling link":
            notes.symlink_to(tmp_path / "nowhere")
        case "file":
            notes.write_bytes(PRECIOUS)
        case "pipe":
            os.mkfifo(notes)
    before = snapshot(root, elsewhere)
    with pytest.raises(LibraryUnavailable, match=r"\.sortd"):
        library(root)
    assert snapshot(root, elsewhere) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.fault("S6")
@pytest.mark.parametrize("what", ["link", "dangling link", "pipe", "folder"])
def test_a_marker_that_is_no_plain_file_is_no_marker_and_stays(root, tmp_path, what):
    kept = tmp_path / "kept.json"
    kept.write_bytes(PRECIOUS)
    (root / ".sortd").mkdir()
    match what:
        case "link":
            (root / MARKER).symlink_to(kept)
        case "dangling link":
            (root / MARKER).symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(root / MARKER)
        case "folder":
            (root / MARKER).mkdir()
    before = snapshot(root)
    with pytest.raises(LibraryUnavailable, match=r"library\.json"):
        library(root)
    assert snapshot(root) == before
    assert kept.read_bytes() == PRECIOUS
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.fault("S6")
def test_links_under_the_names_of_unfinished_files_are_not_written_through(root, tmp_path):
    kept = tmp_path / "kept.mp4"
    kept.write_bytes(PRECIOUS)
    state = make(tmp_path / "state", {})
    (root / ".sortd").mkdir()
    for process in (os.getpid(), os.getppid()):
        for name in ("library.json", "root", "suggested.json"):
            for folder in (root / ".sortd", state):
                (folder / f".{name}.{process}").symlink_to(kept)
        (root / f".sortd-probe-{process}").symlink_to(kept)
    (state / ".index.db.backup-000001.part").symlink_to(kept)
    library(root, state)
    with watch(root, _Inbox(), mode="events", poll_seconds=1.0) as watcher:
        assert watcher.probe(timeout_seconds=60)
    assert kept.read_bytes() == PRECIOUS
    assert (root / f".sortd-probe-{os.getpid()}").is_symlink()
    assert marker_of(root) is not None


class _Inbox:
    def put(self, message: Message) -> None:
        pass


@pytest.mark.fault("S6")
def test_decisions_are_not_written_through_a_link_that_takes_the_folders_place(household, tmp_path):
    home = household(taught(2))
    elsewhere = tmp_path / "elsewhere"
    (home.root / ".sortd").rename(elsewhere)
    before = snapshot(elsewhere)
    (home.root / ".sortd").symlink_to(elsewhere)
    home.files({"cats": {"another.mp4": b"cats another"}})
    assert snapshot(elsewhere) == before
    assert home.guard.here() is not None
    (home.root / ".sortd").unlink()
    elsewhere.rename(home.root / ".sortd")
    home.settle()
    assert home.guard.here() is None
    assert "another" in (home.root / ".sortd/decisions.jsonl").read_text()
    assert home.home_of("cats/another.mp4") == ("cats", "owner")


# Only the root's marker counts


BROKEN = {
    "empty": b"",
    "noise": b"\xff\x00\xfe",
    "oversized": b" " * 200_000 + b"{}",
    "deep": b"[" * 60_000,
    "deep objects": b'{"a":' * 30_000,
    "no object": b"[]",
    "surrogate": b'{"version": 1, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "h", "state": "/\\ud800"}',
    "no text": b'{"version": 1, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": {}, "state": "/x"}',
    "no uuid": b'{"version": 1, "library": 5, "host": "h", "state": "/x"}',
    "version true": b'{"version": true, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "h", "state": "/"}',
    "version 1.0": b'{"version": 1.0, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "h", "state": "/"}',
    "version text": b'{"version": "1", "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "h", "state": "/"}',
    "version huge": b'{"version": 1' + b"0" * 5000 + b', "library": "", "host": "h", "state": "/"}',
    "version list": b'{"version": [1], "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "h", "state": "/"}',
    "nul": b'{"version": 1, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "h", "state": "/a\\u0000"}',
    "relative": b'{"version": 1, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "h", "state": "x"}',
}


@pytest.mark.fault("S6")
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_marker_of_the_root_is_one_clear_line(root, content):
    make(root / ".sortd", {"library.json": content})
    with pytest.raises(LibraryUnavailable):
        library(root)
    assert (root / MARKER).read_bytes() == content


@pytest.mark.fault("S6")
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_marker_in_a_category_says_nothing_of_the_library(root, content):
    library(root)
    make(root, {"cooking": {".sortd": {"library.json": content}, "soup": {"a.mp4": b""}}})
    assert root_of(root / "cooking" / "soup") == root


@pytest.mark.fault("S6")
def test_a_library_copied_into_a_category_is_not_the_library_of_what_lies_there(root, tmp_path):
    library(root)
    other = make(tmp_path / "Films", {"film.mp4": b""})
    library(other)
    shutil.copytree(other, root / "cooking" / "Films")
    assert root_of(root / "cooking" / "Films" / "deeper") == root
    assert root_of(other) == other
    # One from a disk of another machine, of which nothing is known here.
    strange = {"version": 1, "library": "5b1c7f5e-7b0e-4a5e-9d3c-0f6f7f1f2a3b", "host": "attic", "state": "/x"}
    make(root, {"sea": {".sortd": {"library.json": json.dumps(strange).encode()}}})
    assert root_of(root / "sea") == root


@pytest.mark.fault("S6")
def test_a_library_inside_another_that_is_known_as_one_is_one(root):
    library(root)
    make(root, {"inner": {"a.mp4": b""}})
    library(root / "inner")
    assert root_of(root / "inner") == root / "inner"


@pytest.mark.fault("S6")
def test_commands_go_on_beside_a_broken_marker(root, tmp_path):
    state = library(root)
    make(root, {"cooking": {".sortd": {"library.json": b"nonsense"}, "soup.mp4": b"x"}})
    config = tmp_path / "config.toml"
    config.write_text(f'[library]\nroot = "{root}"\n[state]\ndir = "{state}"\n')
    for command in (["explain"], ["undo"], ["confirm"], ["forget"]):
        done = sortd(*command, root / "cooking" / "soup.mp4", "--config", config)
        assert "damaged" not in done.stderr
        assert "Traceback" not in done.stderr


# Locks and modes


@with_accounts
@pytest.mark.fault("S8")
def test_a_stranger_cannot_lock_the_marker(open_folder):
    root = make(open_folder / "Videos", {"clip.mp4": b"clip"})
    state = library(root)
    for path in (root, root / ".sortd"):
        path.chmod(0o755)
    done = subprocess.run(
        [*as_account(), "flock", "--nonblock", str(root / MARKER), "true"], capture_output=True, text=True, check=False
    )
    assert "Permission denied" in done.stderr
    assert stat.S_IMODE((root / MARKER).stat().st_mode) == 0o600
    assert state.exists()


@with_accounts
@pytest.mark.fault("S8")
@pytest.mark.parametrize("kind", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_a_stranger_who_has_locked_a_marker_that_all_could_read_keeps_nobody_out(open_folder, kind):
    root = make(open_folder / "Videos", {"clip.mp4": b"clip"})
    library(root)
    for path, mode in ((root, 0o755), (root / ".sortd", 0o755), (root / MARKER, 0o644)):
        path.chmod(mode)
    script = (
        f"import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, {kind}); print('locked', flush=True); input()"
    )
    command = [*as_account(), sys.executable, "-c", script, str(root / MARKER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout
        assert stranger.stdout.readline() == "locked\n"
        with RootGuard.open(root, state=None) as guard:
            assert str(STRANGER) in guard.was_locked_by
            assert guard.here() is None
            with pytest.raises(LibraryUnavailable, match=f"served by process {os.getpid()}"):
                RootGuard.open(root, state=None)
        stranger.kill()
    with RootGuard.open(root, state=None) as guard:
        assert guard.was_locked_by == ""


@with_accounts
@pytest.mark.fault("S8")
@pytest.mark.parametrize("name", ["lock", "index.db"])
def test_a_stranger_who_has_locked_what_all_could_open_in_the_state_keeps_nobody_out(open_folder, name):
    root, state = make(open_folder / "Videos", {"clip.mp4": b"clip"}), open_folder / "state"
    library(root, state)
    Store.open(state, feature_space(Settings())).database.close()
    for path in (state, *state.iterdir()):
        path.chmod(0o777 if path.is_dir() else 0o666)  # as an earlier sortd left them, where the umask was 0
    script = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
input()
"""
    command = [*as_account(), sys.executable, "-c", script, str(state / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout
        assert stranger.stdout.readline() == "locked\n"
        with RootGuard.open(root, state=state):
            store = Store.open(state, feature_space(Settings()))
            store.database.write_note("said", "something")
            store.database.close()
            with pytest.raises(LibraryUnavailable, match="already served"):
                RootGuard.open(root, state=state)
        stranger.kill()
    assert Store.open(state, feature_space(Settings()), query_only=True).database.note("said") == "something"


@contextlib.contextmanager
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.fault("S8")
def test_whatever_the_umask_nobody_else_reads_or_writes_what_is_kept(household):
    with no_umask():
        home = household(taught(6))
        home.files({"new.mp4": b"cats new"})
    state = home.config.state.dir
    kept = [state, home.root / ".sortd", *state.rglob("*"), *(home.root / ".sortd").rglob("*")]
    assert {"index.db", "lock", "root", "library.json", "decisions.jsonl"} <= {path.name for path in kept}
    assert any(path.suffix == ".npz" for path in kept)
    assert {str(path): oct(path.stat().st_mode) for path in kept if path.stat().st_mode & 0o077} == {}


@pytest.mark.fault("S8")
def test_folders_above_a_state_that_is_made_are_nobody_elses(root, states):
    with no_umask():
        state = library(root)
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in (state, states, states.parent)} == dict.fromkeys(
        (state, states, states.parent), 0o700
    )


@pytest.mark.fault("S8")
def test_what_an_earlier_start_left_open_is_closed_by_the_next(household):
    home = household(taught(3))
    home.kill()
    state = home.config.state.dir
    for path in (state, *state.iterdir(), home.root / MARKER, home.root / ".sortd/decisions.jsonl"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    home.start()
    home.files({"cats": {"more.mp4": b"cats more"}})
    kept = [state, *state.iterdir(), home.root / MARKER, home.root / ".sortd/decisions.jsonl"]
    assert {path.name: oct(path.stat().st_mode) for path in kept if path.stat().st_mode & 0o077} == {}


@with_accounts
@pytest.mark.fault("S8")
def test_a_state_directory_that_another_account_offers_is_not_used(open_folder):
    root = make(open_folder / "Videos", {"clip.mp4": b"clip"})
    theirs = make(open_folder / "theirs", {"root": os.fsencode(root)})
    library(root)
    marker = json.loads((root / MARKER).read_text()) | {"state": str(theirs)}
    for path in (root / MARKER, theirs / "library.json"):
        path.write_text(json.dumps(marker))
    for path in (theirs, *theirs.iterdir()):
        os.chown(path, STRANGER + 1, STRANGER + 1)
    theirs.chmod(0o777)
    for path in (open_folder, *open_folder.rglob("*")):
        if not path.is_relative_to(theirs):
            os.chown(path, STRANGER, STRANGER)
    os.chown(open_folder, STRANGER, STRANGER)
    before = snapshot(theirs)
    done = sortd("status", "--root", root, through=as_account(), HOME=str(open_folder), XDG_STATE_HOME=str(open_folder))
    assert snapshot(theirs) == before
    assert str(theirs) not in done.stdout + done.stderr
    done = sortd("pause", root, through=as_account(), HOME=str(open_folder), XDG_STATE_HOME=str(open_folder))
    assert done.returncode == 0, done.stderr
    assert snapshot(theirs) == before


# Whoever may not change the state changes nothing


@with_accounts
@pytest.mark.fault("K15")
@pytest.mark.parametrize("readable", [False, True])
@pytest.mark.parametrize("command", [["pause"], ["run", "--once"], ["undo"], ["resume"], ["check", "--retry"]])
def test_a_strangers_command_fails_and_leaves_no_trace(open_folder, command, readable):
    root = make(open_folder / "Videos", {"clip.mp4": b"clip"})
    with RootGuard.open(root, state=None) as guard:
        state = guard.state
        store = Store.open(state, feature_space(Settings()))
        decisions = DecisionLog(store.database, root / ".sortd/decisions.jsonl")
        decisions.note(VideoLabelled(Fingerprint("00"), CategoryName("cats"), None, None), at=1.0)
        decisions.flush()
        store.database.close()
    for path in (root, root / "clip.mp4"):
        path.chmod(0o777)
    if readable:  # as an earlier sortd left them
        (root / ".sortd").chmod(0o777)
        (root / MARKER).chmod(0o666)
    home = open_folder / "stranger"
    home.mkdir()
    os.chown(home, STRANGER, STRANGER)
    before = snapshot(root, state, home)
    given = ["--root", str(root)] if command[0] in {"undo", "check"} else [str(root)]
    done = sortd(*command, *given, through=as_account(), HOME=str(home), XDG_STATE_HOME=str(home / "state"))
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sortd: ")
    assert "root" in last or "belongs to" in last
    assert "Traceback" not in done.stderr
    assert snapshot(root, state, home) == before


@pytest.mark.fault("K5")
def test_a_state_directory_full_of_other_things_is_refused(root, tmp_path):
    documents = make(tmp_path / "Documents", {"letter.txt": PRECIOUS, "taxes": {"2025.pdf": PRECIOUS}})
    documents.chmod(0o755)
    before = snapshot(documents, root)
    with pytest.raises(ConfigError, match=r"Documents holds other things"):
        library(root, documents)
    assert snapshot(documents, root) == before
    # A disk of its own, or the home of a service's account, is not.
    own = make(tmp_path / "own", {"lost+found": {}, ".cache": {}, "sortd.log": b""})
    assert library(root, own) == own


@pytest.mark.fault("S6")
def test_a_classifier_is_not_written_through_a_link(household, tmp_path):
    kept = tmp_path / "kept.mp4"
    kept.write_bytes(PRECIOUS)
    home = household(taught(6))
    (file,) = home.config.state.dir.glob("classifier-*.npz")
    classifier = Classifier.load(file)
    assert classifier is not None
    file.with_name(file.name + ".part").symlink_to(kept)
    classifier.save(file)
    assert kept.read_bytes() == PRECIOUS
    assert not file.is_symlink()
