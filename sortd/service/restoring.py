"""The index, as complete as it can be made: from its own file, from a backup, from the decision log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from sortd.disk.guard import Guard
from sortd.domain import FeatureSpace
from sortd.errors import IndexDamaged, LibraryUnavailable
from sortd.service.learner import CHANGES
from sortd.service.telling import Tell
from sortd.store import backup
from sortd.store.decisions import DECISION_LOG, DecisionLog, read_after
from sortd.store.memory import INDEX_NAME, Memory
from sortd.store.migrations import MIGRATIONS
from sortd.store.replay import replay

EVERY_SECONDS = 86_400.0
"""From one backup to the next."""

PATIENCE_SECONDS = 3600.0
"""So long a service that has begun waits for a quiet moment, when there is more to back up; one that failed rests."""

TRUSTED = 1
"""So often damage may show in an index in use, and a backup still be believed: the next index is made without."""

MOST_DAMAGES = 2
"""Damage that comes back then is the disk's or the memory's, and the service ends with it."""


def open_memory(guard: Guard, space: FeatureSpace, *, tell: Tell, now: float, damages: int | None = None) -> Memory:
    """Open the library's index for writing, brought up to all that the decision log knows.

    Damage is looked for at every start: half a second for 50 000 videos, against a placement that is read as never
    made and so becomes a label. `damages` is how often it showed since then in the index in use, which is put aside
    for it; None: a damaged index may not be put aside.

    IndexDamaged: it is, and may not; otherwise LibraryUnavailable where the state or the log cannot be used.
    """
    index = guard.state / INDEX_NAME
    why = "" if index.exists() else "it was missing"
    aside = source = None
    try:
        version = _version(index, damages or 0)
    except IndexDamaged as damage:
        if damages is None:
            raise IndexDamaged(f"{damage}; `sortd run` puts it aside and makes it again") from damage
        why, version = str(damage), 0
    try:
        if why:
            aside = backup.put_aside(index, now=now)
            source = backup.bring_back(index) if (damages or 0) <= TRUSTED else None
            version = _version(index, 0)
        if source is None and 0 < version < len(MIGRATIONS):
            backup.back_up(index, now=now)
    except OSError as problem:
        raise LibraryUnavailable(f"{problem.filename or index} cannot be used: {problem.strerror}") from problem
    memory = Memory.open(guard.state, space)
    try:
        made, skipped = _catch_up(memory, guard.root / DECISION_LOG, older=source is not None)
    except LibraryUnavailable:
        memory.database.close()
        if source is not None:
            # The next start brings it back again: left here, it would pass for an index that lacks nothing.
            index.unlink()
        raise
    if aside or source or made or skipped:
        names = {key: path and path.name for key, path in (("aside", aside), ("backup", source))}
        tell("index_restored", why=why or "the decision log knew more", **names, decisions=made, skipped=skipped)
    return memory


def mending(serve: Callable[[int], None], *, tell: Tell) -> None:
    """Serve, and where damage shows in the index meanwhile begin anew; `serve` is told how often it did."""
    for damages in range(MOST_DAMAGES):
        try:
            return serve(damages)
        except IndexDamaged as damage:
            tell("index_damaged", why=str(damage))
    return serve(MOST_DAMAGES)


def raise_if_damaged(index: Path) -> None:
    """Whether what went wrong is the index's own doing: IndexDamaged."""
    try:
        backup.check(index)
    except IndexDamaged:
        raise
    except LibraryUnavailable:
        return  # a full or failing disk, which may pass


class Backups:
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


def _version(index: Path, damages: int) -> int:
    if not index.exists():
        return 0
    if damages:
        raise IndexDamaged(f"damage showed in the index {index} while it was in use")
    return backup.check(index)


def _catch_up(memory: Memory, log: Path, *, older: bool) -> tuple[int, int]:
    """Make the decisions again that the index does not know of: how many, and how many lines gave none.

    LibraryUnavailable: the log cannot be read, and the index is new or `older`, one from a backup.
    """
    decisions = DecisionLog(memory.database, log)
    known = decisions.known()
    try:
        lines, skipped = read_after(log, known)
    except OSError as problem:
        if known and not older:
            return 0, 0
        # A new index without it would take for the owner's all that sortd ever filed, one from a backup all since.
        raise LibraryUnavailable(f"{log} cannot be read: {problem.strerror}") from problem
    if not lines:
        return 0, 0 if known else skipped
    with memory.transaction():
        no_decisions = replay(memory, lines)
        decisions.go_on_after(max(line.number for line in lines))
        changes = int(memory.database.note(CHANGES) or 0)
        memory.database.write_note(CHANGES, str(changes + len(lines)))
    return len(lines) - no_decisions, skipped + no_decisions
