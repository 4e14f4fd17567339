"""What a category's moves so far entitle the next one to: a wrong classifier may misfile ten, not a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, lgamma, log

from sortd.domain import Trust

QUIET_SECONDS = 24 * 60 * 60
"""So long the owner has to object."""

_UNLIKELY = 0.05 - 1e-9


@dataclass(frozen=True, slots=True)
class History:
    """What sortd moved into one category and what the owner said to it. Times are seconds of one clock."""

    moved_at: Sequence[float] = ()
    """When each automatic move was made, also of those since corrected."""
    confirmed: int = 0
    last_correction: float | None = None


def stopped(*, confirmed: int, corrected: int, target_precision: float) -> bool:
    """Whether the owner's word on a category's moves leaves no hope that it keeps its target.

    So many corrections would be a chance of less than one in twenty if it did. A move that nobody looked at proves
    nothing.
    """
    moves = confirmed + corrected
    fewer = sum(_chance(wrong, moves, 1 - target_precision) for wrong in range(corrected))
    return 1 - fewer < _UNLIKELY


def trust(history: History, *, probation: Sequence[int], now: float) -> Trust:
    """Say whether the category's next move may be made.

    `probation` tells how many moves may be made between two halts: with (10, 100) after 10 and after 110, with ()
    never. A halt ends when all moves up to it are confirmed, or after a day without a correction; it does not return.
    """
    moved_at = sorted(history.moved_at)
    halt = max((halt for halt in accumulate(probation) if halt <= len(moved_at)), default=0)
    if halt == 0 or history.confirmed >= halt:
        return Trust.FREE
    last_move = moved_at[halt - 1]
    corrected = last_move if history.last_correction is None else history.last_correction
    quiet_today = now - max(last_move, corrected) >= QUIET_SECONDS
    # A correction much later must not bring back a halt whose day passed long ago.
    quiet_before = len(moved_at) > halt and moved_at[halt] - last_move >= QUIET_SECONDS
    return Trust.FREE if quiet_today or quiet_before else Trust.ON_PROBATION


def _chance(wrong: int, moves: int, share: float) -> float:
    """How likely exactly so many are wrong; by logarithms, for a thousand moves have more ways than a float holds."""
    ways = lgamma(moves + 1) - lgamma(wrong + 1) - lgamma(moves - wrong + 1)
    return exp(ways + wrong * log(share) + (moves - wrong) * log(1 - share))
