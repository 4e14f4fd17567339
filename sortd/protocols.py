"""What the shell asks of its parts; each list holds only what its consumer calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sortd.domain import Category, Feature, FeatureSpace, Needs, Policy, Prediction, Sample, Vector


class Extractor(Protocol):
    """video -> feature. The version names checkpoint, settings and preprocessing: another version, another feature."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def needs(self) -> Needs: ...
    def extract(self, batch: Sequence[Sample]) -> list[Feature]: ...


class Predictor(Protocol):
    """What was learned: answers only for its own feature space."""

    @property
    def space(self) -> FeatureSpace: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def examples(self) -> Mapping[Category, int]: ...
    def predict(self, vector: Vector) -> Prediction: ...
