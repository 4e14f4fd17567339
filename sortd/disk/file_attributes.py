"""Keep in a copy what a file is besides its content: owner, permissions, access list, attributes, times."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from sortd.disk.filesystem_probe import keeps_modes
from sortd.judgement.file_access import FileAccess, lost_access

_ACCESS_LIST = "system.posix_acl_access"
_USERS = "user."
_SECURITY = "security."
_OF_THE_CONTENT = ("security.capability", "security.ima", "security.evm")
"""Rights to run with privileges, which a copy must not have, and signatures of the very inode."""

_NO_PRIVILEGES = ~(stat.S_ISUID | stat.S_ISGID)


def keep_attributes(old: int, new: int) -> tuple[str, ...]:
    """Give a new, empty file all that an old one has but its times; what cannot be kept, in words.

    Both are open; setuid and setgid are dropped. What is no loss is not named: on a filesystem without owners it is
    enough that all who could read the old file may read the new one.
    """
    by_mount = not keeps_modes(new)
    # Attributes before permissions, which may forbid to write them, and the owner last, who alone may set the others.
    lost = _keep_extended(old, new)
    _keep_access_list(old, new)
    status = os.fstat(old)
    with suppress(OSError):
        os.fchmod(new, stat.S_IMODE(status.st_mode) & _NO_PRIVILEGES)
    for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
        with suppress(OSError):
            os.fchown(new, owner, group)
    return (*lost_access(_access(old), _access(new), by_mount=by_mount), *lost)


def keep_times(old: int, new: int) -> None:
    """Give a new file the times of an old one, as finely as its filesystem keeps them."""
    status = os.fstat(old)
    times = status.st_atime_ns, status.st_mtime_ns
    try:
        os.utime(new, ns=times)
    except PermissionError:  # it was given away, and only its owner may do that
        owner = os.fstat(new)
        os.fchown(new, os.geteuid(), -1)
        os.utime(new, ns=times)
        os.fchown(new, owner.st_uid, -1)


def _access(file: int) -> FileAccess:
    status = os.fstat(file)
    mode = stat.S_IMODE(status.st_mode) & _NO_PRIVILEGES
    return FileAccess(status.st_uid, status.st_gid, mode, _extended(file, _ACCESS_LIST))


def _keep_access_list(old: int, new: int) -> None:
    """The one that the file has, instead of what its new folder gives to new files."""
    if not hasattr(os, "setxattr"):  # macOS
        return
    wanted = _extended(old, _ACCESS_LIST)
    with suppress(OSError):
        if wanted is not None:
            os.setxattr(new, _ACCESS_LIST, wanted)
        elif _extended(new, _ACCESS_LIST) is not None:
            os.removexattr(new, _ACCESS_LIST)


def _keep_extended(old: int, new: int) -> tuple[str, ...]:
    if not hasattr(os, "setxattr"):  # macOS
        return ()
    names = _names(old)
    for name in names:
        if name.startswith((_USERS, _SECURITY)) and name not in _OF_THE_CONTENT:
            with suppress(OSError):
                os.setxattr(new, name, _extended(old, name) or b"")
    wanted = [name for name in names if name.startswith(_USERS)]
    return tuple(f"its attribute {name}" for name in wanted if _extended(new, name) != _extended(old, name))


def _names(file: int) -> list[str]:
    try:
        return os.listxattr(file)
    except OSError as problem:
        if problem.errno in {errno.ENOTSUP, errno.ENOSYS}:
            return []
        raise


def _extended(file: int, name: str) -> bytes | None:
    if not hasattr(os, "getxattr"):  # macOS
        return None
    try:
        return os.getxattr(file, name)
    except OSError as problem:
        if problem.errno in {errno.ENODATA, errno.ENOTSUP, errno.ENOSYS}:
            return None
        raise
