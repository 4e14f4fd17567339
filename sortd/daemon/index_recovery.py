"""Open the index, as complete as it can be made: from its own file, from a backup, from the decision log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sortd.disk.root_guard import RootGuard
from sortd.domain.errors import IndexDamaged, LibraryUnavailable
from sortd.domain.feature import FeatureSpace
from sortd.engine.event_log import Tell
from sortd.store import backup
from sortd.store.decision_log import DECISION_LOG, DecisionLog, read_after
from sortd.store.log_replay import replay
from sortd.store.migrations import MIGRATIONS
from sortd.store.store import INDEX_NAME, Store

TRUSTED = 1
"""So often damage may show in an index in use, and a backup still be believed: the next index is made without."""

MOST_DAMAGES = 2
"""Damage that comes back then is the disk's or the memory's, and the service ends with it."""


def open_store(guard: RootGuard, space: FeatureSpace, *, tell: Tell, now: float, damages: int | None = None) -> Store:
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
    store = Store.open(guard.state, space)
    try:
        made, skipped = _catch_up(store, guard.root / DECISION_LOG, older=source is not None)
    except LibraryUnavailable:
        store.database.close()
        if source is not None:
            # The next start brings it back again: left here, it would pass for an index that lacks nothing.
            index.unlink()
        raise
    if aside or source or made or skipped:
        names = {key: path and path.name for key, path in (("aside", aside), ("backup", source))}
        tell("index_restored", why=why or "the decision log knew more", **names, decisions=made, skipped=skipped)
    return store


def run_with_recovery(serve: Callable[[int], None], *, tell: Tell) -> None:
    """Call `serve`, and again with the number of damages so far whenever the index turns out damaged."""
    for damages in range(MOST_DAMAGES):
        try:
            return serve(damages)
        except IndexDamaged as damage:
            tell("index_damaged", why=str(damage))
    return serve(MOST_DAMAGES)


def raise_if_damaged(index: Path) -> None:
    """Raise IndexDamaged if the index's file is damaged."""
    try:
        backup.check(index)
    except IndexDamaged:
        raise
    except LibraryUnavailable:
        return  # a full or failing disk, which may pass


def _version(index: Path, damages: int) -> int:
    if not index.exists():
        return 0
    if damages:
        raise IndexDamaged(f"damage showed in the index {index} while it was in use")
    return backup.check(index)


def _catch_up(store: Store, log: Path, *, older: bool) -> tuple[int, int]:
    """Make the decisions again that the index does not know of: how many, and how many lines gave none.

    LibraryUnavailable: the log cannot be read, and the index is new or `older`, one from a backup.
    """
    decisions = DecisionLog(store.database, log)
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
    with store.transaction():
        no_decisions = replay(store, lines)
        decisions.go_on_after(max(line.number for line in lines))
        store.count_label_changes(len(lines))
    return len(lines) - no_decisions, skipped + no_decisions
