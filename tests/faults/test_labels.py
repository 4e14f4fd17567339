"""Whose move was it? Rows L1 to L7 of the fault matrix."""

from __future__ import annotations

import shutil

import pytest


@pytest.mark.fault("L2", sample=True)
def test_what_the_owner_takes_back_is_never_moved_there_again(fresh, clips):
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        assert home.once().returncode == 0
        assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]
        (home.root / "sea" / "sea-6.mp4").rename(home.root / "sea-6.mp4")
        for _ in range(2):
            assert home.once().returncode == 0
            assert home.places("sea-6.mp4") == ["sea-6.mp4"]
    assert home.told("withdrawn", path="sea-6.mp4", category="sea")
    assert home.ask("explain", str(home.root / "sea-6.mp4"))["reason"] == "vetoed"
