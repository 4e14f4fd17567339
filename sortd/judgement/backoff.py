"""Tell when a folder that refused is tried again: after pauses that grow, and not for each file meant for it."""

from __future__ import annotations

from pathlib import PurePath

FIRST_SECONDS = 60.0
LONGEST_SECONDS = 3600.0


class Backoff:
    """Holds the folders that refused last. `now` is seconds on the monotonic clock."""

    def __init__(self) -> None:
        self._pauses: dict[PurePath, float] = {}
        self._until: dict[PurePath, float] = {}

    def refuse(self, folder: PurePath, *, now: float) -> None:
        """Leave a folder alone that was tried and refused, twice as long as the last time."""
        if not self.waits(folder, now=now):
            pause = min(2 * self._pauses.get(folder, FIRST_SECONDS / 2), LONGEST_SECONDS)
            self._pauses[folder] = pause
            self._until[folder] = now + pause

    def accept(self, folder: PurePath) -> None:
        """End the pause of a folder that took a file."""
        self._pauses.pop(folder, None)
        self._until.pop(folder, None)

    def waits(self, folder: PurePath, *, now: float) -> bool:
        """Tell whether it is not to be tried now."""
        return now < self._until.get(folder, now)

    def end(self, *, now: float) -> bool:
        """End the pauses that are over; True when there was one."""
        over = [folder for folder, until in self._until.items() if until <= now]
        for folder in over:
            del self._until[folder]
        return bool(over)

    def forgive(self) -> None:
        """Try each at once, as if it had never refused."""
        self._pauses.clear()
        self._until.clear()
