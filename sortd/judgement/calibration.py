"""Set the limits that keep the promised precision, from predictions on examples held out of training.

Temperature: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017).
Risk in expectation: Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal risk control" (2022).
Bound on what was seen: Clopper and Pearson, "The use of confidence or fiducial limits" (1934).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain.category import CategoryName
from sortd.domain.decision import Policy
from sortd.domain.feature import Matrix, Vector
from sortd.domain.video import Fingerprint
from sortd.judgement.thresholds import (
    EVEN_ODDS,
    SLACK,
    BoolVector,
    movable,
    threshold_for,
    tightened,
    without_luck,
)

Numbers = NDArray[np.integer[Any]]

_TEMPERATURES = np.geomspace(0.1, 10, 61)


@dataclass(frozen=True, slots=True)
class CategoryReport:
    """How one category fared on its held-out examples; `why` is a sentence where none of them would move."""

    name: CategoryName
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
    like: CategoryName | None = None
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
    home: CategoryName
    like: CategoryName
    confidence: float
    """Probability of the other category."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
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
class CalibrationData:
    """What was predicted for n examples by classifiers that had seen neither them nor their near-duplicates."""

    categories: tuple[CategoryName, ...]
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
        """Tell whether the likeliest category is their own, [n]."""
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


def distance_limit(own: Vector, foreign: Vector) -> float:
    """Find the distance to the winner's nearest example beyond which a video looks like no category.

    `own` are the distances of the examples that could move, `foreign` those of outsiders, if any are known. No example
    is farther than the limit: it stands a third of the way into the gap to the outsiders, or to twice as far.
    """
    farthest = float(own.max())
    nearest_foreign = float(np.quantile(foreign, 0.05)) if len(foreign) else 2 * farthest
    return farthest + SLACK * max(0.0, nearest_foreign - farthest)


def policy_for(
    evidence: CalibrationData, *, target_precision: float, targets: Mapping[CategoryName, float], min_examples: int
) -> Policy:
    """Set the limits of a move so that each category keeps its target, or else the common one, in expectation."""
    predicted, confidence, correct = evidence.predicted, evidence.confidence, evidence.correct
    # The many that are sure could carry some that are likelier wrong than right: nobody wants those moved.
    may_move, least = evidence.distinct >= min_examples, EVEN_ODDS
    if evidence.most < 1:  # strangers may come that are harder than all there are: none is picked as plain by those
        least = max(least, float(np.quantile(confidence[evidence.inside], 1 - evidence.most)))
    else:
        may_move = _plain_enough(evidence, may_move, target_precision)
    pool = may_move[predicted]
    known = pool & evidence.inside
    possible: dict[CategoryName, float] = {}
    min_confidence: dict[CategoryName, float] = {}
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


def _plain_enough(evidence: CalibrationData, among: BoolVector, target_precision: float) -> BoolVector:
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
