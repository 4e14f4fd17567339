"""Read the library on disk: what is a video, in which category it stands, what the owner's rules say of its folder.

Every path taken or given is relative to the root. Symlinks are never followed, except the root itself.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from sortd.disk import file_names
from sortd.disk.fingerprint import fingerprint
from sortd.disk.folder_rules import FolderRuleCache, FolderRules, Role
from sortd.disk.folder_walk import Visit, is_too_deep, read_folder, walk
from sortd.disk.open_writers import Writers, writers_of
from sortd.disk.regular_file import ABSENT, identity_of, status_of
from sortd.disk.system_folders import Kind, is_snapshot, kind_of
from sortd.disk.unfinished_files import (
    BESIDE,
    CONTROL_FILE,
    Growing,
    doubtful_base,
    is_fresh,
    is_recent,
    is_unfinished,
    siblings_of,
)
from sortd.domain.category import CategoryName, Location
from sortd.domain.errors import LibraryUnavailable
from sortd.domain.video import FileIdentity, Fingerprint, Sighting
from sortd.judgement.category_diff import Folder

ROOT = PurePath()

UNREADABLE = "unreadable-"
"""So begins the fingerprint of a file that could not be read: it says nothing of the content."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The videos below a folder, and the folders and files that could not be read: what stands there is not known.

    The identities come with the walk, so that only what changed needs a look.
    """

    videos: Mapping[PurePath, FileIdentity]
    unreadable: Sequence[PurePath]
    too_deep: Sequence[PurePath] = ()
    """Folders left alone, for they stand too deep."""

    def __iter__(self) -> Iterator[PurePath]:
        """The videos."""
        return iter(self.videos)

    def hides(self, path: PurePath) -> bool:
        """Tell whether a path that was not found may yet be there, in a folder that could not be read."""
        return any(path.is_relative_to(folder) for folder in self.unreadable)


@dataclass(frozen=True, slots=True)
class FolderScan:
    """The categories' folders, and the folders that could not be read: whether there are more in those is not known."""

    folders: Sequence[Folder]
    unreadable: Sequence[PurePath]
    left_out: Sequence[Folder] = ()
    """Folders that would be categories, but are none by the owner's rules or settings: what they held rests."""

    def hides(self, category: CategoryName) -> bool:
        """Tell whether a category that was not found may yet stand, in a folder that could not be read."""
        return any(PurePath(category).is_relative_to(folder) for folder in self.unreadable)


class Library:
    """The tree below a root; `levels`, `extensions` and `ignore` are the configuration's.

    `ignore` holds shell patterns of paths, in which `*` also stands for "/". What cannot be told, because of a lacking
    permission or a failing disk, raises LibraryUnavailable: never is it taken for "not there".
    """

    def __init__(self, root: Path, *, levels: int, extensions: Sequence[str], ignore: Sequence[str]) -> None:
        self.root = root
        self._base = f"{root}/"
        self._levels = levels
        self._extensions = file_names.extensions_of(extensions)
        self._ignored = re.compile("|".join(fnmatch.translate(pattern.rstrip("/")) for pattern in ignore) or r"(?!)")
        self._rules = FolderRuleCache(root)
        self._holds_labels: Callable[[Folder], bool] = lambda _: False
        self._listed: tuple[PurePath, int, list[str]] | None = None

    def exempt(self, holds_labels: Callable[[Folder], bool]) -> None:
        """Leave no folder alone for a doubtful name alone that holds labels, as this tells."""
        self._holds_labels = holds_labels

    def scan(self) -> Scan:
        """Every video. Raises LibraryUnavailable where the root itself cannot be listed."""
        scan = self.videos_below(ROOT)
        if ROOT in scan.unreadable:
            raise LibraryUnavailable(f"{self.root} cannot be listed")
        return scan

    def videos_below(self, folder: PurePath) -> Scan:
        """Every video in this folder and its subfolders; none where there is no such folder."""
        videos: dict[PurePath, FileIdentity] = {}
        unreadable: list[PurePath] = []
        too_deep: list[PurePath] = []

        def enters(folder: PurePath) -> bool:
            if self._is_left_out(folder):
                return False
            if is_too_deep(self._base, folder):
                too_deep.append(folder)
                return False
            return True

        for visit in walk(self.root, folder, enters=enters) if self._is_reached(folder) else ():
            if visit.problem is None:
                unreadable += [visit.folder / name for name in visit.unreadable]
                videos.update(self._identities(visit, unreadable))
            elif visit.problem.errno not in ABSENT or visit.folder == ROOT:
                unreadable.append(visit.folder)
        return Scan(videos, unreadable, too_deep)

    def is_video(self, path: PurePath) -> bool:
        """Tell whether a plain file at this path would be one of the library's videos, by its name and its folders."""
        return (
            bool(path.parts)
            and file_names.is_video(path.name, self._extensions)
            and not self._ignored.match(str(path))
            and self._is_reached(path.parent)
        )

    def stat(self, path: PurePath) -> FileIdentity | None:
        """What stands at the path, unread; None where no finished plain file does."""
        status = self._status(path)
        return None if status is None else identity_of(status)

    def look(self, path: PurePath, known: Sighting | None) -> Sighting | None:
        """What stands at the path; read only where it is not what is `known` of the path.

        A file that changes while it is read is still what was known of it, until it has settled. One that cannot be
        read is called by its status, so that it can be set aside, and is tried again at the next look.
        """
        status = self._status(path) if self.is_video(path) else None
        if status is None:
            return None
        identity = identity_of(status)
        if known and known.identity.agrees(identity) and not known.fingerprint.startswith(UNREADABLE):
            return Sighting(path, known.fingerprint, identity)
        try:
            content = fingerprint(self._at(path), identity=identity)
        except OSError as problem:
            if problem.errno in ABSENT:
                return None
            content = Fingerprint(f"{UNREADABLE}{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}")
        if content is None:
            return known if known and known.path == path else None
        return Sighting(path, content, identity)

    def holds(self, path: PurePath, known: Sighting) -> bool:
        """Whether what is known stands at a path, be it one of the library's videos by the rules of today or not."""
        try:
            status = status_of(self._at(path))
            if status is None:
                return False
            identity = identity_of(status)
            return (
                known.identity.agrees(identity) or fingerprint(self._at(path), identity=identity) == known.fingerprint
            )
        except OSError:
            return False

    def rests(self, path: PurePath) -> bool:
        """Tell whether a plain file stands where none of the library's videos does.

        By the rules of today it is none: what is known of it is kept until they change, or the file goes.
        """
        if path.is_absolute() or ".." in path.parts:
            return False
        try:
            return self._is_below_folders(path) and status_of(self._at(path)) is not None
        except OSError as problem:
            if problem.errno in ABSENT:
                return False
            raise LibraryUnavailable(f"{path} cannot be looked at: {problem.strerror}") from problem

    def writers(self, path: PurePath) -> Writers:
        """Tell whether somebody still has the file open for writing."""
        return writers_of(self.root / path)

    def category_of(self, path: PurePath) -> CategoryName | None:
        """The category that the path's folder belongs to; None for the root and for what the owner calls unsorted."""
        return self._category(path.parent)

    def category_named(self, name: str) -> CategoryName | None:
        """The category that a folder of this name would be; None: none, for it is hidden, ignored or too deep."""
        folder = PurePath(name)
        fits = 0 < len(folder.parts) <= self._levels and not any(map(file_names.is_no_name, folder.parts))
        return self._category(folder) if fits and self._is_reached(folder) else None

    def place(self, path: PurePath) -> Location:
        """Where a video at this path stands."""
        category = self.category_of(path)
        return Location(category, path if category is None else path.relative_to(category))

    def folder(self, category: CategoryName) -> Folder | None:
        """The folder of a category as it stands at this moment."""
        try:
            status = os.lstat(self._at(PurePath(category)))
        except OSError:
            return None
        return Folder(category, status.st_dev, status.st_ino)

    def folders(self) -> FolderScan:
        """The categories: every folder exactly `levels` deep, and those above that hold videos themselves."""
        standing, unreadable = self._category_folders()
        found: list[Folder] = []
        left_out: list[Folder] = []
        for folder in standing:
            above = [one for one in folder.parents if one != ROOT]
            ruled_out = self._is_ruled_out(folder, unusable=False) or any(map(self._is_ruled_out, above))
            category = None if ruled_out else self._category(folder)
            try:
                status = os.lstat(self._at(folder))
            except OSError as problem:
                if problem.errno not in ABSENT:
                    unreadable.append(folder)
                continue
            if category is None:
                left_out.append(Folder(CategoryName(str(folder)), status.st_dev, status.st_ino))
            else:
                found.append(Folder(category, status.st_dev, status.st_ino))
        return FolderScan(sorted(found, key=lambda folder: folder.name), unreadable, left_out)

    def _category_folders(self) -> tuple[list[PurePath], list[PurePath]]:
        """The folders that may be categories, whatever their rules say, and those that could not be listed."""
        found: list[PurePath] = []
        unreadable: list[PurePath] = []

        def enters(folder: PurePath) -> bool:
            if self._is_no_folder(folder):
                return False
            if len(folder.parts) == self._levels:
                found.append(folder)
            return len(folder.parts) < self._levels

        for visit in walk(self.root, ROOT, enters=enters):
            if visit.problem is not None:
                if visit.folder == ROOT:
                    raise LibraryUnavailable(f"{self.root} cannot be listed: {visit.problem.strerror}")
                if visit.problem.errno not in ABSENT:
                    unreadable.append(visit.folder)
            elif visit.folder != ROOT and any(True for _ in self._videos(visit)):
                found.append(visit.folder)
        return found, unreadable

    def skipped(self) -> list[PurePath]:
        """The folders that are left alone as a system's own, by their names or as snapshots; not the hidden ones."""
        found: list[PurePath] = []

        def enters(folder: PurePath) -> bool:
            if self._is_systems(folder):
                found.append(folder)
            return not self._is_left_out(folder) and not is_too_deep(self._base, folder)

        for _ in walk(self.root, ROOT, enters=enters):
            pass
        return sorted(found)

    def rule_problems(self) -> Mapping[PurePath, str]:
        """What is wrong with the rule files that were read last, by their folders."""
        return self._rules.problems

    def rules(self, category: CategoryName) -> FolderRules:
        """What the owner said of this category; the nearest `.sortd.toml` upwards counts."""
        return self._rules.nearest(PurePath(category))

    def hands_off(self, path: PurePath) -> bool:
        """Whether the owner asks to leave this video or this folder alone, by a `.nosort` beside, in it or above it."""
        marks = [
            f"{path}{file_names.HANDS_OFF}",
            *(f"{folder}/{file_names.HANDS_OFF}" for folder in (path, *path.parents)),
        ]
        return any(os.path.lexists(f"{self._base}{mark}") for mark in marks)

    def companions(self, path: PurePath) -> tuple[PurePath, ...]:
        """The plain files beside a video that travel with it."""
        visit = read_folder(self.root, path.parent)
        if visit.problem is not None:
            raise LibraryUnavailable(f"{path.parent} cannot be listed: {visit.problem.strerror}") from visit.problem
        found = file_names.companions(path.name, visit.files, extensions=self._extensions)
        return tuple(path.parent / name for name in found)

    def _category(self, folder: PurePath) -> CategoryName | None:
        category = PurePath(*folder.parts[: self._levels])
        # Below a folder as deep as a category another may have rules of its own, but not make a category of the first.
        if folder == ROOT or any(self._rules.nearest(one).role is Role.UNSORTED for one in {folder, category}):
            return None
        return CategoryName("/".join(category.parts))

    def _status(self, path: PurePath) -> os.stat_result | None:
        if path.is_absolute() or ".." in path.parts:
            return None
        try:
            status = status_of(self._at(path)) if self._is_below_folders(path) else None
        except OSError as problem:
            if problem.errno in ABSENT:
                return None
            raise LibraryUnavailable(f"{path} cannot be looked at: {problem.strerror}") from problem
        return None if status is None or self._is_unfinished(path, status) else status

    def _at(self, path: PurePath) -> str:
        return f"{self._base}{path}"

    def _identities(self, visit: Visit, unreadable: list[PurePath]) -> Iterator[tuple[PurePath, FileIdentity]]:
        for path, entry in self._videos(visit):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as problem:
                if problem.errno not in ABSENT:
                    unreadable.append(PurePath(path))
                continue
            if stat.S_ISREG(status.st_mode):
                yield PurePath(path), identity_of(status)

    def _is_unfinished(self, path: PurePath, status: os.stat_result) -> bool:
        """Tell whether a file that could be a video by its name is still being written, by what stands beside it."""
        if os.path.lexists(self._at(path) + CONTROL_FILE):
            return True
        siblings = [path.name + mark for mark in BESIDE if os.path.lexists(self._at(path) + mark)]
        base = doubtful_base(path.name)
        if base is not None:
            if is_recent(status.st_ctime, now=time.time()):
                return True
            siblings += siblings_of(base, self._names_beside(path))
        return any(map(is_fresh, (self._at(path.parent / name) for name in siblings)))

    def _names_beside(self, path: PurePath) -> list[str]:
        """The names in a file's folder, sorted; listed again only when that changed."""
        changed = os.lstat(self._at(path.parent)).st_mtime_ns
        if self._listed is None or self._listed[:2] != (path.parent, changed):
            self._listed = path.parent, changed, sorted(read_folder(self.root, path.parent).files)
        return self._listed[2]

    def _is_below_folders(self, path: PurePath) -> bool:
        """Tell whether all above the path are folders, not symlinks to some."""
        return all(stat.S_ISDIR(os.lstat(self._at(folder)).st_mode) for folder in path.parents[:-1])

    def _videos(self, visit: Visit) -> Iterator[tuple[str, os.DirEntry[str]]]:
        # Text, not paths: a rescan comes here for every file, and paths would cost it half its time.
        prefix = "" if visit.folder == ROOT else f"{visit.folder}/"
        growing = Growing(visit.files)
        for name, entry in visit.files.items():
            if (
                file_names.is_video(name, self._extensions)
                and not self._ignored.match(prefix + name)
                and not growing.has(name)
            ):
                yield prefix + name, entry

    def _is_reached(self, folder: PurePath) -> bool:
        """Tell whether a walk from the root comes to this folder."""
        if folder.is_absolute() or is_too_deep(self._base, folder):
            return False
        return not any(self._is_left_out(above) for above in (folder, *folder.parents) if above != ROOT)

    def _is_left_out(self, folder: PurePath, *, unusable: bool = True) -> bool:
        """Tell whether nothing is looked at in a folder; `unusable`: nor where its rules cannot be read.

        What the owner wants of such a folder is not known: all in it rests, but it may be a category still.
        """
        return self._is_no_folder(folder) or self._is_ruled_out(folder, unusable=unusable)

    def _is_no_folder(self, folder: PurePath) -> bool:
        """Tell whether a folder is none of the library's by what it is: hidden, unfinished, a system's own."""
        return file_names.is_hidden(folder.name) or is_unfinished(folder.name) or self._is_systems(folder)

    def _is_ruled_out(self, folder: PurePath, *, unusable: bool = True) -> bool:
        """Tell whether a folder is left out by the owner's settings, or by the rules that stand in it."""
        if self._ignored.match(str(folder)):
            return True
        rules = self._rules.own(folder)
        return rules is not None and ((rules.problem != "" and unusable) or rules.role is Role.IGNORE)

    def _is_systems(self, folder: PurePath) -> bool:
        """Tell whether a folder is left alone as a system's own: by its name, or as a snapshot."""
        kind = kind_of(folder.name)
        if kind is Kind.OWNERS and not is_snapshot(self._at(folder)):
            return False
        rules = self._rules.own(folder)
        if rules is not None and rules.says_role:
            return False
        return kind is Kind.SYSTEMS or not self._is_kept(folder)

    def _is_kept(self, folder: PurePath) -> bool:
        try:
            status = os.lstat(self._at(folder))
        except OSError:
            return False
        return self._holds_labels(Folder(CategoryName(str(folder)), status.st_dev, status.st_ino))
