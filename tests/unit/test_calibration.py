from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.domain.category import CategoryName
from sortd.domain.decision import Policy
from sortd.domain.feature import Vector
from sortd.judgement.calibration import CalibrationData, distance_limit, policy_for, softmax, temperature_for
from sortd.judgement.thresholds import BoolVector, precision_bound, threshold_for, tightened
from tests.evidence import CATS, DOGS, on_cats_and_dogs

RIGHT, WRONG = True, False


def outcomes(*pairs: tuple[float, bool]) -> tuple[Vector, BoolVector]:
    confidence, correct = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(confidence, np.float32), np.array(correct, np.bool_)


def faultless(number: int, *, lowest: float = 0.5) -> list[tuple[float, bool]]:
    return [(lowest + (0.99 - lowest) * i / number, RIGHT) for i in range(number)]


def test_moves_begin_at_nineteen_faultless_labels_for_95_percent() -> None:
    assert threshold_for(*outcomes(*faultless(18)), 0.95) is None
    assert threshold_for(*outcomes(*faultless(19)), 0.95) == pytest.approx(0.5)


def test_where_nothing_was_mistaken_a_slightly_less_sure_video_may_move_too() -> None:
    all_very_sure = outcomes(*faultless(40, lowest=0.96))
    threshold = threshold_for(*all_very_sure, 0.95)
    assert threshold is not None
    assert 0.88 < threshold < 0.9


def test_a_stricter_promise_needs_more_evidence() -> None:
    assert threshold_for(*outcomes(*faultless(98)), 0.99) is None
    assert threshold_for(*outcomes(*faultless(99)), 0.99) == pytest.approx(0.5)


def test_a_hundred_right_ones_afford_one_mistake_below_them_and_no_more() -> None:
    mistakes = [(0.3 + 0.01 * i, WRONG) for i in range(10)]
    threshold = threshold_for(*outcomes(*faultless(100), *mistakes), 0.95)
    assert threshold is not None
    assert 0.38 < threshold < 0.39


def test_standing_just_above_a_mistake_counts_as_one() -> None:
    nineteen_above_a_mistake = outcomes(*faultless(19), (0.4, WRONG))
    assert threshold_for(*nineteen_above_a_mistake, 0.95) is None


def test_equal_confidences_stand_and_fall_together() -> None:
    tied = outcomes(*[(0.9, RIGHT)] * 30, *[(0.9, WRONG)] * 10)
    assert threshold_for(*tied, 0.95) is None


def test_no_evidence_is_no_threshold() -> None:
    assert threshold_for(*outcomes(), 0.95) is None
    assert threshold_for(*outcomes(*[(0.9, WRONG)] * 50), 0.95) is None


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), max_size=80), st.sampled_from([0.8, 0.9, 0.95]))
def test_what_the_threshold_lets_through_keeps_the_target(pairs: list[tuple[float, bool]], target: float) -> None:
    confidence, correct = outcomes(*pairs)
    threshold = threshold_for(confidence, correct, target)
    if threshold is not None:
        through = correct[confidence >= threshold]
        assert ((~through).sum() + 1) / (len(through) + 1) <= 1 - target + 1e-6


@pytest.mark.parametrize("labels", [50, 150, 600])
def test_over_many_libraries_the_promise_is_kept(labels: int) -> None:
    # Each video is right with the probability it is given; half of them are hard. Shares are over all libraries, for
    # the promise is one of expectation.
    random = np.random.default_rng(0)
    risks = []
    for _ in range(300):
        confidence = random.beta(4, 1, labels).astype(np.float32)
        threshold = threshold_for(confidence, random.random(labels) < confidence, 0.95)
        if threshold is None:
            risks.append(0.0)
            continue
        fresh = random.beta(4, 1, 2000)
        moved = fresh[fresh >= threshold]
        risks.append(float(np.mean(1 - moved)) if len(moved) else 0.0)
    assert np.mean(risks) <= 0.05


def test_one_mistake_of_its_own_does_not_tighten_a_category() -> None:
    assert tightened(0.5, *outcomes(*faultless(9), (0.7, WRONG)), target_precision=0.95) == 0.5


def test_two_mistakes_in_ten_tighten_it_above_the_second() -> None:
    threshold = tightened(0.3, *outcomes(*faultless(8), (0.4, WRONG), (0.35, WRONG)), target_precision=0.95)
    assert threshold == pytest.approx(0.4)


def test_two_mistakes_in_twelve_may_be_chance() -> None:
    twelve = outcomes(*faultless(10), (0.4, WRONG), (0.35, WRONG))
    assert tightened(0.3, *twelve, target_precision=0.95) == 0.3


def test_a_category_that_is_mostly_wrong_gets_no_moves() -> None:
    assert tightened(0.9, *outcomes((0.99, WRONG)), target_precision=0.95) is None
    assert tightened(0.9, *outcomes((0.99, WRONG), (0.98, RIGHT), (0.95, WRONG)), target_precision=0.95) is None


def test_a_category_nobody_was_taken_for_keeps_the_common_threshold() -> None:
    assert tightened(0.5, *outcomes(), target_precision=0.95) == 0.5


def test_temperature_cools_what_was_too_sure_and_warms_what_was_too_shy() -> None:
    random = np.random.default_rng(1)
    honest = (random.normal(size=(2000, 4)) * 2).astype(np.float32)
    truth = np.array([random.choice(4, p=p / p.sum()) for p in softmax(honest, 1.0).astype(np.float64)])
    assert temperature_for(honest, truth) == pytest.approx(1, abs=0.15)
    assert temperature_for(honest * 5, truth) == pytest.approx(5, abs=0.75)
    assert temperature_for(honest / 5, truth) == pytest.approx(0.2, abs=0.03)


def test_a_few_faultless_examples_do_not_make_certainty() -> None:
    scores = np.eye(4, dtype=np.float32)[np.arange(20) % 4] * 10
    confidence = softmax(scores, temperature_for(scores, np.arange(20) % 4)).max()
    assert 0.9 < confidence < 0.995


def test_fifteen_of_fifteen_right_proves_82_percent() -> None:
    assert precision_bound(15, 0) == pytest.approx(0.819, abs=0.001)
    assert precision_bound(59, 0) == pytest.approx(0.95, abs=0.001)
    assert precision_bound(0, 0) == 0
    assert precision_bound(3, 3) == 0


def test_the_distance_limit_stands_a_third_of_the_way_to_the_outsiders() -> None:
    own = np.linspace(0.05, 0.1, 20, dtype=np.float32)
    assert distance_limit(own, np.full(40, 1.0, np.float32)) == pytest.approx(0.4)


def test_where_outsiders_are_as_near_no_known_video_is_shut_out() -> None:
    own = np.linspace(0.2, 0.6, 20, dtype=np.float32)
    assert distance_limit(own, own) == pytest.approx(0.6)


def test_where_no_outsider_is_known_the_limit_stands_a_third_beyond_the_farthest() -> None:
    assert distance_limit(np.array([0.1, 0.3], np.float32), np.empty(0, np.float32)) == pytest.approx(0.4)


def test_an_outsider_counts_for_as_many_videos_as_it_stands_for() -> None:
    confidence, correct = outcomes(*faultless(100), (0.45, WRONG), *[(0.4, RIGHT)] * 5)
    plain = threshold_for(confidence, correct, 0.95)
    weights = np.where(correct, 1.0, 30.0).astype(np.float32)
    heavy = threshold_for(confidence, correct, 0.95, weights)
    assert plain is not None
    assert heavy is not None
    assert plain < 0.45 < heavy


def evidence(
    *, labels: tuple[int, int] = (20, 20), distinct: tuple[int, int] | None = None, confused: int = 0
) -> CalibrationData:
    """Twenty of each, well apart; the first `confused` cats are surely taken for dogs."""
    truth = np.repeat([0, 1], labels)
    sure = np.linspace(0.9, 0.99, len(truth))
    own = np.where(np.arange(len(truth)) < confused, 1 - sure, sure)
    predicted = np.where(own > 0.5, truth, 1 - truth)
    confidence = np.maximum(own, 1 - own).astype(np.float32)
    return on_cats_and_dogs(truth, predicted, confidence, distinct=distinct)


def policy(known: CalibrationData, *, targets: dict[CategoryName, float] | None = None) -> Policy:
    return policy_for(known, target_precision=0.95, targets=targets or {}, min_examples=4)


def test_two_clear_categories_may_move() -> None:
    clear = evidence()
    limits = policy(clear)
    assert set(limits.min_confidence) == {CATS, DOGS}
    assert clear.moved(limits).all()
    assert limits.max_distance == pytest.approx(0.1 + 0.1 / 3)
    assert limits.min_margin == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(("mistaken", "moving"), [("dogs", 40 - 5), ("strangers", 40)])
def test_few_labels_right_before_others_are_mistaken_may_be_so_by_luck(mistaken: str, moving: int) -> None:
    among = evidence(labels=(23, 20))
    least_sure = np.arange(43) < 3
    doubts = replace(
        among,
        truth=np.where(least_sure, 1 if mistaken == DOGS else -1, among.truth),
        confidence=np.where(least_sure, 0.6, among.confidence),
    )
    assert doubts.moved(policy(doubts)).sum() == moving


def test_what_may_be_right_by_luck_shows_how_unlike_the_others_one_may_be() -> None:
    known = evidence(labels=(23, 20))
    order = np.arange(43)
    unlike = replace(
        known,
        truth=np.where(order < 3, 1, known.truth),
        confidence=np.where(order < 3, 0.6, known.confidence),
        distance=np.where(order == 3, 0.4, known.distance),
    )
    limits = policy(unlike)
    assert not unlike.moved(limits)[3]
    assert limits.max_distance > 0.4


def test_a_category_may_ask_for_more_than_the_rest() -> None:
    limits = policy(evidence(), targets={CATS: 0.99})
    assert set(limits.min_confidence) == {DOGS}


def test_a_category_that_draws_others_in_is_tightened_while_the_other_keeps_its_limit() -> None:
    mixed = evidence(labels=(200, 6), confused=4)
    limits = policy(mixed)
    assert limits.min_confidence[DOGS] > limits.min_confidence[CATS]
    moved = mixed.moved(limits)
    assert moved[mixed.predicted == 0].all()
    assert (moved & ~mixed.correct).sum() == 1


def test_the_one_folder_that_spoils_the_surest_waits_and_not_those_that_are_merely_worse() -> None:
    cats, dogs, birds = 0, 1, 2
    taken = [
        (60, cats, cats, 0.9),
        (40, dogs, dogs, 0.8),
        (14, cats, dogs, 0.3),
        (10, birds, birds, 0.95),
        (3, cats, birds, 0.99),
    ]
    times, *told = zip(*taken, strict=True)
    truth, predicted, confidence = (np.repeat(column, times) for column in told)
    labels = np.bincount(truth)
    three = replace(
        on_cats_and_dogs(truth % 2, predicted % 2, confidence.astype(np.float32)),
        categories=(CATS, DOGS, CategoryName("birds")),
        labels=labels,
        distinct=labels,
        truth=truth,
        predicted=predicted,
    )
    assert set(policy(three).min_confidence) == {CATS, DOGS}


def test_what_is_likelier_wrong_than_right_never_moves_however_sure_the_others_are() -> None:
    known = evidence()
    doubtful = replace(known, confidence=np.where(np.arange(len(known.truth)) % 20 == 0, 0.3, known.confidence))
    assert threshold_for(doubtful.confidence, doubtful.correct, 0.95) == pytest.approx(0.3)
    limits = policy(doubtful)
    assert set(limits.min_confidence.values()) == {0.5}


def test_where_strangers_of_unknown_kind_come_only_the_surest_part_may_move() -> None:
    known = replace(evidence(), most=0.25)
    assert known.moved(policy(known)).sum() == 10
