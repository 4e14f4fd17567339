"""Fit the candidates on folds, choose one, and set from the data the limits that a move must meet.

Every number that decides about moves comes from examples that were held out: each label is predicted by a classifier
that has not seen it, nor a near-duplicate of it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from sortd.domain import Category, FeatureSpace, Matrix, TrainingSet, Vector
from sortd.errors import SortdError
from sortd.judgement.calibrate import (
    CandidateReport,
    Evidence,
    Report,
    category_reports,
    policy_for,
    softmax,
    temperature_for,
)
from sortd.learn.classifier import (
    Classifier,
    Layer,
    centre,
    digest_of,
    layer_scores,
    likeness,
    neighbour_scores,
    presence,
    unit_parts,
)
from sortd.learn.folds import Numbers, folds_for, twins_of

MIN_EXAMPLES = 4
"""Distinct examples from which on a category may get automatic moves."""

SAMPLE = 6000
"""So many labels are learned from at most, the largest categories giving way first: bounds time and memory."""

_ALL_EQUAL = 1e-3
_COMPONENTS = 256
_MLP_STEPS = 1500
_NO_DIFFERENCE = 0.02


class NothingToLearn(SortdError):
    """The labels allow no classifier; the message says why, for the owner."""


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """The labels, made ready once for all candidates and folds: n examples in the order of their categories."""

    owners: Numbers
    """[n], the category of each."""
    n_categories: int
    likenesses: Matrix
    """[n, n], -1 to itself and to its near-duplicates."""
    inputs: Matrix
    """[n, components], centred, turned and scaled for the candidates with layers."""
    folds: Numbers
    """[n], the fold in which each is held out; -1: never, for its category has nothing else."""
    seed: int


def train(
    data: TrainingSet,
    *,
    target_precision: float,
    targets: Mapping[Category, float],
    candidates: Sequence[str],
    seed: int,
) -> Classifier:
    """Learn from the owner's labels; `targets` are the categories that ask for another precision than the rest.

    Raises NothingToLearn. A category with too little evidence takes part but gets no automatic moves; the report says
    why.
    """
    # One thread: the daemon's machine has other work, and threads that wait for a busy core cost more than they give.
    with threadpool_limits(1):
        counts = Counter(data.categories)
        categories = tuple(sorted(counts))
        owners, vectors = _examples(data, categories, seed)
        _check_learnable(categories, vectors)
        space = data.space
        likenesses = likeness(vectors, vectors, space)
        twins = twins_of(vectors, owners, likenesses, space=space)
        likenesses[twins[:, None] == twins] = -1
        mean = _mean(vectors, space)
        turn, inputs = _turned(centre(vectors, mean, space), seed)
        lesson = _Lesson(owners, len(categories), likenesses, inputs, folds_for(owners, twins, seed=seed), seed)
        held = lesson.folds >= 0
        distinct = np.array([len(np.unique(twins[owners == number])) for number in range(len(categories))])
        if not held.any():
            raise NothingToLearn("every category has only one example so far, so nothing can be tested")

        scores = {kind: _held_out_scores(kind, lesson) for kind in candidates}
        probabilities = {kind: _calibrated(scores[kind], lesson) for kind in candidates}
        reports = tuple(_candidate_report(kind, probabilities[kind], owners[held]) for kind in candidates)
        best = min(reports, key=_handicapped_loss).kind
        evidence = Evidence(
            categories=categories,
            labels=np.array([counts[name] for name in categories]),
            distinct=distinct,
            truth=owners[held],
            probabilities=probabilities[best],
            distances=1 - _nearest(likenesses[held], owners, len(categories)),
        )
        policy = policy_for(evidence, target_precision=target_precision, targets=targets, min_examples=MIN_EXAMPLES)
        moved = evidence.moved(policy)
        layers = CANDIDATES[best](inputs, owners, seed)
    return Classifier(
        space=space,
        categories=categories,
        kind=best,
        temperature=temperature_for(scores[best][held], owners[held]),
        mean=mean,
        layers=_with_turn(turn, layers),
        vectors=vectors.astype(np.float16),
        owners=owners.astype(np.int32),
        policy=policy,
        examples=dict(counts),
        report=Report(
            kind=best,
            labels=len(data.categories),
            accuracy=float(evidence.correct.mean()),
            coverage=float(moved.mean()),
            precision=float(evidence.correct[moved].mean()) if moved.any() else None,
            target_precision=target_precision,
            categories=category_reports(evidence, policy),
            candidates=reports,
        ),
        digest=digest_of(data, target_precision=target_precision, targets=targets, candidates=candidates),
    )


def _examples(data: TrainingSet, categories: tuple[Category, ...], seed: int) -> tuple[Numbers, Matrix]:
    """Owners and unit parts of the labels to learn from, at most SAMPLE, in the order of their categories."""
    number = {name: i for i, name in enumerate(categories)}
    owners = np.array([number[name] for name in data.categories], dtype=np.intp)
    random = np.random.default_rng(seed)
    members = [random.permutation(np.flatnonzero(owners == i)) for i in range(len(categories))]
    share = max((len(rows) for rows in members), default=0)
    while sum(min(share, len(rows)) for rows in members) > max(SAMPLE, len(members)):
        share = share * 9 // 10
    chosen = np.concatenate([np.sort(rows[:share]) for rows in members]) if members else np.empty(0, np.intp)
    # As the classifier keeps them, so that what is measured here is what it will say.
    halves = unit_parts(np.asarray(data.vectors)[chosen], data.space).astype(np.float16)
    return owners[chosen], unit_parts(halves.astype(np.float32), data.space)


def _check_learnable(categories: tuple[Category, ...], vectors: Matrix) -> None:
    if not categories:
        raise NothingToLearn("nothing is filed yet")
    if len(categories) == 1:
        raise NothingToLearn("only one category has videos so far: there is nothing to tell it from")
    if np.ptp(vectors, axis=0).max() < _ALL_EQUAL:
        raise NothingToLearn("all filed videos look and sound the same to the encoder: nothing tells them apart")


def _mean(vectors: Matrix, space: FeatureSpace) -> Vector:
    """Mean of each part over the rows that have it, [dim]."""
    widths = [part.dim for part in space.parts]
    having = np.repeat(np.maximum(presence(vectors, space).sum(axis=0), 1), widths)
    mean: Vector = vectors.sum(axis=0) / having
    return mean


def _turned(centred: Matrix, seed: int) -> tuple[Matrix, Matrix]:
    """Turn the rows into the few directions in which they differ: [dim, components] and [n, components].

    That is no loss below 256 examples, a small one above, and saves most of the time of the fits.
    """
    components = min(_COMPONENTS, *centred.shape)
    turn = PCA(components, random_state=seed).fit(centred).components_.T
    turned = centred @ turn
    # Of a length at which regularisation and learning rate below are right, whatever the encoder.
    scale = 3 / np.sqrt((turned**2).sum(axis=1).mean())
    return (turn * scale).astype(np.float32), (turned * scale).astype(np.float32)


def _no_layers(_inputs: Matrix, _owners: Numbers, _seed: int) -> tuple[Layer, ...]:
    """Nearest neighbours: the examples are the classifier."""
    return ()


def _logistic_regression(inputs: Matrix, owners: Numbers, seed: int) -> tuple[Layer, ...]:
    fitted = LogisticRegression(C=1.0, class_weight="balanced", max_iter=200, tol=1e-3, random_state=seed)
    _fit(fitted, inputs, owners)
    return (_two_columns(fitted.coef_.T, fitted.intercept_),)


def _two_hidden_layers(inputs: Matrix, owners: Numbers, seed: int) -> tuple[Layer, ...]:
    # It knows no weights: examples of a rare category are shown again, as often as those of an average one.
    sizes = np.bincount(owners)
    times = np.maximum(1, np.rint(sizes.mean() / sizes)).astype(np.intp)
    shown = np.repeat(np.arange(len(owners)), times[owners])
    epochs = int(np.clip(_MLP_STEPS * 32 / len(shown), 8, 100))
    fitted = MLPClassifier((128, 64), batch_size=min(32, len(shown)), max_iter=epochs, random_state=seed)
    _fit(fitted, inputs[shown], owners[shown])
    *hidden, last = zip(fitted.coefs_, fitted.intercepts_, strict=True)
    return (*hidden, _two_columns(*last))


CANDIDATES: Mapping[str, Callable[[Matrix, Numbers, int], tuple[Layer, ...]]] = {
    "knn": _no_layers,
    "logreg": _logistic_regression,
    "mlp": _two_hidden_layers,
}


class _Candidate(Protocol):
    def fit(self, inputs: Matrix, owners: Numbers) -> object: ...


def _fit(candidate: _Candidate, inputs: Matrix, owners: Numbers) -> None:
    with warnings.catch_warnings():
        # The number of steps is bounded on purpose; what comes of it is measured on held-out examples.
        warnings.simplefilter("ignore", ConvergenceWarning)
        candidate.fit(inputs, owners)


def _two_columns(weights: Matrix, bias: Vector) -> Layer:
    """Of two categories scikit-learn scores the second only: give the first a score of zero."""
    if len(bias) == 1:
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.append(0, bias)
    return weights.astype(np.float32), bias.astype(np.float32)


def _with_turn(turn: Matrix, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Let the first layer take vectors as they come, not turned."""
    if not layers:
        return ()
    (weights, bias), *rest = layers
    return ((turn @ weights).astype(np.float32), bias.astype(np.float32)), *rest


def _held_out_scores(kind: str, lesson: _Lesson) -> Matrix:
    """Scores of each example by a classifier that was fitted to the other folds: [n, categories]."""
    scores = np.zeros((len(lesson.owners), lesson.n_categories), np.float32)
    for fold in np.unique(lesson.folds[lesson.folds >= 0]):
        held = lesson.folds == fold
        seen, owners = np.unique(lesson.owners[~held], return_inverse=True)
        if len(seen) == 1:
            continue  # the other one's only examples are held out: equal scores, which nobody is sure of
        layers = CANDIDATES[kind](lesson.inputs[~held], owners, lesson.seed)
        if layers:
            known = layer_scores(lesson.inputs[held], layers)
        else:
            known = neighbour_scores(lesson.likenesses[np.ix_(held, ~held)], owners, n_categories=len(seen))
        scores[held] = known.min(axis=1, keepdims=True)  # a category that was not seen cannot win
        scores[np.ix_(held, seen)] = known
    return scores


def _calibrated(scores: Matrix, lesson: _Lesson) -> Matrix:
    """Probabilities of the held-out, each fold at the temperature that suits the others: [held, categories]."""
    held = lesson.folds >= 0
    probabilities = np.zeros_like(scores)
    for fold in np.unique(lesson.folds[held]):
        others, here = held & (lesson.folds != fold), lesson.folds == fold
        probabilities[here] = softmax(scores[here], temperature_for(scores[others], lesson.owners[others]))
    return probabilities[held]


def _candidate_report(kind: str, probabilities: Matrix, truth: Numbers) -> CandidateReport:
    own = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)
    losses = [float(-np.log(own[truth == number]).mean()) for number in np.unique(truth)]
    return CandidateReport(kind, float((probabilities.argmax(axis=1) == truth).mean()), float(np.mean(losses)))


def _handicapped_loss(report: CandidateReport) -> float:
    """Logarithmic loss, with a start for logistic regression: where all are nearly faultless the loss tells nothing.

    Of the three its confidence falls off most gently between two categories; the neighbours' is all or nothing.
    """
    return report.log_loss - (_NO_DIFFERENCE if report.kind == "logreg" else 0.0)


def _nearest(likenesses: Matrix, owners: Numbers, n_categories: int) -> Matrix:
    """Likeness to the nearest example of each category, [n, categories]."""
    return np.stack([likenesses[:, owners == number].max(axis=1) for number in range(n_categories)], axis=1)
