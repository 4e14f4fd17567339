from __future__ import annotations

from pathlib import PurePath

from sortd.judgement.backoff import FIRST_SECONDS, LONGEST_SECONDS, Backoff

SEA, CITY = PurePath("sea"), PurePath("city")


def pauses(backoff: Backoff, count: int) -> list[float]:
    """How long a folder that always refuses is left alone, each time anew."""
    now, found = 0.0, []
    for _ in range(count):
        backoff.refuse(SEA, now=now)
        began = now
        while backoff.waits(SEA, now=now):
            now += 1.0
        assert backoff.end(now=now)
        found.append(now - began)
    return found


def test_a_folder_that_goes_on_refusing_is_tried_less_and_less_but_every_hour() -> None:
    assert pauses(Backoff(), 9) == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_only_the_folder_that_refused_waits() -> None:
    backoff = Backoff()
    backoff.refuse(SEA, now=0.0)
    assert backoff.waits(SEA, now=1.0)
    assert not backoff.waits(CITY, now=1.0)


def test_a_pause_ends_once() -> None:
    backoff = Backoff()
    backoff.refuse(SEA, now=0.0)
    assert not backoff.end(now=FIRST_SECONDS - 1)
    assert backoff.end(now=FIRST_SECONDS)
    assert not backoff.end(now=FIRST_SECONDS)


def test_two_that_refuse_at_once_make_the_pause_no_longer() -> None:
    backoff = Backoff()
    backoff.refuse(SEA, now=0.0)
    backoff.refuse(SEA, now=0.5)
    assert not backoff.waits(SEA, now=FIRST_SECONDS)


def test_a_folder_that_took_a_file_or_was_mended_begins_anew() -> None:
    for begin_anew in (lambda backoff: backoff.accept(SEA), lambda backoff: backoff.forgive()):
        backoff = Backoff()
        pauses(backoff, 3)
        begin_anew(backoff)
        assert not backoff.waits(SEA, now=0.0)
        assert pauses(backoff, 1) == [FIRST_SECONDS]
        assert FIRST_SECONDS < LONGEST_SECONDS
