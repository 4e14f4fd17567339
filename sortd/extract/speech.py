"""What is said in a film: Whisper's transcript, and the vector that CLIP gives its first 77 tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sortd.domain import Feature, Needs, Part, Sample
from sortd.extract import Settings
from sortd.extract.encoders import Networks
from sortd.extract.voice import has_voice


@dataclass(frozen=True, slots=True)
class Speech:
    """Sound -> transcript -> vector [dim]; no sound, silence or no words: no vector, and an empty text."""

    name: str
    version: str
    dim: int
    needs: Needs
    networks: Networks

    def extract(self, batch: Sequence[Sample]) -> list[Feature]:
        """Write down what is said, one sample after the other, and read all of it together."""
        texts = [self._said(sample) for sample in batch]
        spoken = [text for text in texts if text]
        vectors = iter(self.networks.clip.texts(spoken) if spoken else ())
        return [Feature(self.name, self.version, next(vectors) if text else None, text) for text in texts]

    def _said(self, sample: Sample) -> str:
        if sample.sound is None or not has_voice(sample.sound):
            return ""
        return self.networks.whisper.transcribe(sample.sound)


def build(part: Part, _settings: Settings, networks: Networks) -> Speech:
    """Make the extractor; the networks are loaded when the first voice is heard, and CLIP at the first word."""
    return Speech(part.extractor, part.version, part.dim, Needs(sound=True), networks)
