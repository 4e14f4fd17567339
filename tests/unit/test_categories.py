from __future__ import annotations

from sortd.domain import Category
from sortd.judgement.categories import Folder, Gone, Known, New, Renamed, Same, compare

CATS = Known(1, Category("cats"), 7, 100, present=True)
DOGS = Known(2, Category("dogs"), 7, 200, present=True)


def folder(name: str, inode: int) -> Folder:
    return Folder(Category(name), 7, inode)


def carried(*_):
    return True


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


def test_a_folder_renamed_to_a_category_that_stands_is_that_category():
    changes = compare([CATS, DOGS], [folder("dogs", 100)], carries=carried)
    assert changes == [Same(2, folder("dogs", 100)), Gone(1, Category("cats"))]


def test_a_folder_takes_the_name_of_one_long_gone():
    gone = Known(2, Category("dogs"), 7, 200, present=False)
    assert compare([CATS, gone], [folder("dogs", 100)], carries=carried) == [
        Renamed(1, Category("cats"), folder("dogs", 100))
    ]


def test_a_folder_that_comes_back_is_the_same_category():
    gone = Known(1, Category("cats"), 7, 100, present=False)
    assert compare([gone], [folder("cats", 300)], carries=carried) == [Same(1, folder("cats", 300))]
