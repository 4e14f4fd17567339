"""Extract: from a video file to features. Extractors are found here by name, without importing what they need."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import cast

from sortd.domain import FeatureSpace, Part
from sortd.protocols import Extractor

BUILT_IN = {"visual": "sortd.extract.builtin", "speech": "sortd.extract.builtin"}
"""Name -> the module whose `build(part, frames=...)` makes that extractor."""

BUILTIN_VERSION = "builtin-1"
"""Counts up whenever the built-in encoder's numbers change."""

BUILTIN_DIM = 512


def space(names: Sequence[str], *, frames: int) -> FeatureSpace:
    """Tell the space of vectors that these extractors make, without importing any of them."""
    return FeatureSpace(tuple(Part(name, _version(name, frames), BUILTIN_DIM) for name in names))


def load(name: str, *, frames: int) -> Extractor:
    """Import and build one extractor. KeyError: no extractor has that name."""
    (part,) = space([name], frames=frames).parts
    return cast("Extractor", import_module(BUILT_IN[name]).build(part, frames=frames))


def _version(name: str, frames: int) -> str:
    return f"{BUILTIN_VERSION},frames={frames}" if name == "visual" else BUILTIN_VERSION
