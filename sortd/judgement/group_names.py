"""Suggest what a group of videos could be called, by words that its videos share and the others lack."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

Words = frozenset[str]

_WORD = re.compile(r"[^\W\d_]{3,}")
_FEWEST = 3
"""Videos that must share a word."""
_SHARED = 0.5
"""And the part of those that have words at all."""
_TELLING = 3.0
"""So many times as common as among the others."""
_OF_CAMERAS = {"clip", "copy", "img", "mov", "movie", "recording", "vid", "video", "videos", "whatsapp"}
"""Words that cameras, programs and sites put into file names."""


@dataclass(frozen=True, slots=True)
class VideoWords:
    """The words of one video: those spoken in it, and those of its file's name."""

    spoken: Words
    titled: Words


def words_of(text: str, *, dull: Collection[str]) -> Words:
    """Every word of a text once, in small letters; those that are `dull` say nothing of what it is about."""
    found = _WORD.findall(unicodedata.normalize("NFC", text).lower())
    return frozenset(found) - _OF_CAMERAS - frozenset(dull)


def names_for(group: Sequence[VideoWords], others: Sequence[VideoWords]) -> list[str]:
    """The words that tell these videos from the others, the most telling first."""
    telling: dict[str, float] = {}
    for of_group, of_others in (
        ([said.spoken for said in group], [said.spoken for said in others]),
        ([said.titled for said in group], [said.titled for said in others]),
    ):
        for word, by in _telling(of_group, of_others):
            telling[word] = max(by, telling.get(word, 0.0))
    return sorted(telling, key=lambda word: (-telling[word], word))


def _telling(group: Sequence[Words], others: Sequence[Words]) -> Iterator[tuple[str, float]]:
    """Each word that many of a group share, and by how much more common it is there than elsewhere."""
    counts, elsewhere = Counter[str](), Counter[str]()
    for words in group:
        counts.update(words)
    for words in others:
        elsewhere.update(words)
    having, others_having = sum(map(bool, group)), sum(map(bool, others))
    for word, count in counts.items():
        share, other = count / having, elsewhere[word] / max(others_having, 1)
        if count >= _FEWEST and share >= _SHARED and share >= _TELLING * other:
            yield word, share - other
