"""How fast the backlog shrinks, and when it will be gone."""

from __future__ import annotations

from collections import deque

WINDOW = 50
"""So many of the last extractions tell the rate."""


class Pace:
    """Times are seconds since the epoch, handed in."""

    def __init__(self) -> None:
        self._done: deque[float] = deque(maxlen=WINDOW)

    def done(self, at: float) -> None:
        """One more was finished."""
        self._done.append(at)

    def rate(self, now: float) -> float | None:
        """Videos per second over the last ones; None: too few to tell."""
        if len(self._done) < 2:  # noqa: PLR2004 - two points make a line
            return None
        return len(self._done) / max(now - self._done[0], 1e-3)

    def ends_at(self, pending: int, now: float) -> float | None:
        """When so many more will be finished at this rate."""
        rate = self.rate(now)
        return None if rate is None or not pending else now + pending / rate
