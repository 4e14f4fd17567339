from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.domain.decision import Trust
from sortd.judgement.trust import CategoryFeedback, stopped, trust, until_free

HOUR = 3600.0
DAY = 24 * HOUR
LIMITS = (10, 100)
NOTHING = CategoryFeedback()


def moves(number: int, *, start: float = 0.0, every: float = 60.0) -> tuple[float, ...]:
    return tuple(start + i * every for i in range(number))


def ask(
    moves: Sequence[float] = (), word: CategoryFeedback = NOTHING, *, now: float, probation: tuple[int, ...] = LIMITS
) -> Trust:
    return trust(moves, word, probation=probation, now=now)


def test_the_first_ten_moves_go_and_the_eleventh_waits() -> None:
    assert ask(now=0) is Trust.FREE
    assert ask(moves(9), now=HOUR) is Trust.FREE
    assert ask(moves(10), now=HOUR) is Trust.ON_PROBATION


def test_a_day_without_a_correction_ends_the_wait() -> None:
    tenth = moves(10)[-1]
    assert ask(moves(10), now=tenth + DAY - 1) is Trust.ON_PROBATION
    assert ask(moves(10), now=tenth + DAY) is Trust.FREE


def test_a_correction_starts_the_day_anew() -> None:
    history = moves(10), CategoryFeedback(last_correction=20 * HOUR)
    assert ask(*history, now=30 * HOUR) is Trust.ON_PROBATION
    assert ask(*history, now=44 * HOUR) is Trust.FREE


def test_a_correction_before_the_tenth_move_does_not_shorten_the_day() -> None:
    history = moves(10, every=DAY), CategoryFeedback(last_correction=HOUR)
    assert ask(*history, now=9 * DAY + HOUR) is Trust.ON_PROBATION


def test_confirming_all_ten_ends_the_wait_at_once() -> None:
    assert ask(moves(10), CategoryFeedback(confirmed=9), now=HOUR) is Trust.ON_PROBATION
    assert ask(moves(10), CategoryFeedback(confirmed=10), now=HOUR) is Trust.FREE


def test_after_a_hundred_more_the_next_waits_again() -> None:
    ten_then_more = moves(10) + moves(99, start=2 * DAY)
    assert ask(ten_then_more, now=3 * DAY) is Trust.FREE
    last = ten_then_more[-1] + 60.0
    all_of_them = (*ten_then_more, last)
    assert ask(all_of_them, now=last + HOUR) is Trust.ON_PROBATION
    assert ask(all_of_them, now=last + DAY) is Trust.FREE


def test_then_it_is_free_whatever_comes() -> None:
    history = moves(110) + moves(1000, start=3 * DAY), CategoryFeedback(last_correction=30 * DAY)
    assert ask(*history, now=30 * DAY + HOUR) is Trust.FREE


def test_a_correction_long_after_the_wait_does_not_bring_it_back() -> None:
    history = moves(10) + moves(5, start=2 * DAY), CategoryFeedback(last_correction=5 * DAY)
    assert ask(*history, now=5 * DAY + HOUR) is Trust.FREE


def test_moves_that_overran_the_limit_wait_like_the_tenth() -> None:
    assert ask(moves(15), now=HOUR) is Trust.ON_PROBATION


def test_an_owner_who_wants_no_probation_gets_none() -> None:
    assert ask(moves(10), now=0, probation=()) is Trust.FREE


def test_a_clock_set_back_frees_nobody() -> None:
    assert ask(moves(10, start=9 * DAY), now=0) is Trust.ON_PROBATION


@given(st.integers(0, 9), st.floats(0, 1e9))
def test_fewer_than_ten_moves_never_wait(number: int, now: float) -> None:
    assert ask(moves(number), CategoryFeedback(last_correction=now), now=now) is Trust.FREE


@given(st.lists(st.floats(0, 1e6), max_size=150), st.integers(0, 150), st.floats(0, 1e6))
def test_time_alone_ends_every_wait(moved_at: list[float], confirmed: int, correction: float) -> None:
    word = CategoryFeedback(confirmed=min(confirmed, len(moved_at)), last_correction=correction)
    assert ask(moved_at, word, now=1e6 + DAY) is Trust.FREE


@pytest.mark.parametrize(
    ("confirmed", "corrected", "stops"),
    [
        *((0, 0, False), (0, 1, False), (0, 2, True), (1, 2, True), (7, 2, False), (100, 0, False), (100, 5, False)),
        *((20_000, 0, False), (20_000, 1_000, False), (20_000, 1_200, True)),
    ],
)
def test_a_category_stops_when_chance_does_not_explain_its_corrections(
    confirmed: int, corrected: int, *, stops: bool
) -> None:
    assert stopped(CategoryFeedback(confirmed=confirmed, corrected=corrected), target_precision=0.95) is stops


def test_what_its_stop_kept_from_a_category_counts_like_its_moves() -> None:
    assert stopped(CategoryFeedback(confirmed=1, corrected=1, agreed=4, refuted=1), target_precision=0.95)
    assert not stopped(CategoryFeedback(confirmed=1, corrected=1, agreed=12), target_precision=0.95)
    assert not stopped(CategoryFeedback(agreed=2), target_precision=0.95)


def test_it_moves_again_after_just_so_many_right_ones() -> None:
    word = CategoryFeedback(confirmed=2, corrected=3)
    right = until_free(word, target_precision=0.95)
    assert right == 12
    assert stopped(replace(word, agreed=right - 1), target_precision=0.95)
    assert not stopped(replace(word, agreed=right), target_precision=0.95)


def test_halts_wait_for_moves_only_whatever_the_owner_filed_meanwhile() -> None:
    assert ask(moves(10), CategoryFeedback(agreed=20), now=HOUR) is Trust.ON_PROBATION


def test_a_category_that_is_not_stopped_needs_nothing() -> None:
    assert until_free(CategoryFeedback(), target_precision=0.95) == 0
