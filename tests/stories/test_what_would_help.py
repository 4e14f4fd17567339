"""What the owner is told that would help, where sortd holds back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import pytest

from sortd.cli import text_output
from sortd.daemon.control_socket import ask
from sortd.domain.messages import RetrainDue
from sortd.views.library_reader import reading
from sortd.views.library_status import status
from sortd.views.most_instructive_videos import closest
from sortd.views.video_details import explain
from tests.folders import make
from tests.stories.conftest import Household, taught

Make = Callable[..., Household]


def categories(house: Household) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in status(house.config, ask=ask)["categories"]}


def explained(house: Household, path: str) -> dict[str, Any]:
    with reading(house.config) as read:
        assert read is not None
        return explain(read, PurePath(path), now=house.clock())


def test_status_says_near_how_many_labels_moves_begin_and_they_do(household: Make) -> None:
    house = household(taught(3))
    told = {one["why"] for one in categories(house).values()}
    assert len(told) == 1
    labels, _, near = told.pop().partition(" labels, moves begin near ")
    assert labels == "3"
    house.files(taught(int(near)))
    assert {one["why"] for one in categories(house).values()} == {"moves what it is sure of"}


def test_after_a_rollback_status_says_whose_numbers_it_tells(household: Make) -> None:
    house = household(taught(3))
    house.files(taught(10))
    house.ask(do="rollback")
    told = {(one["labels"], one["why"].partition(" moves begin near ")[0]) for one in categories(house).values()}
    assert told == {(10, "when this classifier learned: 3 labels,")}


def test_status_says_what_would_help_where_no_example_of_a_folder_was_recognised(household: Make) -> None:
    odds_and_ends = {f"{name}.mp4": f"{name} 1".encode() for name in ("kite", "well", "moth", "rope", "bell")}
    house = household(taught(20) | {"misc": odds_and_ends})
    told = categories(house)["misc"]
    assert told["min_confidence"] is not None
    assert told["why"].startswith(
        "moves what it is sure of; none of its examples was surely recognised when it was held"
    )


def test_status_names_the_folder_that_another_is_mixed_up_with(household: Make) -> None:
    alike = {
        name: {f"{n}.mp4": f"cats or dogs {name}{n}".encode() for n in range(12)} for name in ("tomcats", "puppies")
    }
    house = household(taught(12, ("sea", "city", "cats")) | alike)
    why = categories(house)["puppies"]["why"]
    assert "known videos taken for it" in why
    assert why.endswith("belong elsewhere, most in tomcats: more examples of both would help")
    house.move("tomcats", "lions")
    assert ", most in lions: " in categories(house)["puppies"]["why"]


def test_status_says_of_a_stopped_folder_that_nothing_moves_there_and_what_ends_it(household: Make) -> None:
    house = household(taught())
    house.files({f"{number}00.mp4": f"cats {number}00".encode() for number in (1, 2, 3)})
    house.move("cats/100.mp4", "100.mp4")
    assert categories(house)["cats"]["min_confidence"] > 0.5
    house.move("cats/200.mp4", "200.mp4")
    cats = categories(house)["cats"]
    assert (cats["min_confidence"], cats["live"]) == (None, {"confirmed": 0, "corrected": 2})
    assert "6 right ones more and it moves again" in cats["why"]
    assert categories(house)["dogs"]["min_confidence"] > 0.5


def test_status_says_no_longer_what_was_true_before_the_owner_filed_more(household: Make) -> None:
    house = household(taught(10, ("cats",)))
    assert categories(house)["cats"]["why"].startswith("only one category has videos")
    make(house.root, {"dogs": {f"{n}.mp4": f"dogs {n}".encode() for n in range(4)}})
    house.settle()
    told = {one["why"] for one in categories(house).values()}
    assert told == {"label changes since sortd learned last: 4; it learns again after 1 more, or at its hour"}
    make(house.root, {"dogs": {"4.mp4": b"dogs 4"}})
    house.settle(seconds=20)
    told = {one["why"] for one in categories(house).values()}
    assert told == {"label changes since sortd learned last: 5; it learns again soon"}
    house.settle()
    assert not any("learn" in one["why"] for one in categories(house).values())


def test_a_slip_of_the_hand_is_told_until_it_is_mended(household: Make, capsys: pytest.CaptureFixture[str]) -> None:
    house = household(taught())
    assert status(house.config, ask=ask)["suspects"] == []
    house.files({"cats": {"slip.mp4": b"dogs 99"}})
    house.tell(RetrainDue("a test"))
    house.settle()
    (suspect,) = status(house.config, ask=ask)["suspects"]
    assert (suspect["path"], suspect["category"], suspect["like"]) == ("cats/slip.mp4", "cats", "dogs")
    assert 0.5 < suspect["confidence"] <= 1
    text_output.status(status(house.config, ask=ask))
    assert "\nmay be misfiled: cats/slip.mp4 looks like dogs\n" in capsys.readouterr().out
    told = explained(house, "cats/slip.mp4")
    text_output.explain(told, names={})
    assert f"\nlooks more like dogs ({told['suspect']['confidence']:.2f})\n" in capsys.readouterr().out
    assert explained(house, "cats/1.mp4")["suspect"] is None
    house.move("cats/slip.mp4", "dogs/slip.mp4")
    assert status(house.config, ask=ask)["suspects"] == []
    assert explained(house, "dogs/slip.mp4")["suspect"] is None


def closest_to(house: Household, number: int) -> list[str]:
    with reading(house.config) as read:
        assert read is not None
        return [one["path"] for one in closest(read, number, now=house.clock())]


def test_the_videos_that_would_teach_most_are_those_between_two_folders_not_those_that_are_sure(
    household: Make,
) -> None:
    drops = {"between.mp4": b"cats or dogs 1", "again.mp4": b"cats or dogs 2", "cat.mp4": b"cats 99"}
    house = household(taught() | drops, move={"mode": "observe"})
    assert set(closest_to(house, 5)) == {"between.mp4", "again.mp4"}
    assert len(closest_to(house, 1)) == 1
    house.move("between.mp4", "cats/between.mp4")
    assert closest_to(house, 5) == ["again.mp4"]


def test_before_anything_was_learned_any_video_is_as_good(household: Make) -> None:
    house = household({"b.mp4": b"cats 1", "a.mp4": b"dogs 1"})
    assert closest_to(house, 5) == ["a.mp4", "b.mp4"]
    assert closest_to(house, 1) == ["a.mp4"]


def test_asked_for_more_than_can_be_compared_it_tells_the_rest_too(
    household: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sortd.views.most_instructive_videos.COMPARED", 2)
    house = household({f"{name}.mp4": f"cats {name}".encode() for name in "abcde"})
    assert closest_to(house, 10) == [f"{name}.mp4" for name in "abcde"]
