from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sortd.domain.feature import Feature, FeatureSpace, SpacePart
from sortd.judgement.late_fusion import fuse

SPACE = FeatureSpace((SpacePart("visual", "1", 4), SpacePart("speech", "1", 3)))
numbers = st.floats(-1e3, 1e3, width=32)


@given(arrays.arrays(np.float32, 4, elements=numbers), arrays.arrays(np.float32, 3, elements=numbers))
def test_each_part_has_unit_length_or_none(visual, speech):
    vector = fuse({"visual": Feature("visual", "1", visual), "speech": Feature("speech", "1", speech)}, SPACE)
    for part, given_part in ((vector[:4], visual), (vector[4:], speech)):
        length = np.linalg.norm(given_part)
        assert np.linalg.norm(part) == pytest.approx(length / (length + 1e-8), abs=1e-5)


def test_what_is_missing_is_zeros():
    silent = {"visual": Feature("visual", "1", np.ones(4, np.float32)), "speech": Feature("speech", "1", None)}
    assert fuse(silent, SPACE).tolist() == pytest.approx([0.5] * 4 + [0.0] * 3)
    assert not fuse({}, SPACE).any()


def test_vectors_of_two_versions_never_mix():
    with pytest.raises(ValueError, match="no part of the space"):
        fuse({"visual": Feature("visual", "2", np.ones(4, np.float32))}, SPACE)
