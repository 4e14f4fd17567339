"""Check the index's file as a whole, put it aside where it is damaged, and keep backups beside it.

A backup is a copy that SQLite itself made, checked, synced and only then renamed to its name, so whatever bears that
name is whole. It is the copy that is checked: page for page it is the index, and the index is locked no longer than
copying takes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sortd.domain.errors import IndexDamaged, LibraryUnavailable
from sortd.store.database import clear_line, connect
from sortd.store.migrations import MIGRATIONS

KEPT = 3
"""How many backups are kept."""

_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; it belongs to that very file, and would spoil any other of its name."""

_STAMP = "%Y%m%dT%H%M%S"


def check(path: Path) -> int:
    """Return how many migrations an index has seen, without changing it. IndexDamaged: it is no index, or is torn."""
    with _connected(path) as connection:
        connection.execute("PRAGMA query_only = 1")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            return version  # of a newer sortd, whose files are not ours to judge
        verdict = " ".join(str(connection.execute("PRAGMA quick_check (1)").fetchone()[0]).split())
        page = int(connection.execute("PRAGMA page_size").fetchone()[0])
    if verdict != "ok":
        raise IndexDamaged(f"the index {path} is damaged: {verdict}")
    if path.stat().st_size % page:
        # SQLite reads what a page lacks as zeros.
        raise IndexDamaged(f"the index {path} is damaged: its last page is cut short")
    if version == 0:
        raise IndexDamaged(f"the index {path} is empty")
    return version


def put_aside(index: Path, *, now: float) -> Path | None:
    """Rename a damaged index, with all that SQLite kept beside it; return its name, or None where there was none."""
    stamp = time.strftime(_STAMP, time.gmtime(now))
    names = (_with(index, f".corrupt-{stamp}{again}") for again in ("", *(f"-{number}" for number in range(2, 99))))
    aside = next(name for name in names if not any(_with(name, end).exists() for end in ("", *_BESIDE)))
    # The index first: were it left alone by a kill, without its journal, it might pass for sound.
    found = [end for end in ("", *_BESIDE) if _with(index, end).exists()]
    for end in found:
        _with(index, end).rename(_with(aside, end))
    return aside if found else None


def backups(index: Path) -> list[Path]:
    """List the backups of an index, the newest first, by number, not by the clock; those named by a time are older."""
    found = [(match, path) for path in index.parent.iterdir() if (match := _backup_of(index, path)) and _is_plain(path)]
    ranked = sorted(found, key=lambda pair: (int(pair[0]["number"] or 0), pair[0]["time"] or ""), reverse=True)
    return [path for _, path in ranked]


def made_at(index: Path) -> float | None:
    """Return when the newest backup was made, by the clock of then; None: there is none."""
    newest = next(iter(backups(index)), None)
    return None if newest is None else newest.stat().st_mtime


def back_up(index: Path, *, now: float) -> Path:
    """Make a backup and remove the oldest. IndexDamaged: the index is damaged; OSError: there is no room."""
    size = index.stat().st_size
    if shutil.disk_usage(index.parent).free < 2 * size:
        # Else the backup would take the room that the index itself is about to need.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(index.parent))
    # What bears such a name and is no plain file has its number all the same.
    taken = [match["number"] for path in index.parent.iterdir() if (match := _backup_of(index, path))]
    number = 1 + max((int(number or 0) for number in taken), default=0)
    backup = index.with_name(f"{index.name}.backup-{number:06}")
    _copy(index, backup)
    os.utime(backup, (now, now))
    for old in backups(index)[KEPT:]:
        old.unlink()
    return backup


def _backup_of(index: Path, path: Path) -> re.Match[str] | None:
    name = re.escape(index.name)
    return re.fullmatch(rf"{name}\.backup-((?P<number>[0-9]{{6,12}})|(?P<time>[0-9]{{8}}T[0-9]{{6}}))", path.name)


def bring_back(index: Path) -> Path | None:
    """Put the newest sound backup in the place of an index that is gone; None: there is none.

    LibraryUnavailable: none can be read now.
    """
    unreadable: LibraryUnavailable | None = None
    for backup in backups(index):
        try:
            if check(backup) > len(MIGRATIONS):
                continue
        except IndexDamaged:
            continue
        except LibraryUnavailable as problem:
            unreadable = unreadable or problem
            continue
        _copy(backup, index)
        return backup
    if unreadable is not None:
        raise unreadable
    return None


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _copy(source: Path, target: Path) -> None:
    part = source.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        with _connected(source) as whole, _connected(part) as copy:
            whole.execute("PRAGMA query_only = 1")
            # Synced when it is whole.
            copy.execute("PRAGMA synchronous = OFF")
            copy.execute("PRAGMA journal_mode = OFF")
            # In one step: between two the lock is let go, and any commit meanwhile would make it begin again.
            whole.backup(copy)
        check(part)
        _sync(part)
        part.replace(target)
        _sync(target.parent)
    except OSError as problem:
        raise LibraryUnavailable(f"{target} cannot be written: {problem.strerror}") from problem
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(connect(path, mode="rwc")) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise clear_line(error) from error


def _with(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
