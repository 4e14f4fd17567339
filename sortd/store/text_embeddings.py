"""What the encoder of the pictures made of words: the names of the folders, as it reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from sortd.domain.feature import SpacePart, Vector
from sortd.store.database import Database, parsed

_WORDS = "words"


class TextEmbeddings:
    """Reads and writes; the caller opens the transactions. Those of one version are kept, for they are quickly had."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def keep(self, part: SpacePart, vectors: Mapping[str, Vector]) -> None:
        """Keep these and no others."""
        written = {text: vector.astype("<f4").tobytes().hex() for text, vector in vectors.items()}
        self._db.write_note(_WORDS, json.dumps({"version": part.version, "vectors": written}))

    def of(self, part: SpacePart) -> dict[str, Vector]:
        """The vectors by text, of this very version."""
        note = self._db.note(_WORDS)
        kept = {} if note is None else parsed(note)
        if kept.get("version") != part.version:
            return {}
        return {text: np.frombuffer(bytes.fromhex(vector), "<f4") for text, vector in kept["vectors"].items()}
