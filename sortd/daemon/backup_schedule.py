"""Back up the index, once a day and in a quiet moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from sortd.domain.errors import IndexDamaged, LibraryUnavailable
from sortd.engine.event_log import Tell
from sortd.store import backup
from sortd.store.store import INDEX_NAME

EVERY_SECONDS = 86_400.0
"""Seconds from one backup to the next."""

PATIENCE_SECONDS = 3600.0
"""So long a service that has begun waits for a quiet moment, when there is more to back up; one that failed rests."""


class BackupSchedule:
    """One a day, made in a thread that has a connection of its own; a day counts from the last, over restarts too.

    Within one run days are counted without the time of day, which may be set to and fro.
    """

    def __init__(self, state: Path, *, tell: Tell, wall: Callable[[], float]) -> None:
        self._index = state / INDEX_NAME
        self._tell = tell
        self._wall = wall
        self._quiet_until = time.monotonic() + PATIENCE_SECONDS
        self._not_before = 0.0
        self._due_at: float | None = None
        self._thread: Thread | None = None
        self._problem: Exception | None = None

    def step(self, *, idle: bool) -> None:
        """Begin one if it is time. IndexDamaged: the last one showed that the index is, or its file was taken away."""
        if not self._index.exists():
            raise IndexDamaged(f"the index {self._index} was taken away")
        if self._thread is not None and self._thread.is_alive():
            return
        self._report()
        now = time.monotonic()
        if now >= self._not_before and (idle or now >= self._quiet_until) and self._due():
            self._not_before = now + PATIENCE_SECONDS
            self._thread = Thread(target=self._make, name="backup", daemon=True)
            self._thread.start()

    def make(self) -> None:
        """Make one now if it is time, for a service that makes one pass only. IndexDamaged as above."""
        if self._due():
            self._make()
            self._report()

    def _due(self) -> bool:
        now = _clock()
        if self._due_at is None:
            made_at = backup.made_at(self._index)
            # A time that is to come, or long ago, says nothing: a clock that was wrong must not put it off for years.
            passed = EVERY_SECONDS if made_at is None else self._wall() - made_at
            self._due_at = now + (EVERY_SECONDS - passed if 0 <= passed < EVERY_SECONDS else 0.0)
        return now >= self._due_at

    def _make(self) -> None:
        try:
            self._tell("backed_up", file=backup.back_up(self._index, now=self._wall()).name)
            self._due_at = _clock() + EVERY_SECONDS
        except (LibraryUnavailable, OSError) as problem:
            self._problem = problem

    def _report(self) -> None:
        problem, self._problem = self._problem, None
        if isinstance(problem, IndexDamaged):
            raise problem
        if problem is not None:
            self._tell("backup_failed", why=str(problem))


def _clock() -> float:
    """Seconds that nobody sets, those in which the machine slept counted where the system does so."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
