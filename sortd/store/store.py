"""All that is remembered of one library, over one database connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sortd.domain.feature import FeatureSpace
from sortd.store.category_table import CategoryTable
from sortd.store.classifier_table import ClassifierTable
from sortd.store.database import Database
from sortd.store.extraction_backlog import ExtractionBacklog
from sortd.store.feature_table import FeatureTable
from sortd.store.journal import Journal
from sortd.store.replacement_table import ReplacementTable
from sortd.store.text_embeddings import TextEmbeddings
from sortd.store.track_record import TrackRecord
from sortd.store.video_index import VideoIndex

INDEX_NAME = "index.db"

LABEL_CHANGES = "label_changes"
"""The note of how many labels came, changed or went since the last training."""

PAUSED = "paused"
"""The note that the owner asked for no moves and no extraction meanwhile."""


@dataclass(slots=True)
class Store:
    """The rooms of the store; `space` is the feature space that every video is to have its vector in."""

    database: Database
    space: FeatureSpace
    videos: VideoIndex
    categories: CategoryTable
    features: FeatureTable
    backlog: ExtractionBacklog
    journal: Journal
    track_record: TrackRecord
    replacements: ReplacementTable
    classifiers: ClassifierTable
    text_embeddings: TextEmbeddings

    @classmethod
    def open(cls, state: Path, space: FeatureSpace, *, query_only: bool = False) -> Self:
        """Open the index of a state directory; LibraryUnavailable where it cannot be used."""
        database = Database.open(state / INDEX_NAME, query_only=query_only)
        journal = Journal(database)
        return cls(
            database,
            space,
            VideoIndex(database),
            CategoryTable(database),
            FeatureTable(database),
            ExtractionBacklog(database, space),
            journal,
            TrackRecord(database, journal),
            ReplacementTable(database),
            ClassifierTable(database),
            TextEmbeddings(database),
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or none."""
        with self.database.transaction():
            yield

    def label_changes(self) -> int:
        """How many labels came, changed or went since the last training."""
        return int(self.database.note(LABEL_CHANGES) or 0)

    def count_label_changes(self, count: int) -> None:
        """Count so many more, or fewer; the caller opens the transaction in which the labels changed."""
        if count:
            self.database.write_note(LABEL_CHANGES, str(self.label_changes() + count))
