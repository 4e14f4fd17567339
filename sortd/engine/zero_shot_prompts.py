"""Have an encoder of text read what the folders are called; each name is read once."""

from __future__ import annotations

import re

from sortd.disk.folder_rules import Role
from sortd.disk.library import Library
from sortd.domain.messages import TextsEncoded
from sortd.domain.tasks import EncodeTexts
from sortd.extract.registry import reading_part
from sortd.store.store import Store


def names_of(store: Store, library: Library) -> dict[int, str]:
    """Put each category that has a folder into words, by number: its path, and the description in its `.sortd.toml`."""
    names = {}
    for known in store.categories.all():
        rules = library.rules(known.name)
        if known.present and rules.role is Role.CATEGORY:
            called = " ".join(re.split(r"[\W_]+", known.name)).strip()
            names[known.number] = ": ".join(filter(None, (f"a video of {called}", rules.describe)))
    return names


class ZeroShotPrompts:
    """Knows which names are to be read. One that could not be read is tried again by the next run of the service."""

    def __init__(self, store: Store, library: Library) -> None:
        self._store = store
        self._library = library
        self._tried: set[tuple[str, str]] = set()
        self._seen: object = None

    def look_again(self) -> None:
        """Look anew what folders are called: their rules may have changed."""
        self._seen = None

    def next(self) -> EncodeTexts | None:
        """Return the names to be read now; None: all were read."""
        part = reading_part(self._store.space)
        now = part, self._store.categories.all()
        if part is None or now == self._seen:
            return None
        self._seen = now
        known = self._store.text_embeddings.of(part)
        wanted = set(names_of(self._store, self._library).values())
        texts = sorted(text for text in wanted - known.keys() if (part.version, text) not in self._tried)
        self._tried.update((part.version, text) for text in texts)
        return EncodeTexts(part, tuple(texts)) if texts else None

    def keep(self, read: TextsEncoded) -> None:
        """Note the vectors of names, beside those of earlier names that are still wanted."""
        wanted = set(names_of(self._store, self._library).values())
        known = self._store.text_embeddings.of(read.part) | dict(read.vectors)
        self._store.text_embeddings.keep(read.part, {text: vector for text, vector in known.items() if text in wanted})
