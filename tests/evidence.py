"""What held-out examples of cats and dogs were taken for."""

from __future__ import annotations

import numpy as np

from sortd.domain.category import CategoryName
from sortd.domain.feature import Vector
from sortd.judgement.calibration import CalibrationData, Numbers

CATS, DOGS = CategoryName("cats"), CategoryName("dogs")


def on_cats_and_dogs(
    truth: Numbers, predicted: Numbers, confidence: Vector, *, distinct: tuple[int, int] | None = None
) -> CalibrationData:
    """Of each example what it is and what it is taken for, 0 a cat and 1 a dog, and how surely."""
    labels = np.bincount(truth, minlength=2)
    return CalibrationData(
        (CATS, DOGS),
        labels,
        np.array(distinct or labels),
        truth=truth,
        predicted=predicted,
        confidence=confidence,
        margin=2 * confidence - 1,
        distance=np.full(len(truth), 0.1, np.float32),
        weights=np.ones(len(truth), np.float32),
    )
