from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.extract.media.timeline import Run, Surprise, Timeline, comes_next, evenly
from sortd.extract.spec import Needs


def timeline(stamps: list[int], keys: list[int], *, plain: bool = True) -> Timeline:
    return Timeline(np.array(stamps, np.int64), np.array(keys, np.int64), seconds=1.0, plain=plain)


TWO_GROUPS = timeline([0, 30, 10, 20, 40, 70, 50, 60], [0, 4])


def test_one_run_for_frames_between_the_same_key_frames() -> None:
    assert TWO_GROUPS.runs({1, 3}) == [Run(0, {10: 1, 30: 3})]


def test_a_new_run_where_a_key_frame_lies_ahead() -> None:
    assert TWO_GROUPS.runs({0, 7}) == [Run(0, {0: 0}), Run(4, {70: 7})]


def test_no_way_back_to_a_key_frame_already_passed() -> None:
    leaning_on_the_group_before = timeline([0, 10, 40, 20, 30], [0, 2])

    assert leaning_on_the_group_before.runs({4}) == [Run(2, {40: 4})]
    assert leaning_on_the_group_before.runs({3, 4}) == [Run(0, {30: 3, 40: 4})]
    assert leaning_on_the_group_before.runs({1, 2, 3}) == [Run(0, {10: 1, 20: 2, 30: 3})]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 1_000)), min_size=1, max_size=40, unique_by=lambda packet: packet[1]
    ),
    st.data(),
)
def test_every_wanted_frame_is_reached_from_a_key_frame_not_after_it(
    packets: list[tuple[bool, int]], data: st.DataObject
) -> None:
    stamps = [-1] + [stamp for _, stamp in packets]
    plan = timeline(stamps, [0] + [position for position, (key, _) in enumerate(packets, 1) if key])
    wanted = data.draw(st.sets(st.integers(0, len(stamps) - 1), min_size=1))

    runs = plan.runs(wanted)

    assert {index for run in runs for index in run.due.values()} == wanted
    assert all(stamps[run.key] <= min(run.due) for run in runs)
    assert [run.key for run in runs] == sorted({run.key for run in runs})
    assert all(stamp == sorted(stamps)[index] for run in runs for stamp, index in run.due.items())


@pytest.mark.parametrize(
    ("stamps", "keys", "plain"),
    [
        ([], [], True),
        ([0, 10], [], True),
        ([0, 10], [1], True),
        ([10, 0, 20], [0], True),
        ([0, 10, 10], [0], True),
        ([0, 10], [0], False),
    ],
)
def test_a_time_line_that_promises_nothing(stamps: list[int], keys: list[int], *, plain: bool) -> None:
    assert not timeline(stamps, keys, plain=plain).foreseeable
    assert TWO_GROUPS.foreseeable


def test_a_search_may_end_at_an_earlier_key_frame_but_nowhere_else() -> None:
    assert TWO_GROUPS.onward(40, 4) == [40, 70, 50, 60]
    assert TWO_GROUPS.onward(0, 4) == [0, 30, 10, 20, 40, 70, 50, 60]
    for stamp, key in ((40, 0), (30, 4), (41, 4), (None, 4)):
        with pytest.raises(Surprise):
            TWO_GROUPS.onward(stamp, key)


def test_first_the_key_frame_then_ever_later_frames() -> None:
    assert comes_next(40, None, start=40, key=True)
    assert comes_next(41, 40, start=40, key=False)
    assert not comes_next(40, None, start=40, key=False)
    assert not comes_next(50, None, start=40, key=True)
    assert not comes_next(40, 40, start=40, key=False)
    assert not comes_next(None, 40, start=40, key=True)


@pytest.mark.parametrize(
    ("frames", "count", "chosen", "followers"),
    [
        (5, 101, [0, 25, 50, 75, 100], [1, 26, 51, 76, 100]),
        (5, 3, [0, 0, 1, 1, 2], [1, 1, 2, 2, 2]),
        (3, 1, [0, 0, 0], [0, 0, 0]),
        (1, 9, [0], [1]),
        (0, 9, [0], []),
    ],
)
def test_the_first_the_last_and_evenly_between(
    frames: int, count: int, chosen: list[int], followers: list[int]
) -> None:
    assert evenly(Needs(frames, following=True), count) == (chosen, followers)
    assert evenly(Needs(frames), count) == (chosen, [])
