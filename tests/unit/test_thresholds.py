from __future__ import annotations

import numpy as np
import pytest

from sortd.judgement.thresholds import cuts_of, next_mistake, without_luck

CONFIDENCE = np.array([0.5, 0.9, 0.7, 0.9, 0.5, 0.5], np.float32)
CORRECT = np.array([False, True, True, False, False, True])


def test_what_is_equally_sure_is_let_through_together() -> None:
    cuts, moves, wrong = cuts_of(CONFIDENCE, CORRECT, np.ones(6))
    assert cuts.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert moves.tolist() == [2, 3, 6]
    assert wrong.tolist() == [1, 1, 3]


def test_an_example_counts_for_as_many_videos_as_it_stands_for() -> None:
    _, moves, wrong = cuts_of(CONFIDENCE, CORRECT, np.array([1, 1, 1, 4, 0.5, 1]))
    assert moves.tolist() == [5, 6, 8.5]
    assert wrong.tolist() == [4, 4, 5.5]


def test_of_the_mistakes_right_below_a_cut_one_counts_and_below_the_last_there_is_none() -> None:
    assert next_mistake(np.array([0.0, 0.0, 1.0, 4.0])).tolist() == [0, 1, 1, 0]
    assert next_mistake(np.array([1.0, 1.5])).tolist() == [0.5, 0]


def left_to_move(right: int, *, wrong: int) -> int:
    """How many stay above the threshold of so many right ones in a row, with the wrong ones below."""
    confidence = np.linspace(0.99, 0.3, right + wrong).astype(np.float32)
    correct = np.arange(right + wrong) < right
    threshold = float(confidence[right - 1])
    return int((confidence >= without_luck(threshold, confidence, correct, target_precision=0.95)).sum())


def test_the_shorter_a_run_before_the_mistakes_the_more_of_it_may_be_luck() -> None:
    assert [left_to_move(right, wrong=20) for right in (1, 22, 45, 87, 88)] == [1, 22 - 7, 45 - 4, 87 - 1, 88]


def test_where_nothing_was_mistaken_nothing_is_luck() -> None:
    assert left_to_move(22, wrong=0) == 22
