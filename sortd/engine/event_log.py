"""Write the lines of both logs: what is told inside a transaction is written when it is committed, or never."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sortd.domain.decision_facts import DecisionFact
from sortd.store.database import Database
from sortd.store.decision_log import DecisionLog

Tell = Callable[..., None]
"""`tell("moved", path=..., to=...)`: one line per outcome, in the past tense."""

Note = Callable[[DecisionFact], None]
"""`note(VideoPlaced(...))`: one line of the decision log, kept in the transaction of the decision."""


def telling(database: Database, write: Tell) -> Tell:
    """Make a `tell` that writes after the commit, and nothing of what was rolled back."""

    def tell(event: str, **facts: object) -> None:
        database.after_commit(partial(write, event, **facts))

    return tell


def noting(decisions: DecisionLog, wall: Callable[[], float]) -> Note:
    """Make a `note` that adds the time of day."""

    def note(fact: DecisionFact) -> None:
        decisions.note(fact, at=wall())

    return note


def flushing(decisions: DecisionLog, tell: Tell) -> Callable[[], None]:
    """Make a call that appends waiting lines to the decision log, and tells once if it cannot."""
    told = ""

    def flush() -> None:
        nonlocal told
        problem = ""
        try:
            decisions.flush()
        except OSError as waits:
            # It stays in the index and is appended once the root can be written again.
            problem = str(waits)
        if problem and problem != told:
            tell("decision_log_waits", why=problem)
        told = problem

    return flush
