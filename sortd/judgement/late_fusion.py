"""Late fusion: each part of unit length, one after the other, zeros for what is missing.

After the seed documents' multimodal pipeline: `x / (norm + 1e-8)` for each modality, then concatenation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sortd.domain.feature import Feature, FeatureSpace, Vector


def fuse(features: Mapping[str, Feature], space: FeatureSpace) -> Vector:
    """Make one vector [space.dim] of a video's features, keyed by extractor.

    A part whose feature is absent, or known to hold nothing (no sound, no words), is zeros.
    ValueError: a feature of another version or length than the space's; two spaces never mix.
    """
    parts = []
    for part in space.parts:
        feature = features.get(part.extractor)
        if feature is None or feature.vector is None:
            parts.append(np.zeros(part.dim, np.float32))
            continue
        if feature.version != part.version or feature.vector.shape != (part.dim,):
            raise ValueError(f"{part.extractor} {feature.version} is no part of the space {space.key}")
        parts.append(feature.vector / (np.linalg.norm(feature.vector) + 1e-8))
    return np.concatenate(parts).astype(np.float32)
