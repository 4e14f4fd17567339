"""What may be asked of the service: a class for each command, and its form on the wire, which is checked.

On the wire a request is a JSON object: `do` names the command, and the other keys are the fields that are not None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Never

from sortd.domain.errors import SortdError

MOST_MOVES = 10**9
"""More moves than a journal can hold."""

FARTHEST_SECONDS = 10.0**12
"""Since the epoch: 30,000 years, to either side."""

SHOWN = 60
"""So many characters of a name that is not known are repeated."""


@dataclass(frozen=True, slots=True)
class GetStatus:
    """Tell what only the running service knows."""

    do: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True)
class Pause:
    """Move and extract nothing until a Resume."""

    do: ClassVar[str] = "pause"


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on; `vanished`: accept that many videos vanished."""

    do: ClassVar[str] = "resume"
    vanished: bool | None = None


@dataclass(frozen=True, slots=True)
class Rollback:
    """Let the classifier before this one serve."""

    do: ClassVar[str] = "rollback"


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again what was set aside."""

    do: ClassVar[str] = "retry"


@dataclass(frozen=True, slots=True)
class Undo:
    """Put moves back: that of one video, or the last `count` of those since a time and into a category; None: all."""

    do: ClassVar[str] = "undo"
    path: str | None = None
    count: int | None = None
    since: float | None = None
    """Seconds since the epoch."""
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """Agree with the placement of one video, or with all in a category."""

    do: ClassVar[str] = "confirm"
    path: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget the "labels" or the "vetoes" of one video, or of all in a category."""

    do: ClassVar[str] = "forget"
    what: str
    path: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptGroup:
    """File these unsorted videos (path as it was shown -> fingerprint) in this category, as labels."""

    do: ClassVar[str] = "accept"
    category: str
    videos: Mapping[str, str]


Request = GetStatus | Pause | Resume | Rollback | Retry | Undo | Confirm | Forget | AcceptGroup

_KINDS: Mapping[str, type[Request]] = {
    kind.do: kind for kind in (GetStatus, Pause, Resume, Rollback, Retry, Undo, Confirm, Forget, AcceptGroup)
}


class BadRequest(SortdError):
    """No request of ours; the message says what is wrong with it."""


def parse(line: bytes) -> Mapping[str, Any]:
    """Read one line of JSON. BadRequest: it is none, or asks for nothing that can be done."""
    try:
        request = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("a request is one line of JSON, not too deep, with plain numbers") from error
    return check(request)


def check(request: object) -> Mapping[str, Any]:
    """The request, if its keys are those of its kind and each holds what it should. BadRequest: not so."""
    if not isinstance(request, Mapping):
        raise BadRequest("a request is a JSON object")
    do = request.get("do")
    if not isinstance(do, str) or do not in _KEYS:
        raise BadRequest(f"unknown request {_shown(do)}; known are {', '.join(_KEYS)}")
    keys = _KEYS[do]
    for key, value in request.items():
        if key == "do":
            continue
        if key not in keys:
            raise BadRequest(f"{do}: unknown key {_shown(key)}")
        if not keys[key](value):
            raise BadRequest(f"{do}: {key} cannot be {_shown(value)}")
    for group in _NEEDED.get(do, ()):
        if sum(key in request for key in group) != 1:
            raise BadRequest(f"{do}: needs {' or '.join(group)}, and no more than one of them")
    return request


def decode(request: object) -> Request:
    """Read a request from its form on the wire. BadRequest: its keys or values are not those of its command."""
    checked = check(request)
    return _KINDS[checked["do"]](**{key: value for key, value in checked.items() if key != "do"})


def encode(request: Request) -> dict[str, Any]:
    """Give a request its form on the wire."""
    values = {one.name: getattr(request, one.name) for one in fields(request)}
    return {"do": request.do} | {key: value for key, value in values.items() if value is not None}


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST_MOVES


def _is_time(value: object) -> bool:
    # Compared as it is, for an integer of many digits does not fit into a float.
    return type(value) in {int, float} and -FARTHEST_SECONDS <= value <= FARTHEST_SECONDS  # type: ignore[operator]


def _is_name(value: object) -> bool:
    """Tell whether it may name a file or folder: what the filesystem's encoding takes, and no NUL."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return False
    return True


def _are_videos(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_name(path) and _is_name(clip) for path, clip in value.items())


def _is_what(value: object) -> bool:
    return isinstance(value, str) and value in {"vetoes", "labels"}


_KEYS: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    "status": {},
    "pause": {},
    "resume": {"vanished": _is_flag},
    "rollback": {},
    "retry": {},
    "undo": {"path": _is_name, "count": _is_count, "since": _is_time, "category": _is_name},
    "confirm": {"path": _is_name, "category": _is_name},
    "forget": {"path": _is_name, "category": _is_name, "what": _is_what},
    "accept": {"category": _is_name, "videos": _are_videos},
}

_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "confirm": (("path", "category"),),
    "forget": (("path", "category"), ("what",)),
    "accept": (("category",), ("videos",)),
}
"""Of each group just one key stands in the request."""


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number")


def _shown(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "no number"
    if not isinstance(value, str):
        return f"a {type(value).__name__}" if value is not None else "nothing"
    return ascii(value[:SHOWN])
