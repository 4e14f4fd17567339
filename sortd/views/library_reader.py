"""Open a library for reading, as commands do.

Each question to the index is a snapshot of its own, over as soon as its rows are there: a reader that computes for
minutes, or prints to a pager, never holds up what the service commits. So two questions may be of two moments, and
what one knows of a video the next may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sortd.config.settings import Settings
from sortd.disk.io_timeout import TimedIO
from sortd.disk.library import Library
from sortd.disk.library_marker import MARKER, RootAway, marker_of
from sortd.disk.root_guard import FoundLibrary, find
from sortd.domain.errors import LibraryUnavailable, SortdError
from sortd.engine.decision_inputs import DecisionInputsReader
from sortd.engine.engine_assembly import library_at, state_wished
from sortd.extract.registry import feature_space
from sortd.learn.classifier import Classifier, UnusableClassifier
from sortd.store import backup
from sortd.store.store import INDEX_NAME, Store


@dataclass(frozen=True, slots=True)
class LibraryReader:
    """One library that is open for reading only."""

    root: Path
    state: Path
    store: Store
    library: Library
    decision_inputs: DecisionInputsReader


@contextmanager
def reading(config: Settings) -> Iterator[LibraryReader | None]:
    """Open what is known of the configured root; None where nothing is known yet.

    LibraryUnavailable: the root is away, or its state cannot be read.
    """
    found = find(config.library.root, state=state_wished(config))
    if away := away_because(config.library.root, found):
        raise LibraryUnavailable(away)
    with opened(config, found) as reader:
        yield reader


@contextmanager
def opened(config: Settings, found: FoundLibrary | None) -> Iterator[LibraryReader | None]:
    """Open what is known, whether the root is here or away; None where there is no index yet."""
    if found is None or not (found.state / INDEX_NAME).exists():
        yield None
        return
    store = Store.open(found.state, feature_space(config), query_only=True)
    try:
        root = config.library.root
        library = library_at(root, config)
        library.exempt(store.videos.holds_labels)
        decision_inputs = DecisionInputsReader(
            store, library, probation=config.move.probation, target_precision=config.move.target_precision
        )
        decision_inputs.classifier = _serving(store, found.state)
        yield LibraryReader(root, found.state, store, library, decision_inputs)
    except SortdError:
        raise
    except Exception:
        # What makes no sense may be what damage left; then that is what there is to say.
        backup.check(found.state / INDEX_NAME)
        raise
    finally:
        store.database.close()


def away_because(root: Path, found: FoundLibrary | None) -> str:
    """Return why the root is away; empty where it is here."""
    try:
        return TimedIO().ask(lambda: _away_because(root, found))
    except RootAway as away:
        return str(away)


def _away_because(root: Path, found: FoundLibrary | None) -> str:
    if not root.is_dir():
        return f"{root} is not there"
    marker = marker_of(root)
    if found is None or (marker and marker.library == found.library):
        return ""
    return f"{root} is {'another library now' if marker else f'without its marker {MARKER}'}"


def _serving(store: Store, state: Path) -> Classifier | None:
    """Load the classifier that serves; None: there is none, or its file cannot be used."""
    serving = store.classifiers.serving()
    while serving is not None:
        try:
            classifier = Classifier.load(state / serving.file)
        except UnusableClassifier:
            return None
        file, serving = serving.file, store.classifiers.serving()
        if classifier is not None or serving is None or serving.file == file:
            return classifier
        # It was replaced between the two looks, and its file with it.
    return None


def iso(seconds: float | None) -> str | None:
    """Give a moment in ISO 8601, in UTC; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
