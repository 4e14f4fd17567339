"""How many labels it may take until a folder moves, as far as the evidence at hand can tell."""

from __future__ import annotations

from math import ceil

import numpy as np

from sortd.domain import Vector
from sortd.judgement.calibrate import BoolVector
from sortd.judgement.cuts import cuts_of, next_mistake

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
