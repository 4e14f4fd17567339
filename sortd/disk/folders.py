"""Names in folders that are held open: reached from the root one folder at a time and past no symlink.

So nothing that is swapped meanwhile leads out of the library; and what is done to a name here replaces nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from sortd.disk.plain import ABSENT, identity_of
from sortd.domain import Identity
from sortd.errors import Elsewhere, FolderRefuses, MoveRefused, MoveUnfinished, NameTaken

_CANNOT_REFUSE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_CANNOT_LINK = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK}
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP}  # some network filesystems; EIO is another matter
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # for no file at all


class Folders:
    """The folders on the way, each opened once and by its own name in the one above."""

    def __init__(self, root: Path) -> None:
        self._descriptors = {PurePath(): os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}

    def entry(self, path: PurePath) -> Entry:
        """The name at the end of a path, in its folder."""
        check_name(path.name)
        return Entry(path, self.open(path.parent))

    def open(self, folder: PurePath) -> int:
        """The folder's descriptor, which stays this object's."""
        if folder not in self._descriptors:
            check_name(folder.name)
            above = self.open(folder.parent)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptors[folder] = os.open(folder.name, flags, dir_fd=above)
        return self._descriptors[folder]

    def close(self) -> None:
        """Let go of all of them."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)


@contextmanager
def opened(root: Path) -> Iterator[Folders]:
    """Folders below this root. MoveRefused: it cannot be opened."""
    try:
        folders = Folders(root)
    except OSError as problem:
        raise refusal(problem) from problem
    try:
        yield folders
    finally:
        folders.close()


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in an open folder."""

    path: PurePath
    folder: int

    @property
    def name(self) -> str:
        """Its last part, all that the system is told."""
        return self.path.name


def make(root: Path, folder: PurePath) -> None:
    """Make a folder, and those above it, where there is none. MoveRefused: it cannot be, or is something else."""
    with opened(root) as folders:
        try:
            for path in (*reversed(folder.parents[:-1]), folder):
                entry = folders.entry(path)
                with suppress(FileExistsError):
                    os.mkdir(entry.name, dir_fd=entry.folder)
                folders.open(path)
                sync([entry])
        except OSError as problem:
            raise refusal(problem) from problem


def check_name(name: str) -> None:
    """Refuse what would lead elsewhere than into the folder at hand."""
    if name in {"", ".", ".."} or "\0" in name:
        raise MoveRefused(f"{name!r} is no name of a file or folder")


def check(entry: Entry, expected: Identity, *, renamed: bool = False) -> None:
    """Refuse a file that is not what is expected of it; `renamed`: since then, which changes its status."""
    status = os.stat(entry.name, dir_fd=entry.folder, follow_symlinks=False)
    found = identity_of(status)
    as_expected = found.lasting == expected.lasting if renamed else found.agrees(expected)
    if not stat.S_ISREG(status.st_mode) or not as_expected:
        raise MoveRefused(f"{entry.path} changed since the move was decided")


def check_writable(entry: Entry) -> None:
    """Refuse a folder in which no name can be made or taken away."""
    if os.access(".", os.W_OK | os.X_OK, dir_fd=entry.folder, effective_ids=True):
        return
    read_only = os.fstatvfs(entry.folder).f_flag & os.ST_RDONLY
    raise FolderRefuses(entry.path.parent, os.strerror(errno.EROFS if read_only else errno.EACCES))


def find(folders: Folders, path: PurePath) -> os.stat_result | None:
    """The status of what stands at a path; None where nothing does, or its folder is gone."""
    try:
        return os.stat(path.name, dir_fd=folders.open(path.parent), follow_symlinks=False)
    except OSError as problem:
        if problem.errno in ABSENT:
            return None
        raise


def rename(source: Entry, target: Entry) -> None:
    """Give a file another name that is free; never another file's."""
    try:
        _rename_exclusively(source, target)
    except OSError as problem:
        if problem.errno not in _CANNOT_REFUSE:
            raise
        _link_then_unlink(source, target)


def _rename_exclusively(source: Entry, target: Entry) -> None:
    if _RENAME is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(source.name), os.fsencode(target.name)
    if _RENAME(source.folder, names[0], target.folder, names[1], _NO_REPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source.path), None, str(target.path))


def _link_then_unlink(source: Entry, target: Entry) -> None:
    try:
        os.link(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder, follow_symlinks=False)
    except OSError as problem:
        problem.filename, problem.filename2 = str(source.path), str(target.path)
        if problem.errno not in _CANNOT_LINK:
            raise
        why = "this filesystem can neither rename without replacing nor link"
        raise FolderRefuses(target.path.parent, why) from problem
    linked = os.stat(target.name, dir_fd=target.folder, follow_symlinks=False)
    if not os.path.samestat(linked, os.stat(source.name, dir_fd=source.folder, follow_symlinks=False)):
        raise MoveUnfinished(f"{source.path} was replaced while it was moved")  # what stands there now is the owner's
    try:
        os.unlink(source.name, dir_fd=source.folder)
    except OSError:
        os.unlink(target.name, dir_fd=target.folder)
        raise


def sync(entries: Iterable[Entry]) -> None:
    """Bring the folders of these names to the disk, in this order."""
    for folder in dict.fromkeys(entry.folder for entry in entries):
        try:
            os.fsync(folder)
        except OSError as problem:
            if problem.errno not in _CANNOT_SYNC:
                raise


def refusal(problem: OSError | MoveRefused) -> MoveRefused:
    """Say what the system said."""
    if isinstance(problem, MoveRefused):
        return problem
    if problem.errno == errno.EEXIST:
        return NameTaken(f"{problem.filename2} is taken")
    if problem.errno == errno.EXDEV:
        return Elsewhere(f"{problem.filename2} is on another filesystem")
    if problem.errno in _NO_ROOM and problem.filename2:
        return FolderRefuses(PurePath(problem.filename2).parent, str(problem.strerror))
    return MoveRefused(f"{problem.filename2 or problem.filename or 'a folder'}: {problem.strerror}")


_C = ctypes.CDLL(None, use_errno=True)
_RENAME = getattr(_C, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
_NO_REPLACE = 4 if sys.platform == "darwin" else 1  # RENAME_EXCL, RENAME_NOREPLACE
if _RENAME is not None:
    _RENAME.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
