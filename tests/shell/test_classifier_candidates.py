from __future__ import annotations

import numpy as np

from sortd.domain.feature import Vector
from sortd.learn.classifier_candidates import best_of

LOSSES = np.random.default_rng(0).normal(0.5, 0.1, 400).astype(np.float32)


def slightly_less(number: int) -> dict[str, Vector]:
    """Losses of as many examples, with those of the network a little less in the mean."""
    gain = np.random.default_rng(1).normal(0.05, 0.5, 400).astype(np.float32)[:number]
    gain += 0.05 - gain.mean()
    return {"logreg": LOSSES[:number], "mlp": LOSSES[:number] - gain}


def movable(**numbers: int) -> dict[str, int]:
    return {"knn": 0, "logreg": 0, "mlp": 0} | numbers


def test_a_small_gain_on_few_examples_may_be_chance() -> None:
    assert best_of(slightly_less(40), movable()) == "logreg"


def test_the_same_gain_on_many_is_none() -> None:
    assert best_of(slightly_less(400), movable(logreg=300)) == "mlp"


def test_of_those_that_are_as_good_the_one_that_moves_most_is_taken() -> None:
    assert best_of(slightly_less(40), movable(logreg=20, mlp=21)) == "mlp"
    assert best_of(slightly_less(40), movable(logreg=20, mlp=20)) == "logreg"


def test_what_is_plainly_worse_is_not_taken_however_much_it_moves() -> None:
    assert best_of({"knn": LOSSES + 0.1, "logreg": LOSSES}, movable(knn=400)) == "logreg"


def test_without_logistic_regression_the_better_one_is_taken() -> None:
    assert best_of({"knn": LOSSES, "mlp": LOSSES + 0.01}, movable(mlp=400)) == "knn"
