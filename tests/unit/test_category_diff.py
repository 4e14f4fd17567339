from __future__ import annotations

from itertools import combinations
from pathlib import PurePath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sortd.domain.category import CategoryName
from sortd.judgement import category_diff
from sortd.judgement.category_diff import Folder, Gone, Known, New, Renamed, Same

CATS = Known(1, CategoryName("cats"), 7, 100, present=True)
DOGS = Known(2, CategoryName("dogs"), 7, 200, present=True)


def folder(name: str, inode: int) -> Folder:
    return Folder(CategoryName(name), 7, inode)


def carried(*_):
    return True


def compare(known, seen, *, carries, empty=False):
    return category_diff.compare(known, seen, carries=carries, empty=lambda _: empty)


def test_nothing_changed():
    assert compare([CATS], [folder("cats", 100)], carries=carried) == [Same(1, folder("cats", 100))]


def test_a_renamed_folder_keeps_its_number():
    assert compare([CATS], [folder("kittens", 100)], carries=carried) == [
        Renamed(1, CategoryName("cats"), folder("kittens", 100))
    ]


def test_a_new_folder_on_a_freed_inode_is_no_rename():
    changes = compare([CATS], [folder("birds", 100)], carries=lambda *_: False)
    assert changes == [New(folder("birds", 100)), Gone(1, CategoryName("cats"))]


def test_a_restored_backup_that_shuffles_inodes_renames_nothing():
    changes = compare([CATS, DOGS], [folder("cats", 200), folder("dogs", 100)], carries=carried)
    assert changes == [Same(1, folder("cats", 200)), Same(2, folder("dogs", 100))]


def test_a_folder_renamed_to_a_category_just_removed_is_still_itself():
    changes = compare([CATS, DOGS], [folder("dogs", 100)], carries=carried)
    assert changes == [Gone(2, CategoryName("dogs")), Renamed(1, CategoryName("cats"), folder("dogs", 100))]


@pytest.mark.parametrize("proof", [False, None])
def test_a_category_made_again_on_the_inode_of_a_removed_one_is_still_itself(proof):
    changes = compare([CATS, DOGS], [folder("dogs", 100)], carries=lambda *_: proof)
    assert changes == [Same(2, folder("dogs", 100)), Gone(1, CategoryName("cats"))]


def test_a_folder_takes_the_name_of_one_long_gone():
    gone = Known(2, CategoryName("dogs"), 7, 200, present=False)
    assert compare([CATS, gone], [folder("dogs", 100)], carries=carried) == [
        Renamed(1, CategoryName("cats"), folder("dogs", 100))
    ]


def test_a_folder_that_comes_back_is_the_same_category():
    gone = Known(1, CategoryName("cats"), 7, 100, present=False)
    assert compare([gone], [folder("cats", 300)], carries=carried) == [Same(1, folder("cats", 300))]


PLUGGED = Known(1, CategoryName("cats"), 8, 2, present=True)
UNPLUGGED = Known(1, CategoryName("cats"), 8, 2, present=False)


def test_the_empty_mount_point_of_a_category_is_not_the_category():
    assert compare([PLUGGED], [folder("cats", 100)], carries=carried, empty=True) == [Gone(1, CategoryName("cats"))]
    assert compare([UNPLUGGED], [folder("cats", 100)], carries=carried, empty=True) == []


def test_an_unplugged_category_is_back_with_its_disk_or_with_any_video():
    back = Folder(CategoryName("cats"), 8, 2)
    assert compare([UNPLUGGED], [back], carries=carried, empty=True) == [Same(1, back)]
    filed = folder("cats", 100)
    assert compare([UNPLUGGED], [filed], carries=carried, empty=False) == [Same(1, filed)]


def test_an_empty_category_stays_when_made_again_or_when_its_disk_has_another_number():
    assert compare([CATS], [folder("cats", 300)], carries=carried, empty=True) == [Same(1, folder("cats", 300))]
    renumbered = Folder(CategoryName("cats"), 9, 100)
    assert compare([CATS], [renumbered], carries=carried, empty=True) == [Same(1, renumbered)]


# Names that are swapped or passed on

BIRDS = Known(3, CategoryName("birds"), 7, 300, present=True)
ALL = [CATS, DOGS, BIRDS]


def held(**where):
    """What each folder seen holds of each category: `held(cats={"dogs": 12})`; of what is not named: nothing."""
    return lambda known, seen: where.get(seen.name, {}).get(known.name, 0)


def renames(changes):
    return {change.was: change.folder.name for change in changes if isinstance(change, Renamed)}


def test_two_folders_that_swapped_their_names_are_two_renames():
    seen = [folder("cats", 200), folder("dogs", 100)]
    assert compare([CATS, DOGS], seen, carries=held(cats={"dogs": 12}, dogs={"cats": 12})) == [
        Renamed(2, CategoryName("dogs"), folder("cats", 200)),
        Renamed(1, CategoryName("cats"), folder("dogs", 100)),
    ]


def test_a_copy_that_both_hold_hides_no_swap():
    seen = [folder("cats", 200), folder("dogs", 100)]
    carries = held(cats={"dogs": 12, "cats": 1}, dogs={"cats": 12, "dogs": 1})
    assert renames(compare([CATS, DOGS], seen, carries=carries)) == {"cats": "dogs", "dogs": "cats"}


def test_an_empty_folder_swaps_with_a_full_one():
    seen = [folder("cats", 200), folder("dogs", 100)]
    carries = held(cats={"dogs": None}, dogs={"cats": 12, "dogs": None})
    assert renames(compare([CATS, DOGS], seen, carries=carries)) == {"cats": "dogs", "dogs": "cats"}


def test_each_folder_takes_the_name_of_the_next():
    seen = [folder("birds", 200), folder("dogs", 100), folder("fish", 300)]
    carries = held(birds={"dogs": 5}, dogs={"cats": 5}, fish={"birds": 5})
    changes = compare(ALL, seen, carries=carries)
    assert renames(changes) == {"cats": "dogs", "dogs": "birds", "birds": "fish"}
    assert len(changes) == len(seen)


def test_a_folder_takes_a_name_whose_folder_was_renamed_and_a_new_one_takes_its_own():
    seen = [folder("cats", 400), folder("dogs", 100), folder("fish", 200)]
    changes = compare([CATS, DOGS], seen, carries=held(dogs={"cats": 5}, fish={"dogs": 5}))
    assert renames(changes) == {"cats": "dogs", "dogs": "fish"}
    assert New(folder("cats", 400)) in changes


def test_a_folder_made_on_the_inode_of_one_whose_name_was_taken_is_new():
    seen = [folder("cats", 200), folder("dogs", 100)]
    assert compare([CATS, DOGS], seen, carries=held(dogs={"cats": 5})) == [
        New(folder("cats", 200)),
        Gone(2, CategoryName("dogs")),
        Renamed(1, CategoryName("cats"), folder("dogs", 100)),
    ]


def test_a_copy_that_takes_the_name_of_what_it_was_copied_from_is_the_category():
    seen = [folder("cats", 300), folder("old", 100)]
    changes = compare([CATS], seen, carries=held(cats={"cats": 5}, old={"cats": 5}))
    assert changes == [Same(1, folder("cats", 300)), New(folder("old", 100))]


def test_one_folder_that_stands_in_two_places_is_renamed_by_nothing():
    twice = [CATS, Known(2, CategoryName("kitty"), 7, 100, present=True)]
    seen = [folder("cats", 100), folder("kitty", 100)]
    assert compare(twice, seen, carries=carried) == [Same(1, seen[0]), Same(2, seen[1])]
    assert compare([CATS], seen, carries=carried) == [Same(1, seen[0]), New(seen[1])]


NAMES = ("cats", "dogs", "birds", "fish", "cats/small", "dogs/small")
STANDING = [Known(n, CategoryName(name), 7, 100 * n, present=True) for n, name in enumerate(NAMES, 1)]


@given(st.permutations([*NAMES, "new", "other"]))
def test_however_names_are_passed_on_each_category_stays_with_what_it_holds(names):
    seen = [Folder(CategoryName(name), 7, known.inode) for known, name in zip(STANDING, names, strict=False)]
    changes = compare(STANDING, seen, carries=lambda known, one: int(known.inode == one.inode))
    assert sorted((change.number, change.folder.name) for change in changes) == list(enumerate(names[: len(NAMES)], 1))


@given(st.permutations([*NAMES, "new", "other"]))
def test_in_turn_every_path_comes_where_its_folder_is_and_no_two_are_ever_the_same(names):
    moved = [
        Renamed(known.number, known.name, Folder(CategoryName(name), 7, known.inode))
        for known, name in zip(STANDING, names, strict=False)
        if known.name != name
    ]
    renamed = {rename.was for rename in moved}
    assume(
        not any(PurePath(name).parent.name in renamed for name in set(NAMES) - renamed)
    )  # it goes with the one above
    paths = {known.number: f"{known.name}/1.mp4" for known in STANDING}
    folders = {known.number: known.name for known in STANDING}
    for step in category_diff.in_turn(moved):
        assert folders[step.number] == step.was
        assert step.folder.name not in folders.values()
        folders[step.number] = step.folder.name
        for number, path in paths.items():
            if path.startswith(f"{step.was}/"):
                paths[number] = step.folder.name + path.removeprefix(step.was)
        assert not any(one == other for one, other in combinations(paths.values(), 2))
    assert list(paths.values()) == [f"{name}/1.mp4" for name in names[: len(NAMES)]]


def test_a_rename_that_is_in_no_way_goes_straight():
    straight = [Renamed(1, CATS.name, folder("kittens", 100)), Renamed(2, DOGS.name, folder("puppies", 200))]
    assert category_diff.in_turn(straight) == straight
