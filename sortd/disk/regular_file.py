"""Open regular files, and nothing else, without following a link or waiting.

A name in a folder may be a symlink to anywhere, a FIFO that blocks its opener for ever, or a device without end;
whatever sortd reads is opened here.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from sortd.domain.video import FileIdentity

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}
"""Errors that say "no such file here"; any other leaves open whether there is one."""


def identity_of(status: os.stat_result) -> FileIdentity:
    """What tells, without reading it, that a file is still the same."""
    return FileIdentity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev)


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
