"""The table of classifiers and which one serves; their arrays lie in files beside the index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sortd.domain.feature import FeatureSpace
from sortd.store.database import Database, parsed

KEPT = 3
"""How many classifiers are kept, with the one that serves."""

_FIRST = "first_adopted"


@dataclass(frozen=True, slots=True)
class AdoptedClassifier:
    """The serving classifier: `digest` names the labels it learned from, `file` its arrays."""

    digest: str
    trained_at: float
    report: Mapping[str, Any]
    file: str


class ClassifierTable:
    """Reads and writes these tables; the caller opens the transactions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def adopt(self, adopted: AdoptedClassifier, space: FeatureSpace) -> list[str]:
        """Let this classifier serve; return the files that no row names any more."""
        self._db.execute(
            "INSERT INTO classifiers (space, digest, trained_at, report, file) VALUES (?, ?, ?, ?, ?)",
            space.key,
            adopted.digest,
            adopted.trained_at,
            json.dumps(dict(adopted.report)),
            adopted.file,
        )
        if self.first_adopted() is None:
            self._db.write_note(_FIRST, str(adopted.trained_at))
        old = self._db.execute("SELECT id, file FROM classifiers ORDER BY id DESC LIMIT -1 OFFSET ?", KEPT).fetchall()
        for number, _ in old:
            self._db.execute("DELETE FROM classifiers WHERE id = ?", number)
        return self._unnamed([file for _, file in old])

    def drop(self) -> list[str] | None:
        """Let the classifier before serve again; return files that no row names any more. None: there is none."""
        last = self._db.execute("SELECT id, file FROM classifiers ORDER BY id DESC LIMIT 2").fetchall()
        if len(last) < 2:  # noqa: PLR2004 - the serving one and the one before
            return None
        self._db.execute("DELETE FROM classifiers WHERE id = ?", last[0][0])
        return self._unnamed([last[0][1]])

    def _unnamed(self, files: Iterable[str]) -> list[str]:
        # The same labels give the same file again: what another row names too is still in use.
        named = {file for (file,) in self._db.execute("SELECT file FROM classifiers")}
        return [file for file in files if file not in named]

    def first_adopted(self) -> float | None:
        """Return when the first classifier began to serve: what was there before is the backlog."""
        at = self._db.note(_FIRST)
        return None if at is None else float(at)

    def serving(self) -> AdoptedClassifier | None:
        """Return the classifier that serves, if any; after a change of space it decides until another is adopted."""
        row = self._db.one("SELECT digest, trained_at, report, file FROM classifiers ORDER BY id DESC LIMIT 1")
        return None if row is None else AdoptedClassifier(row[0], row[1], parsed(row[2]), row[3])
