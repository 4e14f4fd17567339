"""What extractors find in a video, and the space of vectors that classifiers compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""Shape [dim]."""

Matrix = NDArray[np.float32]
"""Shape [n, dim]."""

Image = NDArray[np.uint8]
"""Shape [height, width, 3], red green blue, turned as a player shows it."""

Waveform = NDArray[np.float32]
"""Shape [samples]: mono, 16 kHz, from -1 to 1, in steps of 1/32768 as 16-bit sound files have them."""


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """What one extractor found in one video. `vector=None` is a known absence (no sound, no speech) and no failure."""

    extractor: str
    version: str
    vector: Vector | None
    text: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    frames: Matrix | None = None
    """Each frame's own vector [n, dim], where the extractor looks at frames."""


@dataclass(frozen=True, slots=True)
class SpacePart:
    """One extractor's columns of a feature space."""

    extractor: str
    version: str
    dim: int


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """The ordered parts of which a vector is made; vectors of two spaces are never compared."""

    parts: tuple[SpacePart, ...]

    @property
    def dim(self) -> int:
        """The length of a fused vector."""
        return sum(part.dim for part in self.parts)

    @property
    def key(self) -> str:
        """The space as one line of text, which is equal for equal spaces only."""
        return " ".join(f"{part.extractor}={part.version}:{part.dim}" for part in self.parts)


PICTURES = "visual"
"""The part that words are compared with."""


class Fault(StrEnum):
    """Why a video was set aside: nothing could be learned from its bytes."""

    EMPTY = "empty"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    DECODER_CRASHED = "decoder_crashed"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"

    @property
    def may_pass(self) -> bool:
        """Tell whether another try may go better: a refusal by the decoder is final, a crash or a hang is not."""
        return self in {Fault.TIMEOUT, Fault.DECODER_CRASHED}
