"""File a group of unsorted videos in a folder that the owner names; they are labels there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePath

from sortd.disk.dirfd import make
from sortd.disk.library import Library
from sortd.disk.root_guard import RootGuard
from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
from sortd.domain.errors import MoveRefused
from sortd.domain.video import Fingerprint, Placer
from sortd.engine.bulk_moves import Wish
from sortd.engine.decision_inputs import DecisionInputsReader
from sortd.engine.journaled_moves import JournaledMoves
from sortd.engine.scanner import Scanner
from sortd.store.journal import Move
from sortd.store.store import Store

SURE = 1.0
"""The confidence that is noted for a move that the owner asked for."""


class GroupAcceptance:
    """Files what the owner accepts; `undo` takes it back as any move."""

    def __init__(
        self,
        store: Store,
        library: Library,
        guard: RootGuard,
        *,
        decision_inputs: DecisionInputsReader,
        scanner: Scanner,
        moves: JournaledMoves,
    ) -> None:
        self._store = store
        self._library = library
        self._guard = guard
        self._decision_inputs = decision_inputs
        self._scanner = scanner
        self._moves = moves

    def wishes(self, name: str, videos: Mapping[str, str]) -> tuple[CategoryName, list[Wish]]:
        """Make the folder of this name; return the moves of these videos into it (path as it was shown -> fingerprint).

        It may be one that stands. MoveRefused: it can be no category or is to be left alone, or none of the videos is
        unsorted any more.
        """
        category = self._library.category_named(name)
        if category is None:
            raise MoveRefused(f"{name!r} can be no category: it is hidden, ignored or deeper than `[library] levels`")
        if self._library.hands_off(PurePath(category)):
            raise MoveRefused(f"a .nosort asks to leave {category} alone")
        if not any(self._decision_inputs.unsorted(Fingerprint(video)) for video in videos.values()):
            raise MoveRefused("none of these is unsorted any more; `sortd suggest` shows what there is now")
        self._make(category)
        return category, [
            (PurePath(path), partial(self._file, Fingerprint(video), category)) for path, video in videos.items()
        ]

    def _make(self, category: CategoryName) -> None:
        away = self._guard.here()
        if away is not None:
            raise MoveRefused(away)
        make(self._library.root, PurePath(category))
        folder = self._library.folder(category)
        if folder is not None:
            self._scanner.know(folder)

    def _file(self, video: Fingerprint, category: CategoryName) -> Move:
        sighting = self._decision_inputs.unsorted(video)
        if sighting is None or self._store.videos.record(video).home is not None:
            raise MoveRefused("it is not unsorted any more")
        if self._library.hands_off(sighting.path):
            raise MoveRefused("a .nosort asks to leave it alone")
        return self._moves.file(sighting, MoveTo(category, SURE, Placer.OWNER))
