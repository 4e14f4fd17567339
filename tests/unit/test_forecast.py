from __future__ import annotations

from math import ceil, inf, isinf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.judgement.forecast import growth_until_moves, labels_until_moves
from sortd.judgement.thresholds import threshold_for


def growth(*pairs: tuple[float, bool], target: float = 0.95, weights: list[float] | None = None) -> float:
    confidence, correct = zip(*pairs, strict=True) if pairs else ((), ())
    each = np.array(weights or [1.0] * len(pairs), np.float32)
    return growth_until_moves(np.array(confidence, np.float32), np.array(correct, np.bool_), each, target)


def test_nineteen_faultless_predictions_are_enough_for_95_percent() -> None:
    assert growth(*[(0.9, True)] * 19) == pytest.approx(1)
    assert growth(*[(0.9, True)] * 10) == pytest.approx(1.9)


def test_a_mistake_below_the_cut_costs_as_much_as_twenty_right_ones() -> None:
    # 39 right ones above a mistake: (0 + 1 + 1) / (39 + 1).
    assert growth(*[(0.9, True)] * 30, (0.6, False)) == pytest.approx(39 / 30)


def test_mistakes_more_often_than_allowed_are_not_outgrown() -> None:
    assert isinf(growth(*[(0.9, True)] * 18, (0.9, False)))
    assert isinf(growth())


def test_an_outsider_counts_for_as_many_as_it_stands_for() -> None:
    pairs = [(0.9, True)] * 30 + [(0.9, False)]
    # 1 of 31 wrong: g + sqrt(g) + 1 <= 0.05 (31 g + 1)
    assert growth(*pairs) == pytest.approx(6.286, abs=0.001)
    assert isinf(growth(*pairs, weights=[1.0] * 30 + [2.0]))


@given(st.lists(st.tuples(st.sampled_from([0.6, 0.7, 0.8, 0.9]), st.booleans()), max_size=40))
def test_so_much_more_of_the_same_evidence_gives_a_threshold_and_less_does_not(pairs: list[tuple[float, bool]]) -> None:
    found = growth(*pairs, target=0.8)
    times = 1 if isinf(found) else max(1, ceil(found - 1e-6))
    confidence, correct = (
        np.array([sure for sure, _ in pairs], np.float32),
        np.array([right for _, right in pairs], bool),
    )
    grown = threshold_for(np.tile(confidence, times), np.tile(correct, times), 0.8)
    assert (grown is None) == isinf(found)
    if times > 1:
        assert threshold_for(np.tile(confidence, times - 1), np.tile(correct, times - 1), 0.8) is None


def test_what_is_missing_is_shared_by_all_folders() -> None:
    assert labels_until_moves(6, 12, 2, 19 / 12) == 10
    assert labels_until_moves(1, 20, 10, 1.5) == 2
    assert labels_until_moves(7, 12, 2, 0.5) == 7


def test_what_is_too_far_off_is_not_foretold() -> None:
    assert labels_until_moves(6, 12, 2, inf) is None
    assert labels_until_moves(6, 12, 2, 11.0) is None
