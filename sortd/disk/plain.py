"""Plain files: told from everything else, opened without following or waiting, and known by their content.

A name in a folder may be a symlink to anywhere, a FIFO that blocks its opener for ever, or a device without end;
whatever sortd reads is opened here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from sortd.domain import Fingerprint, Identity

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}
"""Errors that say "no such file here"; any other leaves open whether there is one."""

_BLOCK = 256 * 1024


def identity_of(status: os.stat_result) -> Identity:
    """What tells, without reading it, that a file is still the same."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev)


def status_of(path: str | Path) -> os.stat_result | None:
    """The status of the plain file at `path`; None where none stands. Raises OSError where that cannot be told."""
    try:
        status = os.lstat(path)
    except OSError as problem:
        if problem.errno in ABSENT:
            return None
        raise
    except ValueError:  # a NUL or a lone surrogate: no file can be called so
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def open_plain(path: str | Path) -> BinaryIO:
    """Open the plain file at `path` for reading; FileNotFoundError where something else stands there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise FileNotFoundError(errno.ENOENT, "no plain file", path)
    return file


def fingerprint(path: str | Path, *, identity: Identity) -> Fingerprint | None:
    """BLAKE2b of the size and of the first, middle and last 256 KiB: constant time, however long the video.

    None where the file was not that of `identity`, before or after it was read. Raises OSError.
    """
    with open_plain(path) as file:
        if identity_of(os.fstat(file.fileno())) != identity:
            return None
        found = content_of(file.fileno())
        return found if identity_of(os.fstat(file.fileno())) == identity else None


def content_of(descriptor: int) -> Fingerprint | None:
    """The fingerprint of an open plain file; None where it becomes shorter meanwhile. Raises OSError."""
    size = os.fstat(descriptor).st_size
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    for start in _starts(size):
        block = os.pread(descriptor, _BLOCK, start)
        if len(block) < min(_BLOCK, size - start):
            return None
        digest.update(block)
    return Fingerprint(digest.hexdigest())


def _starts(size: int) -> tuple[int, ...]:
    if size <= 3 * _BLOCK:
        return tuple(range(0, size, _BLOCK))
    return (0, (size - _BLOCK) // 2, size - _BLOCK)
