from __future__ import annotations

import pytest

from sortd.judgement.thresholds import chance_of_at_most, precision_bound


def test_it_is_the_binomial_distribution() -> None:
    assert chance_of_at_most(0, 3, 0.5) == pytest.approx(1 / 8)
    assert chance_of_at_most(1, 3, 0.5) == pytest.approx(1 / 2)
    assert chance_of_at_most(3, 3, 0.25) == pytest.approx(1)
    assert chance_of_at_most(-1, 3, 0.25) == 0


@pytest.mark.parametrize("tries", [2_000, 20_000])
def test_many_thousand_tries_can_be_counted(tries: int) -> None:
    assert chance_of_at_most(tries // 2, tries, 0.5) == pytest.approx(0.5, abs=0.02)
    assert precision_bound(tries, tries // 10) == pytest.approx(0.89, abs=0.011)
