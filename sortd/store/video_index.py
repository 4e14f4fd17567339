"""What is known of every video: where it was seen, its home, its vetoes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from sortd.domain.category import CategoryName
from sortd.domain.decision import Reason
from sortd.domain.video import FileIdentity, Fingerprint, Placer, Record, Sighting
from sortd.judgement.category_diff import Folder
from sortd.store.database import IDENTITY, Database, blob, category_of, identity_from, identity_values, path_of

PRESENT = "EXISTS (SELECT 1 FROM files f WHERE f.fingerprint = v.fingerprint AND NOT f.gone)"
"""SQL: the video `v` stands somewhere."""

_RESTS = 3
"""In `files.gone`: the file stands there, but by the owner's rules of today it is no video of the library."""

RESTS = (
    f"(EXISTS (SELECT 1 FROM files f WHERE f.fingerprint = v.fingerprint AND f.gone = {_RESTS})"
    " AND NOT EXISTS (SELECT 1 FROM files f WHERE f.fingerprint = v.fingerprint AND NOT f.gone))"
)
"""SQL: the video `v` only rests."""

_SIGHTING = f"SELECT path, fingerprint, {IDENTITY} FROM files"


@dataclass(frozen=True, slots=True)
class Tally:
    """Distinct contents that stand in the library now."""

    total: int
    unsorted: int
    labelled: int
    placed: int
    set_aside: int
    pending: int


class VideoIndex:
    """Reads and writes; the caller opens the transactions. Times are seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Sightings

    def see(self, sighting: Sighting, *, now: float) -> bool:
        """Note a video at a path; True when this content stands in the library for the first time, or again."""
        new = self._arrive(sighting.fingerprint, now=now)
        moved = self.known(sighting.path) is None
        self._db.execute(
            f"INSERT INTO files (path, fingerprint, {IDENTITY}) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET fingerprint = excluded.fingerprint, inode = excluded.inode,"
            " size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,"
            " device = excluded.device, gone = 0",
            blob(sighting.path),
            sighting.fingerprint,
            *identity_values(sighting.identity),
        )
        self._judge_attempts(sighting, moved=moved)
        return new

    def _judge_attempts(self, sighting: Sighting, *, moved: bool) -> None:
        """What was tried counts while the file that was tried stands; one that changed in place is another file.

        A rename changes the status alone: what turns up at a new path is what was tried.
        """
        *lasting, ctime_ns, _ = identity_values(sighting.identity)
        if moved:
            self._db.execute(
                "UPDATE attempts SET ctime_ns = ? WHERE fingerprint = ? AND (inode, size, mtime_ns) = (?, ?, ?)",
                ctime_ns,
                sighting.fingerprint,
                *lasting,
            )
        self._db.execute(
            "DELETE FROM attempts WHERE fingerprint = ? AND NOT EXISTS"
            " (SELECT 1 FROM files f WHERE f.fingerprint = attempts.fingerprint AND NOT f.gone"
            " AND (f.inode, f.size, f.mtime_ns) = (attempts.inode, attempts.size, attempts.mtime_ns)"
            " AND f.ctime_ns IS attempts.ctime_ns)",
            sighting.fingerprint,
        )

    def complete(self, path: PurePath, identity: FileIdentity) -> None:
        """Note the rest of the identity of a file that an index from before kept less of."""
        *_, ctime_ns, device = identity_values(identity)
        self._db.execute("UPDATE files SET ctime_ns = ?, device = ? WHERE path = ?", ctime_ns, device, blob(path))

    def _arrive(self, fingerprint: Fingerprint, *, now: float) -> bool:
        back = self._db.execute(
            "INSERT INTO videos (fingerprint, first_seen) VALUES (?, ?) ON CONFLICT (fingerprint) DO UPDATE"
            " SET absent_since = NULL, first_seen = excluded.first_seen WHERE absent_since IS NOT NULL",
            fingerprint,
            now,
        ).rowcount
        return back == 1

    def expect(self, fingerprint: Fingerprint, path: PurePath | None, identity: FileIdentity, *, now: float) -> None:
        """A video stood here at that time, and is not known to stand elsewhere; None: where it stood is not known."""
        self._arrive(fingerprint, now=now)
        self._db.execute("DELETE FROM files WHERE fingerprint = ?", fingerprint)
        if path is not None:
            self.see(Sighting(path, fingerprint, identity), now=now)

    def lose(self, path: PurePath) -> None:
        """Nothing stands at this path now; what stood there is kept until a whole scan has passed."""
        self._db.execute("UPDATE files SET gone = 1 WHERE path = ?", blob(path))

    def rest(self, path: PurePath) -> None:
        """A file stands at this path still, but by the rules of today it is none of the library's videos."""
        self._db.execute(f"UPDATE files SET gone = {_RESTS} WHERE path = ?", blob(path))

    def begin_scan(self) -> None:
        """What was lost before this scan can be told from what is lost while it runs."""
        self._db.execute("UPDATE files SET gone = 2 WHERE gone = 1")

    def forget_lost(self, *, now: float) -> list[Fingerprint]:
        """A scan has passed and nothing is left to settle: what was lost before it was no move half seen.

        Those of a category that are gone by this.
        """
        self._db.execute("DELETE FROM files WHERE gone = 2")
        rows = self._db.execute(
            "UPDATE videos SET absent_since = ? WHERE absent_since IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM files f WHERE f.fingerprint = videos.fingerprint)"
            " RETURNING fingerprint, home",
            now,
        ).fetchall()
        return [Fingerprint(row[0]) for row in rows if row[1] is not None]

    def lost_meanwhile(self) -> bool:
        """Tell whether anything was lost since the last scan began."""
        return self._db.one("SELECT 1 FROM files WHERE gone = 1 LIMIT 1") is not None

    def vanished(self) -> tuple[int, int]:
        """Videos that were lost and not yet forgotten and stand nowhere, and all that stood before."""
        (lost,) = self._db.execute(
            "SELECT count(DISTINCT fingerprint) FROM files l WHERE gone IN (1, 2) AND NOT EXISTS"
            f" (SELECT 1 FROM files f WHERE f.fingerprint = l.fingerprint AND f.gone IN (0, {_RESTS}))"
        ).fetchone()
        (stood,) = self._db.execute("SELECT count(DISTINCT fingerprint) FROM files").fetchone()
        return int(lost), int(stood)

    def move(self, source: PurePath, target: Sighting) -> None:
        """A video was moved by sortd itself: nothing was lost."""
        self._db.execute("DELETE FROM files WHERE path = ?", blob(source))
        self.see(target, now=0.0)

    def purge(self, *, before: float) -> None:
        """Forget the features and labels of videos absent since then; their vetoes stay."""
        old = "(SELECT fingerprint FROM videos WHERE absent_since < ?)"
        self._db.execute(f"DELETE FROM features WHERE fingerprint IN {old}", before)
        self._db.execute(f"DELETE FROM attempts WHERE fingerprint IN {old}", before)
        self._db.execute("UPDATE videos SET home = NULL, placed_by = NULL, pending = 1 WHERE absent_since < ?", before)
        self._db.execute(
            "DELETE FROM videos WHERE absent_since < ? AND NOT EXISTS"
            " (SELECT 1 FROM vetoes v WHERE v.fingerprint = videos.fingerprint)",
            before,
        )

    def known(self, path: PurePath, *, resting: bool = False) -> Sighting | None:
        """What stood at this path at the last look; `resting`: also where it rests."""
        row = self._db.execute(f"{_SIGHTING} WHERE path = ? AND {_standing(resting)}", blob(path)).fetchone()
        return None if row is None else _sighting(row)

    def identities(self) -> dict[PurePath, Sighting]:
        """Everything that stood somewhere at the last look."""
        rows = self._db.execute(f"{_SIGHTING} WHERE NOT gone")
        return {sighting.path: sighting for sighting in map(_sighting, rows)}

    def resting(self) -> list[PurePath]:
        """The paths at which something rests."""
        return [path_of(row[0]) for row in self._db.execute(f"SELECT path FROM files WHERE gone = {_RESTS}")]

    def sightings(self, fingerprint: Fingerprint, *, lost: bool = False, resting: bool = False) -> tuple[Sighting, ...]:
        """Where this video stands; `resting`: or rests; `lost`: and where it stood since the last whole scan."""
        where = "fingerprint = ?" if lost else f"fingerprint = ? AND {_standing(resting)}"
        rows = self._db.execute(f"{_SIGHTING} WHERE {where} ORDER BY path", fingerprint)
        return tuple(_sighting(row) for row in rows)

    def paths_below(self, folder: PurePath, *, resting: bool = False) -> tuple[PurePath, ...]:
        """Every path known to be taken at or below a folder (the root: all); `resting`: also where something rests."""
        if folder == PurePath():
            rows = self._db.execute(f"SELECT path FROM files WHERE {_standing(resting)}")
        else:
            prefix = blob(folder)
            rows = self._db.execute(
                f"SELECT path FROM files WHERE {_standing(resting)} AND (path = ? OR (path >= ? AND path < ?))",
                prefix,
                prefix + b"/",
                prefix + b"0",  # the byte after "/"
            )
        return tuple(path_of(row[0]) for row in rows)

    # Records

    def record(self, fingerprint: Fingerprint) -> Record:
        """What the index holds a video to."""
        row = self._db.execute(
            "SELECT c.name, v.placed_by FROM videos v LEFT JOIN categories c ON c.id = v.home WHERE v.fingerprint = ?",
            fingerprint,
        ).fetchone()
        home, placed_by = (None, None) if row is None or row[0] is None else (category_of(row[0]), Placer(row[1]))
        vetoes = self._db.execute(
            "SELECT c.name FROM vetoes v JOIN categories c ON c.id = v.category WHERE v.fingerprint = ?", fingerprint
        )
        return Record(fingerprint, home, placed_by, frozenset(category_of(row[0]) for row in vetoes))

    def keep(self, record: Record) -> None:
        """Hold a video to this from now on; its last told reason no longer counts."""
        self._db.execute(
            "UPDATE videos SET home = (SELECT id FROM categories WHERE name = ?), placed_by = ?, left_reason = NULL,"
            " left_category = NULL WHERE fingerprint = ?",
            record.home and blob(record.home),
            record.placed_by,
            record.fingerprint,
        )
        self._db.execute("DELETE FROM vetoes WHERE fingerprint = ?", record.fingerprint)
        for category in record.vetoes:
            self._db.execute(
                "INSERT INTO vetoes SELECT ?, id FROM categories WHERE name = ?",
                record.fingerprint,
                blob(category),
            )

    def holds_labels(self, folder: Folder) -> bool:
        """Tell whether videos that the owner filed are held to this folder, to one below it, or stand there."""
        name = blob(folder.name)
        below = name + b"/", name + b"0"  # the byte after "/"
        row = self._db.one(
            "SELECT 1 FROM videos v JOIN categories c ON c.id = v.home WHERE v.placed_by = 'owner'"
            " AND (c.name = ?1 OR (c.name >= ?2 AND c.name < ?3) OR (c.device = ?4 AND c.inode = ?5))"
            " UNION ALL SELECT 1 FROM files f JOIN videos v ON v.fingerprint = f.fingerprint"
            " WHERE v.placed_by = 'owner' AND f.path >= ?2 AND f.path < ?3 LIMIT 1",
            name,
            *below,
            folder.device,
            folder.inode,
        )
        return row is not None

    def tell_left(self, fingerprint: Fingerprint, reason: Reason, category: CategoryName | None) -> bool:
        """Note why a video was left; True when that is news."""
        return (
            self._db.execute(
                "UPDATE videos SET left_reason = ?1, left_category = ?2 WHERE fingerprint = ?3"
                " AND (left_reason IS NOT ?1 OR left_category IS NOT ?2)",
                reason,
                category and blob(category),
                fingerprint,
            ).rowcount
            == 1
        )

    def left(self, fingerprint: Fingerprint) -> tuple[Reason, CategoryName | None] | None:
        """Why a video was last left, and the category it was meant for."""
        row = self._db.one("SELECT left_reason, left_category FROM videos WHERE fingerprint = ?", fingerprint)
        if row is None or row[0] is None:
            return None
        return Reason(row[0]), None if row[1] is None else category_of(row[1])

    def kept_from(self, fingerprint: Fingerprint) -> CategoryName | None:
        """The category into which a video would have been moved, were that not stopped."""
        left = self.left(fingerprint)
        return left[1] if left is not None and left[0] is Reason.CATEGORY_STOPPED else None

    def left_for(self, reasons: Sequence[Reason]) -> list[Fingerprint]:
        """Present videos that were last left for one of these reasons."""
        marks = ", ".join("?" * len(reasons))
        rows = self._db.execute(
            f"SELECT fingerprint FROM videos v WHERE left_reason IN ({marks}) AND {PRESENT}", *reasons
        )
        return [Fingerprint(row[0]) for row in rows]

    def fingerprints(self, *, home: CategoryName | None, placed_by: Placer | None = None) -> list[Fingerprint]:
        """Present videos held to a category (None: to none), oldest first."""
        held = "v.home IS (SELECT id FROM categories WHERE name = ?1)" if home is not None else "v.home IS ?1"
        rows = self._db.execute(
            f"SELECT fingerprint FROM videos v WHERE {held} AND {PRESENT} AND (?2 IS NULL OR v.placed_by = ?2)"
            " ORDER BY first_seen, fingerprint",
            home and blob(home),
            placed_by,
        )
        return [Fingerprint(row[0]) for row in rows]

    def first_seen(self) -> dict[Fingerprint, float]:
        """When each video came, or came back."""
        return {Fingerprint(row[0]): row[1] for row in self._db.execute("SELECT fingerprint, first_seen FROM videos")}

    def vetoed(self, category: CategoryName) -> list[Fingerprint]:
        """Videos that sortd never moves into this category."""
        rows = self._db.execute(
            "SELECT fingerprint FROM vetoes WHERE category = (SELECT id FROM categories WHERE name = ?)",
            blob(category),
        )
        return [Fingerprint(row[0]) for row in rows]

    def tally(self) -> Tally:
        """Count what stands in the library."""
        row = self._db.execute(
            "SELECT count(*), total(v.home IS NULL), total(v.placed_by = 'owner'), total(v.placed_by = 'sortd'),"
            " total(a.fault IS NOT NULL), total(v.pending AND a.fault IS NULL) FROM videos v"
            f" LEFT JOIN attempts a ON a.fingerprint = v.fingerprint WHERE {PRESENT}"
        ).fetchone()
        return Tally(*(int(value) for value in row))


def _standing(resting: bool) -> str:  # noqa: FBT001
    """SQL: a file stands there, as one of the library's videos or (`resting`) not."""
    return f"gone IN (0, {_RESTS})" if resting else "NOT gone"


def _sighting(row: tuple[Any, ...]) -> Sighting:
    path, fingerprint, *identity = row
    return Sighting(path_of(path), Fingerprint(fingerprint), identity_from(identity))
