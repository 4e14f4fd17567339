"""What the owner is told that would help, where sortd holds back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sortd.commands.status import status
from tests.stories.conftest import Household, taught

Make = Callable[..., Household]


def categories(house: Household) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in status(house.config)["categories"]}


def test_status_says_near_how_many_labels_moves_begin_and_they_do(household: Make) -> None:
    house = household(taught(3))
    told = {one["why"] for one in categories(house).values()}
    assert len(told) == 1
    labels, _, near = told.pop().partition(" labels, moves begin near ")
    assert labels == "3"
    house.files(taught(int(near)))
    assert {one["why"] for one in categories(house).values()} == {"moves what it is sure of"}


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
