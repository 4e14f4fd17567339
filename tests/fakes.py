"""Stands in for pretrained networks and for clocks; everything else in the tests is real."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from sortd.domain.feature import Feature, SpacePart, Vector


class Clock:
    """The time of day, in seconds, moved by hand."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeExtractor:
    """Sees in a "video" of the content b"cats 7" a video like all others whose first word is cats.

    A second word of the content that names another family ("cats or dogs 7") makes it half of each; the word "silent"
    means no sound. What follows "encoded" or "tagged" is only how it is written down; "cut" means that it is shorter.
    """

    def __init__(self, *, noise: float = 0.5) -> None:
        self._noise = noise

    def extract(self, parts: Sequence[SpacePart], content: bytes) -> tuple[Feature, ...]:
        return tuple(self._feature(part, content) for part in parts)

    def read(self, part: SpacePart, text: str) -> Vector:
        """Read in words whose last one is cats something of what videos of cats look like, and much of all words."""
        look = _direction(f"{part.extractor} {part.version} ".encode() + text.rsplit(maxsplit=1)[-1].encode(), part.dim)
        return look + 2 * _direction(b"words", part.dim)

    def _feature(self, part: SpacePart, content: bytes) -> Feature:
        details = {"seconds": 20.0 if b"cut" in content else 60.0}
        content = re.split(b" encoded| tagged| and a tag", content)[0]
        words = content.split()
        if part.extractor == "speech" and b"silent" in words:
            return Feature(part.extractor, part.version, None, details=details)
        families = words[:3:2] if words[1:2] == [b"or"] else words[:1]
        seed = f"{part.extractor} {part.version} ".encode()
        centre = sum(_direction(seed + family, part.dim) for family in families)
        vector = centre / np.linalg.norm(centre) + self._noise * _direction(seed + content, part.dim)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        return Feature(part.extractor, part.version, vector, details=details)


def _direction(seed: bytes, dim: int) -> Vector:
    generator = np.random.default_rng(int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big"))
    direction = generator.standard_normal(dim).astype(np.float32)
    return direction / np.linalg.norm(direction)
