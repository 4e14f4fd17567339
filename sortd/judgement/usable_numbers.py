"""Tell whether what an extractor gave can be compared: a network may give no numbers for a video, or for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sortd.domain.feature import Feature, SpacePart

LARGEST = 1e15
"""Beyond it the squares of a vector's numbers overflow float32, and with them every distance."""

PROBLEM = "problem"
"""Key of a feature's details: why it has no vector although its extractor gave one."""


def checked(feature: Feature, parts: Sequence[SpacePart]) -> Feature:
    """Give the feature, without its vector, and with the reason in its details, if that is none to compare by."""
    made = feature.extractor, feature.version
    dim = next((part.dim for part in parts if (part.extractor, part.version) == made), None)
    text = feature.text and feature.text.encode("utf-8", "replace").decode("utf-8")
    frames = feature.frames
    if frames is not None and (frames.ndim != 2 or _problem(frames, dim)):  # noqa: PLR2004 - a row for each frame
        frames = None
    why = None
    if feature.vector is not None:
        why = "a vector of another length" if feature.vector.ndim != 1 else _problem(feature.vector, dim)
    if why is None:
        return replace(feature, text=text, frames=frames)
    return replace(feature, vector=None, text=text, frames=frames, details={**feature.details, PROBLEM: why})


def usable(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell of each row [n, dim] whether there is anything to learn from it: [n]."""
    return np.asarray(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))


def _problem(values: NDArray[np.float32], dim: int | None) -> str | None:
    if dim is not None and values.shape[-1] != dim:
        return "a vector of another length"
    if not np.isfinite(values).all():
        return "not a number"
    if values.size and np.abs(values).max() > LARGEST:
        return "numbers too large to compare"
    return None if values.ndim > 1 or values.any() else "nothing but zeros"
