"""Tell whether somebody has a file open for writing: by a read lease, else by what /proc shows, else it is not known.

A read lease is refused while a writer has the file, one that only maps it too, and makes the next writer wait; Linux
gives it to the file's owner and to CAP_LEASE, on most disks. /proc shows whose files this user may look at; that
nobody writes it proves only where all processes of the machine can be seen. macOS has neither.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sortd.disk.regular_file import open_plain

_PROC = Path("/proc")
_FIRST_NAMESPACE = 0xEFFFFFFC
"""The inode of the machine's own process namespace (PROC_PID_INIT_INO in the kernel)."""

_AMBIENT, _CLEAR_ALL = 47, 4  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL

_tells: dict[int, bool] = {}
"""Of each device whose leases were refused, by its number: whether a refusal tells of a writer there."""


class Writers(StrEnum):
    """Whether somebody has a file open for writing."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


def writers_of(path: str | Path) -> Writers:
    """Ask whether somebody writes the plain file at `path`; NONE where no file stands. Main thread only."""
    try:
        with open_plain(path) as file, asked_for_writers(file.fileno(), folder=Path(path).parent) as answer:
            return answer.found
    except FileNotFoundError:
        return Writers.NONE
    except OSError:
        return Writers.UNKNOWN


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether somebody wrote an open file when it was asked, and by what that was told."""

    found: Writers
    descriptor: int
    by_lease: bool

    def holds(self) -> bool:
        """Tell whether nobody writes it still, nor waits to: a lease is called back by the next writer, who waits."""
        if self.by_lease:
            return fcntl.fcntl(self.descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK
        return _seen_in_proc(self.descriptor) is Writers.NONE


@contextmanager
def asked_for_writers(descriptor: int, *, folder: Path | int) -> Iterator[Answer]:
    """Ask of an open file whether somebody writes it; where a lease says NONE, nobody can begin within the block.

    `folder` is where it stands, as a path or a descriptor. Main thread only.
    """
    refused = _take_lease(descriptor)
    if refused is None:
        try:
            yield Answer(Writers.NONE, descriptor, by_lease=True)
        finally:
            with suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    elif refused == errno.EAGAIN and _refusals_tell(descriptor, folder):
        yield Answer(Writers.SOME, descriptor, by_lease=True)
    else:
        yield Answer(_seen_in_proc(descriptor), descriptor, by_lease=False)


def keep_capabilities_from_children() -> None:
    """Let this process alone have the capabilities that its service manager gave it: what it starts gets none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0)


def _take_lease(descriptor: int) -> int | None:
    """Take a read lease; the error where that is refused."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return errno.ENOSYS
    # A writer that comes while we hold the lease makes the kernel send SIGIO, whose default is to kill us.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as problem:
        return problem.errno
    return None


def _refusals_tell(descriptor: int, folder: Path | int) -> bool:
    """Tell whether EAGAIN means a writer here: NFS says it of any file that the server did not delegate.

    Asked of a new file of ours that nobody else knows.
    """
    device = os.fstat(descriptor).st_dev
    if device not in _tells:
        name = f".sortd-{secrets.token_hex(8)}.part"
        where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(folder, Path) else folder
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDONLY
            probe = os.open(name, flags, 0o600, dir_fd=where)
            try:
                _tells[device] = _take_lease(probe) is None
            finally:
                os.close(probe)
                os.unlink(name, dir_fd=where)
        except OSError:
            return True  # where no file can be made none is moved away either
        finally:
            if where is not folder:
                os.close(where)
    return _tells[device]


def _seen_in_proc(descriptor: int) -> Writers:
    """What the open files and the mappings of all processes tell, as far as this user may see them."""
    if sys.platform != "linux":
        return Writers.UNKNOWN
    wanted = os.fstat(descriptor)
    all_seen = _sees_the_machine()
    for process in _PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if _has_open(process, wanted) or _maps(process, wanted):
                return Writers.SOME
        except FileNotFoundError:
            continue  # it ended meanwhile
        except ProcessLookupError:
            continue
        except OSError:
            all_seen = False
    return Writers.NONE if all_seen else Writers.UNKNOWN


def _sees_the_machine() -> bool:
    """Tell whether /proc shows every process of the machine: not so in a container, nor where others' are hidden."""
    try:
        return (_PROC / "self/ns/pid").stat().st_ino == _FIRST_NAMESPACE and any((_PROC / "1/fd").iterdir())
    except OSError:
        return False


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    for opened in (process / "fd").iterdir():
        try:
            if not os.path.samestat(opened.stat(), wanted):
                continue
            told = (process / "fdinfo" / opened.name).read_text("ascii", "replace")
        except FileNotFoundError:
            continue
        flags = next(line.split()[1] for line in told.splitlines() if line.startswith("flags:"))
        if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
            return True
    return False


def _maps(process: Path, wanted: os.stat_result) -> bool:
    """Tell whether it maps the file so that what it writes into memory gets into the file."""
    for line in (process / "maps").read_text("utf-8", "replace").splitlines():
        _, mode, _, _, inode, *_ = line.split(maxsplit=5)
        # Some filesystems show another device here than stat does, so the inode alone must do: in doubt it is a writer.
        if mode[1] == "w" and mode[3] == "s" and int(inode) == wanted.st_ino:
            return True
    return False
