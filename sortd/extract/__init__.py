"""Extract: from a video file to features. What is extracted is told here without importing what that needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

from sortd.domain import FeatureSpace, Part
from sortd.errors import SortdError
from sortd.extract.weights import Weights, clip_weights, whisper_weights
from sortd.protocols import Extractor

if TYPE_CHECKING:
    from sortd.extract.encoders import Networks

BUILTIN_VERSION = "builtin-2"
"""Counts up whenever the built-in encoder's numbers change."""

CLIP_VERSION = "clip-1"
"""Counts up whenever what is done around the pretrained networks changes a vector."""

BUILTIN_DIM = 512

PRETRAINED: Mapping[str, str] = {"visual": "sortd.extract.visual", "speech": "sortd.extract.speech"}
"""Name -> the module whose `build(part, settings, networks)` makes that extractor of the pretrained networks."""

BUILT_IN: Mapping[str, str] = dict.fromkeys(PRETRAINED, "sortd.extract.builtin")
"""Likewise, of the encoder that needs no weights."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner asks of extraction; the fields are the configuration's."""

    names: tuple[str, ...] = ("visual", "speech")
    encoder: Literal["auto", "clip", "builtin"] = "auto"
    frames: int = 5
    clip_model: str = "ViT-B/32"
    whisper_model: str = "base"
    language: str = ""
    task: Literal["transcribe", "translate"] = "transcribe"
    device: str = "auto"
    precision: Literal["auto", "exact", "fast"] = "auto"

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The pretrained files that these settings want."""
        return (clip_weights(self.clip_model), whisper_weights(self.whisper_model))


def encoder(settings: Settings) -> Literal["clip", "builtin"]:
    """Which encoder serves now: the pretrained networks where all their files are there, else the built-in one."""
    if settings.encoder == "auto":
        return "clip" if all(weights.present() for weights in settings.weights) and _tells(settings) else "builtin"
    return settings.encoder


def _tells(settings: Settings) -> bool:
    """Whether what the vectors depend on can be told of the files: of a torn CLIP it cannot."""
    try:
        return settings.weights[0].dim() > 0 and all(weights.digest() for weights in settings.weights)
    except SortdError:
        return False


def space(settings: Settings) -> FeatureSpace:
    """The space of vectors that is wanted now."""
    if encoder(settings) == "builtin":
        return FeatureSpace(tuple(Part(name, _builtin_version(name, settings), BUILTIN_DIM) for name in settings.names))
    clip, _ = settings.weights
    return FeatureSpace(tuple(Part(name, _clip_version(name, settings), clip.dim()) for name in settings.names))


def extractable(part: Part, settings: Settings) -> bool:
    """Whether this very part can be extracted with these settings and the files that are there."""
    if part.version == _builtin_version(part.extractor, settings):
        return True
    return encoder(settings) == "clip" and part.version == _clip_version(part.extractor, settings)


def needs_networks(part: Part) -> bool:
    """Whether a part comes from pretrained networks."""
    return part.version.startswith("clip-")


def load(part: Part, settings: Settings, networks: Networks | None) -> Extractor:
    """Import and build one extractor. KeyError: these settings make no such part."""
    module = (PRETRAINED if needs_networks(part) else BUILT_IN)[part.extractor]
    if not extractable(part, settings):
        raise KeyError(part)
    return cast("Extractor", import_module(module).build(part, settings, networks))


def parts(spaces: Sequence[FeatureSpace]) -> tuple[Part, ...]:
    """The parts of several spaces, each once."""
    return tuple(dict.fromkeys(part for one in spaces for part in one.parts))


def _builtin_version(name: str, settings: Settings) -> str:
    return f"{BUILTIN_VERSION},frames={settings.frames}" if name == "visual" else BUILTIN_VERSION


def _clip_version(name: str, settings: Settings) -> str:
    """All that changes a vector: checkpoints, settings, the class of precision; not the device or the engine."""
    clip, whisper = settings.weights
    precision = "exact" if settings.precision == "exact" else "fast"
    version = f"{CLIP_VERSION},{clip.digest()},{precision}"
    if name == "visual":
        return f"{version},frames={settings.frames}"
    return f"{version},{whisper.digest()},{settings.language or 'any'},{settings.task}"
