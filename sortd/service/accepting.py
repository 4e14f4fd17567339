"""A group of unsorted videos that the owner gives a name: its folder is made, and they are filed there as labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePath

from sortd.disk.folders import make
from sortd.disk.guard import Guard
from sortd.disk.library import Library
from sortd.domain import Category, Fingerprint, MoveTo, Placer
from sortd.errors import MoveRefused
from sortd.service.errands import Wish
from sortd.service.filing import Filer
from sortd.service.judge import Judge
from sortd.service.looking import Looker
from sortd.store.journal import Entry
from sortd.store.memory import Memory

SURE = 1.0
"""The confidence of a move that is the owner's own word."""


class Accepter:
    """Files what the owner accepts; `undo` takes it back like any move."""

    def __init__(
        self,
        memory: Memory,
        library: Library,
        guard: Guard,
        *,
        judge: Judge,
        looker: Looker,
        filer: Filer,
    ) -> None:
        self._memory = memory
        self._library = library
        self._guard = guard
        self._judge = judge
        self._looker = looker
        self._filer = filer

    def wishes(self, name: str, videos: Mapping[str, str]) -> tuple[Category, list[Wish]]:
        """Make the folder of this name; the moves there of these videos (path as it was shown -> fingerprint).

        It may be one that stands. MoveRefused: it can be no category or is to be left alone, or none of the videos is
        unsorted any more.
        """
        category = self._library.category_named(name)
        if category is None:
            raise MoveRefused(f"{name!r} can be no category: it is hidden, ignored or deeper than `[library] levels`")
        if self._library.hands_off(PurePath(category)):
            raise MoveRefused(f"a .nosort asks to leave {category} alone")
        if not any(self._judge.unsorted(Fingerprint(clip)) for clip in videos.values()):
            raise MoveRefused("none of these is unsorted any more; `sortd suggest` shows what there is now")
        self._make(category)
        return category, [
            (PurePath(path), partial(self._file, Fingerprint(clip), category)) for path, clip in videos.items()
        ]

    def _make(self, category: Category) -> None:
        away = self._guard.here()
        if away is not None:
            raise MoveRefused(away)
        make(self._library.root, PurePath(category))
        folder = self._library.folder(category)
        if folder is not None:
            self._looker.know(folder)

    def _file(self, clip: Fingerprint, category: Category) -> Entry:
        sighting = self._judge.unsorted(clip)
        if sighting is None or self._memory.index.record(clip).home is not None:
            raise MoveRefused("it is not unsorted any more")
        if self._library.hands_off(sighting.path):
            raise MoveRefused("a .nosort asks to leave it alone")
        return self._filer.file(sighting, MoveTo(category, SURE, Placer.OWNER))
