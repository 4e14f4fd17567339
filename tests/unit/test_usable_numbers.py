from __future__ import annotations

import numpy as np
import pytest

from sortd.domain.feature import Feature, SpacePart
from sortd.judgement.usable_numbers import PROBLEM, checked, usable

PARTS = (SpacePart("visual", "1", 4), SpacePart("speech", "1", 4))
GOOD = np.array([1, -2, 3, 0], np.float32)

pytestmark = pytest.mark.fault("G6")


def test_what_can_be_compared_is_kept_as_it_is() -> None:
    kept = checked(Feature("visual", "1", GOOD, "words", {"times": [0.0]}, np.ones((5, 4), np.float32)), PARTS)

    assert kept.vector is GOOD
    assert (kept.text, kept.details) == ("words", {"times": [0.0]})
    assert kept.frames is not None


@pytest.mark.parametrize(
    "vector",
    [
        [1, np.nan, 0, 0],
        [np.inf, 0, 0, 0],
        [-np.inf, np.nan, 0, 0],
        [3e38, 0, 0, 0],
        [1e300, 0, 0, 0],
        [0, 0, 0, 0],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [],
        [[1, 2, 3, 4]],
        3.0,
    ],
)
def test_anything_else_is_no_vector_and_says_why(vector: object) -> None:
    kept = checked(Feature("visual", "1", np.array(vector, float), "words"), PARTS)

    assert kept.vector is None
    assert kept.text == "words"
    assert kept.details[PROBLEM]


def test_a_known_absence_needs_no_excuse() -> None:
    assert PROBLEM not in checked(Feature("speech", "1", None, ""), PARTS).details


def test_frames_that_cannot_be_compared_go_and_the_vector_stays() -> None:
    kept = checked(Feature("visual", "1", GOOD, frames=np.full((5, 4), np.nan, np.float32)), PARTS)

    assert kept.vector is GOOD
    assert kept.frames is None


def test_words_that_no_encoding_takes_are_mended() -> None:
    assert checked(Feature("speech", "1", GOOD, "a\udc80b\ud83d"), PARTS).text == "a?b?"


def test_there_is_nothing_to_learn_from_zeros_and_from_what_are_no_numbers() -> None:
    rows = np.array([[1, 0], [0, 0], [np.nan, 1], [np.inf, 1], [0, -1]], np.float32)

    assert usable(rows).tolist() == [True, False, False, False, True]
    assert usable(np.zeros((0, 2), np.float32)).tolist() == []
