"""Read and write what names a library: the marker in its root, and the notes in its state directory that name the root.

The marker `ROOT/.sortd/library.json` holds the library's UUID, the host that serves it and the state directory; the
state directory keeps a copy of it and notes the root's path. So each is found from the other, and a root without its
marker (an unmounted disk, an emptied folder) is known for what it is: away, never a new and empty library.
"""

from __future__ import annotations

import json
import os
import platform
import pwd
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from sortd.disk.atomic_file import opened, opened_in
from sortd.disk.regular_file import ABSENT
from sortd.domain.errors import LibraryUnavailable

NOTES, MARKER_NAME = ".sortd", "library.json"
MARKER = Path(NOTES) / MARKER_NAME
"""In the root."""

COPY, ROOT = "library.json", "root"
"""In the state directory."""

VERSION = 1

_LARGEST = 64 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class RootAway(LibraryUnavailable):
    """The root is not there now; it may come back."""


@dataclass(frozen=True, slots=True)
class LibraryMarker:
    """A library's UUID, the host that serves it and the state directory there."""

    library: str
    host: str
    state: str
    version: int = VERSION


def marker_of(root: Path) -> LibraryMarker | None:
    """What the marker says; None where none stands.

    RootAway: it cannot be read now; otherwise LibraryUnavailable: it is damaged, or no plain file in a plain folder.
    """
    try:
        with opened(root) as folder, opened_in(folder, NOTES) as notes:
            return _read(notes, MARKER_NAME, root / MARKER)
    except OSError as problem:
        if problem.errno in ABSENT and not os.path.lexists(root / MARKER):
            _refuse_a_stand_in(root)
            return None
        if problem.errno in ABSENT:
            raise LibraryUnavailable(f"{root / MARKER} is a link, or no plain file; move it away") from problem
        raise RootAway(f"{root} cannot be read: {problem.strerror}{_whose(root / NOTES)}") from problem


def copy_in(state: Path) -> LibraryMarker | None:
    """The copy of the marker in a state directory; None where this is none, or another account's."""
    try:
        with opened(state) as folder:
            if not is_ours(os.fstat(folder)):
                return None
            return _read(folder, COPY, state / COPY)
    except (OSError, ValueError, LibraryUnavailable):  # ValueError: no file can be called so
        return None


def is_ours(status: os.stat_result) -> bool:
    """Tell whether it is this account's; root may use anybody's."""
    return os.geteuid() in {status.st_uid, 0}


def _read(folder: int, name: str, path: Path) -> LibraryMarker:
    content = _content(folder, name)
    if content is None:
        raise LibraryUnavailable(f"{path} is no plain file; move it away")
    try:
        told = json.loads(content if len(content) <= _LARGEST else b"")
        version, library, host, state = (told[key] for key in ("version", "library", "host", "state"))
        os.fsencode(state), os.fsencode(host)  # TypeError: they are no text
        marker = LibraryMarker(str(uuid.UUID(library)), host, state, version)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise LibraryUnavailable(f"{path} is damaged") from problem
    if type(version) is not int or version != VERSION:
        raise LibraryUnavailable(f"{path} is of another version of sortd ({ascii(version)[:20]})")
    return marker


def _content(folder: int, name: str) -> bytes | None:
    """The first bytes of a plain file in an open folder; None where something else stands there. OSError: nothing."""
    descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.pread(descriptor, _LARGEST + 1, 0) if plain else None
    finally:
        os.close(descriptor)


def _refuse_a_stand_in(root: Path) -> None:
    """A link or a file in the place of the folder of notes: what is written there would go elsewhere, or be lost."""
    try:
        plain = stat.S_ISDIR((root / NOTES).lstat().st_mode)
    except OSError:
        return  # there is nothing
    if not plain:
        raise LibraryUnavailable(f"{root / NOTES} is no folder of its own but a link or a file; move it away")


def _whose(notes: Path) -> str:
    """Of notes that this account may not read, whose they are."""
    try:
        owner = notes.lstat().st_uid
    except OSError:
        return ""
    return "" if owner == os.geteuid() else f" (it is the library of {account(owner)})"


def account(uid: int) -> str:
    """An account as people call it."""
    try:
        return f"the account {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the account with the uid {uid}"


def root_noted_in(state: Path) -> Path | None:
    """The root that a state directory serves; None where this is none, or another account's."""
    try:
        with opened(state) as folder:
            if not is_ours(os.fstat(folder)):
                return None
            noted = _content(folder, ROOT) or b""
    except (OSError, ValueError):
        return None
    return Path(os.fsdecode(noted)) if noted.startswith(b"/") and b"\0" not in noted else None


def state_of(marker: LibraryMarker) -> Path:
    """The state directory of a marked library where the configuration names none."""
    # What a marker says is believed only where the directory says the same: the disk may come from anywhere.
    said = Path(marker.state)
    copy = copy_in(said) if said.is_absolute() else None
    ours = copy and copy.library == marker.library and marker.host in {platform.node(), copy.host}
    return said if ours else new_state(marker.library)


def new_state(library: str) -> Path:
    """Where the state of a library goes if nothing else is said."""
    home = _state_home()
    if home is None:
        raise LibraryUnavailable("there is no home folder to keep the state in; name one as [state] dir")
    return home / library


def known_states() -> list[Path]:
    """Every state directory that stands where they go if nothing else is said."""
    home = _state_home()
    return sorted(home.glob("*")) if home else []


def _state_home() -> Path | None:
    named = os.environ.get("XDG_STATE_HOME", "")
    home = Path(named if os.path.isabs(named) else os.path.expanduser("~/.local/state"))  # noqa: PTH111, PTH117  (raises without a home)
    return home / "sortd" if home.is_absolute() else None
