"""The owner's word on what sortd moved into each category, and on what it would have moved there but for a stop."""

from __future__ import annotations

from sortd.domain.category import CategoryName
from sortd.domain.video import Fingerprint
from sortd.judgement.trust import CategoryFeedback
from sortd.store.database import Database, blob, category_of
from sortd.store.journal import Journal

_WORD = "confirmed, corrected, last_correction, agreed, refuted"


class TrackRecord:
    """Reads and writes; the caller opens the transactions."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._db = database
        self._journal = journal

    def of(self, category: CategoryName) -> CategoryFeedback:
        """All of it on one category."""
        row = self._db.one(f"SELECT {_WORD} FROM categories WHERE name = ?", blob(category))
        return CategoryFeedback() if row is None else CategoryFeedback(*row)

    def doubted(self) -> dict[int, tuple[CategoryName, CategoryFeedback]]:
        """By number: each standing category of which the owner ever took some out."""
        rows = self._db.execute(
            f"SELECT id, name, {_WORD} FROM categories WHERE last_correction IS NOT NULL AND present ORDER BY id"
        )
        return {row[0]: (category_of(row[1]), CategoryFeedback(*row[2:])) for row in rows}

    def confirmed(self, category: CategoryName, *, moves: int = 1) -> None:
        """The owner agreed with placements."""
        self._db.execute("UPDATE categories SET confirmed = confirmed + ? WHERE name = ?", moves, blob(category))

    def taken_out(self, video: Fingerprint, category: CategoryName, *, unconfirmed: bool, now: float) -> None:
        """The owner took out what sortd had moved there: a correction, if they had not agreed with it before."""
        self._journal.taken_out(video, category)
        if unconfirmed:
            self._journal.correct(video, category)
            self._db.execute(
                "UPDATE categories SET corrected = corrected + 1, last_correction = ? WHERE name = ?",
                now,
                blob(category),
            )

    def filed(self, video: Fingerprint, category: CategoryName, *, kept_from: CategoryName | None) -> None:
        """The owner filed a video; `kept_from` is the category that it would have been moved to but for a stop.

        Where they once took it out of this very category, they take that back: the move was right.
        """
        right = self._journal.filed_back(video, category)
        if right:
            self._db.execute("UPDATE categories SET corrected = corrected - ? WHERE name = ?", right, blob(category))
            self.confirmed(category, moves=right)
        if kept_from is not None:
            said = "agreed" if kept_from == category else "refuted"
            self._db.execute(f"UPDATE categories SET {said} = {said} + 1 WHERE name = ?", blob(kept_from))
