"""What a film shows, in CLIP's eyes: the mean of the vectors of evenly spaced frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sortd.domain import Feature, Matrix, Needs, Part, Sample
from sortd.extract import Settings
from sortd.extract.encoders import Networks


@dataclass(frozen=True, slots=True)
class Visual:
    """Pictures -> their mean CLIP vector [dim], the vectors themselves [n, dim] beside it."""

    name: str
    version: str
    dim: int
    needs: Needs
    networks: Networks

    def extract(self, batch: Sequence[Sample]) -> list[Feature]:
        """Look at the frames of all samples together; a sample without any has no vector."""
        vectors = self.networks.clip.images([frame for sample in batch for frame in sample.frames])
        ends = np.cumsum([len(sample.frames) for sample in batch])
        return [self._feature(sample, seen) for sample, seen in zip(batch, np.split(vectors, ends)[:-1], strict=True)]

    def _feature(self, sample: Sample, seen: Matrix) -> Feature:
        # The frames' vectors are not normalised before the mean: a frame that CLIP is surer of weighs more.
        vector = seen.mean(axis=0) if len(seen) else None
        return Feature(self.name, self.version, vector, details={"times": list(sample.times)}, frames=seen)


def build(part: Part, settings: Settings, networks: Networks) -> Visual:
    """Make the extractor; CLIP is loaded when the first picture comes."""
    return Visual(part.extractor, part.version, part.dim, Needs(frames=settings.frames), networks)
