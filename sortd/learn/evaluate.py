"""How good the sorter is: draws of a few examples a category, judged by the very code that trains and decides.

In each draw some examples are filed, some outsiders passed over, and the test rows come as the stream of new videos:
without their names they are also the unsorted videos that a training may look at.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain import Category, FeatureSpace, Fingerprint, Matrix, MoveTo, Part, TrainingSet
from sortd.errors import SortdError
from sortd.judgement.calibrate import BoolVector
from sortd.judgement.chance import at_most
from sortd.judgement.decide import decide
from sortd.learn.candidates import CANDIDATES
from sortd.learn.train import NothingToLearn, train

OUTSIDER = ""
"""The name of a row that belongs to no category."""

TEST_SHARE = 0.3
"""Of the rows of a file that does not say which are for testing."""

UNLIKELY = 0.05

Names = NDArray[np.str_]
Rows = NDArray[np.intp]
Confidences = NDArray[np.float64]
Decided = tuple[Names, Confidences, BoolVector]
"""Of each row of a stream: the likeliest category, how sure that is, whether it moves."""


class UnusableEmbeddings(SortdError):
    """The file does not hold what is asked for; the message says what."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Rows of numbers [n, dim] with the names of their categories; `split`: which are for testing, None: drawn."""

    vectors: Matrix
    names: Names
    split: BoolVector | None
    space: FeatureSpace
    titles: Mapping[str, str] = field(default_factory=dict)
    """What else the file calls its categories."""

    def called(self, names: Iterable[str]) -> tuple[str, ...]:
        """Find categories by name or title. Raises UnusableEmbeddings."""
        found = [self.titles.get(name, name) for name in names]
        unknown = sorted(set(found) - set(self.names.tolist()))
        if unknown:
            raise UnusableEmbeddings(f"there is no category named {', '.join(unknown)}")
        return tuple(found)

    @classmethod
    def read(cls, path: Path) -> Embeddings:
        """Read X and y, and split (1 train, 2 test) if there is one; or X_train, y_train, X_test and y_test.

        A y of -1 is an outsider. Raises UnusableEmbeddings.
        """
        try:
            with path.open("rb") as opened:
                if not zipfile.is_zipfile(opened):  # what is none, numpy takes for a pickle
                    raise UnusableEmbeddings(f"{path} is no .npz file")
                with np.load(opened, allow_pickle=False) as file:
                    arrays = {name: file[name] for name in file.files}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise UnusableEmbeddings(f"{path} cannot be read as .npz: {error}") from error
        if {"X_train", "y_train", "X_test", "y_test"} <= set(arrays):
            try:
                vectors = np.concatenate([arrays["X_train"], arrays["X_test"]])
                classes = np.concatenate([arrays["y_train"], arrays["y_test"]])
            except ValueError as error:
                raise UnusableEmbeddings(f"{path}: what is for training and for testing differs in shape") from error
            split: BoolVector | None = np.arange(len(vectors)) >= len(arrays["X_train"])
        elif {"X", "y"} <= set(arrays):
            vectors, classes = arrays["X"], arrays["y"]
            split = arrays["split"] == 2 if "split" in arrays else None  # noqa: PLR2004 - as the format has it
        else:
            raise UnusableEmbeddings(f"{path} has neither X and y nor X_train, y_train, X_test and y_test")
        numbers = vectors.ndim == 2 and vectors.dtype.kind in "biuf" and np.isfinite(vectors).all()  # noqa: PLR2004
        if not numbers or classes.shape != vectors.shape[:1]:
            raise UnusableEmbeddings(f"{path}: X must be one row of finite numbers for each y")
        if not vectors.size:
            raise UnusableEmbeddings(f"{path} holds no numbers: X is empty")
        if split is not None and split.shape != classes.shape:
            raise UnusableEmbeddings(f"{path}: split must be one number for each y")
        space = FeatureSpace((Part("embedding", "1", vectors.shape[1]),))
        names = classes.astype(np.str_)
        titles = {str(title): str(number) for number, title in enumerate(arrays.get("class_names", ()))}
        return cls(vectors.astype(np.float32), np.where(names == "-1", OUTSIDER, names), split, space, titles)


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
        """Whether the moves are not fewer right than promised, by a one-sided binomial test at 5 %."""
        moves = int(self.moved.sum())
        share = _share(self.right & self.inside, self.moved, self.weights)
        if share is None:
            return True
        return at_most(round(share * moves), moves, target) >= UNLIKELY

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
    drawn = [draw(data, plan, seed=seed, sorter=sortd) for seed in range(plan.draws)]
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


def draw(data: Embeddings, plan: Plan, *, seed: int, sorter: Sorter) -> Drawn:
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
    labels = TrainingSet(
        data.space,
        data.vectors[filed],
        [Category(name) for name in data.names[filed].tolist()],
        [Fingerprint(str(row)) for row in filed],
        passed_over=data.vectors[passed_over],
        unsorted=data.vectors[stream],
    )
    best, confidence, moved = sorter(labels, data.vectors[stream], plan, seed)
    return Drawn(data.names[stream], best, confidence, moved, tuple(np.unique(data.names[filed]).tolist()))


def sortd(labels: TrainingSet, stream: Matrix, plan: Plan, seed: int) -> Decided:
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
