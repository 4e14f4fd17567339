"""What the engine orders from the workers, in the imperative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from sortd.domain.feature import FeatureSpace, SpacePart
from sortd.domain.move_plan import MoveStep
from sortd.domain.video import FileIdentity, Fingerprint


@dataclass(frozen=True, slots=True)
class ExtractionJob:
    """One video and the parts of feature spaces that it lacks."""

    fingerprint: Fingerprint
    path: PurePath
    identity: FileIdentity
    parts: tuple[SpacePart, ...]


@dataclass(frozen=True, slots=True)
class Extract:
    """Extract the features that these videos lack."""

    jobs: tuple[ExtractionJob, ...]


@dataclass(frozen=True, slots=True)
class EncodeTexts:
    """Encode these texts with the encoder of this part."""

    part: SpacePart
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingPayload:
    """One training: `except_in` are folders that are no categories, `targets` those that ask for another precision.

    `others` are those of `except_in` whose videos belong to no category. All, and the classifier, speak of categories
    by number, so that a renamed folder needs no retraining; `names` are what they are called, in words.
    """

    digest: str
    space: FeatureSpace
    except_in: frozenset[int]
    targets: Mapping[int, float]
    others: frozenset[int] = frozenset()
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Train:
    """Train a classifier."""

    payload: TrainingPayload


@dataclass(frozen=True, slots=True)
class CopyFiles:
    """Make verified copies of a move's files, beside their targets, under temporary names that begin with `part`."""

    number: int
    part: str
    steps: tuple[MoveStep, ...]


Task = Extract | EncodeTexts | Train | CopyFiles
