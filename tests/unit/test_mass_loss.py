from __future__ import annotations

import pytest

from sortd.judgement.mass_loss import is_mass_loss


@pytest.mark.parametrize(
    ("vanished", "stood", "brakes"),
    [(0, 0, False), (50, 50, False), (51, 51, True), (51, 255, False), (52, 255, True), (200, 1000, False)],
)
def test_more_than_fifty_and_more_than_a_fifth(vanished, stood, brakes):
    assert is_mass_loss(vanished, stood=stood) is brakes
