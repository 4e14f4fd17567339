"""The append-only log in ROOT/.sortd/: what cannot be worked out again from the folders, in a portable form.

A line is first kept in the index, in the transaction of the decision itself (`outbox`), and then appended here: a kill
in between costs nothing, and at worst writes a line twice, which its number tells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from sortd.store.database import Database

DECISION_LOG = Path(".sortd") / "decisions.jsonl"
"""Relative to the root."""


class DecisionLog:
    """One JSON object a line, ASCII, with `n` its number, `at` seconds since the epoch, and `did`."""

    def __init__(self, database: Database, path: Path) -> None:
        self._db = database
        self._path = path

    def note(self, did: str, *, at: float, **facts: object) -> None:
        """Keep a decision with the transaction that makes it."""
        self._db.execute("INSERT INTO outbox (line) VALUES (?)", json.dumps({"at": round(at, 3), "did": did, **facts}))

    def flush(self) -> None:
        """Append what was kept since the last time. OSError: the root cannot be written; it stays kept."""
        rows = self._db.execute("SELECT id, line FROM outbox ORDER BY id").fetchall()
        if not rows:
            return
        lines = "".join(json.dumps({"n": number, **_fields(line)}) + "\n" for number, line in rows)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, lines.encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with self._db.transaction():
            self._db.execute("DELETE FROM outbox WHERE id <= ?", rows[-1][0])


def _fields(line: str) -> Mapping[str, object]:
    fields: Mapping[str, object] = json.loads(line)
    return fields
