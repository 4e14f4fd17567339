from __future__ import annotations

import numpy as np
import pytest

from sortd.domain.feature import Vector
from sortd.judgement.novelty import (
    are_far,
    as_the_unsorted,
    balanced,
    marks,
    mean_of_outsiders,
    reckoned_with,
    share_of_outsiders,
)


def sureness(number: int, *, around: float, seed: int) -> Vector:
    return np.random.default_rng(seed).normal(around, 1, number).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_where_all_new_videos_belong_there_is_no_sign_of_outsiders(seed: int) -> None:
    assert share_of_outsiders(sureness(200, around=3, seed=seed), sureness(300, around=3, seed=seed + 50)) == 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_share_of_outsiders_is_told_where_they_are_plainly_less_sure(share: float) -> None:
    n_outside = round(1000 * share)
    unsorted = np.append(sureness(1000 - n_outside, around=4, seed=1), sureness(n_outside, around=-2, seed=2))
    assert share_of_outsiders(sureness(500, around=4, seed=3), unsorted) == pytest.approx(share, abs=0.06)


def test_surer_videos_than_the_known_ones_are_no_outsiders() -> None:
    assert share_of_outsiders(sureness(100, around=1, seed=1), sureness(100, around=4, seed=2)) == 0


def test_the_outsiders_mean_is_what_the_others_leave() -> None:
    known, outside = sureness(1000, around=5, seed=1), sureness(300, around=1, seed=2)
    unsorted = np.append(sureness(700, around=5, seed=3), outside)
    assert mean_of_outsiders(known, unsorted, 0.3) == pytest.approx(outside.mean(), abs=0.5)


def like(number: int, *, around: float, seed: int) -> Vector:
    return np.random.default_rng(seed).normal(around, 0.05, number).astype(np.float32)


KNOWN, IMAGINED = like(300, around=0.8, seed=1), like(300, around=0.6, seed=2)


@pytest.mark.parametrize("around", [0.3, 0.45])
def test_outsiders_that_are_like_nothing_are_far(around: float) -> None:
    unsorted = np.append(like(210, around=0.8, seed=3), like(90, around=around, seed=4))
    assert are_far(KNOWN, IMAGINED, unsorted, 0.3)


@pytest.mark.parametrize("around", [[0.6, 0.6], [0.8, 0.6], [0.1, 0.7]])
def test_outsiders_of_which_some_are_like_a_category_are_not_far(around: list[float]) -> None:
    outside = [like(45, around=place, seed=seed) for seed, place in enumerate(around, start=4)]
    unsorted = np.concatenate([like(210, around=0.8, seed=3), *outside])
    assert not are_far(KNOWN, IMAGINED, unsorted, 0.3)


def test_weights_move_the_mean_where_it_is_wished_within_reason() -> None:
    values = np.linspace(0, 1, 101, dtype=np.float32)
    weights = balanced(values, 0.3)
    assert weights @ values / weights.sum() == pytest.approx(0.3, abs=1e-3)
    assert weights.mean() == pytest.approx(1)
    far = balanced(values, -5)
    assert 0 < far @ values / far.sum() < 0.3
    assert (balanced(np.ones(4, np.float32), 0.2) == 1).all()


@pytest.mark.parametrize("around", [2.7, 3.3])
def test_the_known_count_so_that_they_are_as_sure_as_the_unsorted(around: float) -> None:
    known, unsorted = sureness(200, around=3, seed=1), sureness(300, around=around, seed=2)
    weights = as_the_unsorted(known, unsorted)
    assert weights @ known / weights.sum() == pytest.approx(unsorted.mean(), abs=0.01)
    assert 150 < weights.sum() < 200


def test_the_known_that_are_as_sure_as_the_unsorted_count_as_one_each() -> None:
    known = sureness(200, around=3, seed=1)
    assert as_the_unsorted(known, known[::-1]) == pytest.approx(1, abs=1e-3)


def test_a_few_of_the_known_never_stand_for_all_however_easy_the_unsorted_are() -> None:
    weights = as_the_unsorted(sureness(200, around=0, seed=1), sureness(300, around=20, seed=2))
    assert 60 < weights.sum() < 100


def test_the_marks_are_log_odds_and_likenesses_with_the_outsiders_last() -> None:
    scores = np.log(np.array([[0.6, 0.3, 0.1]], np.float32))
    nearest = np.array([[0.9, 0.5, 0.2]], np.float32)
    assert marks(scores, nearest, n_categories=2)[0] == pytest.approx([np.log(0.6 / 0.4), 0.9, 0.2])
    assert marks(scores, nearest, n_categories=3)[0] == pytest.approx([np.log(0.6 / 0.4), 0.9])
    alone = marks(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32), n_categories=1)
    assert np.isfinite(alone).all()


@pytest.mark.parametrize("chance", [0.01, 0.5, 0.7, 0.99])
def test_the_likeliest_stays_first_at_its_chance_and_what_is_missing_belongs_nowhere(chance: float) -> None:
    among = np.array([[0.3, 0.6, 0.1]], np.float32)
    told = reckoned_with(among, np.array([chance], np.float32))[0]
    assert told[1] == pytest.approx(chance)
    assert told.argmax() == 1
    assert told[0] == pytest.approx(3 * told[2], rel=1e-4)
    assert told.sum() <= 1 + 1e-6
