from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.domain.category import CategoryName
from sortd.domain.decision import Decision, Leave, MoveTo, Policy, Prediction, Reason, Trust
from sortd.judgement.decide import decide

CATS, DOGS = CategoryName("cats"), CategoryName("dogs")
SURE = Prediction(((CATS, 0.97), (DOGS, 0.03)), distance=0.1)
POLICY = Policy({CATS: 0.9, DOGS: 0.9}, min_margin=0.2, max_distance=0.3, min_examples=4)
TEN_EACH = {CATS: 10, DOGS: 10}


def decision(
    prediction: Prediction | None = SURE,
    policy: Policy = POLICY,
    *,
    vetoes: Container[CategoryName] = (),
    examples: Mapping[CategoryName, int] = TEN_EACH,
    trust: Mapping[CategoryName, Trust] | None = None,
) -> Decision:
    return decide(prediction, policy, vetoes=vetoes, examples=examples, trust=trust or {})


def test_a_sure_video_moves_to_its_best_category() -> None:
    assert decision() == MoveTo(CATS, 0.97)


def test_without_a_classifier_nothing_moves() -> None:
    assert decision(None) == Leave(Reason.NO_CLASSIFIER)


def test_a_category_with_three_examples_waits_for_a_fourth() -> None:
    assert decision(examples={CATS: 3, DOGS: 10}) == Leave(Reason.TOO_FEW_EXAMPLES, CATS)
    assert isinstance(decision(examples={CATS: 4, DOGS: 10}), MoveTo)


def test_a_category_without_a_limit_gets_no_moves() -> None:
    assert decision(policy=replace(POLICY, min_confidence={DOGS: 0.1})) == Leave(Reason.TOO_FEW_EXAMPLES, CATS)


def test_a_veto_never_sends_the_video_to_its_second_best() -> None:
    almost = Prediction(((CATS, 0.5), (DOGS, 0.5)), distance=0.1)
    lenient = Policy({CATS: 0.1, DOGS: 0.1})
    assert decision(almost, lenient, vetoes={CATS}) == Leave(Reason.VETOED, CATS)
    assert decision(almost, lenient, vetoes={DOGS}) == MoveTo(CATS, 0.5)


def test_certainty_does_not_help_a_video_that_looks_like_no_category() -> None:
    assert decision(replace(SURE, distance=0.31)) == Leave(Reason.UNFAMILIAR, CATS)


def test_limits_are_met_by_reaching_them() -> None:
    exactly = Prediction(((CATS, 0.9), (DOGS, 0.7)), distance=0.3)
    assert decision(exactly, replace(POLICY, min_margin=exactly.margin)) == MoveTo(CATS, 0.9)


def test_an_unsure_video_stays() -> None:
    unsure = Prediction(((CATS, 0.89), (DOGS, 0.11)), distance=0.1)
    assert decision(unsure) == Leave(Reason.LOW_CONFIDENCE, CATS)


def test_a_video_between_two_categories_stays() -> None:
    between = Prediction(((CATS, 0.55), (DOGS, 0.45)), distance=0.1)
    assert decision(between, replace(POLICY, min_confidence={CATS: 0.5})) == Leave(Reason.CLOSE_CALL, CATS)


@pytest.mark.parametrize(
    ("trust", "reason"), [(Trust.ON_PROBATION, Reason.ON_PROBATION), (Trust.STOPPED, Reason.CATEGORY_STOPPED)]
)
def test_a_category_that_is_not_trusted_waits(trust: Trust, reason: Reason) -> None:
    assert decision(trust={CATS: trust}) == Leave(reason, CATS)
    assert isinstance(decision(trust={CATS: Trust.FREE, DOGS: trust}), MoveTo)


def test_a_number_that_is_no_number_moves_nothing() -> None:
    for broken in (Prediction(((CATS, nan), (DOGS, nan)), distance=0.1), replace(SURE, distance=nan)):
        assert isinstance(decision(broken), Leave)


WRONGS: list[tuple[Reason, dict[str, Any]]] = [
    (Reason.TOO_FEW_EXAMPLES, {"examples": {CATS: 0}}),
    (Reason.VETOED, {"vetoes": {CATS}}),
    (Reason.UNFAMILIAR, {"max_distance": 0.0}),
    (Reason.LOW_CONFIDENCE, {"min_confidence": {CATS: 0.98}}),
    (Reason.CLOSE_CALL, {"min_margin": 0.99}),
    (Reason.ON_PROBATION, {"trust": {CATS: Trust.ON_PROBATION}}),
]


@given(st.sets(st.sampled_from(range(len(WRONGS))), min_size=1))
def test_of_several_reasons_the_first_is_given(chosen: set[int]) -> None:
    wrong = {key: value for number in chosen for key, value in WRONGS[number][1].items()}
    limits = {key: wrong.pop(key) for key in ("max_distance", "min_confidence", "min_margin") if key in wrong}
    assert decision(policy=replace(POLICY, **limits), **wrong) == Leave(WRONGS[min(chosen)][0], CATS)
