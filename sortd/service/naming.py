"""What the folders are called, for an encoder that reads: each name is read once."""

from __future__ import annotations

import re

from sortd.disk.library import Library
from sortd.disk.rules import Role
from sortd.domain import FeatureSpace, Part
from sortd.extract import needs_networks
from sortd.learn.names import PICTURES
from sortd.messages import NamesRead, Read
from sortd.store.memory import Memory


def reading_part(space: FeatureSpace) -> Part | None:
    """The part whose encoder reads words into the space of its pictures; None: the built-in one does not."""
    return next((part for part in space.parts if part.extractor == PICTURES and needs_networks(part)), None)


def names_of(memory: Memory, library: Library) -> dict[int, str]:
    """How each standing category is put into words, by number: its path, and what its `.sortd.toml` says it is."""
    names = {}
    for known in memory.categories.all():
        rules = library.rules(known.name)
        if known.present and rules.role is Role.CATEGORY:
            called = " ".join(re.split(r"[\W_]+", known.name)).strip()
            names[known.number] = ": ".join(filter(None, (f"a video of {called}", rules.describe)))
    return names


class Naming:
    """Knows which names wait to be read. One that could not be read is tried again by the next run."""

    def __init__(self, memory: Memory, library: Library) -> None:
        self._memory = memory
        self._library = library
        self._tried: set[tuple[str, str]] = set()
        self._seen: object = None

    def look_again(self) -> None:
        """Folders may say something else of themselves."""
        self._seen = None

    def next(self) -> Read | None:
        """Names to read now; None: all are known."""
        part = reading_part(self._memory.space)
        now = part, self._memory.categories.all()
        if part is None or now == self._seen:
            return None
        self._seen = now
        known = self._memory.words.of(part)
        wanted = set(names_of(self._memory, self._library).values())
        texts = sorted(text for text in wanted - known.keys() if (part.version, text) not in self._tried)
        self._tried.update((part.version, text) for text in texts)
        return Read(part, tuple(texts)) if texts else None

    def keep(self, read: NamesRead) -> None:
        """Note what was read, beside what is still wanted of before."""
        wanted = set(names_of(self._memory, self._library).values())
        known = self._memory.words.of(read.part) | dict(read.vectors)
        self._memory.words.keep(read.part, {text: vector for text, vector in known.items() if text in wanted})
