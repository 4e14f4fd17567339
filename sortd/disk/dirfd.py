"""Work on names in folders that are held open, reached from the root one folder at a time through no symlink.

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

from sortd.disk.fingerprint import content_of
from sortd.disk.regular_file import ABSENT, identity_of
from sortd.domain.errors import Elsewhere, FolderRefuses, MoveRefused, MoveUnfinished, NameTaken
from sortd.domain.video import FileIdentity, Fingerprint
from sortd.judgement.move_method import MoveMethod

CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP}
"""What some network filesystems say of a folder; EIO is another matter."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # for no file at all


class OpenFolders:
    """The folders on the way, each opened once and by its own name in the one above."""

    def __init__(self, root: Path) -> None:
        self._descriptors = {PurePath(): os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}

    def entry(self, path: PurePath) -> NameInFolder:
        """The name at the end of a path, in its folder."""
        check_name(path.name)
        return NameInFolder(path, self.open(path.parent))

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
def opened(root: Path) -> Iterator[OpenFolders]:
    """Folders below this root. MoveRefused: it cannot be opened."""
    try:
        folders = OpenFolders(root)
    except OSError as problem:
        raise refusal(problem) from problem
    try:
        yield folders
    finally:
        folders.close()


@dataclass(frozen=True, slots=True)
class NameInFolder:
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


def check(entry: NameInFolder, expected: FileIdentity, *, renamed: bool = False) -> None:
    """Refuse a file that is not what is expected of it; `renamed`: since then, which changes its status."""
    status = os.stat(entry.name, dir_fd=entry.folder, follow_symlinks=False)
    found = identity_of(status)
    as_expected = found.lasting == expected.lasting if renamed else found.agrees(expected)
    if not stat.S_ISREG(status.st_mode) or not as_expected:
        raise MoveRefused(f"{entry.path} changed since the move was decided")


def check_writable(entry: NameInFolder) -> None:
    """Refuse a folder in which no name can be made or taken away."""
    if os.access(".", os.W_OK | os.X_OK, dir_fd=entry.folder, effective_ids=True):
        return
    read_only = os.fstatvfs(entry.folder).f_flag & os.ST_RDONLY
    raise FolderRefuses(entry.path.parent, os.strerror(errno.EROFS if read_only else errno.EACCES))


def find(folders: OpenFolders, path: PurePath) -> os.stat_result | None:
    """The status of what stands at a path; None where nothing does, or its folder is gone."""
    try:
        return os.stat(path.name, dir_fd=folders.open(path.parent), follow_symlinks=False)
    except OSError as problem:
        if problem.errno in ABSENT:
            return None
        raise


def content_at(folders: OpenFolders, path: PurePath) -> Fingerprint | None:
    """The fingerprint of the plain file at a path; None where it becomes shorter meanwhile. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path.name, flags, dir_fd=folders.open(path.parent))
    try:
        return content_of(descriptor)
    finally:
        os.close(descriptor)


def rename(source: NameInFolder, target: NameInFolder, method: MoveMethod) -> None:
    """Give a file another name that is free, never another file's, by what the filesystem was seen to do."""
    if method is MoveMethod.RENAME:
        rename_exclusively(source, target)
    else:
        _link_then_unlink(source, target)


def rename_exclusively(source: NameInFolder, target: NameInFolder) -> None:
    """Rename in one step that fails where the name is taken."""
    if _RENAME is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(source.name), os.fsencode(target.name)
    if _RENAME(source.folder, names[0], target.folder, names[1], _NO_REPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source.path), None, str(target.path))


def link(source: NameInFolder, target: NameInFolder) -> None:
    """Give a file a second name, which fails where that is taken."""
    try:
        os.link(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder, follow_symlinks=False)
    except OSError as problem:
        problem.filename, problem.filename2 = str(source.path), str(target.path)
        raise


def _link_then_unlink(source: NameInFolder, target: NameInFolder) -> None:
    """One of the names goes in the end. MoveUnfinished: the owner acted meanwhile, or neither can be removed."""
    before = _status(source)
    link(source, target)
    try:
        linked = _status(target)
    except OSError as problem:
        raise MoveUnfinished(f"what became of {target.path} cannot be told: {problem.strerror}") from problem
    try:
        proven = _is_proven(source, linked, before)
        if proven:
            os.unlink(source.name, dir_fd=source.folder)
    except OSError:
        _unlink_again(target, linked)
        raise
    if not proven:
        _unlink_again(target, linked)
        why = "a link shows another inode than its file, so no move is safe here"
        raise FolderRefuses(target.path.parent, why)


def _is_proven(source: NameInFolder, linked: os.stat_result, before: os.stat_result) -> bool:
    """Tell whether a new name shows that it is the source's. MoveUnfinished: that is another file than before."""
    now = _status(source)
    if not os.path.samestat(linked, now) and not os.path.samestat(before, now):
        # What stands at the source is the owner's, and what they replaced has its new name alone.
        raise MoveUnfinished(f"{source.path} was replaced while it was moved")
    return os.path.samestat(linked, now)


def _unlink_again(target: NameInFolder, linked: os.stat_result) -> None:
    """Remove a second name that was just made; not where it has become the only one, or another file's."""
    try:
        now = _status(target)
        if now.st_nlink == 1 < linked.st_nlink or not os.path.samestat(now, linked):
            raise MoveUnfinished(f"what became of {target.path} is the owner's doing")
        os.unlink(target.name, dir_fd=target.folder)
    except OSError as problem:
        raise MoveUnfinished(f"{target.path} was linked, and cannot be removed: {problem.strerror}") from problem


def _status(entry: NameInFolder) -> os.stat_result:
    return os.stat(entry.name, dir_fd=entry.folder, follow_symlinks=False)


def sync(entries: Iterable[NameInFolder]) -> None:
    """Bring the folders of these names to the disk, in this order."""
    for folder in dict.fromkeys(entry.folder for entry in entries):
        try:
            os.fsync(folder)
        except OSError as problem:
            if problem.errno not in CANNOT_SYNC:
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
