"""The `visual` extractor: the mean of CLIP's vectors of evenly spaced frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sortd.domain.feature import Feature, Matrix, SpacePart
from sortd.extract.models.model_store import ModelStore
from sortd.extract.registry import EncoderSettings
from sortd.extract.spec import Needs, Sample


@dataclass(frozen=True, slots=True)
class VisualExtractor:
    """Pictures -> their mean CLIP vector [dim], the vectors themselves [n, dim] beside it."""

    name: str
    version: str
    dim: int
    needs: Needs
    models: ModelStore

    def extract(self, batch: Sequence[Sample]) -> list[Feature]:
        """Look at the frames of all samples together; a sample without any has no vector."""
        vectors = self.models.clip.images([frame for sample in batch for frame in sample.frames])
        ends = np.cumsum([len(sample.frames) for sample in batch])
        return [self._feature(sample, seen) for sample, seen in zip(batch, np.split(vectors, ends)[:-1], strict=True)]

    def _feature(self, sample: Sample, seen: Matrix) -> Feature:
        # The frames' vectors are not normalised before the mean: a frame that CLIP is surer of weighs more.
        vector = seen.mean(axis=0) if len(seen) else None
        return Feature(self.name, self.version, vector, details={"times": list(sample.times)}, frames=seen)


def build(part: SpacePart, settings: EncoderSettings, models: ModelStore) -> VisualExtractor:
    """Make the extractor; CLIP is loaded when the first picture comes."""
    return VisualExtractor(part.extractor, part.version, part.dim, Needs(frames=settings.frames), models)
