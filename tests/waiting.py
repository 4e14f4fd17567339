"""Waiting for what must come: the limit is only there so that a failure ends too, and costs nothing otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 300.0
"""However busy the machine is: what has not come by then never comes."""

T = TypeVar("T")


def until(look: Callable[[], T], *, seconds: float = PATIENCE_SECONDS) -> T:
    """What is looked for, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"it never came, in {seconds:.0f} s"
        time.sleep(0.02)
    return seen
