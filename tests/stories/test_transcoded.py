"""A transcoder replaces videos: what the owner said of a video holds for what it was turned into."""

from __future__ import annotations

import shutil
from pathlib import PurePath

import pytest

from sortd.domain.messages import Touched
from tests.stories.conftest import taught

pytestmark = pytest.mark.fault("K8")


def replaced(home, old, new, content, *, beside=False):
    """Write the new file and remove the old one, at once or after sortd looked."""
    old_file, new_file = home.root / old, home.root / new
    if not beside:
        old_file.unlink()
    new_file.write_bytes(content)
    if beside:
        home.settle()
        old_file.unlink()
    home.settle()


def vetoes(home, path):
    return home.store.videos.record(home.store.videos.known(PurePath(path)).fingerprint).vetoes


def taken_out(household):
    """A library in which sortd filed a video and the owner took it out again."""
    home = household(taught())
    home.files({"new.mp4": b"cats 77"})
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")
    home.move("cats/new.mp4", "new.mp4")
    assert vetoes(home, "new.mp4") == {"cats"}
    return home


def placed(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 77"})
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")
    return home


@pytest.mark.parametrize("beside", [False, True])
def test_a_video_that_was_taken_out_and_is_transcoded_is_not_moved_back(household, beside):
    home = taken_out(household)
    replaced(home, "new.mp4", "new.mkv", b"cats 77 encoded anew", beside=beside)
    assert (home.root / "new.mkv").exists()
    assert vetoes(home, "new.mkv") == {"cats"}


@pytest.mark.parametrize("beside", [False, True])
def test_a_placement_that_is_transcoded_stays_a_placement(household, beside):
    home = placed(household)
    before = len(home.events("labelled"))
    replaced(home, "cats/new.mp4", "cats/new.mkv", b"cats 77 encoded anew", beside=beside)
    assert home.home_of("cats/new.mkv") == ("cats", "sortd")
    assert len(home.events("labelled")) == before
    home.move("cats/new.mkv", "new.mkv")  # and the owner's correction of it counts as one
    assert vetoes(home, "new.mkv") == {"cats"}
    assert home.store.track_record.of("cats").corrected == 1


def test_a_label_that_is_transcoded_stays_a_label(household):
    home = household(taught())
    replaced(home, "cats/3.mp4", "cats/3.mkv", b"cats 3 encoded anew")
    assert home.home_of("cats/3.mkv") == ("cats", "owner")
    number = next(known.number for known in home.store.categories.all() if known.name == "cats")
    assert home.store.categories.labels(number) == 10


def test_content_that_is_replaced_under_its_name_stays_what_it_was(household):
    home = placed(household)
    (home.root / "cats/new.mp4").write_bytes(b"cats 77 encoded anew")
    home.settle()
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


def test_it_is_known_though_sortd_was_off_and_killed_before_it_looked(household):
    home = taken_out(household)
    home.kill()
    (home.root / "new.mp4").unlink()
    (home.root / "new.mkv").write_bytes(b"cats 77 encoded anew")
    home.start()
    home.hold_extraction()
    home.settle()
    del home.carry_out
    home.restart()
    assert (home.root / "new.mkv").exists()
    assert vetoes(home, "new.mkv") == {"cats"}


def test_it_is_known_after_the_index_was_lost(household):
    home = placed(household)
    replaced(home, "cats/new.mp4", "cats/new.mkv", b"cats 77 encoded anew")
    home.kill()
    for file in home.config.state.dir.rglob("index.db*"):
        file.unlink()
    for folder in home.config.state.dir.rglob("backup*"):
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    home.start()
    home.settle()
    assert home.home_of("cats/new.mkv") == ("cats", "sortd")


@pytest.mark.parametrize("content", [b"cats 78", b"cats 77 encoded anew and cut"])
@pytest.mark.parametrize("name", ["cats/new.mkv", "cats/new.mp4"])
def test_other_pictures_or_another_length_under_that_name_are_the_owners_label(household, name, content):
    home = placed(household)
    replaced(home, "cats/new.mp4", name, content)
    assert home.home_of(name) == ("cats", "owner")


def test_another_episode_in_the_place_of_one_that_was_taken_out_is_filed(household):
    home = taken_out(household)
    replaced(home, "new.mp4", "new.mkv", b"cats 79")
    assert home.home_of("cats/new.mkv") == ("cats", "sortd")


def test_until_it_is_looked_at_it_is_neither_moved_nor_a_label(household):
    home = placed(household)
    home.hold_extraction()
    replaced(home, "cats/new.mp4", "cats/new.mkv", b"cats 77 encoded anew")
    assert home.home_of("cats/new.mkv") == (None, None)


def test_a_video_that_comes_back_keeps_its_own_state(household):
    home = placed(household)
    replaced(home, "cats/new.mp4", "cats/new.mkv", b"cats 77 encoded anew")
    replaced(home, "cats/new.mkv", "cats/new.mp4", b"cats 77")
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


def test_a_video_that_was_moved_away_has_no_heir(household):
    home = household(taught())
    (home.root / "cats/3.mkv").write_bytes(b"cats 3 encoded anew")
    home.move("cats/3.mp4", "dogs/3.mp4")
    assert home.home_of("dogs/3.mp4") == ("dogs", "owner")
    assert home.home_of("cats/3.mkv") == ("cats", "owner")


def test_of_two_files_in_its_place_the_one_that_shows_the_same_is_the_heir(household):
    home = placed(household)
    (home.root / "cats/new.avi").write_bytes(b"cats 81")
    replaced(home, "cats/new.mp4", "cats/new.mkv", b"cats 77 encoded anew")
    assert home.home_of("cats/new.mkv") == ("cats", "sortd")
    assert home.home_of("cats/new.avi") == ("cats", "owner")


@pytest.mark.parametrize("kept", ["new.orig.mp4", "originals/new.mp4", "new.mp4.bak", "@Recycle/new.mp4"])
@pytest.mark.parametrize("name", ["new.mp4", "new.mkv"])
def test_a_video_that_was_taken_out_is_not_moved_back_though_its_original_is_kept_elsewhere(household, name, kept):
    home = taken_out(household)
    (home.root / kept).parent.mkdir(exist_ok=True)
    (home.root / "new.mp4").rename(home.root / kept)
    for path in ("new.mp4", kept):
        home.tell(Touched(PurePath(path)))
    home.wait(seconds=20)  # it is seen where it is kept, before the new one is there
    (home.root / name).write_bytes(b"cats 77 encoded anew")
    home.settle()
    assert vetoes(home, name) == {"cats"}
    home.kill()
    for file in home.config.state.dir.rglob("index.db*"):
        file.unlink()
    home.start()
    home.settle()
    assert vetoes(home, name) == {"cats"}


def test_another_video_under_the_name_of_one_that_was_put_elsewhere_is_filed(household):
    home = taken_out(household)
    (home.root / "new.mp4").rename(home.root / "another.mp4")
    (home.root / "new.mp4").write_bytes(b"cats 79")
    home.settle()
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")
    assert vetoes(home, "another.mp4") == {"cats"}
