"""The SQLite file: opening it, its pragmas, its migrations, and the one way to write to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from sortd.domain import Category
from sortd.errors import LibraryUnavailable

MIGRATIONS = [
    # 1: the first library.
    """
    CREATE TABLE categories (
        id INTEGER PRIMARY KEY,
        name BLOB NOT NULL UNIQUE,            -- the folder's path relative to the root
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        present INTEGER NOT NULL DEFAULT 1,
        confirmed INTEGER NOT NULL DEFAULT 0, -- placements the owner agreed with
        corrected INTEGER NOT NULL DEFAULT 0, -- placements the owner took out again
        last_correction REAL
    );
    CREATE TABLE videos (
        fingerprint TEXT PRIMARY KEY,
        home INTEGER REFERENCES categories (id),
        placed_by TEXT CHECK (placed_by IN ('owner', 'sortd')),
        first_seen REAL NOT NULL,
        absent_since REAL,                    -- no copy of it stands any more
        pending INTEGER NOT NULL DEFAULT 1,   -- lacks a feature of the present space
        left_reason TEXT,                     -- the last reason told, so that it is told once
        left_category BLOB,
        CHECK ((home IS NULL) = (placed_by IS NULL))
    ) WITHOUT ROWID;
    CREATE INDEX videos_pending ON videos (first_seen) WHERE pending;
    CREATE INDEX videos_home ON videos (home);
    CREATE TABLE files (
        path BLOB PRIMARY KEY,                -- relative to the root, so that the library may move
        fingerprint TEXT NOT NULL REFERENCES videos (fingerprint),
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        gone INTEGER NOT NULL DEFAULT 0       -- 1: not there at the last look; 2: nor since before the last scan
    ) WITHOUT ROWID;
    CREATE INDEX files_fingerprint ON files (fingerprint);
    CREATE TABLE vetoes (
        fingerprint TEXT NOT NULL REFERENCES videos (fingerprint),
        category INTEGER NOT NULL REFERENCES categories (id),
        PRIMARY KEY (fingerprint, category)
    ) WITHOUT ROWID;
    CREATE TABLE features (
        fingerprint TEXT NOT NULL REFERENCES videos (fingerprint),
        extractor TEXT NOT NULL,
        version TEXT NOT NULL,
        vector BLOB,                          -- little-endian float32; NULL: known to hold nothing
        text TEXT,
        details TEXT NOT NULL,
        PRIMARY KEY (fingerprint, extractor, version)
    );
    CREATE TABLE attempts (
        fingerprint TEXT PRIMARY KEY REFERENCES videos (fingerprint),
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        count INTEGER NOT NULL DEFAULT 0,
        running TEXT CHECK (running IN ('alone', 'batch')),
        alone INTEGER NOT NULL DEFAULT 0,     -- its batch was lost: it goes by itself next
        fault TEXT,                           -- set: set aside
        message TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID;
    CREATE TABLE moves (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL,
        category INTEGER NOT NULL REFERENCES categories (id),
        confidence REAL NOT NULL,
        undoes INTEGER REFERENCES moves (id), -- a move back
        state TEXT NOT NULL CHECK (state IN ('open', 'done', 'undone', 'abandoned')),
        at REAL NOT NULL,
        why TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX moves_category ON moves (category, state);
    CREATE INDEX moves_fingerprint ON moves (fingerprint);
    CREATE TABLE move_steps (
        move INTEGER NOT NULL REFERENCES moves (id),
        n INTEGER NOT NULL,
        source BLOB NOT NULL,
        target BLOB NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        PRIMARY KEY (move, n)
    ) WITHOUT ROWID;
    CREATE TABLE classifiers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        space TEXT NOT NULL,
        digest TEXT NOT NULL,                 -- of the labels it learned from
        trained_at REAL NOT NULL,
        report TEXT NOT NULL,
        file TEXT NOT NULL
    );
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        line TEXT NOT NULL                    -- decided here, not yet in the decision log
    );
    CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    # 2: each frame's own vector, float16 [n, dim], row after row.
    """
    ALTER TABLE features ADD COLUMN frames BLOB;
    """,
    # 3: moves across filesystems; a step's copy is noted when it is verified, before it gets its name.
    """
    ALTER TABLE moves ADD COLUMN crosses INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE move_steps ADD COLUMN copy_inode INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_size INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_mtime_ns INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_digest TEXT;
    """,
]
"""Each runs once, in one transaction with the count of itself in `PRAGMA user_version`."""


VERSION = sqlite3.sqlite_version
"""Of SQLite itself."""


class Database:
    """One connection; the service holds the only one that writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._after_commit: list[Callable[[], None]] = []

    @classmethod
    def open(cls, path: Path, *, query_only: bool = False) -> Database:
        """Open, and migrate where this connection may write. LibraryUnavailable: it cannot be used."""
        try:
            # A reader opens for writing too: after a kill it may find a hot journal, which a read-only open refuses.
            mode = "rw" if query_only else "rwc"
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=20
            )
            database = cls(connection)
            if query_only:
                connection.execute("PRAGMA query_only = 1")
                if database._version() != len(MIGRATIONS):
                    raise LibraryUnavailable(f"{path} was written by another version of sortd")
            else:
                database._prepare(path)
        except sqlite3.Error as error:
            raise LibraryUnavailable(f"the index {path} cannot be used: {error}") from error
        return database

    def _version(self) -> int:
        (version,) = self.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _prepare(self, path: Path) -> None:
        # Before 3.51.3 (and its backports) a write-ahead log can corrupt with two connections:
        # https://sqlite.org/wal.html#walresetbug
        safe = sqlite3.sqlite_version_info
        wal = safe >= (3, 51, 3) or (3, 50, 7) <= safe < (3, 51) or (3, 44, 6) <= safe < (3, 45)
        self.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
        self.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
        self.execute("PRAGMA foreign_keys = 1")
        version = self._version()
        if version > len(MIGRATIONS):
            raise LibraryUnavailable(f"{path} was written by a newer sortd; it is left untouched")
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            with self.transaction():
                for statement in _statements(script):
                    self.execute(statement)
                self.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or none; one inside another is part of the outer one."""
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self._after_commit.clear()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        calls, self._after_commit = self._after_commit, []
        for call in calls:
            call()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call this once the present transaction is committed; at once where there is none."""
        if self._connection.in_transaction:
            self._after_commit.append(call)
        else:
            call()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one and the same state."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Run one statement. LibraryUnavailable: the disk is full, failing or gone, or the file is damaged."""
        try:
            return self._connection.execute(sql, values)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise LibraryUnavailable(f"the index cannot be used: {error}") from error

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """The first row, if any."""
        row: tuple[Any, ...] | None = self.execute(sql, *values).fetchone()
        return row

    def note(self, key: str) -> str | None:
        """A remembered value."""
        row = self.one("SELECT value FROM notes WHERE key = ?", key)
        return None if row is None else str(row[0])

    def write_note(self, key: str, value: str) -> None:
        """Remember a value."""
        self.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", key, value)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def blob(name: PurePath | Category) -> bytes:
    """A path or category as it is kept: the very bytes of its name."""
    return os.fsencode(name)


def path_of(name: bytes) -> PurePath:
    """A kept path, relative to the root."""
    return PurePath(os.fsdecode(name))


def category_of(name: bytes) -> Category:
    """A kept category's name."""
    return Category(os.fsdecode(name))


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
