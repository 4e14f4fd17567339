"""One service alone on a library: the locks on its state directory and on its marker, and whether the root is here."""

from __future__ import annotations

import errno
import json
import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sortd.disk.lock import lock, lock_state, release
from sortd.disk.marker import (
    COPY,
    MARKER,
    ROOT,
    Marker,
    RootAway,
    copy_in,
    known_states,
    marker_of,
    new_state,
    root_noted_in,
    state_of,
)
from sortd.disk.mounts import mounts_of
from sortd.disk.patience import Patience
from sortd.errors import ConfigError, LibraryUnavailable


@dataclass(frozen=True, slots=True)
class Found:
    """Which library a root is, and where its state is kept (there may be none yet)."""

    library: str
    state: Path
    foreign: str = ""
    """Where another host serves it: a sentence that says so."""


class Guard:
    """Holds a library for as long as it lives. `root`, `state` and `library` (its UUID) say which."""

    def __init__(
        self, root: Path, *, state: Path, marker: Marker, was_host: str, locks: list[int], patience: Patience
    ) -> None:
        self.root = root
        self.state = state
        self.library = marker.library
        self.was_host = was_host
        """The host that served it before, under whatever name; empty: this one."""
        self._host = marker.host
        self._locks = locks  # of the state directory, of the marker
        self._patience = patience

    @classmethod
    def open(
        cls, root: Path, *, state: Path | None, take_over: bool = False, patience: Patience | None = None
    ) -> Guard:
        """Take the library at `root`; a root of which nothing is known is made one.

        `take_over`: even one that another host served; `patience` is handed in by whoever asks again and again.
        Raises RootAway where waiting may help, ConfigError where the configuration must change, and otherwise
        LibraryUnavailable: another service or host holds it, or something cannot be written.
        """
        root = _absolute(root)
        patience = patience or Patience()
        marker = patience.ask(lambda: _first_look(root))
        if marker is None:
            _refuse_if_away(root, state=state)
        library = marker.library if marker else str(uuid.uuid4())
        state = _absolute(state or (state_of(marker) if marker else new_state(library)))
        if marker and not take_over and (problem := other_host(root, marker, state=state)):
            raise LibraryUnavailable(problem)
        if Path(os.path.realpath(state)).is_relative_to(os.path.realpath(root)):
            raise ConfigError([f"[state] dir: {state} lies inside the library {root}"])
        locks: list[int] = []
        try:
            locks.append(lock_state(state))
            _refuse_if_anothers(root, state=state, library=library)
            ours = Marker(library, platform.node(), str(state))
            locks.append(_take_marker(root / MARKER, marker, ours))
            _replace(state / ROOT, os.fsencode(root))
            _replace(state / COPY, (root / MARKER).read_bytes())
        except OSError as problem:
            release(locks)
            raise LibraryUnavailable(f"{problem.filename or state} cannot be used: {problem.strerror}") from problem
        except LibraryUnavailable:
            release(locks)
            raise
        was_host = marker.host if marker and marker.host != ours.host else ""
        return cls(root, state=state, marker=ours, was_host=was_host, locks=locks, patience=patience)

    def here(self) -> str | None:
        """None while the root is the library that was opened; else a sentence that says why it is away.

        A root that comes back as another folder, from another device even, is taken again if its marker is the same.
        """
        try:
            return self._patience.ask(self._look)
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
            if not os.path.samestat((self.root / MARKER).stat(), os.fstat(self._locks[1])):
                again = lock(self.root / MARKER, holder=Path(marker.state))
                os.close(self._locks[1])
                self._locks[1] = again
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
    """The library that a path lies in: the nearest folder upwards, itself included, that holds a marker."""
    path = _absolute(path)
    return next((folder for folder in (path, *path.parents) if (folder / MARKER).is_file()), None)


def find(root: Path, *, state: Path | None = None) -> Found | None:
    """Which library `root` is and where its state is, also while the root is away; takes and makes nothing.

    `state` is the state directory where the configuration names one.
    """
    root = _absolute(root)
    patience = Patience()
    try:
        marker = patience.ask(lambda: marker_of(root))
    except RootAway:
        marker = None
    if marker:
        # A state directory that is another library's is no place to look for this one.
        copy = copy_in(state) if state else None
        wished = state if copy is None or copy.library == marker.library else None
        if state and copy and not wished and root_noted_in(state) == root:
            return Found(copy.library, state)  # another library stands in its place
        place = wished or state_of(marker)
        return Found(marker.library, place, other_host(root, marker, state=place))
    for candidate in [*([state] if state else []), *known_states()]:
        copy, noted = copy_in(candidate), root_noted_in(candidate)
        if copy and noted and (noted == root or _is_same(noted, root, patience)):
            return Found(copy.library, candidate)
    return None


def other_host(root: Path, marker: Marker, *, state: Path) -> str:
    """A sentence with the cure where another host serves the library; empty where this one does.

    A host that was renamed is known by its state directory: the copy of the marker there bears the old name too. On a
    network disk it proves nothing, for two hosts may share it.
    """
    if marker.host == platform.node():
        return ""
    if copy_in(state) == marker and not any(mount.is_remote for mount in mounts_of(state)[:1]):
        return ""
    return f"{root} is served by the host {marker.host}; if it is not any more: sortd run --take-over {root}"


def _is_same(noted: Path, root: Path, patience: Patience) -> bool:
    try:
        return patience.ask(lambda: os.path.realpath(noted) == os.path.realpath(root))
    except RootAway:
        return False


def _first_look(root: Path) -> Marker | None:
    check_root(root)
    return marker_of(root)


def _refuse_if_away(root: Path, *, state: Path | None) -> None:
    if not root.is_dir():
        raise RootAway(f"{root} is not there")
    if known := find(root, state=state):
        raise RootAway(
            f"{root} is without its marker {MARKER}; if all else is there, copy {known.state / COPY} to {root / MARKER}"
        )


def _refuse_if_anothers(root: Path, *, state: Path, library: str) -> None:
    copy, noted = copy_in(state), root_noted_in(state)
    if copy is None or noted is None:
        return
    if copy.library != library:
        raise LibraryUnavailable(f"{state} is the state of another library, {noted}")
    try:
        copied = not noted.samefile(root) and marker_of(noted) == marker_of(root)
    except (OSError, RootAway):
        return  # it was moved here
    if copied:
        raise LibraryUnavailable(
            f"{root} is a copy of {noted}; to make it a library of its own, delete {root / MARKER.parent}"
        )


def _take_marker(path: Path, found: Marker | None, wanted: Marker) -> int:
    """The lock on the marker, which says what is wanted when this returns."""
    if found is None:
        return _publish(path, wanted, place=_place_first)
    held = lock(path, holder=Path(found.state))
    if found == wanted:
        return held
    try:
        return _publish(path, wanted, place=Path.replace)
    finally:
        os.close(held)


def _publish(path: Path, marker: Marker, *, place: Callable[[Path, Path], object]) -> int:
    """A marker that is whole, and locked, before anyone can see it."""
    path.parent.mkdir(exist_ok=True)
    beside = _write_beside(path, json.dumps(asdict(marker), indent=1).encode() + b"\n")
    try:
        held = lock(beside, holder=path.parent)
        place(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync(path.parent)
    return held


def _place_first(beside: Path, path: Path) -> None:
    try:
        path.hardlink_to(beside)
    except FileExistsError as taken:
        raise LibraryUnavailable(f"another service is just taking {path.parent.parent}") from taken
    except OSError:
        beside.replace(path)  # a filesystem without hard links, where two first starts at once may not be told apart


def _replace(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    _write_beside(path, content).replace(path)
    _sync(path.parent)


def _write_beside(path: Path, content: bytes) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # some network filesystems do not sync folders
            raise
    finally:
        os.close(descriptor)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow the owner's symlinks)
