"""Fit each kind of classifier that is tried, with scikit-learn, and keep it as plain layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from sortd.domain.feature import Matrix, Vector
from sortd.judgement.thresholds import BoolVector
from sortd.learn.classifier import Layer
from sortd.learn.cross_validation import Fit
from sortd.learn.folds import Numbers

_MLP_STEPS = 1500


class _Candidate(Protocol):
    def fit(self, inputs: Matrix, owners: Numbers | BoolVector, *weights: Vector) -> object: ...


def fit(candidate: _Candidate, inputs: Matrix, owners: Numbers | BoolVector, *weights: Vector) -> None:
    """Fit to inputs [n, components], owners [n] and, where given, weights [n]; without complaints."""
    with warnings.catch_warnings():
        # Few steps on purpose, maybe many categories of one video: what comes of it is measured on held-out examples.
        warnings.simplefilter("ignore", UserWarning)
        candidate.fit(inputs, owners, *weights)


def _no_layers(_inputs: Matrix, _owners: Numbers, _seed: int) -> tuple[Layer, ...]:
    """Nearest neighbours: the examples are the classifier."""
    return ()


def _logistic_regression(inputs: Matrix, owners: Numbers, seed: int) -> tuple[Layer, ...]:
    fitted = LogisticRegression(C=3.0, class_weight="balanced", max_iter=200, tol=1e-3, random_state=seed)
    fit(fitted, inputs, owners)
    return (_two_columns(fitted.coef_.T, fitted.intercept_),)


def _two_hidden_layers(inputs: Matrix, owners: Numbers, seed: int) -> tuple[Layer, ...]:
    # It knows no weights: examples of a rare category are shown again, as often as those of an average one.
    sizes = np.bincount(owners)
    times = np.maximum(1, np.rint(sizes.mean() / sizes)).astype(np.intp)
    shown = np.repeat(np.arange(len(owners)), times[owners])
    epochs = int(np.clip(_MLP_STEPS * 32 / len(shown), 8, 100))
    fitted = MLPClassifier((128, 64), batch_size=min(32, len(shown)), max_iter=epochs, random_state=seed)
    fit(fitted, inputs[shown], owners[shown])
    *hidden, last = zip(fitted.coefs_, fitted.intercepts_, strict=True)
    return (*hidden, _two_columns(*last))


def _two_columns(weights: Matrix, bias: Vector) -> Layer:
    """Of two categories scikit-learn scores the second only: give the first a score of zero."""
    if len(bias) == 1:
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.append(0, bias)
    return weights.astype(np.float32), bias.astype(np.float32)


CANDIDATES: Mapping[str, Fit] = {
    "knn": _no_layers,
    "logreg": _logistic_regression,
    "mlp": _two_hidden_layers,
}


def best_of(losses: Mapping[str, Vector], movable: Mapping[str, int]) -> str:
    """The kind that could move most of the n held-out examples, of those whose mean loss is not plainly the greater.

    `losses` are [n] each. Few examples do not tell which kind is better: what is worse than the best by no more than a
    standard error is as good (Breiman, Friedman, Olshen and Stone, "Classification and regression trees", 1984). Where
    both could move as many it is logistic regression, whose confidence falls off most gently between two categories.
    """
    least = losses[min(losses, key=lambda kind: float(losses[kind].mean()))]
    as_good = [kind for kind, own in losses.items() if (own - least).mean() <= (own - least).std() / np.sqrt(len(own))]
    return max(as_good, key=lambda kind: (movable[kind], kind == "logreg"))
