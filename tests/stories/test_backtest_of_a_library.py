"""What the owner filed, and in which order, as `sortd evaluate` learns of it from a real library."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import groupby

import pytest

from sortd.learn.backtest import NEVER
from sortd.learn.embeddings_file import OUTSIDER
from sortd.views.evaluation_data import embeddings_of, stream_of
from sortd.views.library_reader import reading
from tests.stories.conftest import FAMILIES, Household, taught

Make = Callable[..., Household]


def told_in_order(house: Household) -> list[tuple[str, float]]:
    """Of each video that the owner spoke of, in that order, where it belongs ("" for nowhere) and when it came."""
    with reading(house.config) as read:
        assert read is not None
        stream = stream_of(read)
    spoken = [row for row in stream.told.argsort(kind="stable").tolist() if stream.told[row] < NEVER]
    return [(stream.homes[row] or "", float(stream.came[row])) for row in spoken]


@pytest.fixture
def house(household: Make) -> Household:
    """A library that was there before sortd, each video as old as its number says, and was learned from."""
    house = household()
    house.files(taught(3))
    for family in FAMILIES:
        for number in range(3):
            os.utime(house.root / family / f"{number}.mp4", (1000 + number, 1000 + number))
    house.settle()
    return house


def test_what_was_there_before_comes_in_the_order_of_its_files_times(house: Household) -> None:
    told = told_in_order(house)
    assert [came for came, _ in groupby(came for _, came in told)] == [1000, 1001, 1002]
    assert [{home for home, came in told if came == at} for at in (1000, 1001, 1002)] == [set(FAMILIES)] * 3


def test_a_correction_counts_when_it_was_made_and_under_its_last_home(house: Household) -> None:
    house.files({"cats": {"late.mp4": b"dogs 77"}})
    house.files({"sea": {"later.mp4": b"sea 78"}})
    assert [home for home, _ in told_in_order(house)[-2:]] == ["cats", "sea"]
    house.move("cats/late.mp4", "dogs/late.mp4")
    assert [home for home, _ in told_in_order(house)[-2:]] == ["sea", "dogs"]


def test_a_group_that_was_accepted_counts_from_then_on(house: Household) -> None:
    house.files({"early.mp4": b"frogs 79"})
    house.files({"sea": {"later.mp4": b"sea 78"}})
    sighting = house.store.videos.known(house.path("early.mp4"))
    assert sighting is not None
    house.ask(do="accept", category="frogs", videos={"early.mp4": sighting.fingerprint})
    assert [home for home, _ in told_in_order(house)[-2:]] == ["sea", "frogs"]


def test_a_group_that_was_accepted_and_taken_back_was_never_spoken_of(house: Household) -> None:
    house.files({"early.mp4": b"frogs 79"})
    sighting = house.store.videos.known(house.path("early.mp4"))
    assert sighting is not None
    house.ask(do="accept", category="frogs", videos={"early.mp4": sighting.fingerprint})
    house.ask(do="undo", category="frogs")
    assert len(told_in_order(house)) == 12


def test_what_was_taken_out_belongs_nowhere_and_what_was_never_filed_was_never_spoken_of(house: Household) -> None:
    house.files({"cats": {"joke.mp4": b"dogs or sea 80"}, "new.mp4": b"city or cats 81"})
    house.move("cats/joke.mp4", "joke.mp4")
    told = told_in_order(house)
    assert told[-1][0] == ""
    assert len(told) == 13


def test_a_folder_of_outsiders_belongs_nowhere_and_a_placement_is_left_out(household: Make) -> None:
    house = household(taught() | {"odd": {"1.mp4": b"odd 1", ".sortd.toml": b'role = "other"'}, "new.mp4": b"cats 90"})
    assert house.home_of("cats/new.mp4") == ("cats", "sortd")
    with reading(house.config) as read:
        assert read is not None
        assert sorted(embeddings_of(read, house.config).names) == sorted([OUTSIDER, *FAMILIES * 10])
    homes = [home for home, _ in told_in_order(house)]
    assert sorted(homes) == sorted(["", *FAMILIES * 10])
    house.ask(do="confirm", path="cats/new.mp4")
    assert told_in_order(house)[-1][0] == "cats"
    assert len(told_in_order(house)) == 42
