"""All that is remembered of one library, over one database connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sortd.domain import FeatureSpace
from sortd.store.backlog import Backlog
from sortd.store.categories import Categories
from sortd.store.classifiers import Classifiers
from sortd.store.database import Database
from sortd.store.features import Features
from sortd.store.index import Index
from sortd.store.journal import Journal
from sortd.store.live import Live
from sortd.store.succession import Succession
from sortd.store.words import Words

INDEX_NAME = "index.db"

PAUSED = "paused"
"""The note that the owner asked for no moves and no extraction meanwhile."""


@dataclass(slots=True)
class Memory:
    """The rooms of the store; `space` is the feature space that every video is to have its vector in."""

    database: Database
    space: FeatureSpace
    index: Index
    categories: Categories
    features: Features
    backlog: Backlog
    journal: Journal
    live: Live
    succession: Succession
    classifiers: Classifiers
    words: Words

    @classmethod
    def open(cls, state: Path, space: FeatureSpace, *, query_only: bool = False) -> Self:
        """Open the index of a state directory; LibraryUnavailable where it cannot be used."""
        database = Database.open(state / INDEX_NAME, query_only=query_only)
        journal = Journal(database)
        return cls(
            database,
            space,
            Index(database),
            Categories(database),
            Features(database),
            Backlog(database, space),
            journal,
            Live(database, journal),
            Succession(database),
            Classifiers(database),
            Words(database),
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or none."""
        with self.database.transaction():
            yield
