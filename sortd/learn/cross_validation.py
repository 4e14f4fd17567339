"""Predict videos by classifiers that have seen neither them nor their like.

Two views of the same labels: held out one fold at a time they are videos that belong; with their whole category left
out they are outsiders, whose like can be had from any library, though nobody ever passed a video over in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain.feature import Matrix, Vector
from sortd.judgement.calibration import softmax, temperature_for
from sortd.judgement.novelty import (
    HALF,
    are_far,
    as_the_unsorted,
    balanced,
    marks,
    mean_of_outsiders,
    share_of_outsiders,
)
from sortd.judgement.thresholds import BoolVector
from sortd.learn.classifier import Layer, layer_scores, neighbour_scores
from sortd.learn.folds import Numbers

Fit = Callable[[Matrix, Numbers, int], tuple[Layer, ...]]
"""From inputs [n, components], owners [n] and a seed to layers; none for nearest neighbours."""

_NEVER = -1e4
_GROUPS = 10
_FEWER_GROUPS = 5
_MANY = 500
_IMAGINED = 8
"""So many videos passed over count as much as all that are left out."""
_LEAST_SHARE = 0.1
SUREST = 0.4
"""This part of the known videos, the surest, may move while outsiders seem to come and none was passed over yet.

Nothing tells then how like a category they may be: one that was never filed can look like another more than any two
that are.
"""


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidationData:
    """The labels and the outsiders, made ready once for all candidates and folds: n examples."""

    owners: Numbers
    """[n], the category of each; outsiders have the number after the last."""
    n_categories: int
    likenesses: Matrix
    """[n, n], -1 to itself and to those it is held out with."""
    inputs: Matrix
    """[n, components], centred, turned and scaled for the candidates with layers."""
    folds: Numbers
    """[n], the fold in which each is held out; -1: never, for its category has nothing else."""
    seed: int
    named: Numbers
    """[m], categories whose names are known as examples too."""
    names: Matrix
    """[m, components], as `inputs`."""

    def taught(self, fitted: BoolVector, seen: Numbers) -> tuple[Matrix, Numbers]:
        """What to fit to: the inputs of some examples and the names of what was seen; owners as numbers in `seen`."""
        known = np.isin(self.named, seen)
        owners = np.append(self.owners[fitted], self.named[known])
        return np.concatenate([self.inputs[fitted], self.names[known]]), np.searchsorted(seen, owners)

    @property
    def n_outputs(self) -> int:
        """One for each category, and one for the outsiders if any are known."""
        return max(self.n_categories, int(self.owners.max()) + 1)

    @property
    def held(self) -> BoolVector:
        """Which are held out at some time, [n]."""
        return np.greater_equal(self.folds, 0)

    def nearest(self, rows: Numbers) -> Matrix:
        """Likeness of these rows to the nearest example of each output, [rows, outputs]."""
        likenesses = self.likenesses[rows]
        columns = [likenesses[:, self.owners == number].max(axis=1) for number in range(self.n_outputs)]
        return np.stack(columns, axis=1)


def held_out_scores(fit: Fit, lesson: CrossValidationData) -> Matrix:
    """Scores of each example by a classifier that was fitted to the other folds: [n, outputs]."""
    scores = np.zeros((len(lesson.owners), lesson.n_outputs), np.float32)
    for fold in np.unique(lesson.folds[lesson.held]):
        held = lesson.folds == fold
        seen, known = _scores(fit, lesson, fitted=~held, asked=held)
        if len(seen) == 1:
            continue  # the other one's only examples are held out: equal scores, which nobody is sure of
        scores[held] = known.min(axis=1, keepdims=True)  # a category that was not seen cannot win
        scores[np.ix_(held, seen)] = known
    return scores


def left_out_scores(fit: Fit, lesson: CrossValidationData) -> tuple[Numbers, Matrix]:
    """Rows of labels [m], and their scores [m, outputs] by a classifier that does not know their category."""
    rows, scores = [np.empty(0, np.intp)], [np.empty((0, lesson.n_outputs), np.float32)]
    for left_out in _groups(lesson):
        asked = np.isin(lesson.owners, left_out)
        seen, known = _scores(fit, lesson, fitted=~asked, asked=asked)
        if not (seen < lesson.n_categories).any():
            continue
        rows.append(np.flatnonzero(asked))
        scores.append(np.full((len(rows[-1]), lesson.n_outputs), _NEVER, np.float32))
        scores[-1][:, seen] = known
    return np.concatenate(rows), np.concatenate(scores)


def _groups(lesson: CrossValidationData) -> Iterator[Numbers]:
    """Categories left out together: one at a time, or a few where there are many."""
    most = _GROUPS if len(lesson.owners) <= _MANY else _FEWER_GROUPS
    dealt = np.random.default_rng(lesson.seed).permutation(lesson.n_categories)
    yield from (dealt[first::most] for first in range(min(most, lesson.n_categories)))


def _scores(fit: Fit, lesson: CrossValidationData, *, fitted: BoolVector, asked: BoolVector) -> tuple[Numbers, Matrix]:
    """Outputs that were seen in fitting [s], and scores for them [asked, s]."""
    seen, owners = np.unique(lesson.owners[fitted], return_inverse=True)
    if len(seen) == 1:
        return seen, np.zeros((int(asked.sum()), 1), np.float32)
    layers = fit(*lesson.taught(fitted, seen), lesson.seed)
    if layers:
        return seen, layer_scores(lesson.inputs[asked], layers)
    return seen, neighbour_scores(lesson.likenesses[np.ix_(asked, fitted)], owners, n_categories=len(seen))


def calibrated(scores: Matrix, lesson: CrossValidationData) -> Matrix:
    """Probabilities of the held-out, each fold at the temperature that suits the others: [held, outputs]."""
    held = lesson.held
    probabilities = np.zeros_like(scores)
    for fold in np.unique(lesson.folds[held]):
        others, here = held & (lesson.folds != fold), lesson.folds == fold
        probabilities[here] = softmax(scores[here], temperature_for(scores[others], lesson.owners[others]))
    return probabilities[held]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What came of n examples, held out or left out; which of them are outsiders, and how much each counts."""

    truth: Numbers
    """[n], the category of each; -1: an outsider."""
    predicted: Numbers
    probabilities: Matrix
    """[n, categories], if it belongs to one."""
    marks: Matrix
    """[n, marks]"""
    weights: Vector
    outsiders: float
    """The share of the stream that is thought to belong nowhere."""
    most: float
    """The share of the examples that may move at most."""


def try_out(
    lesson: CrossValidationData, fit: Fit, scores: Matrix, *, temperature: float, unsorted: Matrix | None
) -> Trial:
    """Put the held-out labels and the outsiders together as the stream of new videos may be.

    `scores` are those of the held-out, `unsorted` the marks [m, marks] of the unsorted videos, None: too few to tell.
    """
    held = np.flatnonzero(lesson.held)
    belongs = lesson.owners[held] < lesson.n_categories
    inside = _part(lesson, held[belongs], scores[held[belongs]])
    signs = HALF if unsorted is None else share_of_outsiders(inside.marks[:, 0], unsorted[:, 0])
    if unsorted is not None and not signs and belongs.all():
        weights = as_the_unsorted(inside.marks[:, 0], unsorted[:, 0])
        return _joined(lesson, [inside], weights, temperature=temperature, share=0.0)
    known = _part(lesson, held[~belongs], scores[held[~belongs]])
    imagined = _part(lesson, *left_out_scores(fit, lesson))
    # One category alone is always sure: that says nothing.
    alone = (imagined.scores > _NEVER).sum(axis=1) == 1
    imagined.marks[alone, 0] = np.median(inside.marks[:, 0])
    likenesses = [part.marks[:, 1] for part in (inside, known, imagined)]
    at_least, most = max(signs, _LEAST_SHARE), 1.0
    if len(known.rows):
        weights = balanced(likenesses[2], float(likenesses[1].mean()))
    elif unsorted is not None and are_far(likenesses[0], likenesses[2], unsorted[:, 1], at_least):
        weights = balanced(likenesses[2], mean_of_outsiders(likenesses[0], unsorted[:, 1], at_least))
    else:
        weights = np.ones(len(imagined.rows), np.float32)
        most = 1.0 if unsorted is None else SUREST
    weights = np.append(np.ones(len(known.rows)), weights * _IMAGINED / max(1, len(weights)))
    share = max(HALF, signs)
    weights *= share / (1 - share) * len(inside.rows) / weights.sum()
    weights = np.append(np.ones(len(inside.rows)), weights)
    return _joined(lesson, [inside, known, imagined], weights, temperature=temperature, share=share, most=most)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    rows: Numbers
    scores: Matrix
    marks: Matrix


def _part(lesson: CrossValidationData, rows: Numbers, scores: Matrix) -> _Part:
    return _Part(rows, scores, marks(scores, lesson.nearest(rows), n_categories=lesson.n_categories))


def _joined(
    lesson: CrossValidationData,
    parts: Sequence[_Part],
    weights: NDArray[np.floating[Any]],
    *,
    temperature: float,
    share: float,
    most: float = 1.0,
) -> Trial:
    """Make one trial of the parts, of which the first holds those that belong."""
    inside, *_ = parts
    scores = np.concatenate([part.scores for part in parts])[:, : lesson.n_categories]
    return Trial(
        truth=np.append(lesson.owners[inside.rows], np.full(len(weights) - len(inside.rows), -1)),
        predicted=scores.argmax(axis=1),
        probabilities=softmax(scores, temperature),
        marks=np.concatenate([part.marks for part in parts]),
        weights=weights.astype(np.float32),
        outsiders=share,
        most=most,
    )
