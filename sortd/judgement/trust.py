"""Tell what a category's past moves entitle the next one to: a wrong classifier may misfile ten, not a thousand."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from sortd.domain.decision import Trust
from sortd.judgement.thresholds import chance_of_at_most

QUIET_SECONDS = 24 * 60 * 60
"""So long the owner has to object."""

_UNLIKELY = 0.05 - 1e-9

_ENOUGH = 10**9
"""More than any owner files."""


@dataclass(frozen=True, slots=True)
class CategoryFeedback:
    """What the owner said of one category's moves; one that nobody looked at proves nothing.

    While it is stopped, a video that would have been moved there is as good as a move once the owner files it.
    """

    confirmed: int = 0
    corrected: int = 0
    """Those that the owner filed there after all are not among them, but among the confirmed."""
    last_correction: float | None = None
    agreed: int = 0
    """Videos that its stop kept from it and that the owner filed there."""
    refuted: int = 0
    """Videos that its stop kept from it and that the owner filed elsewhere."""


def stopped(feedback: CategoryFeedback, *, target_precision: float) -> bool:
    """Tell whether the owner's word leaves no hope that a category keeps its target.

    So many wrong ones would be a chance of less than one in twenty if it did.
    """
    wrong = feedback.corrected + feedback.refuted
    said = feedback.confirmed + feedback.agreed + wrong
    return 1 - chance_of_at_most(wrong - 1, said, 1 - target_precision) < _UNLIKELY


def until_free(feedback: CategoryFeedback, *, target_precision: float) -> int:
    """How many more right ones end a stop, if none is wrong any more."""

    def free(more: int) -> bool:
        return not stopped(replace(feedback, agreed=feedback.agreed + more), target_precision=target_precision)

    return bisect_left(range(_ENOUGH), True, key=free)


def trust(moves: Sequence[float], feedback: CategoryFeedback, *, probation: Sequence[int], now: float) -> Trust:
    """Say whether the next move may be made into a category that is not stopped.

    `moves` are the times of its automatic moves, also of those since corrected; times are seconds of one clock.
    `probation` tells how many moves may be made between two halts: with (10, 100) after 10 and after 110, with ()
    never. A halt ends when all moves up to it are confirmed, or after a day without a correction; it does not return.
    """
    moved_at = sorted(moves)
    halt = max((halt for halt in accumulate(probation) if halt <= len(moved_at)), default=0)
    if halt == 0 or feedback.confirmed >= halt:
        return Trust.FREE
    last_move = moved_at[halt - 1]
    corrected = last_move if feedback.last_correction is None else feedback.last_correction
    quiet_today = now - max(last_move, corrected) >= QUIET_SECONDS
    # A correction much later must not bring back a halt whose day passed long ago.
    quiet_before = len(moved_at) > halt and moved_at[halt] - last_move >= QUIET_SECONDS
    return Trust.FREE if quiet_today or quiet_before else Trust.ON_PROBATION
