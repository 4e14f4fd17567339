"""Locks on files: each is on the inode, so it holds through bind mounts too, and it dies with its process."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from sortd.errors import LibraryUnavailable

_LOCK = "lock"  # in the state directory
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def lock_state(state: Path) -> int:
    """The lock on a state directory, which is made where there is none; it notes whose it is."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    (state / _LOCK).touch(mode=0o600)
    taken = lock(state / _LOCK, holder=state)
    os.ftruncate(taken, 0)
    os.pwrite(taken, f"{os.getpid()}\n".encode(), 0)
    return taken


def lock(path: Path, *, holder: Path) -> int:
    """An open descriptor of `path` with the lock on it; who holds it instead is noted in the state dir `holder`."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in _NO_LOCKS_HERE:
            return descriptor
        os.close(descriptor)
        if isinstance(problem, BlockingIOError):
            raise LibraryUnavailable(f"this library is already served by {_process_in(holder)}") from problem
        raise
    return descriptor


def release(locks: list[int]) -> None:
    """Let them all go."""
    while locks:
        os.close(locks.pop())


def _process_in(state: Path) -> str:
    try:
        return f"process {int((state / _LOCK).read_bytes())}"
    except (OSError, ValueError):
        return "another process"
