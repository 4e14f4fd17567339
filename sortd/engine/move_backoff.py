"""Remember folders that take no files now, so that they are told of once and not tried for every video."""

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
    """Return why each folder refuses files, as it was last seen; the root is "."."""
    whys: Mapping[str, str] = json.loads(store.database.note(_REFUSALS) or "{}")
    return whys


class MoveBackoff:
    """Knows which folders refuse files, also after a restart; then each is tried at once."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self._backoff = Backoff()

    def refuse(self, refused: FolderRefuses, *, now: float) -> None:
        """Try this folder again only after a while; tell of it if this is new."""
        self._backoff.refuse(refused.folder, now=now)
        known, folder = refusals(self._store), str(refused.folder)
        if known.get(folder) != refused.why:
            self._keep({**known, folder: refused.why})
        if folder not in known:
            self._tell("folder_refuses", category=folder, why=refused.why)

    def postpone(self, file: PurePath, *, now: float) -> None:
        """Try a file again only after a while: it was refused after its copy was made, and each try copies it anew."""
        self._backoff.refuse(file, now=now)

    def accept(self, *folders: PurePath) -> None:
        """Note that a file was moved between these folders, so that they take files; the file may be named too."""
        known = refusals(self._store)
        for folder in folders:
            self._backoff.accept(folder)
            if str(folder) in known:
                self._keep({other: why for other, why in known.items() if other != str(folder)})
                self._tell("folder_accepts", category=str(folder))

    def hold(self, *folders: PurePath, now: float) -> bool:
        """Tell whether a move between these folders, or of a file that is named too, must wait."""
        return any(self._backoff.waits(folder, now=now) for folder in folders)

    def end(self, *, now: float) -> bool:
        """Tell whether the pause of a folder ended since this was last asked."""
        return self._backoff.end(now=now)

    def forgive(self) -> None:
        """End all pauses: the owner may have mended the folders."""
        self._backoff.forgive()

    def _keep(self, whys: Mapping[str, str]) -> None:
        with self._store.transaction():
            self._store.database.write_note(_REFUSALS, json.dumps(whys))
