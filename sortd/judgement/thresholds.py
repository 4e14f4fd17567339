"""Set thresholds, and tell how sure it is that the promised precision is kept."""

from __future__ import annotations

from math import exp, lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain.feature import Vector

BoolVector = NDArray[np.bool_]
_ROUNDING = 1e-9
SLACK = 1 / 3
"""How far into a gap in the evidence a limit moves: a new video is seldom quite as typical as those already known."""
EVEN_ODDS = 0.5
_NEARLY_CERTAIN = 1 - 1e-6
_UNLIKELY = 0.05
_HALVINGS = 20


def threshold_for(
    confidence: Vector, correct: BoolVector, target_precision: float, weights: Vector | None = None
) -> float | None:
    """Find the lowest confidence from which on the expected share of wrong moves meets the target; None: none does.

    `weights` say how many videos each example stands for; None: one.
    Conformal risk control: of the n examples at or above a cut, (wrong + 1) / (n + 1) stays within 1 - target, so
    moves begin at 19 faultless examples for 0.95. The best of many cuts is by nature one that stands just above a
    mistake; that mistake is counted too, which takes back what the search gained by luck. That keeps the promise in the
    mean over many libraries; one standard deviation of the number of mistakes keeps it in nearly each of them.
    The threshold lies in the gap below the last example that it lets through, a third of the way down: a new video
    falls short of all n with a chance of 1 in n + 1, and that one is reckoned with as wrong.
    """
    cuts, moves, wrong = cuts_of(confidence, correct, np.ones(len(confidence)) if weights is None else weights)
    if not len(cuts):
        return None
    stopped_by = next_mistake(wrong)
    kept = (wrong + np.sqrt(wrong) + stopped_by + 1) / (moves + 1) <= 1 - target_precision + _ROUNDING
    if not kept.any():
        return None
    last = int(np.flatnonzero(kept)[-1])
    lowest, next_below = float(cuts[last]), float(cuts[last + 1]) if last + 1 < len(cuts) else EVEN_ODDS
    start, end = log_odds(lowest), log_odds(min(next_below, lowest))
    return min(lowest, 1 / (1 + exp(-(start + SLACK * (end - start)))))


def movable(confidence: Vector, correct: BoolVector, target_precision: float, weights: Vector) -> int:
    """How many of the examples would rightly move from the threshold for them on."""
    limit = threshold_for(confidence, correct, target_precision, weights)
    return 0 if limit is None else int((correct & (confidence >= limit)).sum())


def log_odds(probability: float) -> float:
    """Give the natural logarithm of p / (1 - p); p is kept off 0 and 1, so that it is finite."""
    bounded = min(max(probability, 1 - _NEARLY_CERTAIN), _NEARLY_CERTAIN)
    return log(bounded / (1 - bounded))


def tightened(threshold: float, confidence: Vector, correct: BoolVector, *, target_precision: float) -> float | None:
    """Raise a threshold that all share until a category's own mistakes fit the target; None: they never do.

    `confidence` and `correct` are of the examples predicted to be of this category. What chance may have added, one
    standard deviation of their number, is forgiven: one mistake always, unless it is half of all there is; for 0.95
    a second within eleven moves is not.
    """
    cuts, moves, wrong = cuts_of(confidence, correct, np.ones(len(confidence)))
    fits = (wrong - np.sqrt(wrong) <= (1 - target_precision) * moves + _ROUNDING) & (2 * wrong < moves)
    above = cuts >= threshold
    if not above.any() or fits[above][-1]:
        return threshold
    return float(cuts[above & fits][-1]) if fits[above].any() else None


def precision_bound(moved: int, wrong: int) -> float:
    """Lowest precision that `wrong` mistakes in `moved` moves leave believable, with 95 % certainty."""
    if wrong >= moved:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if chance_of_at_most(wrong, moved, 1 - middle) < _UNLIKELY else (low, middle)
    return low


def chance_of_at_most(number: int, tries: int, share: float) -> float:
    """Tell how likely no more than `number` of the tries are of a kind that has this share, within (0, 1), of all.

    By logarithms: a thousand tries have more outcomes than a float can count.
    """
    ways = (lgamma(tries + 1) - lgamma(k + 1) - lgamma(tries - k + 1) for k in range(number + 1))
    return sum(exp(many + k * log(share) + (tries - k) * log(1 - share)) for k, many in enumerate(ways))


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
