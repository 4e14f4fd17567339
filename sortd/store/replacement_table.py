"""New files that took the place of known videos, until it is known whether they are those videos still."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from sortd.domain.video import Fingerprint
from sortd.store.database import Database, blob, path_of


@dataclass(frozen=True, slots=True)
class ReplacementCandidate:
    """A new video at a path, and the one it may be; `old_path` is where that one stood or stands."""

    video: Fingerprint
    path: PurePath
    old: Fingerprint
    old_path: PurePath


class ReplacementTable:
    """Reads and writes; the caller opens the transactions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def namesakes(self, path: PurePath) -> list[tuple[Fingerprint, PurePath]]:
        """What stands, or stood since the last whole scan, at the path or beside it under its stem; with its path."""
        stem = blob(path.with_suffix(""))
        rows = self._db.execute(
            "SELECT fingerprint, path FROM files WHERE path = ? OR (path > ? AND path < ?) ORDER BY path",
            blob(path),
            stem + b".",
            stem + b"/",  # the byte after "."
        )
        found = [(Fingerprint(row[0]), path_of(row[1])) for row in rows]
        return [(video, other) for video, other in found if other.with_suffix("") == path.with_suffix("")]

    def wait(self, candidate: ReplacementCandidate) -> None:
        """Hold the new video back until it is known what it is."""
        self._db.execute(
            "INSERT OR REPLACE INTO successions (fingerprint, predecessor, path, old_path) VALUES (?, ?, ?, ?)",
            candidate.video,
            candidate.old,
            blob(candidate.path),
            blob(candidate.old_path),
        )

    def end(self, candidate: ReplacementCandidate) -> None:
        """It is known."""
        self._db.execute(
            "DELETE FROM successions WHERE (fingerprint, predecessor) = (?, ?)", candidate.video, candidate.old
        )

    def waits(self, video: Fingerprint) -> bool:
        """Tell whether it is not yet known what a video is."""
        return self._db.one("SELECT 1 FROM successions WHERE fingerprint = ? LIMIT 1", video) is not None

    def candidates(self) -> list[ReplacementCandidate]:
        """All that wait, in a lasting order."""
        rows = self._db.execute(
            "SELECT fingerprint, path, predecessor, old_path FROM successions ORDER BY path, predecessor"
        )
        return [
            ReplacementCandidate(Fingerprint(row[0]), path_of(row[1]), Fingerprint(row[2]), path_of(row[3]))
            for row in rows
        ]
