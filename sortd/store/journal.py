"""The record of moves: an intent is written before a file is touched, and closed afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
from sortd.domain.move_plan import MovePlan, MoveStep, VerifiedCopy
from sortd.domain.video import FileIdentity, Fingerprint, Placer
from sortd.store.database import (
    IDENTITY,
    Database,
    blob,
    category_of,
    identity_from,
    identity_values,
    integer,
    integer_of,
    path_of,
)

DONE = "done"
"""The state of a move that was made and still stands."""

_TAKEN_BACK = "taken back"

_COPY = ", ".join(f"copy_{column}" for column in IDENTITY.split(", "))


@dataclass(frozen=True, slots=True)
class Move:
    """One move: `undoes` names the move that it takes back, `crosses` says that it needs a copy.

    `placed_by` is whose word it follows: at the owner's the video is a label where it goes.

    `began_ns`: when it was intended, by the clock of the source's filesystem; None: that could not be told.

    `taken_back` of an open one: sortd itself began to put back what it had moved. `part` begins the names of its copies
    while they grow.
    """

    number: int
    fingerprint: Fingerprint
    category: CategoryName
    confidence: float
    undoes: int | None
    state: str
    at: float
    began_ns: int | None
    crosses: bool
    taken_back: bool
    placed_by: Placer
    part: str
    steps: tuple[MoveStep, ...]

    @property
    def move(self) -> MoveTo:
        """The decision that the move follows."""
        return MoveTo(self.category, self.confidence, self.placed_by)

    @property
    def asked_for(self) -> bool:
        """Tell whether the owner asked for it: a move back, or one into a category."""
        return self.undoes is not None or self.placed_by is Placer.OWNER

    @property
    def copied(self) -> bool:
        """Tell whether its copies are made and verified, so that they may get their names."""
        return all(step.copy is not None for step in self.steps)


class Journal:
    """Reads and writes; the caller opens the transactions. Times are seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def intend(
        self,
        fingerprint: Fingerprint,
        plan: MovePlan,
        move: MoveTo,
        *,
        identities: Mapping[PurePath, FileIdentity],
        now: float,
        began_ns: int | None = None,
        undoes: int | None = None,
    ) -> int:
        """Write the intent of a move; return its number. `began_ns` is now by the clock of the source's filesystem."""
        number = self._db.execute(
            "INSERT INTO moves (fingerprint, category, confidence, placed_by, undoes, state, at, began_ns, part)"
            " VALUES (?, (SELECT id FROM categories WHERE name = ?), ?, ?, ?, 'open', ?, ?, ?)",
            fingerprint,
            blob(move.category),
            move.confidence,
            move.placed_by,
            undoes,
            now,
            None if began_ns is None else integer(began_ns),
            f".sortd-{secrets.token_hex(8)}",  # nobody else's file is called so
        ).lastrowid
        assert number is not None  # noqa: S101 - an INSERT has a row number; told to the type checker
        for n, (source, target) in enumerate(plan.steps):
            self._db.execute(
                f"INSERT INTO move_steps (move, n, source, target, {IDENTITY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                number,
                n,
                blob(source),
                blob(target),
                *identity_values(identities[source]),
            )
        return number

    def cross(self, number: int) -> None:
        """Note that the move leads to another filesystem: copies are made under temporary names, nothing is renamed."""
        self._db.execute("UPDATE moves SET crosses = 1 WHERE id = ?", number)

    def take_back(self, number: int) -> None:
        """Note that what was moved so far is about to be put back, for the rest cannot be moved."""
        self._db.execute("UPDATE moves SET why = ? WHERE id = ?", _TAKEN_BACK, number)

    def copied(self, number: int, copies: Sequence[VerifiedCopy]) -> None:
        """Note that the copy of each step is made and verified, and may get its name."""
        for n, copy in enumerate(copies):
            self._db.execute(
                f"UPDATE move_steps SET ({_COPY}) = (?, ?, ?, ?, ?), copy_digest = ? WHERE move = ? AND n = ?",
                *identity_values(copy.identity),
                copy.digest,
                number,
                n,
            )

    def complete(self, number: int) -> None:
        """Note that the move was made; a move back makes the one that it undoes `undone`."""
        self._db.execute("UPDATE moves SET state = 'done' WHERE id = ?", number)
        self._db.execute("UPDATE moves SET state = 'undone' WHERE id = (SELECT undoes FROM moves WHERE id = ?)", number)

    def abandon(self, number: int, why: str) -> None:
        """Note that nothing was moved, and why."""
        self._db.execute("UPDATE moves SET state = 'abandoned', why = ? WHERE id = ?", why, number)

    def taken_out(self, fingerprint: Fingerprint, category: CategoryName) -> None:
        """Note that the owner took a video out: its move counts as undone."""
        self._db.execute(
            "UPDATE moves SET state = 'undone' WHERE fingerprint = ? AND state = 'done' AND undoes IS NULL"
            " AND category = (SELECT id FROM categories WHERE name = ?)",
            fingerprint,
            blob(category),
        )

    def correct(self, fingerprint: Fingerprint, category: CategoryName) -> None:
        """Note that the last move of a video that was taken out was wrong, as its owner says."""
        self._db.execute(
            "UPDATE moves SET corrected = 1 WHERE id = (SELECT max(id) FROM moves WHERE fingerprint = ?"
            " AND category = (SELECT id FROM categories WHERE name = ?)"
            " AND undoes IS NULL AND placed_by = 'sortd' AND state = 'undone')",
            fingerprint,
            blob(category),
        )

    def filed_back(self, fingerprint: Fingerprint, category: CategoryName) -> int:
        """Note that the owner filed a video there after all; return how many corrections of moves that takes back."""
        return self._db.execute(
            "UPDATE moves SET corrected = 0 WHERE fingerprint = ? AND corrected"
            " AND category = (SELECT id FROM categories WHERE name = ?)",
            fingerprint,
            blob(category),
        ).rowcount

    def open_intents(self) -> list[Move]:
        """Return the moves that were begun and not closed, the oldest first."""
        return self._entries("m.state = 'open' ORDER BY m.id")

    def entry(self, number: int) -> Move:
        """Return one move."""
        (found,) = self._entries(f"m.id = {int(number)}")
        return found

    def recent(self) -> list[Move]:
        """Return every move, the latest first; a move back shows in the state of the one that it undoes."""
        return self._entries("m.undoes IS NULL ORDER BY m.id DESC")

    def moved_at(self, category: CategoryName) -> list[float]:
        """Return when automatic moves into a category were made, the oldest first, with those undone since."""
        rows = self._db.execute(
            "SELECT at FROM moves WHERE category = (SELECT id FROM categories WHERE name = ?) AND undoes IS NULL"
            " AND placed_by = 'sortd' AND state IN ('done', 'undone') ORDER BY id",
            blob(category),
        )
        return [row[0] for row in rows]

    def follow(self, old: Fingerprint, new: Fingerprint) -> None:
        """Give the moves of one content to another: the video was changed where it stands."""
        self._db.execute("UPDATE moves SET fingerprint = ? WHERE fingerprint = ?", new, old)

    def open_count(self) -> int:
        """Count the moves that were begun and not closed."""
        row = self._db.one("SELECT count(*) FROM moves WHERE state = 'open'")
        return 0 if row is None else int(row[0])

    def _entries(self, where: str) -> list[Move]:
        rows = self._db.execute(
            "SELECT m.id, m.fingerprint, c.name, m.confidence, m.undoes, m.state, m.at, m.began_ns, m.crosses, m.why,"
            " m.placed_by, m.part FROM moves m"
            f" JOIN categories c ON c.id = m.category WHERE {where}"
        ).fetchall()
        return [
            Move(
                number,
                Fingerprint(video),
                category_of(name),
                confidence,
                undoes,
                state,
                at,
                None if began_ns is None else integer_of(began_ns),
                bool(crosses),
                why == _TAKEN_BACK,
                Placer(placer),
                part,
                self._steps(number),
            )
            for number, video, name, confidence, undoes, state, at, began_ns, crosses, why, placer, part in rows
        ]

    def _steps(self, number: int) -> tuple[MoveStep, ...]:
        rows = self._db.execute(
            f"SELECT source, target, copy_digest, {IDENTITY}, {_COPY} FROM move_steps WHERE move = ? ORDER BY n",
            number,
        )
        return tuple(
            MoveStep(
                path_of(row[0]),
                path_of(row[1]),
                identity_from(row[3:8]),
                None if row[2] is None else VerifiedCopy(identity_from(row[8:13]), row[2]),
            )
            for row in rows
        )
