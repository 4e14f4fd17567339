"""Which feature space is wanted, and what becomes of vectors that are wanted no more."""

from __future__ import annotations

from collections.abc import Callable

from sortd.config import Config
from sortd.domain import FeatureSpace
from sortd.extract import extractable, parts
from sortd.service.judge import Judge
from sortd.service.opening import extract_settings
from sortd.store.memory import Memory

_SPACE = "space"
_SPACE_SINCE = "space_since"


class Spaces:
    """The wish is remembered over restarts, with the time since when it stands."""

    def __init__(self, memory: Memory, judge: Judge, *, config: Config, wall: Callable[[], float]) -> None:
        self._memory = memory
        self._judge = judge
        self._config = config
        self._wall = wall

    def want(self, space: FeatureSpace) -> bool:
        """Ask for every video's vector in this space; True where what serves now is of another one.

        The old space's parts are asked for too while they can still be extracted, so that what is dropped meanwhile
        is not left waiting.
        """
        self._memory.space = space
        old = None if self._judge.classifier is None else self._judge.classifier.space
        changes = old is not None and old != space
        asked = old if changes and old is not None and self._extractable(old) else None
        with self._memory.transaction():
            if self._memory.database.note(_SPACE) != space.key:
                self._memory.database.write_note(_SPACE, space.key)
                self._memory.database.write_note(_SPACE_SINCE, str(self._wall()))
            self._memory.backlog.want(space, serving=asked)
        return changes

    def purge(self, *, before: float) -> None:
        """Forget the vectors of an encoder or a setting that was given up before then: nobody wants them."""
        if float(self._memory.database.note(_SPACE_SINCE) or 0) < before:
            classifier = self._judge.classifier
            self._memory.features.purge(
                parts([self._memory.space, *([] if classifier is None else [classifier.space])])
            )

    def _extractable(self, space: FeatureSpace) -> bool:
        settings = extract_settings(self._config)
        return all(extractable(part, settings) for part in space.parts)
