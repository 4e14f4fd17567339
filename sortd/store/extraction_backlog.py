"""Tell which present videos lack a feature, what was tried with each, and what was set aside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sortd.domain.feature import Fault, Feature, FeatureSpace, SpacePart
from sortd.domain.tasks import ExtractionJob
from sortd.domain.video import Fingerprint
from sortd.store.database import IDENTITY, Database, identity_from, identity_values, path_of
from sortd.store.feature_table import FeatureTable, complete

TRIES = 3
"""Two crashes, hangs or kills may be accidents; the third is taken for the file's own doing."""

_IDENTITY = ", ".join(f"f.{column}" for column in IDENTITY.split(", "))

_RELEASE = "UPDATE attempts SET running = NULL"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A video that gives no features, and why."""

    path: PurePath
    fingerprint: Fingerprint
    fault: Fault
    attempts: int
    message: str


class ExtractionBacklog:
    """Reads and writes these tables; the caller opens the transactions."""

    def __init__(self, database: Database, space: FeatureSpace) -> None:
        self._db = database
        self._wanted = space
        self._serving: FeatureSpace | None = None
        self._features = FeatureTable(database)

    def want(self, space: FeatureSpace, *, serving: FeatureSpace | None) -> None:
        """Ask for every video's features in a space, and for the unsorted ones' also in the one that decides till then.

        `serving=None`: it is the same one, or can be extracted no more.
        """
        self._wanted, self._serving = space, serving
        lacks = f"NOT ({complete(space)})"
        if serving is not None:
            lacks += f" OR v.home IS NULL AND NOT ({complete(serving)})"
        self._db.execute(f"UPDATE videos AS v SET pending = {lacks}")

    def prepare(self, *, died_with: Fingerprint | None = None) -> list[SetAside]:
        """At start: what a kill of the service interrupted goes one by one, the more often it was the later.

        No attempt is counted, for whoever kills the service says nothing of the video in work, but for the one that
        service and child died with; what is set aside by that.
        """
        counted = self._db.execute(
            "UPDATE attempts SET count = count + 1 WHERE fingerprint = ? AND running = 'alone' AND fault IS NULL"
            " RETURNING count",
            died_with,
        ).fetchone()
        self._db.execute("UPDATE attempts SET alone = alone + 1, running = NULL WHERE running IS NOT NULL")
        if counted is None or counted[0] < TRIES:
            return []
        self._db.execute(
            "UPDATE attempts SET fault = ?, message = 'sortd was killed each time it was tried' WHERE fingerprint = ?",
            Fault.DECODER_CRASHED,
            died_with,
        )
        return [aside for aside in self.set_aside() if aside.fingerprint == died_with]

    def next_jobs(
        self, limit: int, *, labelled_first: bool, but_at: Collection[PurePath] = frozenset()
    ) -> tuple[ExtractionJob, ...]:
        """Up to `limit` jobs for one batch, none begun already; one alone where its last batch was lost.

        `but_at`: none of files at these paths.
        """
        rows = self._db.execute(
            f"SELECT v.fingerprint, min(f.path), coalesce(a.alone, 0), {_IDENTITY} FROM videos v"
            " JOIN files f ON f.fingerprint = v.fingerprint AND NOT f.gone"
            " LEFT JOIN attempts a ON a.fingerprint = v.fingerprint"
            " WHERE v.pending AND a.fault IS NULL AND a.running IS NULL GROUP BY v.fingerprint"
            " ORDER BY coalesce(a.count, 0) + coalesce(a.alone, 0),"
            f" v.home IS {'' if labelled_first else 'NOT'} NULL, v.first_seen DESC, v.fingerprint LIMIT ?",
            limit + len(but_at),
        ).fetchall()
        rows = [row for row in rows if path_of(row[1]) not in but_at][:limit]
        # One whose last batch was lost goes by itself, and never joins another batch.
        batch = rows[:1] if rows and rows[0][2] else [row for row in rows if not row[2]]
        return tuple(
            ExtractionJob(row[0], path_of(row[1]), identity_from(row[3:]), self._lacking(row[0])) for row in batch
        )

    def begin(self, jobs: Sequence[ExtractionJob]) -> None:
        """Note that these are sent, and whether it is one alone: only then does the child's loss count against it."""
        running = "alone" if len(jobs) == 1 else "batch"
        for job in jobs:
            self._db.execute(
                "INSERT INTO attempts (fingerprint, inode, size, mtime_ns, ctime_ns, count, running)"
                " VALUES (?, ?, ?, ?, ?, 0, ?)"
                " ON CONFLICT (fingerprint) DO UPDATE SET inode = excluded.inode, size = excluded.size,"
                " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, running = excluded.running",
                job.fingerprint,
                *identity_values(job.identity)[:4],
                running,
            )

    def release(self, job: ExtractionJob) -> None:
        """Take back that a job was sent: nothing was tried, as its file changed meanwhile."""
        self._db.execute(f"{_RELEASE} WHERE fingerprint = ?", job.fingerprint)

    def release_all(self) -> None:
        """Take back all that was sent, at a clean stop."""
        self._db.execute(f"{_RELEASE} WHERE running IS NOT NULL")

    def was_alone(self, job: ExtractionJob) -> bool:
        """Tell whether a job was sent alone, so that a loss of the child counts against it."""
        return (
            self._db.one("SELECT 1 FROM attempts WHERE fingerprint = ? AND running = 'alone'", job.fingerprint)
            is not None
        )

    def finish(self, job: ExtractionJob, features: Sequence[Feature]) -> bool:
        """Keep a job's features; return False where the video was purged meanwhile."""
        if self._db.one("SELECT 1 FROM videos WHERE fingerprint = ?", job.fingerprint) is None:
            return False
        for feature in features:
            self._features.store(job.fingerprint, feature)
        self._db.execute("DELETE FROM attempts WHERE fingerprint = ?", job.fingerprint)
        if not self._lacking(job.fingerprint):
            self._db.execute("UPDATE videos SET pending = 0 WHERE fingerprint = ?", job.fingerprint)
        return True

    def fail(self, job: ExtractionJob, fault: Fault, message: str) -> int | None:
        """Count a failed try against this video; return the number of tries if it is set aside now, else None."""
        self._db.execute(
            "UPDATE attempts SET count = count + 1, running = NULL, message = ? WHERE fingerprint = ?",
            message,
            job.fingerprint,
        )
        row = self._db.one("SELECT count FROM attempts WHERE fingerprint = ?", job.fingerprint)
        count = 0 if row is None else int(row[0])
        if fault.may_pass and count < TRIES:
            return None
        self._db.execute("UPDATE attempts SET fault = ? WHERE fingerprint = ?", fault, job.fingerprint)
        return count

    def lose_batch(self, jobs: Sequence[ExtractionJob]) -> None:
        """Send each of these alone next time: the child was lost with all of them, and no try is counted."""
        for job in jobs:
            self._db.execute("UPDATE attempts SET running = NULL, alone = 1 WHERE fingerprint = ?", job.fingerprint)

    def retry(self) -> int:
        """Have what was set aside tried again; return how many of these videos are present."""
        present = len({aside.fingerprint for aside in self.set_aside()})
        self._db.execute("DELETE FROM attempts WHERE fault IS NOT NULL")
        return present

    def retry_unreadable(self) -> set[Fingerprint]:
        """Have what could not be read tried again, for a disk or a permission may be mended; return these videos."""
        rows = self._db.execute("DELETE FROM attempts WHERE fault = ? RETURNING fingerprint", Fault.UNREADABLE)
        return {Fingerprint(fingerprint) for (fingerprint,) in rows.fetchall()}

    def set_aside(self) -> list[SetAside]:
        """Return what was set aside, once for each of its paths."""
        rows = self._db.execute(
            "SELECT f.path, a.fingerprint, a.fault, a.count, a.message FROM attempts a"
            " JOIN files f ON f.fingerprint = a.fingerprint AND NOT f.gone WHERE a.fault IS NOT NULL ORDER BY f.path"
        )
        return [SetAside(path_of(r[0]), Fingerprint(r[1]), Fault(r[2]), r[3], r[4]) for r in rows]

    def fault_of(self, fingerprint: Fingerprint) -> Fault | None:
        """Return why a video was set aside; None: it was not."""
        row = self._db.one("SELECT fault FROM attempts WHERE fingerprint = ?", fingerprint)
        return None if row is None or row[0] is None else Fault(row[0])

    def waits(self, fingerprint: Fingerprint) -> bool:
        """Tell whether a video lacks a feature that may still come."""
        row = self._db.one(
            "SELECT 1 FROM videos v LEFT JOIN attempts a ON a.fingerprint = v.fingerprint"
            " WHERE v.fingerprint = ? AND v.pending AND a.fault IS NULL",
            fingerprint,
        )
        return row is not None

    def labels_wait(self) -> bool:
        """Tell whether a present labelled video still waits for its features."""
        row = self._db.one(
            "SELECT 1 FROM videos v JOIN files f ON f.fingerprint = v.fingerprint AND NOT f.gone"
            " LEFT JOIN attempts a ON a.fingerprint = v.fingerprint"
            " WHERE v.pending AND v.placed_by = 'owner' AND a.fault IS NULL LIMIT 1"
        )
        return row is not None

    def _lacking(self, fingerprint: Fingerprint) -> tuple[SpacePart, ...]:
        spaces = [self._wanted]
        if self._serving is not None and self._db.one(
            "SELECT 1 FROM videos WHERE fingerprint = ? AND home IS NULL", fingerprint
        ):
            spaces.append(self._serving)
        parts = dict.fromkeys(part for space in spaces for part in space.parts)
        return tuple(part for part in parts if not self._features.has(fingerprint, part))
