"""Know which feature space is wanted, and forget features that have not been wanted for long."""

from __future__ import annotations

from collections.abc import Callable

from sortd.config.settings import Settings
from sortd.domain.feature import FeatureSpace
from sortd.engine.decision_inputs import DecisionInputsReader
from sortd.extract.registry import extract_settings, extractable, parts
from sortd.store.store import Store

_SPACE = "space"
_SPACE_SINCE = "space_since"


class FeatureRetention:
    """Remembers over restarts which feature space is wanted, and since when."""

    def __init__(
        self, store: Store, decision_inputs: DecisionInputsReader, *, config: Settings, wall: Callable[[], float]
    ) -> None:
        self._store = store
        self._decision_inputs = decision_inputs
        self._config = config
        self._wall = wall

    def want(self, space: FeatureSpace) -> bool:
        """Ask for every video's vector in this space; return True where the classifier that serves is of another one.

        The old space's parts are asked for too while they can still be extracted, so that what is dropped meanwhile
        is not left waiting.
        """
        self._store.space = space
        old = None if self._decision_inputs.classifier is None else self._decision_inputs.classifier.space
        changes = old is not None and old != space
        asked = old if changes and old is not None and self._extractable(old) else None
        with self._store.transaction():
            if self._store.database.note(_SPACE) != space.key:
                self._store.database.write_note(_SPACE, space.key)
                self._store.database.write_note(_SPACE_SINCE, str(self._wall()))
            self._store.backlog.want(space, serving=asked)
        return changes

    def purge(self, *, before: float) -> None:
        """Forget the features of an encoder or a setting that was given up before then."""
        if float(self._store.database.note(_SPACE_SINCE) or 0) < before:
            classifier = self._decision_inputs.classifier
            self._store.features.purge(parts([self._store.space, *([] if classifier is None else [classifier.space])]))

    def _extractable(self, space: FeatureSpace) -> bool:
        settings = extract_settings(self._config)
        return all(extractable(part, settings) for part in space.parts)
