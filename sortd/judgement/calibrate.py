"""From predictions on examples held out of training to the limits that keep the promised precision.

Temperature: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017).
Risk in expectation: Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal risk control" (2022).
Bound on what was seen: Clopper and Pearson, "The use of confidence or fiducial limits" (1934).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import comb, exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain import Category, Matrix, Policy, Vector

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
    """How one category fared on its held-out examples; `why` is a sentence where it gets no automatic moves."""

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


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """How one kind of classifier fared on the same held-out examples."""

    kind: str
    cv_accuracy: float
    log_loss: float
    """Mean over the categories, each counting alike, so that a large one cannot drown a small one."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was predicted for n examples by classifiers that had seen neither them nor their near-duplicates."""

    categories: tuple[Category, ...]
    labels: Numbers
    """[categories], how many examples each has."""
    distinct: Numbers
    """[categories], how many of them are no near-duplicates of each other."""
    truth: Numbers
    """[n], the category of each, as a number in `categories`."""
    probabilities: Matrix
    """[n, categories], calibrated on other examples."""
    distances: Matrix
    """[n, categories], to the nearest example of each; 2 where there is none."""

    @property
    def predicted(self) -> Numbers:
        """The likeliest category of each, [n]."""
        predicted: Numbers = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def correct(self) -> BoolVector:
        """Whether that is its own, [n]."""
        return np.equal(self.predicted, self.truth)

    @property
    def confidence(self) -> Vector:
        """Probability of the likeliest category, [n]."""
        confidence: Vector = self.probabilities.max(axis=1)
        return confidence

    @property
    def margin(self) -> Vector:
        """By how much it beats the next, [n]."""
        best_two = np.sort(self.probabilities, axis=1)[:, -2:]
        margin: Vector = best_two[:, 1] - best_two[:, 0]
        return margin

    @property
    def distance(self) -> Vector:
        """To the nearest example of the likeliest category, [n]."""
        return self.distances[np.arange(len(self.truth)), self.predicted]

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


def threshold_for(confidence: Vector, correct: BoolVector, target_precision: float) -> float | None:
    """Find the lowest confidence from which on the expected share of wrong moves meets the target; None: none does.

    Conformal risk control: of the n examples at or above a cut, (wrong + 1) / (n + 1) stays within 1 - target, so
    moves begin at 19 faultless examples for 0.95. The best of many cuts is by nature one that stands just above a
    mistake; that mistake is counted too, which takes back what the search gained by luck.
    The threshold lies in the gap below the last example that it lets through, a third of the way down: a new video
    falls short of all n with a chance of 1 in n + 1, and that one is reckoned with as wrong.
    """
    cuts, moves, wrong = _cuts(confidence, correct)
    if not len(cuts):
        return None
    stopped_by = np.minimum(np.diff(wrong, append=wrong[-1]), 1)
    kept = (wrong + stopped_by + 1) / (moves + 1) <= 1 - target_precision + _ROUNDING
    if not kept.any():
        return None
    last = int(np.flatnonzero(kept)[-1])
    lowest, next_below = float(cuts[last]), float(cuts[last + 1]) if last + 1 < len(cuts) else _EVEN_ODDS
    start, end = _log_odds(lowest), _log_odds(min(next_below, lowest))
    return min(lowest, 1 / (1 + exp(-(start + _SLACK * (end - start)))))


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1 - _NEARLY_CERTAIN), _NEARLY_CERTAIN)
    return log(bounded / (1 - bounded))


def tightened(threshold: float, confidence: Vector, correct: BoolVector, *, target_precision: float) -> float | None:
    """Raise a threshold that all share until a category's own mistakes fit the target; None: they never do.

    `confidence` and `correct` are of the examples predicted to be of this category. One mistake proves nothing and
    is forgiven, unless it is half of all there is; a second within the first 1 / (1 - target) moves is not.
    """
    cuts, moves, wrong = _cuts(confidence, correct)
    fits = (wrong - 1 <= (1 - target_precision) * moves + _ROUNDING) & (2 * wrong < moves)
    above = cuts >= threshold
    if not above.any() or fits[above][-1]:
        return threshold
    return float(cuts[above & fits][-1]) if fits[above].any() else None


def _cuts(confidence: Vector, correct: BoolVector) -> tuple[Vector, Numbers, Numbers]:
    """Each confidence that occurs, highest first, with how many examples reach it and how many of those are wrong."""
    order = np.argsort(-confidence, kind="stable")
    descending = confidence[order]
    last = np.flatnonzero(np.diff(descending, append=-np.inf))
    wrong: Numbers = np.cumsum(~correct[order], dtype=np.intp)
    return descending[last], last + 1, wrong[last]


def precision_bound(moved: int, wrong: int) -> float:
    """Lowest precision that `wrong` mistakes in `moved` moves leave believable, with 95 % certainty."""
    low, high = 0.0, 1.0 if wrong < moved else 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        chance = sum(comb(moved, k) * (1 - middle) ** k * middle ** (moved - k) for k in range(wrong + 1))
        low, high = (middle, high) if chance < _UNLIKELY else (low, middle)
    return low


def distance_limit(distances: Matrix, truth: Numbers) -> float:
    """Find the distance to the winner's nearest example beyond which a video looks like no category.

    Nearly all examples (95 %) are at most that far from the nearest other one of their category. How far an outsider
    would be is read from how far the examples are from the categories that are not theirs: where that leaves a gap,
    the limit stands a third of the way into it.
    """
    rows = np.arange(len(truth))
    own = np.sort(distances[rows, truth])
    foreign = distances.copy()
    foreign[rows, truth] = np.inf
    farthest_own = float(own[min(len(own) - 1, int(np.ceil(0.95 * (len(own) + 1))) - 1)])
    nearest_foreign = float(np.quantile(foreign.min(axis=1), 0.05))
    return farthest_own + _SLACK * max(0.0, nearest_foreign - farthest_own)


def policy_for(
    evidence: Evidence, *, target_precision: float, targets: Mapping[Category, float], min_examples: int
) -> Policy:
    """Set the limits of a move so that each category keeps its target, or else the common one, in expectation."""
    max_distance = distance_limit(evidence.distances, evidence.truth)
    predicted, confidence, correct = evidence.predicted, evidence.confidence, evidence.correct
    may_move = evidence.distinct >= min_examples
    pool = may_move[predicted] & (evidence.distance <= max_distance)
    min_confidence = {}
    for number, name in enumerate(evidence.categories):
        target = targets.get(name, target_precision)
        common = threshold_for(confidence[pool], correct[pool], target) if may_move[number] else None
        own = pool & (predicted == number)
        threshold = (
            None if common is None else tightened(common, confidence[own], correct[own], target_precision=target)
        )
        if threshold is not None:
            min_confidence[name] = threshold
    policy = Policy(min_confidence, max_distance=max_distance, min_examples=min_examples)
    right = evidence.moved(policy) & correct
    # Where confidence may be low, two categories can be all but equal: closer than any known video was is too close.
    min_margin = float(evidence.margin[right].min()) / 2 if right.any() else 0.0
    return replace(policy, min_margin=min_margin)


def category_reports(evidence: Evidence, policy: Policy) -> tuple[CategoryReport, ...]:
    """Tell how each category fared under the policy."""
    moved = evidence.moved(policy)
    reports = []
    for number, name in enumerate(evidence.categories):
        own = evidence.truth == number
        here = moved & (evidence.predicted == number)
        n_moved, n_wrong = int(here.sum()), int((here & ~evidence.correct).sum())
        reports.append(
            CategoryReport(
                name=name,
                labels=int(evidence.labels[number]),
                accuracy=float(evidence.correct[own].mean()) if own.any() else None,
                moved=n_moved,
                wrong=n_wrong,
                precision_bound=precision_bound(n_moved, n_wrong),
                min_confidence=policy.min_confidence.get(name),
                why="" if name in policy.min_confidence else _why_not(evidence, policy, number),
            )
        )
    return tuple(reports)


def _why_not(evidence: Evidence, policy: Policy, number: int) -> str:
    labels, distinct = int(evidence.labels[number]), int(evidence.distinct[number])
    if labels < policy.min_examples:
        return f"it has {_count(labels, 'example')}; automatic moves begin at {policy.min_examples}"
    if distinct < policy.min_examples:
        return f"its {labels} examples are copies of {_count(distinct, 'video')}; moves begin at {policy.min_examples}"
    here = evidence.predicted == number
    wrong = int((here & ~evidence.correct).sum())
    if wrong:
        return f"of the {_count(int(here.sum()), 'known video')} taken for it, {wrong} belong elsewhere"
    return f"only {len(evidence.truth)} known videos could be used to test the sorter: too few to promise its precision"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
