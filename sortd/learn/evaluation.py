"""Measure how good the sorter is: draws of a few examples a category, judged by the code that trains and decides.

In each draw some examples are filed, some outsiders passed over, and the test rows come as the stream of new videos:
without their names they are also the unsorted videos that a training may look at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
from sortd.domain.feature import Matrix
from sortd.domain.video import Fingerprint
from sortd.judgement.decide import decide
from sortd.judgement.thresholds import BoolVector, chance_of_at_most
from sortd.learn.classifier_candidates import CANDIDATES
from sortd.learn.embeddings_file import OUTSIDER, Embeddings, Names, UnusableEmbeddings
from sortd.learn.train import NothingToLearn, train
from sortd.learn.training_data import TrainingSet

TEST_SHARE = 0.3
"""Of the rows of a file that does not say which are for testing."""

UNLIKELY = 0.05

Confidences = NDArray[np.float64]
Decided = tuple[Names, Confidences, BoolVector]
"""Of each row of a stream: the likeliest category, how sure that is, whether it moves."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to draw. None: all that there are."""

    per_category: int | None = None
    draws: int = 10
    target: float = 0.95
    outsiders: Collection[str] = ()
    """Categories that are never filed."""
    passed_over: int | None = None
    """How many outsiders among the training rows the owner is known to have passed over."""
    candidates: Sequence[str] = tuple(CANDIDATES)


Sorter = Callable[[TrainingSet, Matrix, Plan, int], Decided]
"""Learns from labels and decides a stream [n, dim], with a seed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one draw. Shares; None: of nothing."""

    accuracy: float
    coverage: float
    """Share of the insiders that moved."""
    precision: float | None
    """Share of the moved insiders that moved rightly."""
    oracle_coverage: float
    """The coverage of the best cut on the same score, found by looking at the answers."""
    outsiders_moved: float | None
    precision_over_all: float | None
    """Share of all moves that were right, where every second video of the stream is an outsider."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The test rows as one draw's classifier decided them, n of them."""

    truth: Names
    best: Names
    confidence: Confidences
    moved: BoolVector
    categories: tuple[str, ...]

    @property
    def inside(self) -> BoolVector:
        """Which belong to a category that has examples, [n]."""
        return np.isin(self.truth, self.categories)

    @property
    def right(self) -> BoolVector:
        """Which are taken for what they are, [n]."""
        return np.equal(self.best, self.truth)

    @property
    def weights(self) -> Confidences:
        """How much each counts, [n], so that the outsiders, if there are any, are half of the stream."""
        inside = self.inside
        n_inside, n_outside = int(inside.sum()), int((~inside).sum())
        return np.where(inside, 1.0, n_inside / n_outside if n_outside and n_inside else 1.0)

    def measure(self, target: float) -> Measured:
        """Compare with the truth."""
        inside, right, moved = self.inside, self.right & self.inside, self.moved
        return Measured(
            accuracy=float(right[inside].mean()) if inside.any() else 0.0,
            coverage=float(moved[inside].mean()) if inside.any() else 0.0,
            precision=_share(right, moved & inside),
            oracle_coverage=self._oracle(target),
            outsiders_moved=_share(moved, ~inside),
            precision_over_all=_share(right, moved, self.weights),
        )

    def keeps(self, target: float) -> bool:
        """Tell whether the moves are not fewer right than promised, by a one-sided binomial test at 5 %."""
        moves = int(self.moved.sum())
        share = _share(self.right & self.inside, self.moved, self.weights)
        if share is None:
            return True
        return chance_of_at_most(round(share * moves), moves, target) >= UNLIKELY

    def _oracle(self, target: float) -> float:
        """Rank all by the score, move as many of the best as keep the target: the share of the insiders moved."""
        order = np.argsort(-self.confidence, kind="stable")
        weights, inside = self.weights[order], self.inside[order]
        right = (self.right[order] & inside) * weights
        keeps = np.flatnonzero(np.cumsum(right) >= target * np.cumsum(weights) - 1e-9)
        return float(inside[: keeps[-1] + 1].sum() / max(1, inside.sum())) if len(keeps) else 0.0


def measured(data: Embeddings, plan: Plan) -> dict[str, Any]:
    """Draw, learn and judge as often as planned; plain values, as `sortd evaluate --json` prints them.

    Raises UnusableEmbeddings.
    """
    drawn = [draw(data, plan, seed=seed, engine=learned_sorter) for seed in range(plan.draws)]
    return told(drawn, plan)


def told(drawn: Sequence[Drawn], plan: Plan) -> dict[str, Any]:
    """What came of the draws, as plain values."""
    results = [one.measure(plan.target) for one in drawn]
    names = sorted({name for one in drawn for name in one.categories})
    return {
        "draws": [asdict(one) for one in results],
        "mean": {name: _mean([asdict(one)[name] for one in results]) for name in Measured.__slots__},
        "kept": float(np.mean([one.keeps(plan.target) for one in drawn])),
        "categories": [_category(name, drawn) for name in names],
    }


def draw(data: Embeddings, plan: Plan, *, seed: int, engine: Sorter) -> Drawn:
    """File some examples of each category, pass some outsiders over, learn, and decide the test rows.

    Raises UnusableEmbeddings where the examples allow no classifier.
    """
    random = np.random.default_rng(seed)
    testing = data.split if data.split is not None else _drawn_split(data.names, random)
    order = random.permutation(np.flatnonzero(~testing))
    outside = np.isin(data.names, [OUTSIDER, *plan.outsiders])
    names = np.unique(data.names[~outside])
    if not len(names):
        raise UnusableEmbeddings("nothing is filed in any category, so there is nothing to learn from")
    filed = np.concatenate([order[data.names[order] == name][: plan.per_category] for name in names])
    passed_over = order[outside[order]][: plan.passed_over]
    stream = np.flatnonzero(testing)
    if not len(stream):
        raise UnusableEmbeddings("there are too few examples to hold any out for testing")
    labels = TrainingSet(
        data.space,
        data.vectors[filed],
        [CategoryName(name) for name in data.names[filed].tolist()],
        [Fingerprint(str(row)) for row in filed],
        passed_over=data.vectors[passed_over],
        unsorted=data.vectors[stream],
    )
    best, confidence, moved = engine(labels, data.vectors[stream], plan, seed)
    return Drawn(data.names[stream], best, confidence, moved, tuple(np.unique(data.names[filed]).tolist()))


def learned_sorter(labels: TrainingSet, stream: Matrix, plan: Plan, seed: int) -> Decided:
    """Train and decide as the service does."""
    try:
        classifier = train(labels, target_precision=plan.target, targets={}, candidates=plan.candidates, seed=seed)
    except NothingToLearn as no:
        raise UnusableEmbeddings(str(no)) from no
    predictions = classifier.predict_all(stream)
    decisions = [
        decide(prediction, classifier.policy, vetoes=(), examples=classifier.examples, trust={})
        for prediction in predictions
    ]
    return (
        np.array([prediction.best for prediction in predictions], np.str_),
        np.array([prediction.confidence for prediction in predictions], np.float64),
        np.array([isinstance(decision, MoveTo) for decision in decisions], np.bool_),
    )


def _drawn_split(names: Names, random: np.random.Generator) -> BoolVector:
    """Which rows are for testing, a like share of every category: [n]."""
    testing = np.zeros(len(names), np.bool_)
    for name in np.unique(names):
        rows = random.permutation(np.flatnonzero(names == name))
        testing[rows[: round(TEST_SHARE * len(rows))]] = True
    return testing


def _share(which: BoolVector, among: BoolVector, weights: Confidences | None = None) -> float | None:
    """How large a part of these is so; None: there are none."""
    counts = np.ones(len(which)) if weights is None else weights
    total = float(counts[among].sum())
    return float(counts[which & among].sum() / total) if total else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _category(name: str, drawn: Sequence[Drawn]) -> Mapping[str, Any]:
    """How one category fared over all draws."""
    own = [one.moved[one.truth == name] for one in drawn]
    into = [one.moved & (one.best == name) for one in drawn]
    wrong = sum(int((moved & (one.truth != name)).sum()) for moved, one in zip(into, drawn, strict=True))
    moves = sum(int(moved.sum()) for moved in into)
    return {
        "name": name,
        "coverage": float(np.concatenate(own).mean()) if sum(map(len, own)) else None,
        "moved": moves,
        "wrongly": wrong,
        "precision": 1 - wrong / moves if moves else None,
    }
