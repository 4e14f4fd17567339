"""What may be asked of the service: the shape of each request, checked before it reaches the loop."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Never

from sortd.domain.errors import SortdError

MOST_MOVES = 10**9
"""More moves than a journal can hold."""

FARTHEST_SECONDS = 10.0**12
"""Since the epoch: 30,000 years, to either side."""

SHOWN = 60
"""So many characters of a name that is not known are repeated."""


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


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST_MOVES


def _is_time(value: object) -> bool:
    # Compared as it is, for an integer of many digits does not fit into a float.
    return type(value) in {int, float} and -FARTHEST_SECONDS <= value <= FARTHEST_SECONDS  # type: ignore[operator]


def _is_name(value: object) -> bool:
    """Whether it may name a file or folder: what the filesystem's encoding takes, and no NUL."""
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
