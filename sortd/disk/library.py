"""The videos root on disk: what is a video, where it stands, what the owner said of its folder.

Every path taken or given is relative to the root. Symlinks are never followed, except the root itself.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from sortd.disk import names
from sortd.disk.plain import ABSENT, fingerprint, identity_of, status_of
from sortd.disk.rules import FolderRules, Role, RuleBook
from sortd.disk.writers import Writers, writers_of
from sortd.domain import Category, Fingerprint, Identity, Place, Sighting
from sortd.errors import LibraryUnavailable
from sortd.judgement.categories import Folder

ROOT = PurePath()

UNREADABLE = "unreadable-"
"""So begins the fingerprint of a file that could not be read: it says nothing of the content."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The videos below a folder, and the folders and files that could not be read: what stands there is not known.

    The identities come with the walk, so that only what changed needs a look.
    """

    videos: Mapping[PurePath, Identity]
    unreadable: Sequence[PurePath]

    def __iter__(self) -> Iterator[PurePath]:
        """The videos."""
        return iter(self.videos)

    def hides(self, path: PurePath) -> bool:
        """Whether a path that was not found may yet be there, in a folder that could not be read."""
        return any(path.is_relative_to(folder) for folder in self.unreadable)


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories' folders, and the folders that could not be read: whether there are more in those is not known."""

    folders: Sequence[Folder]
    unreadable: Sequence[PurePath]

    def hides(self, category: Category) -> bool:
        """Whether a category that was not found may yet stand, in a folder that could not be read."""
        return any(PurePath(category).is_relative_to(folder) for folder in self.unreadable)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The names in one folder: its subfolders and its plain files."""

    folders: list[str]
    files: set[str]


class Library:
    """The tree below a root; `levels`, `extensions` and `ignore` are the configuration's.

    `ignore` holds shell patterns of paths, in which `*` also stands for "/". What cannot be told, because of a lacking
    permission or a failing disk, raises LibraryUnavailable: never is it taken for "not there".
    """

    def __init__(self, root: Path, *, levels: int, extensions: Sequence[str], ignore: Sequence[str]) -> None:
        self.root = root
        self._base = f"{root}/"
        self._levels = levels
        self._extensions = names.extensions_of(extensions)
        self._ignored = re.compile("|".join(fnmatch.translate(pattern.rstrip("/")) for pattern in ignore) or r"(?!)")
        self._rules = RuleBook(root)

    def scan(self) -> Scan:
        """Every video. Raises LibraryUnavailable where the root itself cannot be listed."""
        scan = self.videos_below(ROOT)
        if ROOT in scan.unreadable:
            raise LibraryUnavailable(f"{self.root} cannot be listed")
        return scan

    def videos_below(self, folder: PurePath) -> Scan:
        """Every video in this folder and its subfolders; none where there is no such folder."""
        videos: dict[PurePath, Identity] = {}
        unreadable: list[PurePath] = []
        waiting = [folder] if self._is_reached(folder) else []
        while waiting:
            folder = waiting.pop()
            try:
                listing = self._list(folder)
                videos |= self._identities(self._videos(folder, listing), unreadable)
            except OSError as problem:
                if problem.errno not in ABSENT or folder == ROOT:
                    unreadable.append(folder)
                continue
            waiting += self._subfolders(folder, listing)
        return Scan(videos, unreadable)

    def is_video(self, path: PurePath) -> bool:
        """Whether a plain file at this path would be one of the library's videos, by its name and its folders."""
        return (
            bool(path.parts)
            and names.is_video(path.name, self._extensions)
            and not self._ignored.match(str(path))
            and self._is_reached(path.parent)
        )

    def stat(self, path: PurePath) -> Identity | None:
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

    def writers(self, path: PurePath) -> Writers:
        """Whether somebody still has the file open for writing."""
        return writers_of(self.root / path)

    def category_of(self, path: PurePath) -> Category | None:
        """The category that the path's folder belongs to; None for the root and for what the owner calls unsorted."""
        return self._category(path.parent)

    def category_named(self, name: str) -> Category | None:
        """The category that a folder of this name would be; None: none, for it is hidden, ignored or too deep."""
        folder = PurePath(name)
        fits = 0 < len(folder.parts) <= self._levels and not any(map(names.is_no_name, folder.parts))
        return self._category(folder) if fits and self._is_reached(folder) else None

    def place(self, path: PurePath) -> Place:
        """Where a video at this path stands."""
        category = self.category_of(path)
        return Place(category, path if category is None else path.relative_to(category))

    def folder(self, category: Category) -> Folder | None:
        """The folder of a category as it stands at this moment."""
        try:
            status = os.lstat(self._at(PurePath(category)))
        except OSError:
            return None
        return Folder(category, status.st_dev, status.st_ino)

    def folders(self) -> Categories:
        """The categories: every folder exactly `levels` deep, and those above that hold videos themselves."""
        found = []
        unreadable = []
        waiting = [ROOT]
        while waiting:
            folder = waiting.pop()
            try:
                status = os.lstat(self._at(folder))
                deep = len(folder.parts) == self._levels
                listing = _Listing([], set()) if deep else self._list(folder)
            except OSError as problem:
                if folder == ROOT:
                    raise LibraryUnavailable(f"{self.root} cannot be listed: {problem.strerror}") from problem
                if problem.errno not in ABSENT:
                    unreadable.append(folder)
                continue
            waiting += self._subfolders(folder, listing)
            category = self._category(folder)
            if category is not None and (deep or any(True for _ in self._videos(folder, listing))):
                found.append(Folder(category, status.st_dev, status.st_ino))
        return Categories(sorted(found, key=lambda folder: folder.name), unreadable)

    def rules(self, category: Category) -> FolderRules:
        """What the owner said of this category; the nearest `.sortd.toml` upwards counts."""
        return self._rules.nearest(PurePath(category))

    def hands_off(self, path: PurePath) -> bool:
        """Whether the owner asks to leave this video or this folder alone, by a `.nosort` beside, in it or above it."""
        marks = [f"{path}{names.HANDS_OFF}", *(f"{folder}/{names.HANDS_OFF}" for folder in (path, *path.parents))]
        return any(os.path.lexists(f"{self._base}{mark}") for mark in marks)

    def companions(self, path: PurePath) -> tuple[PurePath, ...]:
        """The plain files beside a video that travel with it."""
        try:
            files = self._list(path.parent).files
        except OSError as problem:
            raise LibraryUnavailable(f"{path.parent} cannot be listed: {problem.strerror}") from problem
        found = names.companions(path.name, files, extensions=self._extensions)
        return tuple(path.parent / name for name in found)

    def _category(self, folder: PurePath) -> Category | None:
        category = PurePath(*folder.parts[: self._levels])
        # Below a folder as deep as a category another may have rules of its own, but not make a category of the first.
        if folder == ROOT or any(self._rules.nearest(one).role is Role.UNSORTED for one in {folder, category}):
            return None
        return Category("/".join(category.parts))

    def _status(self, path: PurePath) -> os.stat_result | None:
        if path.is_absolute() or ".." in path.parts:
            return None
        try:
            status = status_of(self._at(path)) if self._is_below_folders(path) else None
        except OSError as problem:
            if problem.errno in ABSENT:
                return None
            raise LibraryUnavailable(f"{path} cannot be looked at: {problem.strerror}") from problem
        unfinished = os.path.lexists(f"{self._at(path)}{names.UNFINISHED_BESIDE}")
        return None if unfinished else status

    def _at(self, path: PurePath) -> str:
        return f"{self._base}{path}"

    def _identities(self, videos: Iterable[str], unreadable: list[PurePath]) -> Iterator[tuple[PurePath, Identity]]:
        for path in videos:
            try:
                status = status_of(self._base + path)
            except OSError:
                unreadable.append(PurePath(path))
                continue
            if status is not None:
                yield PurePath(path), identity_of(status)

    def _is_below_folders(self, path: PurePath) -> bool:
        """Whether all above the path are folders, not symlinks to some."""
        return all(stat.S_ISDIR(os.lstat(self._at(folder)).st_mode) for folder in path.parents[:-1])

    def _list(self, folder: PurePath) -> _Listing:
        if not self._is_below_folders(folder):
            raise NotADirectoryError(errno.ENOTDIR, "a symlink on the way", str(folder))
        no_follow = 0 if folder == ROOT else os.O_NOFOLLOW
        descriptor = os.open(self._at(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | no_follow)
        try:
            with os.scandir(descriptor) as entries:
                listing = _Listing([], set())
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        listing.files.add(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        listing.folders.append(entry.name)
                return listing
        finally:
            os.close(descriptor)

    def _subfolders(self, folder: PurePath, listing: _Listing) -> list[PurePath]:
        return [folder / name for name in listing.folders if not self._is_left_out(folder / name)]

    def _videos(self, folder: PurePath, listing: _Listing) -> Iterator[str]:
        # Text, not paths: a rescan comes here for every file, and paths would cost it half its time.
        prefix = "" if folder == ROOT else f"{folder}/"
        for name in listing.files:
            if (
                names.is_video(name, self._extensions)
                and name + names.UNFINISHED_BESIDE not in listing.files
                and not self._ignored.match(prefix + name)
            ):
                yield prefix + name

    def _is_reached(self, folder: PurePath) -> bool:
        """Whether a walk from the root comes to this folder."""
        if folder.is_absolute():
            return False
        return not any(self._is_left_out(above) for above in (folder, *folder.parents) if above != ROOT)

    def _is_left_out(self, folder: PurePath) -> bool:
        if names.is_left_alone(folder.name) or self._ignored.match(str(folder)):
            return True
        rules = self._rules.own(folder)
        return rules is not None and rules.role is Role.IGNORE
