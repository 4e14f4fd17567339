"""Write small files whole: through no link, over nobody's unfinished file, readable by their owner alone.

Whatever is named here lies in a folder that is held open, so that nothing swapped meanwhile leads elsewhere. A file is
made under a name that nobody can foresee and renamed to its own when it is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from sortd.config.file_owner import hand_over

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    """A folder, held open; the way to it is the owner's own, and may lead over links."""
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_in(above: int, name: str, *, make: bool = False) -> Iterator[int]:
    """A folder in an open one, made where it is wished and there is none. OSError also where it is a link to one."""
    made = False
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, PRIVATE_FOLDER, dir_fd=above)
            made = True
    descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
    try:
        if made:
            hand_over(descriptor, os.fstat(above))
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def beside(folder: int, name: str, content: bytes, *, mode: int = PRIVATE_FILE) -> Iterator[tuple[int, str]]:
    """A new file with this content, on the disk already, open, and under a name of its own: gone when the block ends.

    Unless the block renames it.
    """
    unfinished = f".{name}.{secrets.token_hex(8)}.part"
    descriptor = os.open(unfinished, _NEW, PRIVATE_FILE, dir_fd=folder)
    try:
        hand_over(descriptor, os.fstat(folder))
        with contextlib.suppress(PermissionError):  # filesystems that keep no modes
            os.fchmod(descriptor, mode)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        os.fsync(descriptor)
        yield descriptor, unfinished
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)


def replace(folder: int, name: str, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Have a file of this name hold this content, and nothing else at any moment; a link of the name is replaced."""
    with beside(folder, name, content, mode=mode) as (_, unfinished):
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    sync(folder)


def renew(folder: int, name: str) -> None:
    """Copy a plain file, and give the copy its name: who has the old one open, or locked, has it for nothing.

    Raises OSError; then the old one stays.
    """
    with beside(folder, name, b"") as (copy, unfinished):
        with os.fdopen(os.open(name, _OLD, dir_fd=folder), "rb") as old, os.fdopen(os.dup(copy), "wb") as new:
            shutil.copyfileobj(old, new)
            status = os.fstat(old.fileno())
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(copy)
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    sync(folder)


def narrow(descriptor: int, mode: int) -> None:
    """Take from what is ours what `mode` does not allow; what is another account's is its own affair."""
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & ~mode:
        with contextlib.suppress(PermissionError):  # filesystems that keep no modes
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & mode)


def sync(folder: int) -> None:
    """Have the names in an open folder on the disk."""
    try:
        os.fsync(folder)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # some network filesystems do not sync folders
            raise
