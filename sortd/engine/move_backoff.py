"""Folders that take no files now: told once when it begins and once when it ends, and not tried for each video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath

from sortd.domain.errors import FolderRefuses
from sortd.engine.event_log import Tell
from sortd.judgement.backoff import Backoff
from sortd.store.store import Store

_REFUSALS = "folders_refuse"


def refusals(store: Store) -> Mapping[str, str]:
    """Why each folder that refuses does so, as it was last seen; the root is "."."""
    whys: Mapping[str, str] = json.loads(store.database.note(_REFUSALS) or "{}")
    return whys


class MoveBackoff:
    """What is known of such folders is kept over restarts; the first try after one is at once."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self._backoff = Backoff()

    def refuse(self, refused: FolderRefuses, *, now: float) -> None:
        """Leave the folder alone for a while."""
        self._backoff.refuse(refused.folder, now=now)
        known, folder = refusals(self._store), str(refused.folder)
        if known.get(folder) != refused.why:
            self._keep({**known, folder: refused.why})
        if folder not in known:
            self._tell("folder_refuses", category=folder, why=refused.why)

    def postpone(self, file: PurePath, *, now: float) -> None:
        """Leave alone for a while a file that was refused only when its copy was made: each try costs another copy."""
        self._backoff.refuse(file, now=now)

    def accept(self, *folders: PurePath) -> None:
        """A file, which may be named too, was moved between these."""
        known = refusals(self._store)
        for folder in folders:
            self._backoff.accept(folder)
            if str(folder) in known:
                self._keep({other: why for other, why in known.items() if other != str(folder)})
                self._tell("folder_accepts", category=str(folder))

    def hold(self, *folders: PurePath, now: float) -> bool:
        """Whether a move between these, or of a file that is named too, is not to be tried now."""
        return any(self._backoff.waits(folder, now=now) for folder in folders)

    def end(self, *, now: float) -> bool:
        """Whether a folder may be tried again that could not a moment ago."""
        return self._backoff.end(now=now)

    def forgive(self) -> None:
        """The owner may have mended what refused."""
        self._backoff.forgive()

    def _keep(self, whys: Mapping[str, str]) -> None:
        with self._store.transaction():
            self._store.database.write_note(_REFUSALS, json.dumps(whys))
