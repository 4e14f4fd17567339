"""The owner swaps the names of folders, or passes them on: what each folder is known for goes with it."""

from __future__ import annotations

import shutil
from pathlib import PurePath

import pytest

from tests.stories.conftest import taught

TWO = {
    family: {f"{n}.mp4": f"{family} {n}".encode() for n in range(number)}
    for family, number in [("cats", 12), ("dogs", 9)]
}


def swap(home, one="cats", other="dogs"):
    pass_on(home, (one, "tmp"), (other, one), ("tmp", other))


def pass_on(home, *renames):
    for was, name in renames:
        (home.root / was).rename(home.root / name)


def labels(home):
    table = home.store.categories
    return {known.name: table.labels(known.number) for known in table.all() if known.present}


def vetoes(home, path):
    return home.store.videos.record(home.store.videos.known(PurePath(path)).fingerprint).vetoes


def renamed(home):
    return sorted((line["was"], line["category"]) for line in home.events("renamed"))


def taught_nothing(home):
    """No video is said to have gone anywhere, and each is known where it stands."""
    assert not home.events("corrected")
    assert not home.events("withdrawn")
    assert not home.events("step_failed")
    seen = home.store.videos.identities()
    files = [path.relative_to(home.root) for path in home.root.rglob("*.mp4")]
    assert sorted(seen) == sorted(files)
    for path in files:
        if path.parent != PurePath():
            assert home.home_of(str(path))[0] == str(path.parent)
            assert not vetoes(home, path)
    return True


def lose_the_index(home):
    home.kill()
    shutil.rmtree(home.guard.state)


@pytest.mark.parametrize("off", [False, True])
def test_two_swapped_folders_are_two_renames(household, off):
    home = household(TWO)
    told = len(home.events("labelled")), len(home.extracted)
    if off:
        home.kill()
    swap(home)
    if off:
        home.start()
    home.settle()
    assert renamed(home) == [("cats", "dogs"), ("dogs", "cats")]
    assert labels(home) == {"cats": 9, "dogs": 12}
    assert (len(home.events("labelled")), len(home.extracted)) == told
    assert taught_nothing(home)


def test_swapped_twice_all_is_as_it_was(household):
    home = household(TWO)
    for _ in range(2):
        swap(home)
        home.settle()
    home.restart()
    assert labels(home) == {"cats": 12, "dogs": 9}
    assert len(home.events("renamed")) == 4
    assert taught_nothing(home)


@pytest.mark.parametrize("looks", [(1, 2), (2, 1), (1, 1, 1), (1, 3, 2), (4, 1, 1)])
def test_it_does_not_matter_where_between_the_steps_of_swaps_a_look_falls(household, looks):
    home = household(TWO)
    steps = [("cats", "tmp"), ("dogs", "cats"), ("tmp", "dogs")] * 2
    for number in looks:
        pass_on(home, *steps[:number])
        del steps[:number]
        home.settle()
    assert labels(home) == ({"cats": 12, "dogs": 9} if not steps else {"cats": 9, "dogs": 12})
    assert taught_nothing(home)


@pytest.mark.parametrize("off", [False, True])
def test_names_that_are_passed_on_take_along_what_was_held_to_them(household, off):
    home = household(
        {name: {f"{n}.mp4": f"{name} {n}".encode() for n in range(4 + len(name))} for name in ("a", "bb", "ccc")}
    )
    if off:
        home.kill()
    pass_on(home, ("ccc", "dddd"), ("bb", "ccc"), ("a", "bb"))
    if off:
        home.start()
    home.settle()
    assert labels(home) == {"bb": 5, "ccc": 6, "dddd": 7}
    assert taught_nothing(home)
    pass_on(home, ("bb", "tmp"), ("ccc", "bb"), ("dddd", "ccc"), ("tmp", "dddd"))
    home.settle()
    assert labels(home) == {"bb": 6, "ccc": 7, "dddd": 5}
    assert taught_nothing(home)


def test_an_empty_folder_that_swaps_with_a_full_one_takes_none_of_its_labels(household):
    home = household({"cats": TWO["cats"], "dogs": {}, "sea": {"1.mp4": b"sea 1"}})
    home.move("sea/1.mp4", "dogs/1.mp4")
    home.move("dogs/1.mp4", "1.mp4")
    home.log.clear()
    swap(home)
    home.settle()
    assert labels(home) == {"cats": 0, "dogs": 12, "sea": 0}
    assert vetoes(home, "1.mp4") == {"cats", "sea"}
    assert taught_nothing(home)


def test_placements_and_vetoes_are_swapped_too_and_what_comes_next_is_filed_by_its_kind(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100", "back.mp4": b"cats 101"})
    home.move("cats/back.mp4", "back.mp4")
    home.log.clear()
    swap(home)
    home.settle()
    assert home.home_of("dogs/new.mp4") == ("dogs", "sortd")
    assert vetoes(home, "back.mp4") == {"dogs"}
    assert taught_nothing(home)
    home.files({"next.mp4": b"cats 102"})
    assert "next.mp4" in home.tree["dogs"]
    assert [done["to"] for done in home.ask(do="undo", path="dogs/new.mp4")["done"]] == ["new.mp4"]


def test_what_the_owner_does_after_a_swap_is_seen(household):
    home = household(TWO)
    swap(home)
    home.settle()
    home.move("dogs/3.mp4", "3.mp4")
    home.move("dogs/4.mp4", "cats/four.mp4")
    assert [(line["path"], line["category"]) for line in home.events("withdrawn")] == [(PurePath("3.mp4"), "dogs")]
    assert [(line["was"], line["category"]) for line in home.events("corrected")] == [("dogs", "cats")]
    assert vetoes(home, "3.mp4") == vetoes(home, "cats/four.mp4") == {"dogs"}
    assert labels(home) == {"cats": 10, "dogs": 10}


def test_a_swap_with_a_video_taken_out_meanwhile_is_a_swap_and_a_withdrawal(household):
    home = household(TWO)
    home.kill()
    swap(home)
    (home.root / "dogs" / "0.mp4").rename(home.root / "0.mp4")
    home.start()
    home.settle()
    assert renamed(home) == [("cats", "dogs"), ("dogs", "cats")]
    assert [line["category"] for line in home.events("withdrawn")] == ["dogs"]
    assert not home.events("corrected")
    assert labels(home) == {"cats": 9, "dogs": 11}


@pytest.mark.parametrize("lost", ["before", "after"])
def test_the_index_is_lost_around_a_swap(household, lost):
    home = household(taught())
    home.files({"new.mp4": b"cats 100", "back.mp4": b"cats 101"})
    home.move("cats/back.mp4", "back.mp4")
    if lost == "after":
        swap(home)
        home.settle()
        lose_the_index(home)
    else:
        lose_the_index(home)
        swap(home)
    home.log.clear()
    home.start()
    home.settle()
    assert bool(home.events("renamed")) == (lost == "before")
    assert not home.events("labelled")
    assert home.home_of("dogs/new.mp4") == ("dogs", "sortd")
    assert home.home_of("dogs/3.mp4") == ("dogs", "owner")
    assert vetoes(home, "back.mp4") == {"dogs"}
    assert labels(home) == {"cats": 10, "city": 10, "dogs": 10, "sea": 10}
    assert taught_nothing(home)


def test_deeper_categories_are_swapped_with_the_folders_above_them(household):
    tree = {
        name: {"0.mp4": f"{name}".encode(), "small": {"0.mp4": f"{name} small".encode()}} for name in ("cats", "dogs")
    }
    home = household(tree, library={"levels": 2})
    swap(home)
    home.settle()
    assert taught_nothing(home)


def test_folders_that_are_swapped_while_they_are_looked_at_are_two_renames(household):
    home = household(TWO)
    folders = home.library.folders

    def swapped_right_after():
        seen = folders()
        home.library.folders = folders
        swap(home)
        return seen

    home.library.folders = swapped_right_after
    (home.root / "cats" / "0.mp4").rename(home.root / "cats" / "zero.mp4")
    home.settle()
    home.settle()  # no watcher told of the swap
    assert renamed(home) == [("cats", "dogs"), ("dogs", "cats")]
    assert labels(home) == {"cats": 9, "dogs": 12}
    assert taught_nothing(home)
