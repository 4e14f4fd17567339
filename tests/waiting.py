"""Waiting for what must come: the limit is only there so that a failure ends too, and costs nothing otherwise."""

from __future__ import annotations

import os
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


def once_within(seconds: float, act: Callable[[], T]) -> T:
    """Repeat what takes a moment until it did, once: what others do beside it may make any one time long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        began = time.monotonic()
        done = act()
        took = time.monotonic() - began
        if took < seconds:
            return done
        assert began < deadline, f"it always took longer than {seconds} s: {took:.1f} s at last"


def was_quick(began: float, *, seconds: float) -> bool:
    """Whether it took no longer than this, as far as a machine can tell: a busy one tells nothing."""
    return time.monotonic() - began < seconds or os.getloadavg()[0] > (os.cpu_count() or 1)
