"""Decide whether a video moves: the gates of the policy, in the order in which their reasons are told."""

from __future__ import annotations

from collections.abc import Container, Mapping
from math import inf

from sortd.domain.category import CategoryName
from sortd.domain.decision import (
    Decision,
    DecisionInputs,
    Leave,
    MoveTo,
    Policy,
    Prediction,
    Reason,
    Trust,
    Verdict,
)

LEFT_TO_THE_OWNER = frozenset(
    {Reason.TOO_FEW_EXAMPLES, Reason.VETOED, Reason.UNFAMILIAR, Reason.LOW_CONFIDENCE, Reason.CLOSE_CALL}
)
"""With these only the owner could file a video; with any other it stands there because sortd may not move it yet."""


def verdict(inputs: DecisionInputs) -> Verdict:
    """Say what becomes of a video that stands among the unsorted.

    It knows of no pause and no mode of the service: whether a move may be made now is decided by whoever makes it.
    """
    if inputs.home is not None:
        return Verdict(inputs.path, Leave(Reason.ALREADY_FILED, inputs.home))
    if inputs.may_replace:
        return Verdict(inputs.path, Leave(Reason.PENDING), inputs.prediction, inputs.fault)
    if inputs.fault is not None or (inputs.prediction is None and inputs.lacks_features):
        return Verdict(inputs.path, Leave(Reason.PENDING), fault=inputs.fault)
    decision: Decision = Leave(Reason.NOTHING_TO_TELL)
    if not inputs.tells_nothing:
        best = None if inputs.prediction is None else inputs.prediction.best
        trust = {} if best is None or inputs.trust is None else {best: inputs.trust}
        decision = decide(inputs.prediction, inputs.policy, vetoes=inputs.vetoes, examples=inputs.examples, trust=trust)
    if inputs.hands_off or (isinstance(decision, MoveTo) and not inputs.takes_moves):
        decision = Leave(Reason.HANDS_OFF, decision.category)
    return Verdict(inputs.path, decision, inputs.prediction)


def decide(
    prediction: Prediction | None,
    policy: Policy,
    *,
    vetoes: Container[CategoryName],
    examples: Mapping[CategoryName, int],
    trust: Mapping[CategoryName, Trust],
) -> Decision:
    """Move the video to its best category, or leave it for the first reason that applies; never to its second best.

    `prediction` is None where there is no classifier. A category that `trust` does not name has made no move yet.
    """
    if prediction is None:
        return Leave(Reason.NO_CLASSIFIER)
    best = prediction.best
    # Each limit must be shown to be met, so that a number that is no number (NaN) moves nothing.
    gates = (
        (Reason.TOO_FEW_EXAMPLES, best in policy.min_confidence and examples.get(best, 0) >= policy.min_examples),
        (Reason.VETOED, best not in vetoes),
        (Reason.UNFAMILIAR, prediction.distance <= policy.max_distance),
        (Reason.LOW_CONFIDENCE, prediction.confidence >= policy.min_confidence.get(best, inf)),
        (Reason.CLOSE_CALL, prediction.margin >= policy.min_margin),
        (Reason.ON_PROBATION, trust.get(best) is not Trust.ON_PROBATION),
        (Reason.CATEGORY_STOPPED, trust.get(best) is not Trust.STOPPED),
    )
    for reason, passed in gates:
        if not passed:
            return Leave(reason, best)
    return MoveTo(best, prediction.confidence)
