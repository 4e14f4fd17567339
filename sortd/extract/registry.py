"""Know which extractors there are, what each is made of, and how it is loaded. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

from sortd.config.settings import Settings
from sortd.domain.errors import SortdError
from sortd.domain.feature import PICTURES, FeatureSpace, SpacePart
from sortd.extract.models.weights import Weights, clip_weights, whisper_weights
from sortd.extract.spec import Extractor

if TYPE_CHECKING:
    from sortd.extract.models.model_store import ModelStore

BUILTIN_VERSION = "builtin-2"
"""Counts up whenever the built-in encoder's numbers change."""

CLIP_VERSION = "clip-1"
"""Counts up whenever what is done around the pretrained networks changes a vector."""

BUILTIN_DIM = 512

PRETRAINED: Mapping[str, str] = {
    "visual": "sortd.extract.extractors.visual",
    "speech": "sortd.extract.extractors.speech",
}
"""Name -> the module whose `build(part, settings, networks)` makes that extractor of the pretrained networks."""

BUILT_IN: Mapping[str, str] = dict.fromkeys(PRETRAINED, "sortd.extract.extractors.builtin_visual")
"""Likewise, of the encoder that needs no weights."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
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


def extract_settings(config: Settings) -> EncoderSettings:
    """What the owner asks of extraction."""
    asked = config.extract
    return EncoderSettings(
        names=asked.with_,
        encoder=asked.encoder,
        frames=asked.visual.frames,
        clip_model=asked.visual.model,
        whisper_model=asked.speech.model,
        language=asked.speech.language,
        task=asked.speech.task,
        device=asked.device,
        precision=asked.precision,
    )


def feature_space(config: Settings) -> FeatureSpace:
    """The space of vectors that is wanted now: it changes when pretrained weights come or go."""
    return space(extract_settings(config))


def encoder(settings: EncoderSettings) -> Literal["clip", "builtin"]:
    """Which encoder serves now: the pretrained networks where all their files are there, else the built-in one."""
    if settings.encoder == "auto":
        return "clip" if all(weights.present() for weights in settings.weights) and _tells(settings) else "builtin"
    return settings.encoder


def _tells(settings: EncoderSettings) -> bool:
    """Tell whether what the vectors depend on can be told of the files: of a torn CLIP it cannot."""
    try:
        return settings.weights[0].dim() > 0 and all(weights.digest() for weights in settings.weights)
    except SortdError:
        return False


def space(settings: EncoderSettings) -> FeatureSpace:
    """The space of vectors that is wanted now."""
    if encoder(settings) == "builtin":
        return FeatureSpace(
            tuple(SpacePart(name, _builtin_version(name, settings), BUILTIN_DIM) for name in settings.names)
        )
    clip, _ = settings.weights
    return FeatureSpace(tuple(SpacePart(name, _clip_version(name, settings), clip.dim()) for name in settings.names))


def extractable(part: SpacePart, settings: EncoderSettings) -> bool:
    """Tell whether this very part can be extracted with these settings and the files that are there."""
    if part.version == _builtin_version(part.extractor, settings):
        return True
    return encoder(settings) == "clip" and part.version == _clip_version(part.extractor, settings)


def needs_networks(part: SpacePart) -> bool:
    """Tell whether a part comes from pretrained networks."""
    return part.version.startswith("clip-")


def reading_part(space: FeatureSpace) -> SpacePart | None:
    """The part whose encoder reads words into the space of its pictures; None: the built-in one does not."""
    return next((part for part in space.parts if part.extractor == PICTURES and needs_networks(part)), None)


def load(part: SpacePart, settings: EncoderSettings, models: ModelStore | None) -> Extractor:
    """Import and build one extractor. KeyError: these settings make no such part."""
    module = (PRETRAINED if needs_networks(part) else BUILT_IN)[part.extractor]
    if not extractable(part, settings):
        raise KeyError(part)
    return cast("Extractor", import_module(module).build(part, settings, models))


def parts(spaces: Sequence[FeatureSpace]) -> tuple[SpacePart, ...]:
    """The parts of several spaces, each once."""
    return tuple(dict.fromkeys(part for one in spaces for part in one.parts))


def _builtin_version(name: str, settings: EncoderSettings) -> str:
    return f"{BUILTIN_VERSION},frames={settings.frames}" if name == "visual" else BUILTIN_VERSION


def _clip_version(name: str, settings: EncoderSettings) -> str:
    """All that changes a vector: checkpoints, settings, the class of precision; not the device or the engine."""
    clip, whisper = settings.weights
    precision = "exact" if settings.precision == "exact" else "fast"
    version = f"{CLIP_VERSION},{clip.digest()},{precision}"
    if name == "visual":
        return f"{version},frames={settings.frames}"
    return f"{version},{whisper.digest()},{settings.language or 'any'},{settings.task}"
