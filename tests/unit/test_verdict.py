from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import Any

import pytest

from sortd.domain.category import CategoryName
from sortd.domain.decision import DecisionInputs, Leave, MoveTo, Policy, Prediction, Reason, Trust, Verdict
from sortd.domain.feature import Fault
from sortd.judgement.decide import verdict

CATS, DOGS = CategoryName("cats"), CategoryName("dogs")
SURE = Prediction(((CATS, 0.97), (DOGS, 0.03)), distance=0.1)
INPUTS = DecisionInputs(
    path=PurePath("new.mp4"),
    home=None,
    vetoes=frozenset(),
    fault=None,
    prediction=SURE,
    policy=Policy({CATS: 0.9, DOGS: 0.9}),
    examples={CATS: 10, DOGS: 10},
)


def test_what_meets_every_limit_moves() -> None:
    assert verdict(INPUTS) == Verdict(PurePath("new.mp4"), MoveTo(CATS, 0.97), SURE)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"home": DOGS, "prediction": None}, Leave(Reason.ALREADY_FILED, DOGS)),
        ({"may_replace": True}, Leave(Reason.PENDING)),
        ({"fault": Fault.DAMAGED, "prediction": None}, Leave(Reason.PENDING)),
        ({"prediction": None, "lacks_features": True}, Leave(Reason.PENDING)),
        ({"prediction": None}, Leave(Reason.NO_CLASSIFIER)),
        ({"prediction": None, "tells_nothing": True}, Leave(Reason.NOTHING_TO_TELL)),
        ({"vetoes": frozenset({CATS})}, Leave(Reason.VETOED, CATS)),
        ({"trust": Trust.ON_PROBATION}, Leave(Reason.ON_PROBATION, CATS)),
        ({"trust": Trust.STOPPED}, Leave(Reason.CATEGORY_STOPPED, CATS)),
        ({"hands_off": True}, Leave(Reason.HANDS_OFF, CATS)),
        ({"takes_moves": False}, Leave(Reason.HANDS_OFF, CATS)),
        ({"takes_moves": False, "vetoes": frozenset({CATS})}, Leave(Reason.VETOED, CATS)),
    ],
)
def test_else_it_stays_with_the_first_reason(changes: dict[str, Any], left: Leave) -> None:
    assert verdict(replace(INPUTS, **changes)).decision == left


def test_a_feature_that_may_still_come_keeps_nothing_from_moving_that_is_sure_without_it() -> None:
    assert verdict(replace(INPUTS, lacks_features=True)).decision == MoveTo(CATS, 0.97)


def test_why_a_video_was_set_aside_is_told_with_it() -> None:
    assert verdict(replace(INPUTS, fault=Fault.DAMAGED, prediction=None)).fault is Fault.DAMAGED
