"""What names a library: the marker in its root, and the notes in its state directory that name the root back.

The marker `ROOT/.sortd/library.json` holds the library's UUID, the host that serves it and the state directory; the
state directory keeps a copy of it and notes the root's path. So each is found from the other, and a root without its
marker (an unmounted disk, an emptied folder) is known for what it is: away, never a new and empty library.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
from dataclasses import dataclass
from pathlib import Path

from sortd.disk.plain import ABSENT, open_plain
from sortd.errors import LibraryUnavailable

MARKER = Path(".sortd") / "library.json"
"""In the root."""

COPY, ROOT = "library.json", "root"
"""In the state directory."""

VERSION = 1

_LARGEST = 64 * 1024


class RootAway(LibraryUnavailable):
    """The root is not there now; it may come back."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A library's UUID, the host that serves it and the state directory there."""

    library: str
    host: str
    state: str
    version: int = VERSION


def marker_of(root: Path) -> Marker | None:
    """What the marker says; None where none stands."""
    try:
        return _read(root / MARKER)
    except OSError as problem:
        if problem.errno in ABSENT:
            return None
        raise RootAway(f"{root} cannot be read: {problem.strerror}") from problem


def copy_in(state: Path) -> Marker | None:
    """The copy of the marker in a state directory; None where this is none."""
    try:
        return _read(state / COPY)
    except (OSError, ValueError, LibraryUnavailable):  # ValueError: no file can be called so
        return None


def _read(path: Path) -> Marker:
    with open_plain(path) as file:
        content = file.read(_LARGEST)
    try:
        told = json.loads(content)
        marker = Marker(str(uuid.UUID(told["library"])), str(told["host"]), str(told["state"]), told["version"])
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise LibraryUnavailable(f"{path} is damaged") from problem
    if marker.version != VERSION:
        raise LibraryUnavailable(f"{path} is of another version of sortd ({marker.version!r})")
    return marker


def root_noted_in(state: Path) -> Path | None:
    """The root that a state directory serves; None where this is none."""
    try:
        return Path(os.fsdecode((state / ROOT).read_bytes()))
    except OSError:
        return None


def state_of(marker: Marker) -> Path:
    """The state directory of a marked library where the configuration names none."""
    # What a marker says is believed only where the directory says the same: the disk may come from anywhere.
    said = Path(marker.state)
    copy = copy_in(said)
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
