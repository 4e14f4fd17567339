from __future__ import annotations

import numpy as np
import pytest

from sortd.domain.category import CategoryName
from sortd.domain.decision import Prediction
from sortd.judgement.active_learning import doubt, most_instructive


def prediction(*shares: float) -> Prediction:
    return Prediction(tuple((CategoryName(str(number)), share) for number, share in enumerate(shares)), 0.1)


def test_doubt_is_how_near_the_two_likeliest_answers_are() -> None:
    assert doubt(prediction(0.5, 0.5)) == pytest.approx(1)
    assert doubt(prediction(0.7, 0.2, 0.1)) == pytest.approx(0.5)
    assert doubt(prediction(1.0, 0.0)) == pytest.approx(0)


def test_to_belong_nowhere_is_an_answer_too() -> None:
    assert doubt(prediction(0.02, 0.01)) == pytest.approx(0.05)
    assert doubt(prediction(0.5, 0.05)) == pytest.approx(0.95)


def test_where_nothing_was_learned_any_word_is_as_good() -> None:
    assert doubt(None) == 1


def likenesses(*places: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """As like as they are near to each other on a line."""
    line = np.array(places, np.float32)
    return 1 - np.abs(line[:, None] - line[None, :])


def test_the_most_doubtful_come_first() -> None:
    assert most_instructive(np.array([0.1, 0.9, 0.5], np.float32), likenesses(0, 0.5, 1)) == [1, 2, 0]


def test_what_is_nearly_the_same_as_one_before_it_comes_last() -> None:
    doubts = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
    assert most_instructive(doubts, likenesses(0.0, 0.01, 0.5, 1.0, 0.51)) == [0, 2, 3, 1, 4]


def test_few_are_no_trouble() -> None:
    assert most_instructive(np.array([0.3], np.float32), likenesses(0.0)) == [0]
    assert most_instructive(np.array([0.3, 0.4], np.float32), likenesses(0.0, 0.1)) == [1, 0]
