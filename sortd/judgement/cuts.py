"""Where a threshold can be set: at each confidence that occurs, with what it would let through, rightly or by luck."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain import Vector

Counts = NDArray[np.float64]


def cuts_of(
    confidence: Vector, correct: NDArray[np.bool_], weights: NDArray[np.floating[Any]]
) -> tuple[Vector, Counts, Counts]:
    """Each confidence that occurs, highest first, with how many examples reach it and how many of those are wrong."""
    order = np.argsort(-confidence, kind="stable")
    descending = confidence[order]
    last = np.flatnonzero(np.diff(descending, append=-np.inf))
    moves = np.cumsum(weights[order], dtype=np.float64)
    wrong = np.cumsum((weights * ~correct)[order], dtype=np.float64)
    return descending[last], moves[last], wrong[last]


def next_mistake(wrong: Counts) -> Counts:
    """Of the mistakes between each cut and the one below it, one at most; `wrong` as of `cuts_of`, not empty."""
    mistake: Counts = np.minimum(np.diff(wrong, append=wrong[-1]), 1)
    return mistake


def without_luck(threshold: float, confidence: Vector, correct: NDArray[np.bool_], *, target_precision: float) -> float:
    """Raise a threshold above what may be luck; `confidence` and `correct` are of the labels that were held out.

    Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?" (1983).
    Where mistakes follow, a short run of right ones before them may be luck: a classifier that is wrong as often as
    allowed is right n times in a row with a chance of target ** n. So large a part of the n, the least sure, waits: for
    0.95 7 of 22, 4 of 45, none from 88 on.
    """
    run = np.sort(confidence[confidence >= threshold])[::-1]
    by_luck = int(len(run) * target_precision ** len(run))
    return threshold if correct.all() or not by_luck else float(run[-1 - by_luck])
