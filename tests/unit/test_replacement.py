"""Whether a file that takes another's place is that video still."""

from __future__ import annotations

import numpy as np
import pytest

from sortd.judgement.replacement import LIKENESS, STRICT_LIKENESS, Look, is_same_video

pytestmark = pytest.mark.fault("K8")

SEEN = np.array([1.0, 0.0], np.float32)


def like(cosine: float) -> np.ndarray:
    """Pictures of this cosine to SEEN."""
    return np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)


@pytest.mark.parametrize(("one", "other"), [(60.0, 60.9), (600.0, 611.0), (0.5, 1.2)])
def test_the_same_pictures_and_length_are_the_same_video(one, other):
    assert is_same_video(Look(SEEN, one), Look(like(LIKENESS + 0.001), other), same_path=False)


def test_other_pictures_or_another_length_are_another_video():
    assert not is_same_video(Look(SEEN, 60.0), Look(like(LIKENESS - 0.01), 60.0), same_path=True)
    assert not is_same_video(Look(SEEN, 60.0), Look(SEEN, 62.0), same_path=True)
    assert not is_same_video(Look(SEEN, 60.0), Look(0 * SEEN, 60.0), same_path=True)


def test_without_a_length_the_pictures_must_agree_more_strictly():
    between = like((LIKENESS + STRICT_LIKENESS) / 2)
    assert is_same_video(Look(SEEN, 60.0), Look(between, 60.0), same_path=False)
    assert not is_same_video(Look(SEEN, None), Look(between, 60.0), same_path=False)
    assert is_same_video(Look(SEEN, None), Look(like(STRICT_LIKENESS + 0.001), 60.0), same_path=False)


def test_of_what_nothing_is_known_the_same_path_tells():
    assert is_same_video(Look(None, None), Look(SEEN, 60.0), same_path=True)
    assert not is_same_video(Look(None, None), Look(SEEN, 60.0), same_path=False)
