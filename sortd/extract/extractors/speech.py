"""The `speech` extractor: Whisper's transcript, and the vector that CLIP gives its first 77 tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sortd.domain.errors import NoNumbers
from sortd.domain.feature import Feature, SpacePart
from sortd.extract.models.model_store import ModelStore
from sortd.extract.models.voice_gate import has_voice
from sortd.extract.registry import EncoderSettings
from sortd.extract.spec import Needs, Sample
from sortd.judgement.usable_numbers import PROBLEM

READ_CHARACTERS = 4_000
"""CLIP's first 77 tokens end long before, even where a network repeats one syllable for ever."""


@dataclass(frozen=True, slots=True)
class SpeechExtractor:
    """Sound -> transcript -> vector [dim]; no sound, silence or no words: no vector, and an empty text."""

    name: str
    version: str
    dim: int
    needs: Needs
    models: ModelStore

    def extract(self, batch: Sequence[Sample]) -> list[Feature]:
        """Write down what is said, one sample after the other, and read all of it together."""
        said = [self._said(sample) for sample in batch]
        spoken = [text[:READ_CHARACTERS] for text, _ in said if text]
        vectors = iter(self.models.clip.texts(spoken) if spoken else ())
        return [Feature(self.name, self.version, next(vectors) if text else None, text, told) for text, told in said]

    def _said(self, sample: Sample) -> tuple[str, dict[str, str]]:
        """Tell the words, or why there are none."""
        if sample.sound is None or not has_voice(sample.sound):
            return "", {}
        try:
            heard = self.models.whisper.transcribe(sample.sound)
        except NoNumbers as error:
            return "", {PROBLEM: str(error)}
        return heard.encode("utf-8", "replace").decode("utf-8"), {}


def build(part: SpacePart, _settings: EncoderSettings, models: ModelStore) -> SpeechExtractor:
    """Make the extractor; the networks are loaded when the first voice is heard, and CLIP at the first word."""
    return SpeechExtractor(part.extractor, part.version, part.dim, Needs(sound=True), models)
