"""Tell which touched paths have stopped changing: a file is taken only when it has been still for the quiet time."""

from __future__ import annotations

from itertools import takewhile
from pathlib import PurePath

from sortd.domain.video import FileIdentity


class Settler:
    """Watches waiting paths by their stats, on a monotonic clock that is handed in (seconds)."""

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds
        self._since: dict[PurePath, tuple[FileIdentity | None, float]] = {}

    def observe(self, path: PurePath, identity: FileIdentity | None, now: float) -> bool:
        """Show a path's stat; True once it was the same for the quiet time, or is gone (nothing to wait for)."""
        if identity is None:
            self._since.pop(path, None)
            return True
        seen, since = self._since.get(path, (None, now))
        if seen != identity:
            self._since.pop(path, None)  # those that began to wait last stand last
            self._since[path] = (identity, now)
            return False
        if now - since < self._quiet_seconds:
            return False
        del self._since[path]
        return True

    def waits_for(self, path: PurePath) -> bool:
        """Tell whether the path is to be shown again."""
        return path in self._since

    def due(self, now: float) -> tuple[PurePath, ...]:
        """Paths to show again now: each once its quiet time has passed, however many wait beside it."""
        return tuple(takewhile(lambda path: now - self._since[path][1] >= self._quiet_seconds, self._since))

    def waiting(self) -> tuple[PurePath, ...]:
        """Paths that have not passed yet."""
        return tuple(self._since)
