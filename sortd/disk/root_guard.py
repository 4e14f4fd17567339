"""Let one service alone use a library, by locks on its state and its marker, and tell whether the root is here."""

from __future__ import annotations

import json
import os
import platform
import stat
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sortd.config.path_containment import lies_in
from sortd.disk.atomic_file import beside, opened, opened_in, replace, sync
from sortd.disk.file_names import is_left_alone
from sortd.disk.io_timeout import TimedIO
from sortd.disk.library_marker import (
    COPY,
    MARKER,
    MARKER_NAME,
    NOTES,
    ROOT,
    LibraryMarker,
    RootAway,
    account,
    copy_in,
    known_states,
    marker_of,
    new_state,
    root_noted_in,
    state_of,
)
from sortd.disk.lock import LOCK, LOG, Held, lock, lock_state, release
from sortd.disk.mounts import mounts_of
from sortd.domain.errors import ConfigError, LibraryUnavailable


@dataclass(frozen=True, slots=True)
class FoundLibrary:
    """Which library a root is, and where its state is kept (there may be none yet)."""

    library: str
    state: Path
    foreign: str = ""
    """Where another host serves it: a sentence that says so."""


class RootGuard:
    """Holds a library for as long as it lives. `root`, `state` and `library` (its UUID) say which."""

    def __init__(
        self,
        root: Path,
        *,
        state: Path,
        marker: LibraryMarker,
        was_host: str,
        was_locked_by: str,
        locks: list[int],
        patience: TimedIO,
    ) -> None:
        self.root = root
        self.state = state
        self.library = marker.library
        self.was_host = was_host
        """The host that served it before, under whatever name; empty: this one."""
        self.was_locked_by = was_locked_by
        """The processes of other accounts that held a lock on the marker, which has none any more; else empty."""
        self._host = marker.host
        self._locks = locks  # of the marker, of the state directory
        self._timed_io = patience

    @classmethod
    def open(
        cls, root: Path, *, state: Path | None, take_over: bool = False, patience: TimedIO | None = None
    ) -> RootGuard:
        """Take the library at `root`; a root of which nothing is known is made one.

        `take_over`: even one that another host served; `patience` is handed in by whoever asks again and again.
        Raises RootAway where waiting may help, ConfigError where the configuration must change, and otherwise
        LibraryUnavailable: another service or host holds it, or something cannot be written.
        """
        root = _absolute(root)
        patience = patience or TimedIO()
        marker = patience.ask(lambda: _first_look(root))
        if marker is None:
            _refuse_if_away(root, state=state)
        library = marker.library if marker else str(uuid.uuid4())
        state = _absolute(state or (state_of(marker) if marker else new_state(library)))
        if marker and not take_over and (problem := other_host(root, marker, state=state)):
            raise LibraryUnavailable(problem)
        if lies_in(state, root):
            raise ConfigError([f"[state] dir: {state} lies inside the library {root}"])
        if is_anothers_folder(state):
            raise ConfigError([f"[state] dir: {state} holds other things; name an empty folder, or a new one"])
        ours = LibraryMarker(library, platform.node(), str(state))
        locks: list[int] = []
        was_locked_by = ""
        try:
            # All that may refuse comes before all that is written: who may not serve a library leaves no trace in it.
            _check_access(root, state)
            if marker:
                taken, was_locked_by = _lock_marker(root, marker)
                locks.append(taken)
            _refuse_if_anothers(root, state=state, library=library)
            locks.append(lock_state(state))
            if marker is None:
                locks.insert(0, _publish(root, ours, first=True))
            elif marker != ours:
                locks.insert(0, _publish(root, ours, first=False))
                os.close(locks.pop(1))
            with opened(state) as folder:
                _keep(folder, ROOT, os.fsencode(root))
                _keep(folder, COPY, _as_json(ours))
        except OSError as problem:
            release(locks)
            raise LibraryUnavailable(f"{problem.filename or state} cannot be used: {problem.strerror}") from problem
        except LibraryUnavailable:
            release(locks)
            raise
        was_host = marker.host if marker and marker.host != ours.host else ""
        return cls(
            root,
            state=state,
            marker=ours,
            was_host=was_host,
            was_locked_by=was_locked_by,
            locks=locks,
            patience=patience,
        )

    def here(self) -> str | None:
        """None while the root is the library that was opened; else a sentence that says why it is away.

        A root that comes back as another folder, from another device even, is taken again if its marker is the same.
        """
        try:
            return self._timed_io.ask(self._look)
        except RootAway as silent:
            return f"{self.root}: {silent}"

    def _look(self) -> str | None:
        try:
            marker = marker_of(self.root)
            if marker is None:
                return f"{self.root} is {f'without its marker {MARKER}' if self.root.exists() else 'not there'}"
            if marker.library != self.library:
                return f"{self.root} is another library now"
            if marker.host != self._host:
                return f"{self.root} is served by the host {marker.host} now"
            if not os.path.samestat((self.root / MARKER).lstat(), os.fstat(self._locks[0])):
                again, _ = _lock_marker(self.root, marker)
                os.close(self._locks[0])
                self._locks[0] = again
        except OSError as problem:
            return f"{self.root} cannot be read: {problem.strerror}"
        except LibraryUnavailable as problem:
            return str(problem)
        return None

    def __enter__(self) -> Self:
        """Nothing more to take: `open` took it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the library go."""
        release(self._locks)


def check_root(path: Path) -> None:
    """Raise ConfigError for a folder that nobody means by "my videos": `/` and the home folder."""
    if os.path.realpath(path) in {"/", os.path.realpath(os.path.expanduser("~"))}:  # noqa: PTH111  (raises without a home)
        raise ConfigError([f"[library] root: {path} is not a folder of videos; name one inside it"])


def root_of(path: Path) -> Path | None:
    """The library that a path lies in: the nearest folder upwards, itself included, that is known as one.

    Where none of those with a marker is known here, it is the outermost: what came along in a category (a library that
    was copied there, a marker that is damaged or somebody else's) says nothing of the library around it.
    """
    marked = [folder for folder in (_absolute(path), *_absolute(path).parents) if os.path.lexists(folder / NOTES)]
    marked = [folder for folder in marked if _has_marker(folder)]
    return next((folder for folder in marked if is_known(folder)), marked[-1] if marked else None)


def is_known(root: Path) -> bool:
    """Whether the marker of a root names a state that is kept here and knows this very root, or one that moved here."""
    try:
        marker = marker_of(root)
        state = None if marker is None else state_of(marker)
    except LibraryUnavailable:
        return False
    copy = None if state is None else copy_in(state)
    if marker is None or state is None or copy is None or copy.library != marker.library:
        return False
    return not _is_copy(root, state)


def refuse_strangers(root: Path) -> None:
    """LibraryUnavailable: the library was made by another account, and nothing of it is kept here to be changed."""
    try:
        owner = (root / MARKER).lstat().st_uid
    except OSError:
        return  # whoever opens it says what is wrong
    if owner != os.geteuid() != 0 and not is_known(root):
        raise LibraryUnavailable(f"{root} is the library of {account(owner)}, which alone may change it")


def find(root: Path, *, state: Path | None = None) -> FoundLibrary | None:
    """Which library `root` is and where its state is, also while the root is away; takes and makes nothing.

    `state` is the state directory where the configuration names one.
    """
    root = _absolute(root)
    patience = TimedIO()
    try:
        marker = patience.ask(lambda: marker_of(root))
    except RootAway:
        marker = None
    if marker:
        # A state directory that is another library's is no place to look for this one.
        copy = copy_in(state) if state else None
        wished = state if copy is None or copy.library == marker.library else None
        if state and copy and not wished and root_noted_in(state) == root:
            return FoundLibrary(copy.library, state)  # another library stands in its place
        place = wished or state_of(marker)
        return FoundLibrary(marker.library, place, other_host(root, marker, state=place))
    for candidate in [*([state] if state else []), *known_states()]:
        copy, noted = copy_in(candidate), root_noted_in(candidate)
        if copy and noted and (noted == root or _is_same(noted, root, patience)):
            return FoundLibrary(copy.library, candidate)
    return None


def other_host(root: Path, marker: LibraryMarker, *, state: Path) -> str:
    """A sentence with the cure where another host serves the library; empty where this one does.

    A host that was renamed is known by its state directory: the copy of the marker there bears the old name too. On a
    network disk it proves nothing, for two hosts may share it.
    """
    if marker.host == platform.node():
        return ""
    if copy_in(state) == marker and not any(mount.is_remote for mount in mounts_of(state)[:1]):
        return ""
    return f"{root} is served by the host {marker.host}; if it is not any more: sortd run --take-over {root}"


def _is_same(noted: Path, root: Path, patience: TimedIO) -> bool:
    try:
        return patience.ask(lambda: os.path.realpath(noted) == os.path.realpath(root))
    except RootAway:
        return False


def _first_look(root: Path) -> LibraryMarker | None:
    check_root(root)
    return marker_of(root)


def _refuse_if_away(root: Path, *, state: Path | None) -> None:
    if not root.is_dir():
        raise RootAway(f"{root} is not there")
    if known := find(root, state=state):
        raise RootAway(
            f"{root} is without its marker {MARKER}; if all else is there, copy {known.state / COPY} to {root / MARKER}"
        )


def is_anothers_folder(state: Path) -> bool:
    """Tell whether it holds what sortd never wrote: no place for a state, which takes all rights from others."""
    try:
        names = [entry.name for entry in os.scandir(state)]
    except OSError:
        return False  # it is made, or cannot be, and that is told
    if {COPY, ROOT, LOCK} & set(names):
        return False
    # The home of a service's account has hidden folders, and its log; a disk of its own has a lost+found.
    return any(not (is_left_alone(name) or name.startswith("index.db") or LOG in name) for name in names)


def is_state(folder: Path) -> bool:
    """Tell whether the state of a library is kept there."""
    return all(os.path.lexists(folder / name) for name in (COPY, ROOT, LOCK))


def _check_access(root: Path, state: Path) -> None:
    """Refuse where something of the notes in the root, or of the state, is another account's and closed to this one."""
    for folder in (root / NOTES, state):
        try:
            paths = [folder, *(folder / entry.name for entry in os.scandir(folder))]
        except (FileNotFoundError, NotADirectoryError):
            continue  # none yet, or no folder: whoever opens it says so
        except OSError:
            paths = [folder]
        for path in paths:
            status = path.lstat()
            wanted = os.R_OK | os.W_OK | (os.X_OK if path == folder else 0)
            if status.st_uid != os.geteuid() and not os.access(path, wanted, effective_ids=True):
                raise LibraryUnavailable(f"{path} cannot be used: it belongs to {account(status.st_uid)}")


def _refuse_if_anothers(root: Path, *, state: Path, library: str) -> None:
    copy, noted = copy_in(state), root_noted_in(state)
    if copy is None or noted is None:
        return
    if copy.library != library:
        raise LibraryUnavailable(f"{state} is the state of another library, {noted}")
    if _is_copy(root, state):
        raise LibraryUnavailable(
            f"{root} is a copy of {noted}; to make it a library of its own, delete {root / MARKER.parent}"
        )


def _is_copy(root: Path, state: Path) -> bool:
    """Tell whether the root that the state knows still stands elsewhere."""
    noted = root_noted_in(state)
    try:
        return noted is not None and not noted.samefile(root) and marker_of(noted) == marker_of(root)
    except (OSError, LibraryUnavailable):
        return False  # it was moved here


def _has_marker(folder: Path) -> bool:
    try:
        return stat.S_ISREG((folder / MARKER).lstat().st_mode)
    except PermissionError:
        return True  # of another account, and told as that
    except OSError:
        return False


def _lock_marker(root: Path, found: LibraryMarker) -> tuple[int, str]:
    """The lock on a marker that stands, and which strangers had it: theirs is on a file that is no marker any more."""
    with opened(root) as folder, opened_in(folder, NOTES) as notes:
        try:
            return lock(notes, MARKER_NAME, holder=Path(found.state)), ""
        except Held as held:
            if not held.strangers:
                raise
            return _publish(root, found, first=False), held.strangers


def _publish(root: Path, marker: LibraryMarker, *, first: bool) -> int:
    """A marker that is whole, and locked, before anyone can see it."""
    with opened(root) as folder, opened_in(folder, NOTES, make=True) as notes:
        with beside(notes, MARKER_NAME, _as_json(marker)) as (_, unfinished):
            held = lock(notes, unfinished, holder=root / NOTES)
            try:
                _place(notes, unfinished, first=first)
            except FileExistsError as taken:
                os.close(held)
                raise LibraryUnavailable(f"another service is just taking {root}") from taken
            except OSError:
                os.close(held)
                raise
        sync(notes)
        sync(folder)
    return held


def _place(notes: int, unfinished: str, *, first: bool) -> None:
    if first:
        try:
            os.link(unfinished, MARKER_NAME, src_dir_fd=notes, dst_dir_fd=notes, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # no hard links there, so that two first starts at once may not be told apart
            pass
        else:
            return
    os.rename(unfinished, MARKER_NAME, src_dir_fd=notes, dst_dir_fd=notes)


def _as_json(marker: LibraryMarker) -> bytes:
    return json.dumps(asdict(marker), indent=1).encode() + b"\n"


def _keep(folder: int, name: str, content: bytes) -> None:
    """Have a file hold this content, unless it does."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        held = None
    else:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        held = os.pread(descriptor, len(content) + 1, 0) if plain else None
        os.close(descriptor)
    if held != content:
        replace(folder, name, content)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow the owner's symlinks)
