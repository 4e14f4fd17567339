"""Fit the candidates on folds, choose one, and set from the data the limits that a move must meet.

Every number that decides about moves comes from examples that were held out, near-duplicates together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from sortd.domain.category import CategoryName
from sortd.domain.decision import Policy
from sortd.domain.errors import SortdError
from sortd.domain.feature import FeatureSpace, Matrix, Vector
from sortd.judgement.calibration import CalibrationData, CandidateReport, TrainingReport, policy_for, temperature_for
from sortd.judgement.category_report import category_reports, suspects
from sortd.judgement.novelty import FEW, reckoned_with
from sortd.judgement.thresholds import BoolVector, movable
from sortd.learn.classifier import Classifier, Layer, centre, likeness, presence, unit_parts
from sortd.learn.classifier_candidates import CANDIDATES, best_of, fit
from sortd.learn.cross_validation import CrossValidationData, Trial, calibrated, held_out_scores, try_out
from sortd.learn.folds import Numbers, folds_for, series_of, twins_of
from sortd.learn.name_examples import name_rows
from sortd.learn.training_data import TrainingSet

MIN_EXAMPLES = 4
"""Distinct examples from which on a category may get automatic moves."""

SAMPLE = 6000
"""So many labels are learned from at most, the largest categories giving way first: bounds time and memory."""

OUTSIDERS = 500
"""So many of the videos passed over are learned from at most."""

UNSORTED = 1000
"""So many of the unsorted are looked at."""

_ALL_EQUAL = 1e-3
_COMPONENTS = 256


class NothingToLearn(SortdError):
    """The labels allow no classifier; the message says why, for the owner."""


def train(
    data: TrainingSet,
    *,
    target_precision: float,
    targets: Mapping[CategoryName, float],
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
        chosen, labelled, vectors = _examples(data, categories, seed)
        _check_learnable(categories, vectors)
        space = data.space
        outsiders, unsorted = (
            _some(rows, space, most=most, seed=seed)
            for rows, most in ((data.passed_over, OUTSIDERS), (data.unsorted, UNSORTED))
        )
        rows = np.concatenate([vectors, outsiders])
        owners = np.append(labelled, np.full(len(outsiders), len(categories)))
        likenesses = likeness(rows, rows, space)
        twins = twins_of(rows, owners, likenesses, space=space)
        distinct = np.array([len(np.unique(twins[owners == number])) for number in range(len(categories))])
        series, closeness = series_of(
            owners,
            twins,
            likenesses,
            n_categories=len(categories),
            unsorted_nearest=_nearest(unsorted, rows, owners < len(categories), space),
        )
        mean = _mean(vectors, space)
        named, names = name_rows(data.names, categories, labelled, vectors, space=space)
        names = centre(names, mean, space)
        turn, inputs = _turned(centre(rows, mean, space), names, seed)
        folds = folds_for(owners, series, seed=seed)
        lesson = CrossValidationData(owners, len(categories), likenesses, inputs, folds, seed, named, names @ turn)
        inside = lesson.held & (owners < len(categories))
        if not inside.any():
            raise NothingToLearn("every category has only one example so far, so nothing can be tested")

        scores = {kind: held_out_scores(CANDIDATES[kind], lesson) for kind in candidates}
        tried = {kind: calibrated(scores[kind], lesson) for kind in candidates}
        losses = {kind: _losses(probabilities, lesson) for kind, probabilities in tried.items()}
        reports = tuple(
            CandidateReport(kind, _accuracy(tried[kind], lesson), float(losses[kind].mean())) for kind in candidates
        )
        best = best_of(losses, {kind: _movable(tried[kind], lesson, target_precision) for kind in candidates})
        temperature = temperature_for(scores[best][lesson.held], owners[lesson.held])
        draft = Classifier(
            space=space,
            categories=categories,
            kind=best,
            temperature=temperature,
            mean=mean,
            layers=_with_turn(turn, CANDIDATES[best](*lesson.taught(owners >= 0, np.unique(owners)), seed)),
            vectors=vectors.astype(np.float16),
            owners=labelled.astype(np.int32),
            outsiders=outsiders.astype(np.float16),
            chances=(),
            policy=Policy({}),
            examples=dict(counts),
            report=TrainingReport(best, len(data.categories), 0.0, 0.0, None, target_precision, (), reports, 0.0),
        )
        stream = draft.marks_of(unsorted) if len(unsorted) >= FEW else None
        trial = try_out(lesson, CANDIDATES[best], scores[best], temperature=temperature, unsorted=stream)
        chances = _chances(trial)
    told = replace(draft, chances=chances)
    among = reckoned_with(trial.probabilities, told.chance(trial.marks)) if chances else trial.probabilities
    second, first = np.sort(among, axis=1)[:, -2:].T
    evidence = CalibrationData(
        categories=categories,
        labels=np.array([counts[name] for name in categories]),
        distinct=distinct,
        truth=trial.truth,
        predicted=trial.predicted,
        confidence=first,
        margin=first - second,
        distance=1 - trial.marks[:, 1],
        weights=trial.weights,
        most=trial.most,
    )
    policy = policy_for(evidence, target_precision=target_precision, targets=targets, min_examples=MIN_EXAMPLES)
    moved, right = evidence.moved(policy)[evidence.inside], evidence.correct[evidence.inside]
    taken_for = zip(chosen[np.flatnonzero(inside)], evidence.predicted[evidence.inside], strict=True)
    return replace(
        told,
        policy=policy,
        closeness=closeness,
        answers=dict.fromkeys(data.fingerprints)
        | {data.fingerprints[row]: categories[number] for row, number in taken_for},
        report=replace(
            told.report,
            accuracy=float(right.mean()),
            coverage=float(moved.mean()),
            precision=float(right[moved].mean()) if moved.any() else None,
            categories=category_reports(evidence, policy, target_precision=target_precision, targets=targets),
            outsiders=trial.outsiders,
            suspects=suspects(
                evidence, trial.probabilities, videos=[data.fingerprints[row] for row in chosen], held=lesson.held
            ),
        ),
    )


def _chances(trial: Trial) -> tuple[float, ...]:
    """Join the marks to one chance of being right: slopes and constant, none where all or nothing was right.

    Without outsiders likeness tells little: then the log-odds alone decide.
    """
    right = trial.predicted == trial.truth
    if right.all() or not right.any():
        return ()
    used = trial.marks[:, : None if trial.outsiders else 1]
    spread = np.maximum(used.std(axis=0), 1e-6)
    fitted = LogisticRegression(C=1.0, max_iter=300)
    fit(fitted, used / spread, right, trial.weights)
    slopes = np.zeros(trial.marks.shape[1])
    slopes[: used.shape[1]] = fitted.coef_[0] / spread
    return (*map(float, slopes), float(fitted.intercept_[0]))


def _some(rows: Matrix | None, space: FeatureSpace, *, most: int, seed: int) -> Matrix:
    """Unit parts of at most so many of the rows, [n, dim], as the classifier keeps them."""
    if rows is None:
        return np.zeros((0, space.dim), np.float32)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    return _as_kept(rows[chosen], space)


def _nearest(unsorted: Matrix, rows: Matrix, labelled: BoolVector, space: FeatureSpace) -> Vector | None:
    """Likeness of the unsorted to their nearest label, without those that are nearer to a known outsider: [<= n].

    None: they are too few to tell.
    """
    if len(unsorted) < FEW:
        return None
    likenesses = likeness(unsorted, rows, space)
    nearest: Vector = likenesses[:, labelled].max(axis=1)
    belongs = nearest > likenesses[:, ~labelled].max(axis=1, initial=-np.inf)
    return nearest[belongs] if belongs.any() else nearest


def _as_kept(vectors: Matrix, space: FeatureSpace) -> Matrix:
    """In the precision that the classifier keeps, so that what is measured here is what it will say."""
    return unit_parts(unit_parts(vectors, space).astype(np.float16).astype(np.float32), space)


def _examples(data: TrainingSet, categories: tuple[CategoryName, ...], seed: int) -> tuple[Numbers, Numbers, Matrix]:
    """Rows, owners and unit parts of the labels to learn from, at most SAMPLE, in the order of their categories."""
    number = {name: i for i, name in enumerate(categories)}
    owners = np.array([number[name] for name in data.categories], dtype=np.intp)
    random = np.random.default_rng(seed)
    members = [random.permutation(np.flatnonzero(owners == i)) for i in range(len(categories))]
    share = max((len(rows) for rows in members), default=0)
    while sum(min(share, len(rows)) for rows in members) > max(SAMPLE, len(members)):
        share = share * 9 // 10
    chosen = np.concatenate([np.sort(rows[:share]) for rows in members]) if members else np.empty(0, np.intp)
    return chosen, owners[chosen], _as_kept(np.asarray(data.vectors)[chosen], data.space)


def _check_learnable(categories: tuple[CategoryName, ...], vectors: Matrix) -> None:
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


def _turned(centred: Matrix, names: Matrix, seed: int) -> tuple[Matrix, Matrix]:
    """Turn the rows into the few directions in which they and the names differ: [dim, components], [n, components].

    That is no loss below 256 examples, a small one above, and saves most of the time of the fits.
    """
    everything = np.concatenate([centred, names])
    components = min(_COMPONENTS, *everything.shape)
    turn = PCA(components, random_state=seed).fit(everything).components_.T
    turned = centred @ turn
    # Of a length at which regularisation and learning rate below are right, whatever the encoder.
    scale = 3 / np.sqrt((turned**2).sum(axis=1).mean())
    return (turn * scale).astype(np.float32), (turned * scale).astype(np.float32)


def _with_turn(turn: Matrix, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Let the first layer take vectors as they come, not turned."""
    if not layers:
        return ()
    (weights, bias), *rest = layers
    return ((turn @ weights).astype(np.float32), bias.astype(np.float32)), *rest


def _accuracy(probabilities: Matrix, lesson: CrossValidationData) -> float:
    """The share of the labels that were recognised."""
    truth = lesson.owners[lesson.held]
    inside = truth < lesson.n_categories
    return float((probabilities[inside, : lesson.n_categories].argmax(axis=1) == truth[inside]).mean())


def _losses(probabilities: Matrix, lesson: CrossValidationData) -> Vector:
    """Logarithmic loss of each of the held-out, so that in the mean each category counts alike: [held]."""
    truth = lesson.owners[lesson.held]
    own = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)
    _, category, sizes = np.unique(truth, return_inverse=True, return_counts=True)
    return (-np.log(own) * len(truth) / (len(sizes) * sizes[category])).astype(np.float32)


def _movable(probabilities: Matrix, lesson: CrossValidationData, target_precision: float) -> int:
    """How many labels could move by these probabilities alone, were every second video an outsider if any are known."""
    truth = lesson.owners[lesson.held]
    inside = truth < lesson.n_categories
    known = probabilities[:, : lesson.n_categories]
    confidence, right = known.max(axis=1), known.argmax(axis=1) == truth
    weights = np.where(inside, 1.0, inside.sum() / max(1, (~inside).sum())).astype(np.float32)
    return movable(confidence, right, target_precision, weights)
