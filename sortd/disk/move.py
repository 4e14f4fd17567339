"""Moves that cannot replace, lose or half-do anything: a video and its companions, all of them or none.

Every name is reached from the root one folder at a time, through open folders and past no symlink, so that nothing
swapped meanwhile leads out of the library. The order of steps is that of Maildir and of restic: refuse to replace,
rename, sync the folders.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import stat
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath

from sortd.disk.names import stem_of
from sortd.disk.plain import ABSENT, identity_of
from sortd.domain import Identity, MovePlan
from sortd.errors import MoveRefused, SortdError

_LONGEST_NAME = 255  # bytes
_CANNOT_REFUSE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_CANNOT_LINK = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK}
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP}  # some network filesystems; EIO is another matter


class NameTaken(MoveRefused):
    """A name of the plan was taken since: plan afresh."""


class MoveUnfinished(SortdError):
    """Neither done nor taken back: the intent stays open until `recover` tells where the file stands."""


class Standing(StrEnum):
    """Where the file of an open intent stands."""

    NOT_MOVED = "not_moved"
    MOVED = "moved"
    PUT_BACK = "put_back"
    """It was moved, and the owner put it back."""
    GONE = "gone"
    """At neither place: the owner took it elsewhere."""


def plan_move(
    video: PurePath,
    companions: Sequence[PurePath],
    *,
    folder: PurePath,
    taken: Container[str],
    name: str | None = None,
) -> MovePlan:
    """Where a video and its companions go in `folder`; a taken name becomes `stem (2).ext`, free for the whole group.

    Names stay as they are but for the number, and for the end of a stem that would exceed 255 bytes with it. `name` is
    the video's name from before an earlier move, which it and its companions get back.
    """
    sources = (video, *companions)
    tails = [source.name[len(stem_of(video.name)) :] for source in sources]
    stem = stem_of(video.name if name is None else name)
    for number in itertools.count(1):
        start = stem if number == 1 else _numbered(stem, number, longest_tail=max(map(_size, tails)))
        if not any(start + tail in taken for tail in tails):
            break
    return MovePlan(tuple((source, folder / (start + tail)) for source, tail in zip(sources, tails, strict=True)))


def _numbered(stem: str, number: int, *, longest_tail: int) -> str:
    end = f" ({number})"
    room = _LONGEST_NAME - longest_tail - len(end)
    if room < 1:
        raise MoveRefused(f"{stem!r} leaves no room for a number")
    while _size(stem) > room:
        stem = stem[:-1]  # a whole character: cut bytes would be another name on the screen
    return stem + end


def _size(name: str) -> int:
    return len(os.fsencode(name))


class FileMover:
    """Moves files below a root. Raises MoveRefused where nothing was moved, MoveUnfinished where that is not sure."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def taken(self, folder: PurePath) -> Container[str]:
        """The names that `plan_move` must not give in this folder; as the filesystem sees it, case folding and all."""
        return _Taken(self._root / folder)

    def move(self, plan: MovePlan, *, expected: Mapping[PurePath, Identity]) -> None:
        """Carry out the plan, if every source still is what is `expected` of it; no folder is made."""
        done: list[_Step] = []
        with _folders(self._root) as folders:
            try:
                steps = [_Step(folders, source, target) for source, target in plan.steps]
                for step in steps:
                    _check(step.source, expected[step.source.path])
                    _rename(step.source, step.target)
                    done.append(step)
                    _check(step.target, expected[step.source.path])  # it may have been swapped in between
                _sync(steps)
            except (OSError, MoveRefused) as problem:
                _take_back(done)
                raise _refusal(problem) from problem

    def recover(self, source: PurePath, target: PurePath, *, identity: Identity, intended_at: float) -> Standing:
        """Where the file of an intent that was left open stands; a move that was cut short is finished.

        `intended_at` is when the intent was written, in seconds since the epoch: a file that stands at its source but
        was renamed after that was put back.
        """
        try:
            with _folders(self._root) as folders:
                before, after = _find(folders, source), _find(folders, target)
                if before and after and os.path.samestat(before, after):  # killed between link and unlink
                    os.unlink(source.name, dir_fd=folders.open(source.parent))
                    before = None
                if after and after.st_ino == identity.inode and not (before and before.st_ino == identity.inode):
                    _sync([_Step(folders, source, target)])
                    return Standing.MOVED
        except (OSError, MoveRefused) as problem:
            raise MoveUnfinished(f"{source} cannot be looked for: {problem}") from problem
        if before and before.st_ino == identity.inode:
            return Standing.PUT_BACK if before.st_ctime > intended_at else Standing.NOT_MOVED
        return Standing.GONE


class _Taken:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, name: object) -> bool:
        return os.path.lexists(f"{self._folder}/{name}")


class _Folders:
    """The folders on the way, each opened once and by its own name in the one above."""

    def __init__(self, root: Path) -> None:
        self._descriptors = {PurePath(): os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}

    def open(self, folder: PurePath) -> int:
        if folder not in self._descriptors:
            _check_name(folder.name)
            above = self.open(folder.parent)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptors[folder] = os.open(folder.name, flags, dir_fd=above)
        return self._descriptors[folder]

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


@contextmanager
def _folders(root: Path) -> Iterator[_Folders]:
    try:
        folders = _Folders(root)
    except OSError as problem:
        raise _refusal(problem) from problem
    try:
        yield folders
    finally:
        folders.close()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name in an open folder."""

    path: PurePath
    folder: int

    @property
    def name(self) -> str:
        return self.path.name


class _Step:
    def __init__(self, folders: _Folders, source: PurePath, target: PurePath) -> None:
        for path in (source, target):
            _check_name(path.name)
        self.source = _Entry(source, folders.open(source.parent))
        self.target = _Entry(target, folders.open(target.parent))


def _check_name(name: str) -> None:
    if name in {"", ".", ".."} or "\0" in name:
        raise MoveRefused(f"{name!r} is no name of a file or folder")


def _check(entry: _Entry, expected: Identity) -> None:
    status = os.stat(entry.name, dir_fd=entry.folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or identity_of(status) != expected:
        raise MoveRefused(f"{entry.path} changed since the move was decided")


def _find(folders: _Folders, path: PurePath) -> os.stat_result | None:
    try:
        return os.stat(path.name, dir_fd=folders.open(path.parent), follow_symlinks=False)
    except OSError as problem:
        if problem.errno in ABSENT:
            return None
        raise


def _rename(source: _Entry, target: _Entry) -> None:
    try:
        _rename_exclusively(source, target)
    except OSError as problem:
        if problem.errno not in _CANNOT_REFUSE:
            raise
        _link_then_unlink(source, target)


def _rename_exclusively(source: _Entry, target: _Entry) -> None:
    if _RENAME is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(source.name), os.fsencode(target.name)
    if _RENAME(source.folder, names[0], target.folder, names[1], _NO_REPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source.path), None, str(target.path))


def _link_then_unlink(source: _Entry, target: _Entry) -> None:
    try:
        os.link(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _CANNOT_LINK:
            raise
        raise MoveRefused("this filesystem can neither rename without replacing nor link") from problem
    linked = os.stat(target.name, dir_fd=target.folder, follow_symlinks=False)
    if not os.path.samestat(linked, os.stat(source.name, dir_fd=source.folder, follow_symlinks=False)):
        raise MoveUnfinished(f"{source.path} was replaced while it was moved")  # what stands there now is the owner's
    try:
        os.unlink(source.name, dir_fd=source.folder)
    except OSError:
        os.unlink(target.name, dir_fd=target.folder)
        raise


def _take_back(done: list[_Step]) -> None:
    try:
        for step in reversed(done):
            _rename(step.target, step.source)
    except (OSError, MoveRefused) as problem:
        raise MoveUnfinished(f"{step.target.path} could be neither left nor put back: {problem}") from problem
    with suppress(OSError):  # the next start finds the intent abandoned, and the files at either place
        _sync(done)


def _sync(steps: Sequence[_Step]) -> None:
    """Targets first: after a power cut a file may stand at both places, never at none."""
    for folder in dict.fromkeys([step.target.folder for step in steps] + [step.source.folder for step in steps]):
        try:
            os.fsync(folder)
        except OSError as problem:
            if problem.errno not in _CANNOT_SYNC:
                raise


def _refusal(problem: OSError | MoveRefused) -> MoveRefused:
    if isinstance(problem, MoveRefused):
        return problem
    if problem.errno == errno.EEXIST:
        return NameTaken(f"{problem.filename2} is taken")
    if problem.errno == errno.EXDEV:
        return MoveRefused(f"{problem.filename2} is on another filesystem")
    return MoveRefused(f"{problem.filename2 or problem.filename or 'a folder'}: {problem.strerror}")


_C = ctypes.CDLL(None, use_errno=True)
_RENAME = getattr(_C, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
_NO_REPLACE = 4 if sys.platform == "darwin" else 1  # RENAME_EXCL, RENAME_NOREPLACE
if _RENAME is not None:
    _RENAME.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
