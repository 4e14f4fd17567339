"""The table of features, by (fingerprint, extractor, version), and questions about labels that have a vector."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sortd.domain.category import CategoryName
from sortd.domain.feature import Feature, FeatureSpace, Matrix, SpacePart
from sortd.domain.video import Fingerprint
from sortd.judgement.decide import LEFT_TO_THE_OWNER
from sortd.judgement.late_fusion import fuse
from sortd.store.database import Database, category_of, parsed
from sortd.store.video_index import RESTS

_UNSORTED = (
    "SELECT v.fingerprint FROM videos v WHERE v.home IS NULL"
    " AND EXISTS (SELECT 1 FROM files f WHERE f.fingerprint = v.fingerprint AND NOT f.gone)"
)
_FILED_BY_HAND = (
    "v.placed_by = 'owner' AND v.home IS NOT NULL AND NOT EXISTS (SELECT 1 FROM moves m"
    " WHERE m.fingerprint = v.fingerprint AND m.category = v.home AND m.undoes IS NULL AND m.state = 'done')"
)
"""SQL: the owner put the video `v` into its category; sortd did not, nor was it told to."""

_TAKEN_OUT = (
    "EXISTS (SELECT 1 FROM vetoes o WHERE o.fingerprint = v.fingerprint AND 'owner' IS NOT"
    " (SELECT m.placed_by FROM moves m WHERE m.fingerprint = o.fingerprint AND m.category = o.category"
    " AND m.undoes IS NULL AND m.state = 'undone' ORDER BY m.id DESC LIMIT 1))"
)
"""SQL: the owner took the video `v` out of a category; a group that was accepted and taken back says nothing of it."""

PASSED_OVER_AFTER = 5
"""A video counts as passed over once so many that came later were filed by hand while it stayed."""


class FeatureTable:
    """Reads and writes these tables; the caller opens the transactions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def store(self, fingerprint: Fingerprint, feature: Feature) -> None:
        """Keep one feature; a second of the same version replaces the first."""
        vector = None if feature.vector is None else feature.vector.astype("<f4").tobytes()
        frames = None if feature.frames is None else feature.frames.astype("<f2").tobytes()
        self._db.execute(
            "INSERT OR REPLACE INTO features (fingerprint, extractor, version, vector, frames, text, details)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            fingerprint,
            feature.extractor,
            feature.version,
            vector,
            frames,
            feature.text,
            json.dumps(dict(feature.details)),
        )

    def of(self, fingerprint: Fingerprint, space: FeatureSpace) -> dict[str, Feature]:
        """Return a video's features in a space, by extractor; one that is missing was never extracted."""
        found = {}
        for part in space.parts:
            row = self._db.execute(
                "SELECT vector, frames, text, details FROM features"
                " WHERE (fingerprint, extractor, version) = (?, ?, ?)",
                fingerprint,
                part.extractor,
                part.version,
            ).fetchone()
            if row is not None:
                vector = None if row[0] is None else np.frombuffer(row[0], "<f4")
                if vector is not None and not (vector.shape == (part.dim,) and np.isfinite(vector).all()):
                    vector = None  # kept by an older sortd, which did not look
                frames = None if row[1] is None else np.frombuffer(row[1], "<f2").reshape(-1, part.dim)
                details = parsed(row[3])
                found[part.extractor] = Feature(part.extractor, part.version, vector, row[2], details, frames)
        return found

    def vectors(self, videos: Iterable[Fingerprint], space: FeatureSpace) -> Matrix:
        """Return vectors in a space [videos, space.dim], a row for each video in the order given."""
        rows = [fuse(self.of(video, space), space) for video in videos]
        return np.stack(rows) if rows else np.zeros((0, space.dim), np.float32)

    def has(self, fingerprint: Fingerprint, part: SpacePart) -> bool:
        """Tell whether a video has this part, if only as a known absence."""
        row = self._db.one(
            "SELECT 1 FROM features WHERE (fingerprint, extractor, version) = (?, ?, ?)",
            fingerprint,
            part.extractor,
            part.version,
        )
        return row is not None

    def whole(self, fingerprint: Fingerprint, space: FeatureSpace) -> bool:
        """Tell whether a video has every part of a space."""
        return all(self.has(fingerprint, part) for part in space.parts)

    def transcripts(self, space: FeatureSpace) -> int:
        """Count the videos whose words are known."""
        versions = [part.version for part in space.parts if part.extractor == "speech"]
        marks = ", ".join("?" * len(versions))
        row = self._db.one(
            f"SELECT count(*) FROM features WHERE extractor = 'speech' AND version IN ({marks}) AND text != ''",
            *versions,
        )
        return 0 if row is None else int(row[0])

    def purge(self, keep: Sequence[SpacePart]) -> None:
        """Forget all features but those of these parts: they are of a setting or an encoder given up long ago."""
        parts = [f"(extractor = {_text(part.extractor)} AND version = {_text(part.version)})" for part in keep]
        kept = " OR ".join(parts)
        self._db.execute(f"DELETE FROM features WHERE NOT ({kept})")

    def labels(self, space: FeatureSpace) -> Iterator[tuple[Fingerprint, int, CategoryName]]:
        """The owner's labels, of videos (present or not) that have a vector, in categories that stand; none that rest.

        Each with its category's number and name: the number stays when the folder is renamed.
        """
        rows = self._db.execute(
            "SELECT v.fingerprint, c.id, c.name FROM videos v JOIN categories c ON c.id = v.home AND c.present"
            f" WHERE v.placed_by = 'owner' AND {complete(space)} AND NOT {RESTS} ORDER BY v.fingerprint"
        )
        for row in rows:
            yield Fingerprint(row[0]), row[1], category_of(row[2])

    def unsorted(self, space: FeatureSpace) -> list[Fingerprint]:
        """Return present videos without a home that have a vector."""
        rows = self._db.execute(f"{_UNSORTED} AND {complete(space)}")
        return [Fingerprint(row[0]) for row in rows]

    def taken_out(self) -> set[Fingerprint]:
        """Return videos that the owner took out of a category; not those that were accepted and taken back."""
        rows = self._db.execute(f"SELECT v.fingerprint FROM videos v WHERE {_TAKEN_OUT}")
        return {Fingerprint(row[0]) for row in rows}

    def passed_over(self, space: FeatureSpace, *, since: float | None) -> list[Fingerprint]:
        """Those of the unsorted that the owner took out of a category, or left while filing later ones by hand.

        Only what came after `since` can have been left; None: nothing can. Nor can what sortd itself holds back.
        """
        later = self._db.execute(
            f"SELECT v.first_seen FROM videos v WHERE {_FILED_BY_HAND} ORDER BY v.first_seen DESC LIMIT 1 OFFSET ?",
            PASSED_OVER_AFTER - 1,
        ).fetchone()
        marks = ", ".join("?" * len(LEFT_TO_THE_OWNER))
        rows = self._db.execute(
            f"{_UNSORTED} AND {complete(space)}"
            f" AND ({_TAKEN_OUT} OR (v.first_seen > ? AND v.first_seen < ? AND v.left_reason IN ({marks})))",
            float("inf") if since is None else since,
            later[0] if later else 0.0,
            *LEFT_TO_THE_OWNER,
        )
        return [Fingerprint(row[0]) for row in rows]


def complete(space: FeatureSpace) -> str:
    """SQL: the video `v` has every feature of the space (a known absence counts)."""
    return " AND ".join(
        "EXISTS (SELECT 1 FROM features e WHERE e.fingerprint = v.fingerprint"
        f" AND e.extractor = {_text(part.extractor)} AND e.version = {_text(part.version)})"
        for part in space.parts
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
