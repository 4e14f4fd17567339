"""Forecast how many labels it takes until a folder moves, and when the backlog will be gone."""

from __future__ import annotations

from collections import deque
from math import ceil

import numpy as np

from sortd.domain.feature import Vector
from sortd.judgement.thresholds import BoolVector, cuts_of, next_mistake

_FORESEEABLE = 10.0
_ROUNDING = 1e-9


def growth_until_moves(confidence: Vector, correct: BoolVector, weights: Vector, target_precision: float) -> float:
    """Tell how many times as much evidence would meet the target, were as many of it wrong as now; inf: none would.

    It is the bound that a threshold must meet, asked of n and wrong grown alike, at the cut where the least growth does
    it: a quadratic equation for the root of the growth.
    """
    _, moves, wrong = cuts_of(confidence, correct, weights)
    if not len(moves):
        return float("inf")
    allowed = 1 - target_precision
    stopped_by = next_mistake(wrong)
    gained = allowed * moves - wrong
    enough = gained > 0
    spread, gained, missing = np.sqrt(wrong[enough]), gained[enough], 1 + stopped_by[enough] - allowed
    roots = (spread + np.sqrt(spread**2 + 4 * gained * missing)) / (2 * gained)
    return float((roots**2).min(initial=np.inf))


def labels_until_moves(labels: int, total: int, categories: int, growth: float) -> int | None:
    """How many labels this category has once those that are missing are spread over all; None: that is too far off."""
    return None if growth > _FORESEEABLE else labels + ceil(max(0, growth - 1) * total / categories - _ROUNDING)


PACE_WINDOW = 50
"""So many of the last extractions tell the rate."""


class BacklogPace:
    """Times are seconds since the epoch, handed in."""

    def __init__(self) -> None:
        self._done: deque[float] = deque(maxlen=PACE_WINDOW)

    def done(self, at: float) -> None:
        """One more was finished."""
        self._done.append(at)

    def rate(self, now: float) -> float | None:
        """Videos per second over the last ones; None: too few to tell."""
        if len(self._done) < 2:  # noqa: PLR2004 - two points make a line
            return None
        return len(self._done) / max(now - self._done[0], 1e-3)

    def ends_at(self, pending: int, now: float) -> float | None:
        """When so many more will be finished at this rate."""
        rate = self.rate(now)
        return None if rate is None or not pending else now + pending / rate
