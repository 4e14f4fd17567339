"""Walk down a tree of folders, each opened by its name in the one above, through no symlink.

The cost grows with the number of entries and not with how deep they stand; what a tree holds cannot make it endless.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from sortd.disk.regular_file import ABSENT

DEEPEST = 256
"""Folders below the root; what stands deeper is left alone. As many descriptors are open at once."""

LONGEST_PATH = 4095
"""Bytes that Linux takes as a path, without the NUL; what has a longer one cannot be opened by it."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One folder: its status, its subfolders and its plain files by name; `unreadable` are entries that did not tell.

    `problem` instead of all that where the folder could not be read.
    """

    folder: PurePath
    status: os.stat_result | None = None
    folders: tuple[str, ...] = ()
    files: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    problem: OSError | None = None


def is_too_deep(root: str, path: PurePath) -> bool:
    """Tell whether a folder is left alone for the place where it stands."""
    return len(path.parts) > DEEPEST or len(os.fsencode(f"{root}/{path}")) > LONGEST_PATH


def walk(root: Path, start: PurePath, *, enters: Callable[[PurePath], bool]) -> Iterator[Visit]:
    """Visit a folder and those below it that `enters` lets through, each before what is in it.

    The entries of a visit can be asked for their status until the next one. A folder that is also above itself (a
    filesystem mounted within itself) is visited once.
    """
    try:
        descriptor = _open_down(root, start)
    except OSError as problem:
        yield Visit(start, problem=problem)
        return
    branch: list[_Level] = []
    try:
        visit = _read(start, descriptor)
        branch.append(_Level(descriptor, visit))
        yield visit
        while branch:
            level = branch[-1]
            if not level.waiting:
                os.close(branch.pop().descriptor)
                continue
            folder = level.folder / level.waiting.pop()
            if not enters(folder):
                continue
            try:
                descriptor = _open(folder.name, level.descriptor)
            except OSError as problem:
                yield Visit(folder, problem=problem)
                continue
            visit = _read(folder, descriptor)
            identity = _identity(visit)
            if identity is not None and any(identity == above.identity for above in branch):
                os.close(descriptor)
                continue
            branch.append(_Level(descriptor, visit))
            yield visit
    finally:
        for level in branch:
            os.close(level.descriptor)


def read_folder(root: Path, folder: PurePath) -> Visit:
    """Visit this one folder; its entries are not to be asked for their status."""
    try:
        descriptor = _open_down(root, folder)
    except OSError as problem:
        return Visit(folder, problem=problem)
    try:
        return _read(folder, descriptor)
    finally:
        os.close(descriptor)


class _Level:
    """A folder on the way down that is held open, and its subfolders still to come."""

    def __init__(self, descriptor: int, visit: Visit) -> None:
        self.descriptor = descriptor
        self.folder = visit.folder
        self.waiting = list(visit.folders)
        self.identity = _identity(visit)


def _identity(visit: Visit) -> tuple[int, int] | None:
    """Device and inode; None where there is none to go by."""
    return None if visit.status is None or visit.status.st_ino == 0 else (visit.status.st_dev, visit.status.st_ino)


def _open_down(root: Path, start: PurePath) -> int:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in start.parts:
        above = descriptor
        try:
            descriptor = _open(name, above)
        finally:
            os.close(above)
    return descriptor


def _open(name: str, above: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)


def _read(folder: PurePath, descriptor: int) -> Visit:
    folders: list[str] = []
    files: dict[str, os.DirEntry[str]] = {}
    unreadable: list[str] = []
    try:
        status = os.fstat(descriptor)
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    if entry.is_file(follow_symlinks=False):
                        files[entry.name] = entry
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                except OSError as problem:
                    if problem.errno not in ABSENT:
                        unreadable.append(entry.name)
    except OSError as problem:
        return Visit(folder, problem=problem)
    return Visit(folder, status, tuple(folders), files, tuple(unreadable))
