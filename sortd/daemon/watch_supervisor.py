"""Restart the filesystem watcher when it died or stopped telling of changes, and say so."""

from __future__ import annotations

from sortd.disk.watch import Watcher
from sortd.engine.event_log import Tell


class WatchSupervisor:
    """Keeps one watcher running."""

    def __init__(self, watcher: Watcher, *, warn: Tell) -> None:
        self._watcher = watcher
        self._warn = warn
        self._told = ""

    def state(self) -> dict[str, str]:
        """Return how it watches, and why not by events."""
        return {"mode": self._watcher.mode, "why": self._watcher.why}

    def mend(self, *, anew: bool) -> bool:
        """Begin anew where not everything is heard any more, or where that is asked for.

        True when it did: what happened meanwhile only a rescan tells. What lasts is told once.
        """
        lost = self._watcher.lost()
        if lost or anew:
            self._watcher.restart()
        if lost and lost != self._told:
            self._warn("watcher_restarted", why=lost, watcher=self._watcher.mode)
        self._told = lost
        return bool(lost or anew)
