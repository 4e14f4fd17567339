from __future__ import annotations

import pytest

from sortd.domain import Category
from sortd.judgement import categories
from sortd.judgement.categories import Folder, Gone, Known, New, Renamed, Same

CATS = Known(1, Category("cats"), 7, 100, present=True)
DOGS = Known(2, Category("dogs"), 7, 200, present=True)


def folder(name: str, inode: int) -> Folder:
    return Folder(Category(name), 7, inode)


def carried(*_):
    return True


def compare(known, seen, *, carries, empty=False):
    return categories.compare(known, seen, carries=carries, empty=lambda _: empty)


def test_nothing_changed():
    assert compare([CATS], [folder("cats", 100)], carries=carried) == [Same(1, folder("cats", 100))]


def test_a_renamed_folder_keeps_its_number():
    assert compare([CATS], [folder("kittens", 100)], carries=carried) == [
        Renamed(1, Category("cats"), folder("kittens", 100))
    ]


def test_a_new_folder_on_a_freed_inode_is_no_rename():
    changes = compare([CATS], [folder("birds", 100)], carries=lambda *_: False)
    assert changes == [New(folder("birds", 100)), Gone(1, Category("cats"))]


def test_a_restored_backup_that_shuffles_inodes_renames_nothing():
    changes = compare([CATS, DOGS], [folder("cats", 200), folder("dogs", 100)], carries=carried)
    assert changes == [Same(1, folder("cats", 200)), Same(2, folder("dogs", 100))]


def test_a_folder_renamed_to_a_category_just_removed_is_still_itself():
    changes = compare([CATS, DOGS], [folder("dogs", 100)], carries=carried)
    assert changes == [Gone(2, Category("dogs")), Renamed(1, Category("cats"), folder("dogs", 100))]


@pytest.mark.parametrize("proof", [False, None])
def test_a_category_made_again_on_the_inode_of_a_removed_one_is_still_itself(proof):
    changes = compare([CATS, DOGS], [folder("dogs", 100)], carries=lambda *_: proof)
    assert changes == [Same(2, folder("dogs", 100)), Gone(1, Category("cats"))]


def test_a_folder_takes_the_name_of_one_long_gone():
    gone = Known(2, Category("dogs"), 7, 200, present=False)
    assert compare([CATS, gone], [folder("dogs", 100)], carries=carried) == [
        Renamed(1, Category("cats"), folder("dogs", 100))
    ]


def test_a_folder_that_comes_back_is_the_same_category():
    gone = Known(1, Category("cats"), 7, 100, present=False)
    assert compare([gone], [folder("cats", 300)], carries=carried) == [Same(1, folder("cats", 300))]


PLUGGED = Known(1, Category("cats"), 8, 2, present=True)
UNPLUGGED = Known(1, Category("cats"), 8, 2, present=False)


def test_the_empty_mount_point_of_a_category_is_not_the_category():
    assert compare([PLUGGED], [folder("cats", 100)], carries=carried, empty=True) == [Gone(1, Category("cats"))]
    assert compare([UNPLUGGED], [folder("cats", 100)], carries=carried, empty=True) == []


def test_an_unplugged_category_is_back_with_its_disk_or_with_any_video():
    back = Folder(Category("cats"), 8, 2)
    assert compare([UNPLUGGED], [back], carries=carried, empty=True) == [Same(1, back)]
    filed = folder("cats", 100)
    assert compare([UNPLUGGED], [filed], carries=carried, empty=False) == [Same(1, filed)]


def test_an_empty_category_stays_when_made_again_or_when_its_disk_has_another_number():
    assert compare([CATS], [folder("cats", 300)], carries=carried, empty=True) == [Same(1, folder("cats", 300))]
    renumbered = Folder(Category("cats"), 9, 100)
    assert compare([CATS], [renumbered], carries=carried, empty=True) == [Same(1, renumbered)]
