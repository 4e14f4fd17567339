"""The table of all categories ever seen, by number, so that a renamed folder changes no home, veto or move."""

from __future__ import annotations

from sortd.judgement.category_diff import Folder, Known
from sortd.store.database import Database, blob, category_of, integer, integer_of

_HIGHEST = "highest_category"
"""The note of the last number that was given: its row may have been merged into another."""


class CategoryTable:
    """Reads and writes these tables; the caller opens the transactions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> list[Known]:
        """Return every category ever seen; `present` tells which have a folder now."""
        rows = self._db.execute("SELECT id, name, device, inode, present FROM categories ORDER BY name")
        return [
            Known(row[0], category_of(row[1]), integer_of(row[2]), integer_of(row[3]), bool(row[4])) for row in rows
        ]

    def standing(self) -> set[Folder]:
        """Return the folders of all present categories, as they were at the last look."""
        return {Folder(known.name, known.device, known.inode) for known in self.all() if known.present}

    def stands(self, folder: Folder | None) -> bool:
        """Tell whether this is the folder of a present category, on the same disk as at the last look."""
        query = "SELECT 1 FROM categories WHERE name = ? AND device = ? AND inode = ? AND present"
        if folder is None:
            return False
        return bool(self._db.one(query, blob(folder.name), integer(folder.device), integer(folder.inode)))

    def add(self, folder: Folder) -> None:
        """Add a folder that was never seen."""
        self._db.execute(
            "INSERT INTO categories (id, name, device, inode) VALUES (?, ?, ?, ?)",
            self._next_number(),
            blob(folder.name),
            integer(folder.device),
            integer(folder.inode),
        )

    def _next_number(self) -> int:
        """Return a number that was never given before: classifiers know the categories by their numbers."""
        (highest,) = self._db.execute("SELECT coalesce(max(id), 0) FROM categories").fetchone()
        number = 1 + max(int(highest), int(self._db.note(_HIGHEST) or 0))
        self._db.write_note(_HIGHEST, str(number))
        return number

    def update(self, number: int, folder: Folder) -> bool:
        """A category stands as this folder: under its old name, or under a new one, with all paths below it.

        True when its folder has another inode than before.
        """
        was, inode = self._db.execute("SELECT name, inode FROM categories WHERE id = ?", number).fetchone()
        name = blob(folder.name)
        if was != name:
            self._absorb(name, number)
            # What is joined is text, whatever it was joined from, and no text equals the path it spells.
            self._db.execute(
                "UPDATE OR REPLACE files SET path = CAST(?1 || substr(path, ?2) AS BLOB)"
                " WHERE path >= ?3 AND path < ?4",
                name,
                len(was) + 1,
                was + b"/",
                was + b"0",
            )
            self._db.execute("UPDATE videos SET left_category = ? WHERE left_category = ?", name, was)
        self._db.execute(
            "UPDATE categories SET name = ?, device = ?, inode = ?, present = 1 WHERE id = ?",
            name,
            integer(folder.device),
            integer(folder.inode),
            number,
        )
        return integer_of(inode) != folder.inode

    def _absorb(self, name: bytes, number: int) -> None:
        """Merge a category without a folder into the one whose folder has its name now: homes and vetoes follow."""
        row = self._db.one("SELECT id FROM categories WHERE name = ?", name)
        if row is None:
            return
        self._db.execute("UPDATE videos SET home = ? WHERE home = ?", number, row[0])
        self._db.execute("UPDATE moves SET category = ? WHERE category = ?", number, row[0])
        self._db.execute("UPDATE OR REPLACE vetoes SET category = ? WHERE category = ?", number, row[0])
        self._db.execute(
            "UPDATE categories SET (confirmed, corrected, last_correction, agreed, refuted) = (SELECT sum(confirmed),"
            " sum(corrected), max(last_correction), sum(agreed), sum(refuted) FROM categories WHERE id IN (?1, ?2))"
            " WHERE id = ?1",
            number,
            row[0],
        )
        self._db.execute("DELETE FROM categories WHERE id = ?", row[0])

    def retire(self, number: int) -> None:
        """Note that no folder is this category any more."""
        self._db.execute("UPDATE categories SET present = 0 WHERE id = ?", number)

    def labels(self, number: int) -> int:
        """Count the videos that the owner filed there, with those that are gone since."""
        row = self._db.one("SELECT count(*) FROM videos WHERE home = ? AND placed_by = 'owner'", number)
        return 0 if row is None else int(row[0])
