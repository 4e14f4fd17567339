"""Estimate how new videos differ from filed ones: how many belong to no category, how those look, how hard others are.

Share of outsiders: Blanchard, Lee and Scott, "Semi-supervised novelty detection" (2010).
Weights that give a mean: Hainmueller, "Entropy balancing for causal effects" (2012).
Evidence weighted to be as what comes: Shimodaira, "Improving predictive inference under covariate shift by weighting
the log-likelihood function" (2000). What weighted evidence is worth: Kish, "Survey sampling" (1965).
"""

from __future__ import annotations

import numpy as np

from sortd.domain.feature import Matrix, Vector

FEW = 50
"""Unsorted videos from which on they tell how many outsiders there are; with fewer, half of all are thought to be."""

HALF = 0.5

_NO_EXCESS = 0.05
_CHANCE = 0.85
_BOUND = 0.25
_LEAST_LIKE = 0.1
_FAR = 0.55
_STEEPEST = 3.0
_GENTLE = 1.0
"""Standard deviations by which the evidence may be shifted: farther, a few of its examples would stand for all."""
_HALVINGS = 40
_TINY = 1e-9
_SURE = 30.0
"""Log-odds beyond which nothing is surer."""


def marks(scores: Matrix, nearest: Matrix, *, n_categories: int) -> Matrix:
    """What tells whether a video belongs where it seems to: [n, 2], or [n, 3] where outsiders are known.

    These are the log-odds of its likeliest category, its likeness to the nearest example there, and that to the
    nearest known outsider. `scores` (logarithms, not calibrated) and `nearest` are [n, categories], with the
    outsiders' column last.
    """
    rows = np.arange(len(scores))
    winners = scores[:, :n_categories].argmax(axis=1)
    others = np.array(scores, dtype=np.float64)
    best = others[rows, winners]
    others[rows, winners] = -np.inf
    rest = np.logaddexp.reduce(others, axis=1)
    columns = [np.minimum(best - rest, _SURE), nearest[rows, winners], *nearest[:, n_categories:].T]
    return np.stack(columns, axis=1).astype(np.float32)


def reckoned_with(probabilities: Matrix, chances: Vector) -> Matrix:
    """Probabilities [n, categories], of videos that belong, with the likeliest at its chance [n] of being right.

    The rest shrinks with it: what is missing to 1 is the probability of belonging nowhere.
    """
    rows, best = np.arange(len(probabilities)), probabilities.argmax(axis=1)
    first = probabilities[rows, best]
    smaller, larger = chances / np.maximum(first, _TINY), (1 - chances) / np.maximum(1 - first, _TINY)
    result: Matrix = probabilities * np.minimum(np.where(chances < first, smaller, larger), 1)[:, None]
    result[rows, best] = chances
    return result


def share_of_outsiders(known: Vector, unsorted: Vector) -> float:
    """Estimate the share of the unsorted that belong nowhere, from the log-odds of both; 0: no sign of any.

    More of the unsorted are unsure than held-out labels are: what is in excess belongs nowhere. An excess within
    what chance or a change of season may do is none.
    """
    limits = np.unique(np.concatenate([known, unsorted]))
    below = np.searchsorted(np.sort(known), limits, side="right") / len(known)
    below_unsorted = np.searchsorted(np.sort(unsorted), limits, side="right") / len(unsorted)
    excess = below_unsorted - below
    most = int(excess.argmax())
    if excess[most] < max(_NO_EXCESS, _CHANCE * np.sqrt(1 / len(known) + 1 / len(unsorted))):
        return 0.0
    return float(excess[most] / max(1 - below[most], _BOUND))


def mean_of_outsiders(known: Vector, unsorted: Vector, share: float) -> float:
    """What the mean of the outsiders among the unsorted must be, where the rest is as the known are."""
    return float((unsorted.mean() - (1 - share) * known.mean()) / share)


def are_far(known: Vector, imagined: Vector, unsorted: Vector, share: float) -> bool:
    """Tell whether the outsiders among the unsorted are plainly less like any category than the imagined ones are.

    All are likenesses. Less than the least of ten imagined ones have counts as that much: a few that are like nothing
    at all say nothing of the others, which may be the harder ones.
    """
    floor = float(np.quantile(imagined, _LEAST_LIKE))
    middle = float(np.maximum(imagined, floor).mean())
    mean = mean_of_outsiders(np.maximum(known, floor), np.maximum(unsorted, floor), share)
    return middle - mean >= _FAR * (middle - floor)


def as_the_unsorted(known: Vector, unsorted: Vector) -> Vector:
    """How much each of the known counts, [n], so that in the mean they are as sure as the unsorted.

    Both are log-odds, of videos that belong. New videos may be easier or harder than those held out, and the limits are
    for the new ones. Weights cost evidence: together they come to as many as would tell as much without.
    """
    weights = balanced(known, float(unsorted.mean()), steepest=_GENTLE)
    worth: Vector = weights * (weights.sum() / (weights**2).sum())
    return worth


def balanced(values: Vector, mean: float, *, steepest: float = _STEEPEST) -> Vector:
    """Weights [n], 1 in the mean, under which the values have this mean, or one as near to it as is reasonable."""
    spread = float(values.std())
    if spread == 0:
        return np.ones(len(values), np.float32)
    shifted = (values - values.mean()) / spread
    low, high = -steepest, steepest
    for _ in range(_HALVINGS):
        slope = (low + high) / 2
        weights = np.exp(slope * shifted)
        if float(weights @ values / weights.sum()) < mean:
            low = slope
        else:
            high = slope
    result: Vector = weights / weights.mean()
    return result
