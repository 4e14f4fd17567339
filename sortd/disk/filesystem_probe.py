"""Learn what a filesystem can do by trying it on empty files in a hidden folder of sortd's own.

Names and promises say little: FUSE filesystems differ by their mount options, and some accept a flag and ignore it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

from sortd.disk.dirfd import CANNOT_SYNC, NameInFolder, OpenFolders, link, opened, rename_exclusively
from sortd.disk.library_marker import MARKER
from sortd.disk.mounts import mount_number
from sortd.domain.errors import FolderRefuses
from sortd.domain.move_plan import FilesystemAbilities
from sortd.judgement.move_method import MoveMethod, move_method, why_unsafe

PROBE = ".sortd-probe-"
"""So begin the names of the folders in which is tried; what a kill leaves of one is removed by the next."""

_NAME = re.compile(rf"{re.escape(PROBE)}[0-9a-f]{{16}}")
_FILE, _MOVED, _TAKEN, _LINKED = "file", "moved", "taken", "linked"
_FOLDER = "folder"

_OTHER_OWNER = 12345
_MODES = (0o600, 0o644)
_TIME_NS = 1_234_567_891_123_456_789
_STEPS_NS = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)

_Mount = tuple[int, int, int]


class Filesystems:
    """The abilities of the filesystems that folders stand on; each is tried once for as long as it is mounted."""

    def __init__(self) -> None:
        self._known: dict[_Mount, FilesystemAbilities] = {}

    def method(self, folders: OpenFolders, folder: PurePath) -> MoveMethod:
        """How files get their names in a folder below the root. FolderRefuses: no way is safe, or it cannot be tried.

        What was refused is tried anew when it is asked for again.
        """
        mount = _mount(folders.open(folder))
        place = PurePath() if mount == _mount(folders.open(PurePath())) else folder
        abilities = self._known.get(mount)
        if abilities is None:
            abilities = probe(folders, place)
        method = move_method(abilities)
        if method is None:
            raise FolderRefuses(place, why_unsafe(abilities))
        self._known[mount] = abilities
        return method


def probe(folders: OpenFolders, folder: PurePath) -> FilesystemAbilities:
    """Try what the filesystem of a folder below the root can do. FolderRefuses: nothing can be tried there."""
    try:
        return _abilities(_place(folders, folder), folder)
    except OSError as problem:
        raise FolderRefuses(folder, str(problem.strerror)) from problem


def survey(
    root: Path, categories: Iterable[PurePath]
) -> Iterator[tuple[PurePath, FilesystemAbilities | FolderRefuses]]:
    """What the filesystem of the root can do, and that of the first category on each other one, or why it is not known.

    MoveRefused: the root cannot be opened.
    """
    seen = set()
    with opened(root) as folders:
        for folder in (PurePath(), *categories):
            try:
                mount = _mount(folders.open(folder))
                if mount not in seen:
                    seen.add(mount)
                    yield folder, probe(folders, folder)
            except FolderRefuses as refused:
                yield folder, refused
            except OSError as problem:
                yield folder, FolderRefuses(folder, str(problem.strerror))


def _mount(folder: int) -> _Mount:
    """What tells a mounted filesystem from others, and from itself mounted anew."""
    return os.fstat(folder).st_dev, os.fstatvfs(folder).f_fsid, mount_number(folder)


def _place(folders: OpenFolders, folder: PurePath) -> int:
    """Where to try: in the root it is the folder that is sortd's already, if it is on the same filesystem."""
    if folder == PurePath():
        with suppress(OSError):
            ours = folders.open(PurePath(MARKER.parent))
            if _mount(ours) == _mount(folders.open(folder)):
                return ours
    return folders.open(folder)


def _abilities(place: int, folder: PurePath) -> FilesystemAbilities:
    _remove_leftovers(place)
    with _probe_folder(place) as (here, there):
        file, moved = NameInFolder(folder / _FILE, here), NameInFolder(folder / _MOVED, there)
        taken, linked = NameInFolder(folder / _TAKEN, here), NameInFolder(folder / _LINKED, here)
        number = _create(file)
        _create(taken)
        stable = _number(file) == number
        renames = _renames_exclusively(file, moved, taken)
        if not _exists(moved):
            os.rename(file.name, moved.name, src_dir_fd=here, dst_dir_fd=there)  # ours alone: nothing is replaced
        stable = stable and _number(moved) == number == _number(moved)
        links = _links(moved, linked, taken)
        return FilesystemAbilities(
            renames_exclusively=renames,
            links=links,
            links_keep_inode=links and _number(linked) == _number(moved),
            inodes_are_stable=stable,
            syncs_folders=_syncs(here),
            folds_case=_exists(NameInFolder(folder / _TAKEN.upper(), here)),
            **_what_is_kept(taken),
        )


def _renames_exclusively(file: NameInFolder, moved: NameInFolder, taken: NameInFolder) -> bool:
    try:
        rename_exclusively(file, moved)
    except OSError:
        return False
    if _exists(file) or not _exists(moved):
        return False
    return _is_refused(rename_exclusively, taken, moved)


def _links(moved: NameInFolder, linked: NameInFolder, taken: NameInFolder) -> bool:
    try:
        link(moved, linked)
    except OSError:
        return False
    return _exists(linked) and _exists(moved) and _is_refused(link, taken, linked)


def _is_refused(name: Callable[[NameInFolder, NameInFolder], None], file: NameInFolder, taken: NameInFolder) -> bool:
    try:
        name(file, taken)
    except OSError as problem:
        return problem.errno == errno.EEXIST
    return False


def _syncs(folder: int) -> bool:
    try:
        os.fsync(folder)
    except OSError as problem:
        if problem.errno not in CANNOT_SYNC:
            raise
        return False
    return True


def _what_is_kept(file: NameInFolder) -> dict[str, Any]:
    descriptor = os.open(file.name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=file.folder)
    try:
        return {
            "time_step_ns": _time_step(descriptor),
            "keeps_attributes": _keeps_attributes(descriptor),
            "keeps_modes": keeps_modes(descriptor),
            "keeps_owners": _keeps_owners(descriptor),
        }
    finally:
        os.close(descriptor)


def keeps_modes(file: int) -> bool:
    """Whether a new file is its maker's and has the permissions that it is given: else the mount decides of both."""
    status = os.fstat(file)
    if status.st_uid != os.geteuid():
        return False
    for mode in _MODES:
        with suppress(OSError):
            os.fchmod(file, mode)
        if stat.S_IMODE(os.fstat(file).st_mode) != mode:
            return False
    return True


def _keeps_owners(file: int) -> bool:
    try:
        os.fchown(file, _OTHER_OWNER, _OTHER_OWNER)
    except OSError:
        return False
    status = os.fstat(file)
    return (status.st_uid, status.st_gid) == (_OTHER_OWNER, _OTHER_OWNER)


def _keeps_attributes(file: int) -> bool:
    if not hasattr(os, "setxattr"):  # macOS
        return False
    try:
        os.setxattr(file, "user.sortd", b"probe")
        return os.getxattr(file, "user.sortd") == b"probe"
    except OSError:
        return False


def _time_step(file: int) -> int:
    with suppress(OSError):
        os.utime(file, ns=(_TIME_NS, _TIME_NS))
    kept = os.fstat(file).st_mtime_ns
    return next((step for step in _STEPS_NS if _TIME_NS // step * step == kept), _STEPS_NS[-1])


# Files and folders of the probe's own


@contextmanager
def _probe_folder(place: int) -> Iterator[tuple[int, int]]:
    """A new folder in which nothing is anybody else's, and one in it; gone at the end."""
    name = PROBE + secrets.token_hex(8)
    os.mkdir(name, 0o700, dir_fd=place)
    try:
        with _opened(place, name) as here:
            with suppress(OSError):  # no locks here: what two try at once may fail, and is tried again
                fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.mkdir(_FOLDER, 0o700, dir_fd=here)
            with _opened(here, _FOLDER) as there:
                yield here, there
    finally:
        with suppress(OSError):
            _remove(place, name, used_by_us=True)


@contextmanager
def _opened(above: int, name: str) -> Iterator[int]:
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        yield folder
    finally:
        os.close(folder)


def _remove_leftovers(place: int) -> None:
    """Remove what a probe left that was killed; one that is being made holds a lock."""
    for name in os.listdir(place):
        if _NAME.fullmatch(name):
            with suppress(OSError):  # what else is in it is somebody's
                _remove(place, name, used_by_us=False)


def _remove(place: int, name: str, *, used_by_us: bool) -> None:
    with _opened(place, name) as here:
        if not used_by_us:
            fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError), _opened(here, _FOLDER) as there:
            _remove_files(there)
            os.rmdir(_FOLDER, dir_fd=here)
        _remove_files(here)
    os.rmdir(name, dir_fd=place)


def _remove_files(folder: int) -> None:
    for name in (_FILE, _MOVED, _TAKEN, _LINKED):
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_size == 0:
                os.unlink(name, dir_fd=folder)


def _create(file: NameInFolder) -> int:
    """Make an empty file; its number."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(file.name, flags, 0o600, dir_fd=file.folder)
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _number(file: NameInFolder) -> int:
    return os.stat(file.name, dir_fd=file.folder, follow_symlinks=False).st_ino


def _exists(file: NameInFolder) -> bool:
    try:
        os.stat(file.name, dir_fd=file.folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
