"""Define what an extractor is: what it wants from a file, what it gets, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sortd.domain.feature import Feature, Image, Waveform


@dataclass(frozen=True, slots=True)
class Needs:
    """What an extractor wants out of a file, so that one opening serves all of them."""

    frames: int = 0
    """How many evenly spaced frames, the first and the last included."""
    following: bool = False
    """Also the frame right after each of them (motion)."""
    short_side: int | None = None
    """Frames may be scaled down to this many pixels on their shorter side; None: as they are."""
    sound: bool = False
    sound_seconds: float | None = None
    """At most this much sound, from the beginning; None: all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What came out of one file for the extractors: pictures and sound, never a path."""

    frames: tuple[Image, ...]
    following: tuple[Image, ...]
    times: tuple[float, ...]
    """Seconds from the start, one for each of `frames`."""
    sound: Waveform | None
    """None where there is no sound track or none of it decodes."""
    seconds: float
    width: int
    height: int


class Extractor(Protocol):
    """video -> feature. The version names checkpoint, settings and preprocessing: another version, another feature."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def needs(self) -> Needs: ...
    def extract(self, batch: Sequence[Sample]) -> list[Feature]: ...
