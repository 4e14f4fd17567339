"""The examples that a classifier is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sortd.domain.category import CategoryName
from sortd.domain.feature import FeatureSpace, Matrix, Vector
from sortd.domain.video import Fingerprint


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """The owner's labels that have a vector: row i of `vectors` [n, dim] belongs to `categories[i]`."""

    space: FeatureSpace
    vectors: Matrix
    categories: Sequence[CategoryName]
    fingerprints: Sequence[Fingerprint]
    passed_over: Matrix | None = None
    """Videos that are known to belong to none of the categories, [passed over, dim]."""
    unsorted: Matrix | None = None
    """What else is there, or a sample of it: of whatever category, or of none, [unsorted, dim]."""
    names: Mapping[CategoryName, Vector] = field(default_factory=dict)
    """What the encoder of the pictures makes of what folders are called, where it reads, [dim of a picture]."""
