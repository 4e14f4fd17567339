"""From predictions on examples held out of training to the limits that keep the promised precision.

Temperature: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017).
Risk in expectation: Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal risk control" (2022).
Bound on what was seen: Clopper and Pearson, "The use of confidence or fiducial limits" (1934).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain import Category, Fingerprint, Matrix, Policy, Vector
from sortd.judgement.chance import at_most
from sortd.judgement.cuts import cuts_of, next_mistake, without_luck

BoolVector = NDArray[np.bool_]
Numbers = NDArray[np.integer[Any]]

_TEMPERATURES = np.geomspace(0.1, 10, 61)
_ROUNDING = 1e-9
_SLACK = 1 / 3
"""How far into a gap in the evidence a limit moves: a new video is seldom quite as typical as those already known."""
_EVEN_ODDS = 0.5
_NEARLY_CERTAIN = 1 - 1e-6
_UNLIKELY = 0.05
_HALVINGS = 20


@dataclass(frozen=True, slots=True)
class CategoryReport:
    """How one category fared on its held-out examples; `why` is a sentence where none of them would move."""

    name: Category
    labels: int
    accuracy: float | None
    """Share of its examples that were recognised; None: none could be held out."""
    moved: int
    """How many held-out examples would have been moved here."""
    wrong: int
    """How many of those belong elsewhere."""
    precision_bound: float
    """With 95 % certainty at least this share of such moves is right: told, not required."""
    min_confidence: float | None
    why: str
    like: Category | None = None
    """The category whose videos it is mistaken for, where that is why."""


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """How one kind of classifier fared on the same held-out examples."""

    kind: str
    cv_accuracy: float
    log_loss: float
    """Mean over the categories, each counting alike, so that a large one cannot drown a small one."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label whose video looks as if it belonged elsewhere to classifiers that had not seen it."""

    fingerprint: Fingerprint
    home: Category
    like: Category
    confidence: float
    """Probability of the other category."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a training found out about itself. All shares are of the held-out examples."""

    kind: str
    labels: int
    accuracy: float
    coverage: float
    """Share that would have been moved, rightly or wrongly."""
    precision: float | None
    """Share of those that would have been moved rightly; None: none would."""
    target_precision: float
    categories: tuple[CategoryReport, ...]
    candidates: tuple[CandidateReport, ...]
    outsiders: float
    """The share of new videos that are reckoned with as belonging nowhere."""
    suspects: tuple[Suspect, ...] = ()
    """Labels that may be slips of the hand, the surest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was predicted for n examples by classifiers that had seen neither them nor their near-duplicates."""

    categories: tuple[Category, ...]
    labels: Numbers
    """[categories], how many examples each has."""
    distinct: Numbers
    """[categories], how many of them are no near-duplicates of each other."""
    truth: Numbers
    """[n], the category of each, as a number in `categories`; -1: it belongs to none of them."""
    predicted: Numbers
    """[n], the likeliest category of each."""
    confidence: Vector
    """[n], the chance that this is right."""
    margin: Vector
    """[n], by how much it beats the next."""
    distance: Vector
    """[n], to its nearest example; 2 where there is none."""
    weights: Vector
    """[n], how many videos of the stream each stands for."""
    most: float = 1.0
    """The share of the examples that may move at most."""

    @property
    def inside(self) -> BoolVector:
        """Which belong to a category, [n]."""
        return np.greater_equal(self.truth, 0)

    @property
    def correct(self) -> BoolVector:
        """Whether the likeliest category is their own, [n]."""
        return np.equal(self.predicted, self.truth)

    def moved(self, policy: Policy) -> BoolVector:
        """Which would have been moved, [n]."""
        minimum = np.array([policy.min_confidence.get(name, np.inf) for name in self.categories])
        return (
            (self.distance <= policy.max_distance)
            & (self.confidence >= minimum[self.predicted])
            & (self.margin >= policy.min_margin)
        )


def softmax(scores: Matrix, temperature: float) -> Matrix:
    """Probabilities from scores [n, categories]; a temperature above 1 makes them more cautious."""
    powers = np.exp((scores - scores.max(axis=1, keepdims=True)) / np.float32(temperature))
    probabilities: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def temperature_for(scores: Matrix, truth: Numbers) -> float:
    """Find the temperature at which the scores [n, categories] of held-out examples mean what they say.

    Faultless examples would call for temperature zero, that is for certainty. One more example of which nothing is
    known is thought to stand beside them, so that certainty grows with their number only.
    """
    doubt = 1 / (len(scores) + 1)
    shifted = scores - scores.max(axis=1, keepdims=True)
    own = (1 - doubt) * shifted[np.arange(len(truth)), truth] + doubt * shifted.mean(axis=1)
    losses = [float(np.mean(np.log(np.exp(shifted / t).sum(axis=1)) - own / t)) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


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
    lowest, next_below = float(cuts[last]), float(cuts[last + 1]) if last + 1 < len(cuts) else _EVEN_ODDS
    start, end = _log_odds(lowest), _log_odds(min(next_below, lowest))
    return min(lowest, 1 / (1 + exp(-(start + _SLACK * (end - start)))))


def movable(confidence: Vector, correct: BoolVector, target_precision: float, weights: Vector) -> int:
    """How many of the examples would rightly move from the threshold for them on."""
    limit = threshold_for(confidence, correct, target_precision, weights)
    return 0 if limit is None else int((correct & (confidence >= limit)).sum())


def _log_odds(probability: float) -> float:
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
        low, high = (middle, high) if at_most(wrong, moved, 1 - middle) < _UNLIKELY else (low, middle)
    return low


def distance_limit(own: Vector, foreign: Vector) -> float:
    """Find the distance to the winner's nearest example beyond which a video looks like no category.

    `own` are the distances of the examples that could move, `foreign` those of outsiders, if any are known. No example
    is farther than the limit: it stands a third of the way into the gap to the outsiders, or to twice as far.
    """
    farthest = float(own.max())
    nearest_foreign = float(np.quantile(foreign, 0.05)) if len(foreign) else 2 * farthest
    return farthest + _SLACK * max(0.0, nearest_foreign - farthest)


def policy_for(
    evidence: Evidence, *, target_precision: float, targets: Mapping[Category, float], min_examples: int
) -> Policy:
    """Set the limits of a move so that each category keeps its target, or else the common one, in expectation."""
    predicted, confidence, correct = evidence.predicted, evidence.confidence, evidence.correct
    # The many that are sure could carry some that are likelier wrong than right: nobody wants those moved.
    may_move, least = evidence.distinct >= min_examples, _EVEN_ODDS
    if evidence.most < 1:  # strangers may come that are harder than all there are: none is picked as plain by those
        least = max(least, float(np.quantile(confidence[evidence.inside], 1 - evidence.most)))
    else:
        may_move = _plain_enough(evidence, may_move, target_precision)
    pool = may_move[predicted]
    known = pool & evidence.inside
    possible: dict[Category, float] = {}
    min_confidence: dict[Category, float] = {}
    for number, name in enumerate(evidence.categories):
        if not may_move[number]:
            continue
        target = targets.get(name, target_precision)
        common = threshold_for(confidence[pool], correct[pool], target, evidence.weights[pool])
        if common is None:
            continue
        own = known & (predicted == number)
        # Of the labels alone: outsiders are mistaken in every library, wherever its own are plain.
        surer = without_luck(common, confidence[known], correct[known], target_precision=target)
        for limits, limit in ((possible, common), (min_confidence, surer)):
            threshold = tightened(max(limit, least), confidence[own], correct[own], target_precision=target)
            if threshold is not None:
                limits[name] = threshold
    policy = Policy(min_confidence, min_examples=min_examples)
    # What may be right by luck is no less like the others: it counts where likeness and lead are set.
    right = evidence.moved(Policy(possible)) & correct
    if not right.any():
        return policy
    # Where confidence may be low, two categories can be all but equal: closer than any known video was is too close.
    return replace(
        policy,
        min_margin=float(evidence.margin[right].min()) / 2,
        max_distance=distance_limit(evidence.distance[right], evidence.distance[~evidence.inside]),
    )


def _plain_enough(evidence: Evidence, among: BoolVector, target_precision: float) -> BoolVector:
    """Which of these categories may move: [categories].

    Where some draw in what is not theirs, they would keep all others from moving: those that do so most among the
    surest half are left out, if more of the known videos can move then by more than a standard deviation of their
    number.
    """
    sure = evidence.confidence >= np.median(evidence.confidence[evidence.inside])
    wrong, right = (
        np.bincount(evidence.predicted, evidence.weights * (sure & flags), minlength=len(among))
        for flags in (~evidence.correct, evidence.correct)
    )
    worst_first = np.argsort(-wrong / np.maximum(wrong + right, 1e-9), kind="stable")
    best, most = among, 0
    left = among.copy()
    for number in worst_first:
        pool = left[evidence.predicted]
        moves = movable(evidence.confidence[pool], evidence.correct[pool], target_precision, evidence.weights[pool])
        if moves > most + np.sqrt(most):
            best, most = left.copy(), moves
        left[number] = False
    return best
