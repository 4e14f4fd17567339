"""Open the SQLite file, bring its tables up to date, and give the one way to write to it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from sortd.config.file_owner import hand_over
from sortd.domain.category import CategoryName
from sortd.domain.errors import IndexDamaged, IndexUnavailable, LibraryUnavailable
from sortd.domain.video import FileIdentity
from sortd.store.migrations import MIGRATIONS

VERSION = sqlite3.sqlite_version
"""Of SQLite itself."""

DatabaseError = sqlite3.Error
"""What a statement raises that is neither damage nor a disk that fails: our own mistake."""

IDENTITY = "inode, size, mtime_ns, ctime_ns, device"
"""The columns that keep a FileIdentity, in the order of `identity_values`."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class _Rows(sqlite3.Cursor):
    """A cursor that turns errors at any row into sortd's own: damage and failing disks may show late."""

    def __next__(self) -> Any:  # noqa: ANN401 - a row of whatever was asked for
        try:
            return super().__next__()
        except sqlite3.DatabaseError as error:
            raise clear_line(error) from error

    def fetchone(self) -> Any:  # noqa: ANN401 - as above
        return next(self, None)

    def fetchall(self) -> list[Any]:
        return list(self)


def clear_line(error: sqlite3.DatabaseError) -> Exception:
    """Turn an error into one clear line: the disk is full, failing or gone, or the file damaged; bugs are left."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return error
    damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE or "decode to UTF-8" in str(error)
    return (IndexDamaged if damaged else IndexUnavailable)(f"the index cannot be used: {error}")


def connect(path: Path, *, mode: str) -> sqlite3.Connection:
    """Open a connection that commits each statement by itself; `mode` is rw, or rwc to make the file."""
    # A reader opens for writing too: after a kill it may find a hot journal, which a read-only open refuses.
    name = f"{path.absolute().as_uri()}?mode={mode}"
    if mode == "rwc":
        make_private(path)  # what SQLite keeps beside it gets its mode
    return sqlite3.connect(name, uri=True, isolation_level=None, timeout=20)


def make_private(path: str | Path, *, dir_fd: int | None = None) -> None:
    """Make an empty file that its owner alone may read, whatever the umask says, unless something stands there."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    except OSError:
        return  # it stands there, or cannot be made, which is told when it is opened
    hand_over(descriptor, os.stat(Path(path).parent, dir_fd=dir_fd))
    os.close(descriptor)


class Database:
    """One connection; the service holds the only one that writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._after_commit: list[Callable[[], None]] = []

    @classmethod
    def open(cls, path: Path, *, query_only: bool = False) -> Database:
        """Open, and migrate where this connection may write. LibraryUnavailable: it cannot be used."""
        try:
            database = cls(connect(path, mode="rw" if query_only else "rwc"))
            try:
                database._prepare(path, query_only=query_only)
            except BaseException:
                database.close()
                raise
        except sqlite3.Error as error:
            raise LibraryUnavailable(f"the index {path} cannot be used: {error}") from error
        return database

    def _version(self) -> int:
        (version,) = self.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _prepare(self, path: Path, *, query_only: bool) -> None:
        # Before anything that could change the file: what another version wrote is left as it is.
        version = self._version()
        if version > len(MIGRATIONS):
            raise LibraryUnavailable(f"{path} was written by a newer sortd; it is left untouched")
        if query_only:
            self.execute("PRAGMA query_only = 1")
            if version == 0:
                raise IndexDamaged(f"the index {path} is empty")
            if version < len(MIGRATIONS):
                raise LibraryUnavailable(f"{path} was written by an older sortd: `sortd run` brings it up to date")
            return
        # Before 3.51.3 (and its backports) a write-ahead log can corrupt with two connections:
        # https://sqlite.org/wal.html#walresetbug
        safe = sqlite3.sqlite_version_info
        wal = safe >= (3, 51, 3) or (3, 50, 7) <= safe < (3, 51) or (3, 44, 6) <= safe < (3, 45)
        self.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
        self.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
        self.execute("PRAGMA foreign_keys = 1")
        if version < len(MIGRATIONS):
            with self.transaction():
                for script in MIGRATIONS[version:]:
                    for statement in _statements(script):
                        self.execute(statement)
                self.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is done inside, or none of it; a transaction inside another is part of the outer one."""
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
                self.execute("ROLLBACK")
            raise
        calls, self._after_commit = self._after_commit, []
        for call in calls:
            call()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Make this call once the present transaction is committed, or at once where there is none."""
        if self._connection.in_transaction:
            self._after_commit.append(call)
        else:
            call()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make several reads see one and the same state."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Run one statement. IndexDamaged, or IndexUnavailable: it is locked, or its disk is full, failing or gone."""
        try:
            return self._connection.cursor(_Rows).execute(sql, values)
        except sqlite3.DatabaseError as error:
            raise clear_line(error) from error

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row, if there is one."""
        row: tuple[Any, ...] | None = self.execute(sql, *values).fetchone()
        return row

    def note(self, key: str) -> str | None:
        """Return the value of a note; None: there is no such note."""
        row = self.one("SELECT value FROM notes WHERE key = ?", key)
        return None if row is None else str(row[0])

    def write_note(self, key: str, value: str) -> None:
        """Write a note."""
        self.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", key, value)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def parsed(text: str) -> dict[str, Any]:
    """Read a JSON object that was kept. IndexDamaged: it is none any more."""
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError as nonsense:
        raise IndexDamaged(f"the index cannot be used: {nonsense}") from nonsense
    return value


def blob(name: PurePath | CategoryName) -> bytes:
    """Give a path or category the form in which it is kept: the very bytes of its name."""
    return os.fsencode(name)


def path_of(name: bytes) -> PurePath:
    """Read a path that was kept; it is relative to the root."""
    return PurePath(os.fsdecode(name))


def category_of(name: bytes) -> CategoryName:
    """Read a category's name that was kept."""
    return CategoryName(os.fsdecode(name))


def integer(value: int) -> int | bytes:
    """Give a filesystem's number the form in which it is kept: an integer where it fits into 64 bits, else 16 bytes."""
    return value if -(2**63) <= value < 2**63 else value.to_bytes(16, "big", signed=True)


def integer_of(kept: int | bytes) -> int:
    """Read a number that was kept so."""
    return int.from_bytes(kept, "big", signed=True) if isinstance(kept, bytes) else kept


def identity_values(identity: FileIdentity) -> tuple[int | bytes | None, ...]:
    """Give an identity the form in which it is kept, in the order of IDENTITY."""
    kept = (*identity.lasting, identity.ctime_ns, identity.device)
    return tuple(None if value is None else integer(value) for value in kept)


def identity_from(values: Sequence[Any]) -> FileIdentity:
    """Read an identity that was kept so."""
    inode, size, mtime_ns, *rest = values
    ctime_ns, device = (None if value is None else integer_of(value) for value in rest)
    return FileIdentity(integer_of(inode), integer_of(size), integer_of(mtime_ns), ctime_ns, device)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
