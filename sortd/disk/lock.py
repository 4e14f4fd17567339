"""Lock files: each lock is on the inode, so it holds through bind mounts too, and it ends with its process.

Whoever can open a file can lock it, so those that are locked here are for their owner alone to open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sortd.disk.atomic_file import PRIVATE_FILE, PRIVATE_FOLDER, narrow, opened, renew
from sortd.disk.library_marker import account, is_ours
from sortd.domain.errors import LibraryUnavailable

LOCK = "lock"
"""In the state directory."""

LOG = ".log"
"""Stands in the name of a log that is kept beside the state; all else there is sortd's own."""

TABLE = Path("/proc/locks")
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Held(LibraryUnavailable):
    """Another process has the lock; `strangers` names it where it is another account's, and so no service of ours."""

    def __init__(self, message: str, *, strangers: str) -> None:
        super().__init__(message)
        self.strangers = strangers


def lock_state(state: Path) -> int:
    """The lock on a state directory, which is made where there is none; it notes whose it is.

    What lies in it is for this account's eyes only from then on. LibraryUnavailable: it is another account's.
    """
    _make(state)
    with opened(state) as folder:
        status = os.fstat(folder)
        if not is_ours(status):
            raise LibraryUnavailable(f"{state} cannot be used: it belongs to {account(status.st_uid)}")
        narrow(folder, PRIVATE_FOLDER)
        try:
            taken = lock(folder, LOCK, holder=state, make=True)
        except Held as held:
            if not held.strangers:
                raise
            # Theirs is on a file that is the lock no more.
            renew(folder, LOCK)
            taken = lock(folder, LOCK, holder=state)
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False) and LOG not in entry.name:  # whose mode is the rotation's
                _close(folder, entry)
    os.ftruncate(taken, 0)
    os.pwrite(taken, f"{os.getpid()}\n".encode(), 0)
    return taken


def lock(folder: int, name: str, *, holder: Path, make: bool = False) -> int:
    """An open descriptor of a plain file in an open folder with the lock on it.

    Held: somebody else has it; if it is a service, who it is was noted in the state directory `holder`.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    descriptor = os.open(name, flags, PRIVATE_FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no plain file", name)
    try:
        narrow(descriptor, PRIVATE_FILE)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in _NO_LOCKS_HERE:
            return descriptor
        strangers = _strangers(os.fstat(descriptor).st_ino)
        os.close(descriptor)
        if isinstance(problem, BlockingIOError):
            who = strangers or _process_in(holder)
            raise Held(f"this library is already served by {who}", strangers=strangers) from problem
        raise
    return descriptor


def release(locks: list[int]) -> None:
    """Let them all go."""
    while locks:
        os.close(locks.pop())


def _make(state: Path) -> None:
    """Make a folder and those above it, for this account's eyes only, whatever the umask says."""
    for folder in (*reversed(state.parents), state):
        if not folder.is_dir():
            with contextlib.suppress(FileExistsError):  # what it is, if it is no folder, whoever opens it says
                folder.mkdir(mode=PRIVATE_FOLDER)


def _close(folder: int, entry: os.DirEntry[str]) -> None:
    """Leave a file of this account's to it alone, also where another account has the file open or locked."""
    status = entry.stat(follow_symlinks=False)
    if entry.name != LOCK and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & ~PRIVATE_FILE:
        with contextlib.suppress(OSError):  # of a full disk, or a file that cannot be read, others tell
            renew(folder, entry.name)


def _process_in(state: Path) -> str:
    try:
        return f"process {int((state / LOCK).read_bytes()[:20])}"
    except (OSError, ValueError):
        return "another process"


def _strangers(inode: int) -> str:
    """Who holds locks on a file, where they all are other accounts' processes; empty where one may be ours."""
    told = [(process, _uid_of(process)) for process in _holders(inode)]
    if not told or any(uid is None or uid in {os.geteuid(), 0} for _, uid in told):
        return ""
    return ", ".join(f"process {process} of {account(uid)}" for process, uid in told if uid is not None)


def _holders(inode: int) -> Iterator[int]:
    """The processes that hold a whole file locked, 0 for those that cannot be seen from here, see proc_locks(5)."""
    try:
        lines = TABLE.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):  # noqa: PLR2004
            yield int(fields[4])


def _uid_of(process: int) -> int | None:
    try:
        return Path(f"/proc/{process}").stat().st_uid
    except OSError:
        return None
