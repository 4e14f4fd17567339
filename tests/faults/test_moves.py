"""A move is killed, refused and raced at every step. Rows M1 to M24 of the fault matrix."""

from __future__ import annotations

import shutil
from itertools import count

import pytest

from tests.faults.kit import MOVE_CALLS, killing, under_strace

KILLED = (137, -9)


@pytest.mark.fault("M1")
@pytest.mark.timeout(1800)
@under_strace
def test_killed_at_any_call_of_a_move_the_next_start_repairs_it(fresh, clips):
    for call in count(1):
        home = fresh()
        shutil.copy(clips / "sea-6.mp4", home.root)
        with home.nothing_lost():
            ended = home.once(*killing(MOVE_CALLS, at=call)).returncode
            assert home.once().returncode == 0
            assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]
            assert home.ask("status")["open_moves"] == 0
        if ended not in KILLED:
            break
    assert call > 10
