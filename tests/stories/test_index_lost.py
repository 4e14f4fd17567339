"""The index is lost, and what the owner said is not: it is made again from the log of decisions and the folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import PurePath

import pytest

from sortd.store.decision_log import DECISION_LOG
from tests.stories.conftest import taught


def lose_the_index(home):
    """All that belongs to it, while sortd is off; the folder of its state is made anew at the next start."""
    home.kill()
    shutil.rmtree(home.guard.state)


def start_again(home):
    home.log.clear()
    home.start()
    home.settle()


def vetoes(home, path):
    sighting = home.store.videos.known(home.path(path))
    return home.store.videos.record(sighting.fingerprint).vetoes


def test_what_sortd_filed_is_a_placement_still_and_what_the_owner_filed_a_label(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100", "other.mp4": b"dogs 100"})
    home.ask(do="confirm", path="dogs/other.mp4")
    counted = [home.store.track_record.of(name) for name in ("cats", "dogs")]
    lose_the_index(home)
    start_again(home)
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")
    assert home.home_of("dogs/other.mp4") == ("dogs", "owner")
    assert home.home_of("cats/3.mp4") == ("cats", "owner")
    assert [home.store.track_record.of(name) for name in ("cats", "dogs")] == counted
    assert not home.events("labelled")
    assert not home.events("confirmed")
    (told,) = home.events("index_restored")
    assert (told["why"], told["skipped"]) == ("it was missing", 0)


def test_what_the_owner_said_of_a_stopped_folder_still_counts(household):
    home = household(taught())
    home.files({f"{number}00.mp4": f"cats {number}00".encode() for number in range(1, 6)})
    home.ask(do="confirm", path="cats/500.mp4")
    for number in (1, 2, 3):
        home.move(f"cats/{number}00.mp4", f"{number}00.mp4")
    home.move("100.mp4", "cats/100.mp4")
    home.files({"700.mp4": b"cats 700", "701.mp4": b"cats 701"})
    home.move("700.mp4", "cats/700.mp4")
    home.move("701.mp4", "dogs/701.mp4")
    counted = home.store.track_record.of("cats")
    assert (counted.confirmed, counted.corrected, counted.agreed, counted.refuted) == (2, 2, 1, 1)
    lose_the_index(home)
    start_again(home)
    restored = home.store.track_record.of("cats")
    assert replace(restored, last_correction=None) == replace(counted, last_correction=None)
    home.move("200.mp4", "cats/200.mp4")
    assert home.store.track_record.of("cats").corrected == 1


def test_it_learns_and_files_again(household):
    home = household(taught())
    lose_the_index(home)
    start_again(home)
    home.files({"new.mp4": b"cats 100"})
    assert "new.mp4" in home.tree["cats"]


def test_a_veto_holds_for_a_video_that_is_away_too(household, tmp_path):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    home.move("cats/new.mp4", "new.mp4")
    (home.root / "new.mp4").rename(tmp_path / "new.mp4")
    home.settle()
    lose_the_index(home)
    start_again(home)
    (tmp_path / "new.mp4").rename(home.root / "back.mp4")
    home.settle()
    assert home.tree["back.mp4"] == b"cats 100"
    assert home.reasons("back.mp4") == ["vetoed"]


@pytest.mark.parametrize("filed_by", ["sortd", "owner"])
def test_taken_back_to_the_root_meanwhile_it_is_a_withdrawal(household, filed_by):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    if filed_by == "owner":
        home.ask(do="confirm", path="cats/new.mp4")
    lose_the_index(home)
    (home.root / "cats" / "new.mp4").rename(home.root / "new.mp4")
    start_again(home)
    assert [line["category"] for line in home.events("withdrawn")] == ["cats"]
    assert home.tree["new.mp4"] == b"cats 100"
    assert home.reasons("new.mp4")[-1] == "vetoed"
    assert home.store.track_record.of("cats").corrected == (filed_by == "sortd")


def test_copied_back_and_deleted_it_is_a_withdrawal_too(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    lose_the_index(home)
    shutil.copy(home.root / "cats" / "new.mp4", home.root / "copied.mp4")
    (home.root / "cats" / "new.mp4").unlink()
    start_again(home)
    assert [line["category"] for line in home.events("withdrawn")] == ["cats"]
    assert home.reasons("copied.mp4")[-1] == "vetoed"


def test_moved_on_meanwhile_it_is_a_correction(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    lose_the_index(home)
    (home.root / "cats" / "new.mp4").rename(home.root / "sea" / "new.mp4")
    start_again(home)
    assert [(line["was"], line["category"]) for line in home.events("corrected")] == [("cats", "sea")]
    assert home.home_of("sea/new.mp4") == ("sea", "owner")
    assert vetoes(home, "sea/new.mp4") == {"cats"}


def test_moved_within_its_folder_meanwhile_it_is_confirmed(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    lose_the_index(home)
    (home.root / "cats" / "new.mp4").rename(home.root / "cats" / "tom.mp4")
    start_again(home)
    assert home.home_of("cats/tom.mp4") == ("cats", "owner")


def test_what_the_log_does_not_know_is_a_label_as_on_the_first_day(household):
    home = household(taught())
    lose_the_index(home)
    (home.root / "sea" / "late.mp4").write_bytes(b"weddings 1")
    start_again(home)
    assert home.home_of("sea/late.mp4") == ("sea", "owner")


def test_without_its_log_it_begins_like_on_the_first_day(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    lose_the_index(home)
    (home.root / DECISION_LOG).unlink()
    start_again(home)
    assert home.home_of("cats/new.mp4") == ("cats", "owner")
    assert not home.events("index_restored")


def test_a_folder_renamed_meanwhile_teaches_nothing_new(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100", "back.mp4": b"cats 101"})
    home.move("cats/back.mp4", "back.mp4")
    lose_the_index(home)
    (home.root / "cats").rename(home.root / "kittens")
    start_again(home)
    assert [(line["was"], line["category"]) for line in home.events("renamed")] == [("cats", "kittens")]
    assert not home.events("corrected")
    assert not home.events("labelled")
    assert home.home_of("kittens/new.mp4") == ("kittens", "sortd")
    assert vetoes(home, "back.mp4") == {"kittens"}


def test_a_folder_renamed_before_is_known_by_its_new_name(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    (home.root / "cats").rename(home.root / "kittens")
    home.settle()
    lose_the_index(home)
    start_again(home)
    assert home.home_of("kittens/new.mp4") == ("kittens", "sortd")
    assert home.home_of("kittens/3.mp4") == ("kittens", "owner")
    assert not home.events("renamed")
    home.move("kittens/3.mp4", "3.mp4")
    assert [line["path"] for line in home.events("withdrawn")] == [PurePath("3.mp4")]


def test_moves_made_before_can_be_undone(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100", "new.srt": b"miaow", "other.mp4": b"dogs 100"})
    home.ask(do="undo", path="dogs/other.mp4")
    lose_the_index(home)
    start_again(home)
    states = {str(entry.steps[0].target): entry.state for entry in home.store.journal.recent()}
    assert states == {"cats/new.mp4": "done", "dogs/other.mp4": "undone"}
    answer = home.ask(do="undo", path="cats/new.mp4")
    assert [done["to"] for done in answer["done"]] == ["new.mp4"]
    assert {"new.mp4", "new.srt", "other.mp4"} <= home.tree.keys()
    assert vetoes(home, "new.mp4") == {"cats"}
    assert vetoes(home, "other.mp4") == {"dogs"}


def test_it_stays_paused_and_what_was_forgotten_stays_forgotten(household):
    home = household(taught())
    home.files({"a.mp4": b"cats 100"})
    home.move("cats/a.mp4", "a.mp4")
    home.ask(do="pause")
    home.ask(do="forget", what="vetoes", path="a.mp4")
    home.ask(do="forget", what="labels", category="sea")
    lose_the_index(home)
    start_again(home)
    assert home.engine.pending_decisions.paused
    assert vetoes(home, "a.mp4") == frozenset()
    assert home.home_of("sea/3.mp4") == ("sea", "sortd")


def test_a_change_of_tags_is_followed_before_and_meanwhile(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    (home.root / "cats" / "new.mp4").write_bytes(b"cats 100 tagged")
    home.settle()
    lose_the_index(home)
    (home.root / "cats" / "new.mp4").write_bytes(b"cats 100 tagged twice")
    start_again(home)
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


def test_what_is_decided_after_it_counts_when_it_is_lost_again(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    lose_the_index(home)
    start_again(home)
    home.move("cats/new.mp4", "new.mp4")
    lose_the_index(home)
    start_again(home)
    assert vetoes(home, "new.mp4") == {"cats"}
    assert home.store.track_record.of("cats").corrected == 1
    numbers = [json.loads(line)["n"] for line in (home.root / DECISION_LOG).read_text().splitlines()]
    assert numbers == sorted(set(numbers))


def test_an_index_from_an_earlier_day_learns_what_was_decided_since(household, tmp_path):
    home = household(taught())
    home.files({"a.mp4": b"cats 100"})
    home.kill()
    shutil.copytree(home.guard.state, tmp_path / "earlier")
    start_again(home)
    home.files({"b.mp4": b"cats 101"})
    home.move("cats/a.mp4", "a.mp4")
    lose_the_index(home)
    shutil.copytree(tmp_path / "earlier", home.guard.state)
    extracted = len(home.extracted)
    (home.root / "cats" / "b.mp4").rename(home.root / "b.mp4")
    start_again(home)
    assert [line["path"] for line in home.events("withdrawn")] == [home.path("b.mp4")]
    assert vetoes(home, "a.mp4") == vetoes(home, "b.mp4") == {"cats"}
    assert home.store.track_record.of("cats").corrected == 2
    assert len(home.extracted) == extracted + 1  # only b.mp4 was not known then
    (told,) = home.events("index_restored")
    assert told["why"] == "the decision log knew more"


def test_what_the_owner_deleted_over_the_days_has_not_vanished_at_once(household):
    home = household(taught(30))
    for category in ("cats", "dogs"):
        for video in (home.root / category).iterdir():
            video.unlink()
        home.settle(seconds=700)
    assert not home.events("videos_vanished")
    lose_the_index(home)
    start_again(home)
    assert not home.events("videos_vanished")
    assert home.engine.status()["state"] == "idle"


def test_what_came_back_to_its_folder_is_a_placement_still(household, tmp_path):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    (home.root / "cats" / "new.mp4").rename(tmp_path / "new.mp4")
    home.settle(seconds=700)
    (tmp_path / "new.mp4").rename(home.root / "cats" / "new.mp4")
    home.settle()
    before = home.home_of("cats/new.mp4")
    lose_the_index(home)
    start_again(home)
    assert home.home_of("cats/new.mp4") == before == ("cats", "sortd")


def test_a_label_that_was_deleted_and_dropped_anew_is_no_withdrawal(household, tmp_path):
    home = household(taught())
    (home.root / "cats" / "3.mp4").rename(tmp_path / "3.mp4")
    home.settle(seconds=700)
    lose_the_index(home)
    (tmp_path / "3.mp4").rename(home.root / "3.mp4")
    start_again(home)
    assert not home.events("withdrawn")
