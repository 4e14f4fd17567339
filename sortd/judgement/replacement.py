"""Tell whether a file in the place of another is the same video: re-encoded, in another container, edited tags.

Whoever replaces a video writes the new one beside it, under its stem or its very name, and takes the old one away. The
name proves nothing (another episode may be saved over it), so length and pictures must agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sortd.domain.feature import Vector

LENGTH_SECONDS = 1.0
LENGTH_SHARE = 0.02
"""By how much two lengths may differ, the larger of both: containers round, encoders pad."""

LIKENESS = 0.975
"""Least cosine of the pictures of one video before and after it was encoded anew."""

STRICT_LIKENESS = 0.985
"""The same where one of the lengths is not known: features from before did not keep it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of one video's pictures and length; None: it is not known."""

    pictures: Vector | None
    seconds: float | None


def is_same_video(old: Look, new: Look, *, same_path: bool) -> bool:
    """Whether the new file is the old video; where nothing is known of one of them, its very path must be the same."""
    apart = _lengths_differ(old.seconds, new.seconds)
    if old.pictures is None or new.pictures is None:
        return same_path and not apart
    least = STRICT_LIKENESS if old.seconds is None or new.seconds is None else LIKENESS
    return not apart and _likeness(old.pictures, new.pictures) >= least


def _lengths_differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return abs(one - other) > max(LENGTH_SECONDS, LENGTH_SHARE * max(one, other))


def _likeness(one: Vector, other: Vector) -> float:
    norms = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / norms if norms > 0 else 0.0
