"""The lines of the log: what is told in a transaction is written when it is committed, or never."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sortd.store.database import Database

Tell = Callable[..., None]
"""`tell("moved", path=..., to=...)`: one line per outcome, in the past tense."""


def telling(database: Database, write: Tell) -> Tell:
    """Make a `tell` that writes nothing that was never true."""

    def tell(event: str, **facts: object) -> None:
        database.after_commit(partial(write, event, **facts))

    return tell
