from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import PurePath

import pytest

from sortd.disk.library import Library
from sortd.disk.library_marker import RootAway
from sortd.domain.category import CategoryName
from sortd.domain.feature import Fault
from sortd.domain.messages import ExtractorUnavailable, Touched
from tests.stories.conftest import taught


def test_ten_of_each_taught_and_the_next_is_filed(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    assert "new.mp4" in home.tree["cats"]
    (moved,) = home.events("moved")
    assert (str(moved["path"]), str(moved["to"]), moved["category"]) == ("new.mp4", "cats/new.mp4", "cats")
    assert moved["confidence"] > 0.8
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


def test_nothing_moves_before_anything_was_learned(household):
    home = household({"new.mp4": b"cats 100"})
    assert home.tree == {"new.mp4": b"cats 100"}
    assert home.reasons("new.mp4") == ["no_classifier"]


def test_what_looks_like_nothing_known_is_left_with_its_reason(household):
    home = household(taught())
    home.files({"odd.mp4": b"weddings 1", "both.mp4": b"cats or dogs 1"})
    assert {"odd.mp4", "both.mp4"} <= home.tree.keys()
    assert home.reasons("odd.mp4")
    assert home.reasons("both.mp4")


def test_taken_out_it_is_never_put_back_not_even_after_a_restart_and_a_retrain(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    home.move("cats/new.mp4", "new.mp4")
    assert home.events("withdrawn")[-1]["category"] == "cats"
    home.restart()
    home.files({"cats": {f"more{n}.mp4": f"cats {200 + n}".encode() for n in range(6)}})
    assert len(home.events("trained")) == 2
    assert home.tree["new.mp4"] == b"cats 100"
    assert home.reasons("new.mp4") == ["vetoed"]


def test_the_owner_who_files_it_there_after_all_lifts_the_veto(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    home.move("cats/new.mp4", "new.mp4")
    home.move("new.mp4", "cats/new.mp4")
    assert home.home_of("cats/new.mp4") == ("cats", "owner")
    home.kill()
    home.start()
    sighting = home.store.videos.known(home.root.joinpath("cats/new.mp4").relative_to(home.root))
    assert home.store.videos.record(sighting.fingerprint).vetoes == frozenset()


def test_moves_made_while_sortd_was_off_count(household):
    home = household(taught() | {"a.mp4": b"weddings 1", "b.mp4": b"weddings 2"})
    home.kill()
    shutil.move(home.root / "a.mp4", home.root / "sea" / "a.mp4")
    shutil.copy(home.root / "b.mp4", home.root / "sea" / "copied.mp4")
    (home.root / "b.mp4").unlink()
    home.start()
    home.settle()
    assert home.home_of("sea/a.mp4") == ("sea", "owner")
    assert home.home_of("sea/copied.mp4") == ("sea", "owner")


def test_a_placement_moved_on_is_a_correction_of_that_category(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    home.move("cats/new.mp4", "dogs/new.mp4")
    (corrected,) = home.events("corrected")
    assert (corrected["was"], corrected["category"]) == ("cats", "dogs")
    assert home.home_of("dogs/new.mp4") == ("dogs", "owner")
    assert home.store.track_record.of("cats").corrected == 1


def test_a_category_that_was_wrong_too_often_stops_until_the_owner_agreed_with_enough(household):
    home = household(taught())
    home.files({f"{number}00.mp4": f"cats {number}00".encode() for number in range(1, 5)})
    for number in (1, 2):
        home.move(f"cats/{number}00.mp4", f"dogs/{number}00.mp4")
    (stopped,) = home.events("category_stopped")
    assert (stopped["category"], stopped["confirmed"], stopped["corrected"]) == ("cats", 0, 2)
    home.files({"500.mp4": b"cats 500"})
    assert home.reasons("500.mp4") == ["category_stopped"]
    home.store.track_record.confirmed(CategoryName("cats"), moves=30)
    home.settle()
    assert [event["category"] for event in home.events("category_free")] == ["cats"]
    assert "500.mp4" in home.tree["cats"]


def taken_out_twice(home):
    """The owner was given four cats and takes two of them back."""
    home.files({f"{number}00.mp4": f"cats {number}00".encode() for number in range(1, 5)})
    for number in (1, 2):
        home.move(f"cats/{number}00.mp4", f"{number}00.mp4")
    assert home.events("category_stopped")


def until_free(home):
    home.engine.decision_inputs.refresh()
    return home.engine.decision_inputs.until_free(CategoryName("cats"))


def test_what_the_owner_took_out_by_mistake_and_files_back_was_no_mistake_of_sortds(household):
    home = household(taught())
    taken_out_twice(home)
    home.move("100.mp4", "cats/100.mp4")
    assert [event["category"] for event in home.events("category_free")] == ["cats"]
    home.move("200.mp4", "cats/other name.mp4")
    word = home.store.track_record.of("cats")
    assert (word.confirmed, word.corrected) == (2, 0)
    home.move("cats/100.mp4", "100.mp4")
    home.move("100.mp4", "cats/100.mp4")
    assert home.store.track_record.of("cats") == word


def test_a_category_moves_again_once_the_owner_filed_there_enough_of_what_its_stop_kept_from_it(household):
    home = household(taught(), train={"after_labels": 100})
    taken_out_twice(home)
    home.files({f"cats/straight {number}.mp4": f"cats 60{number}".encode() for number in range(7)})
    assert until_free(home) == 6
    home.files({f"70{number}.mp4": f"cats 70{number}".encode() for number in range(9)})
    for number in range(5):
        home.move(f"70{number}.mp4", f"cats/70{number}.mp4")
    assert (until_free(home), home.events("category_free")) == (1, [])
    assert "708.mp4" in home.tree
    home.move("705.mp4", "cats/705.mp4")
    assert [event["category"] for event in home.events("category_free")] == ["cats"]
    assert {"706.mp4", "707.mp4", "708.mp4"} <= home.tree["cats"].keys()
    word = home.store.track_record.of("cats")
    assert (word.confirmed, word.corrected, word.agreed) == (0, 2, 6)


def test_what_a_stopped_category_would_have_been_given_wrongly_speaks_against_it_too(household):
    home = household(taught())
    taken_out_twice(home)
    home.files({"700.mp4": b"cats 700", "701.mp4": b"cats 701"})
    home.move("700.mp4", "dogs/700.mp4")
    assert home.store.track_record.of("cats").refuted == 1
    assert until_free(home) > 10
    (home.root / "cats").rename(home.root / "felines")
    home.settle()
    home.move("701.mp4", "felines/701.mp4")
    word = home.store.track_record.of("felines")
    assert (word.corrected, word.agreed, word.refuted) == (2, 1, 1)


def test_the_classifier_before_can_be_had_again(household):
    home = household(taught())
    first = home.store.classifiers.serving()
    assert home.ask(do="rollback") == {"error": "there is no classifier before this one"}
    home.files({f"cats/more {number}.mp4": f"cats {number}00".encode() for number in range(1, 9)})
    home.settle(seconds=200)
    assert home.store.classifiers.serving() != first
    assert home.ask(do="rollback") == {"labels": first.report["labels"]}
    assert home.events("rolled_back") == [{"event": "rolled_back", "labels": first.report["labels"]}]
    home.settle(seconds=200)
    assert home.store.classifiers.serving() == first
    assert [path.name for path in home.guard.state.glob("classifier-*")] == [PurePath(first.file).name]
    home.files({"new.mp4": b"cats 900"})
    assert "new.mp4" in home.tree["cats"]


def test_its_subtitles_came_along(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100", "new.en.srt": b"miaow", "new.nfo": b"a cat", "newer.txt": b"not its own"})
    assert {"new.mp4", "new.en.srt", "new.nfo"} <= home.tree["cats"].keys()
    assert home.tree["newer.txt"] == b"not its own"


def test_a_taken_name_gets_a_number_and_nothing_is_overwritten(household):
    home = household(taught())
    home.files({"3.mp4": b"cats 100", "3.srt": b"miaow"})
    assert home.tree["cats"]["3.mp4"] == b"cats 3"
    assert home.tree["cats"]["3 (2).mp4"] == b"cats 100"
    assert home.tree["cats"]["3 (2).srt"] == b"miaow"


def test_a_second_copy_is_left_as_already_filed(household):
    home = household(taught())
    home.files({"again.mp4": b"cats 3"})
    assert home.tree["again.mp4"] == b"cats 3"
    assert home.reasons("again.mp4") == ["already_filed"]
    assert home.home_of("cats/3.mp4") == ("cats", "owner")


def test_a_deleted_video_dropped_again_is_a_new_one(household):
    home = household(taught())
    (home.root / "cats" / "3.mp4").unlink()
    home.settle()
    home.files({"back.mp4": b"cats 3"})
    assert "back.mp4" in home.tree["cats"]
    assert not home.events("withdrawn")


def test_a_renamed_folder_teaches_nothing_new(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    facts = len(home.events("labelled")), len(home.events("extracted")), len(home.events("trained"))
    (home.root / "cats").rename(home.root / "kittens")
    home.settle()
    assert [(line["was"], line["category"]) for line in home.events("renamed")] == [("cats", "kittens")]
    assert (len(home.events("labelled")), len(home.events("extracted")), len(home.events("trained"))) == facts
    home.files({"next.mp4": b"cats 101"})
    assert "next.mp4" in home.tree["kittens"]


def test_what_the_owner_does_in_a_renamed_folder_is_seen(household):
    home = household(taught())
    (home.root / "cats").rename(home.root / "kittens")
    home.settle()
    home.move("kittens/0.mp4", "0.mp4")
    home.move("kittens/1.mp4", "dogs/cat.mp4")
    (home.root / "kittens" / "2.mp4").unlink()
    home.settle()
    assert [line["path"] for line in home.events("withdrawn")] == [PurePath("0.mp4")]
    assert [(line["was"], line["category"]) for line in home.events("corrected")] == [("kittens", "dogs")]
    assert home.home_of("dogs/cat.mp4") == ("dogs", "owner")
    assert not home.store.videos.known(PurePath("kittens/2.mp4"))


def test_a_folder_that_is_gone_gets_nothing_and_is_not_made_again(household):
    home = household(taught())
    shutil.rmtree(home.root / "cats")
    home.settle()
    home.files({"new.mp4": b"cats 100"})
    assert "cats" not in home.tree
    assert home.tree["new.mp4"] == b"cats 100"


def test_after_ten_moves_a_category_waits_for_the_owner(household):
    home = household(taught())
    home.files({f"new{n}.mp4": f"cats {100 + n}".encode() for n in range(14)})
    assert len(home.events("moved")) == 10
    waiting = [path for path in home.tree if path.startswith("new")]
    assert all(home.reasons(path) == ["on_probation"] for path in waiting)
    assert home.ask(do="confirm", category="cats")["confirmed"]
    assert len(home.events("moved")) == 14
    assert len(home.events("confirmed")) == 10


@pytest.mark.parametrize("owner", ["confirms", "files by hand"])
def test_what_waits_on_probation_is_no_outsider_whatever_came_after_it(household, owner):
    home = household(taught())
    home.files({f"new{n}.mp4": f"cats {100 + n}".encode() for n in range(14)})
    waiting = [path for path in home.tree if path.startswith("new")]
    later = {f"later{n}.mp4": f"dogs {100 + n}".encode() for n in range(10)}
    if owner == "confirms":
        home.files(later)
        home.ask(do="confirm", category="dogs")
    else:
        home.files({"dogs": later})
    assert home.events("trained")[-1]["labels"] == 50
    assert [home.reasons(path) for path in waiting] == [["on_probation"]] * 4
    home.ask(do="confirm", category="cats")
    assert not set(waiting) & home.tree.keys()


def test_a_day_without_a_correction_ends_the_wait(household):
    home = household(taught())
    home.files({f"new{n}.mp4": f"cats {100 + n}".encode() for n in range(14)})
    home.clock.now += 86_400
    home.settle()
    assert len(home.events("moved")) == 14


def test_own_moves_teach_nothing_however_often_it_trains(household):
    home = household(taught())
    home.files({f"new{n}.mp4": f"cats {100 + n}".encode() for n in range(10)})
    home.restart()
    home.engine.retraining.ask("again")
    home.settle()
    assert [line["labels"] for line in home.events("trained")] == [40]


def test_undo_puts_it_back_for_good(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100", "new.srt": b"miaow"})
    answer = home.ask(do="undo", count=1)
    assert [step["to"] for step in answer["done"]] == ["new.mp4"]
    assert home.tree["new.mp4"] == b"cats 100"
    assert home.tree["new.srt"] == b"miaow"
    assert home.reasons("new.mp4")[-1] == "vetoed"
    home.ask(do="forget", what="vetoes", path="new.mp4")
    assert "new.mp4" in home.tree["cats"]


def test_undo_gives_back_the_name_that_was_taken_in_the_folder(household):
    home = household(taught())
    home.files({"3.mp4": b"cats 100", "3.srt": b"miaow"})
    home.ask(do="undo", path="cats/3 (2).mp4")
    assert (home.tree["3.mp4"], home.tree["3.srt"]) == (b"cats 100", b"miaow")


def test_paused_it_neither_moves_nor_extracts_but_still_learns_of_labels(household):
    home = household(taught())
    home.ask(do="pause")
    home.restart()
    home.files({"new.mp4": b"cats 100"})
    home.move("cats/3.mp4", "dogs/3.mp4")
    assert home.tree["new.mp4"] == b"cats 100"
    assert b"cats 100" not in home.extracted
    assert home.events("corrected")
    home.ask(do="resume")
    assert "new.mp4" in home.tree["cats"]
    wished = [line["event"] for line in home.log if line["event"] in {"paused", "resumed", "moved"}]
    assert wished == ["paused", "resumed", "moved"]


def test_observing_it_says_what_it_would_do(household):
    home = household(taught())
    home.restart(observe=True)
    home.files({"new.mp4": b"cats 100"})
    assert home.tree["new.mp4"] == b"cats 100"
    assert home.reasons("new.mp4") == ["observe_mode"]


def test_hands_off_what_is_marked(household):
    home = household(taught())
    home.files({"a.mp4": b"cats 100", "a.mp4.nosort": b"", "dogs": {".nosort": b""}, "b.mp4": b"dogs 100"})
    home.files({"sea": {".sortd.toml": b"automatic = false"}, "c.mp4": b"sea 100"})
    assert {"a.mp4", "b.mp4", "c.mp4"} <= home.tree.keys()
    assert [home.reasons(path)[-1] for path in ("a.mp4", "b.mp4", "c.mp4")] == ["hands_off"] * 3


def test_a_broken_video_is_set_aside_once_and_tried_again_when_asked(household):
    home = household()
    home.broken[b"cats 100"] = Fault.DAMAGED
    home.files({"new.mp4": b"cats 100"})
    home.restart()
    (aside,) = home.events("set_aside")
    assert (str(aside["path"]), aside["reason"]) == ("new.mp4", "damaged")
    assert home.extracted == [b"cats 100"]
    home.broken.clear()
    assert home.ask(do="retry") == {"retried": 1}
    assert home.events("extracted")


def test_a_crash_is_tried_three_times_in_all(household):
    home = household()
    home.broken[b"cats 100"] = Fault.DECODER_CRASHED
    home.files({"new.mp4": b"cats 100"})
    assert home.extracted == [b"cats 100"] * 3
    assert len(home.events("set_aside")) == 1


def test_a_video_that_changed_is_tried_again(household):
    home = household()
    home.broken[b"half of it"] = Fault.DAMAGED
    home.files({"new.mp4": b"half of it"})
    home.files({"new.mp4": b"cats 100"})
    assert home.extracted == [b"half of it", b"cats 100"]


def test_nothing_is_extracted_twice_whatever_it_is_called_and_wherever_it_goes(household):
    home = household({"new.mp4": b"cats 100"})
    home.move("new.mp4", "renamed.mkv")
    home.move("renamed.mkv", "cats/2024/x.mov")
    home.restart()
    assert home.extracted == [b"cats 100"]


def test_forgotten_labels_teach_nothing_but_stay_where_they_are(household):
    home = household(taught())
    before = home.tree
    assert home.ask(do="forget", what="labels", category="city") == {"forgotten": 10}
    home.engine.retraining.ask("again")
    home.settle()
    assert home.tree == before
    assert home.events("trained")[-1]["labels"] == 30


@pytest.mark.parametrize("role", ["other", "ignore", "unsorted"])
def test_a_folder_may_be_no_category(household, role):
    home = household(taught() | {"stuff": {".sortd.toml": f'role = "{role}"'.encode(), "x.mp4": b"stuff 1"}})
    assert home.events("trained")[-1]["labels"] == 40
    assert "x.mp4" in home.tree["stuff"]


@pytest.mark.parametrize("rules", [b'describe = "for later"', b"role = "])
def test_rules_below_an_unsorted_folder_keep_nothing_from_ending(household, rules):
    home = household(taught())
    home.files({"inbox": {".sortd.toml": b'role = "unsorted"', "later": {".sortd.toml": rules, "x.mp4": b"new 1"}}})
    assert not home.engine.scanner.busy()
    assert home.tree["inbox"]["later"]["x.mp4"] == b"new 1"
    assert not [line for line in home.events("labelled") if "inbox" in str(line["path"])]


def test_a_folder_that_is_never_listed_keeps_nothing_from_ending(household):
    class Forgetful(Library):
        def folders(self):
            seen = super().folders()
            return replace(seen, folders=[folder for folder in seen.folders if folder.name != "sea"])

    home = household(taught(families=("cats", "dogs")))
    home.engine.scanner._folders._library = Forgetful(home.root, levels=1, extensions=["mp4"], ignore=[])
    home.files({"sea": {"x.mp4": b"sea 1"}, "cats": {"y.mp4": b"cats 100"}})
    assert not home.engine.scanner.busy()
    assert home.home_of("cats/y.mp4") == ("cats", "owner")


def test_a_placement_that_is_changed_where_it_stands_is_no_label(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    home.files({"cats": {"new.mp4": b"cats 100 and a tag"}})
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")
    home.ask(do="undo", path="cats/new.mp4")
    assert home.tree["new.mp4"] == b"cats 100 and a tag"


def test_a_veto_outlives_a_change_of_tags(household):
    home = household(taught())
    home.files({"new.mp4": b"cats 100"})
    home.move("cats/new.mp4", "new.mp4")
    home.files({"new.mp4": b"cats 100 and a tag"})
    assert home.tree["new.mp4"] == b"cats 100 and a tag"
    assert home.reasons("new.mp4")[-1] == "vetoed"


def test_a_file_still_open_for_writing_is_waited_for(household):
    home = household(taught())
    with (home.root / "slow.mp4").open("wb") as writer:
        writer.write(b"cats 100")
        writer.flush()
        home.settle()
        assert not home.extracted.count(b"cats 100")
    home.settle()
    assert "slow.mp4" in home.tree["cats"]


def test_an_empty_mount_point_in_the_roots_place_is_not_believed(household):
    home = household(taught())
    before = home.store.videos.tally()
    home.root.rename(home.root.with_name("elsewhere"))
    home.root.mkdir()
    (home.root / "stray.mp4").write_bytes(b"cats 100")
    home.tell(Touched(PurePath("stray.mp4")))
    home.settle(seconds=1)
    with pytest.raises(RootAway):
        home.tell(Touched(PurePath("cats")))
    assert home.store.videos.tally() == before
    assert all(known.present for known in home.store.categories.all())


def test_an_encoder_that_could_not_work_is_tried_again_whatever_the_clock_on_the_wall_says(household):
    home = household()
    home.extract = lambda job: ExtractorUnavailable((job,), "its memory is taken")
    home.files({"new.mp4": b"cats 1"})
    assert home.extracted == []
    del home.extract
    home.clock.now -= 86_400
    home.wait(seconds=120)
    assert home.extracted == [b"cats 1"]
    assert len(home.events("extraction_stalled")) == 1


def test_a_folder_renamed_onto_a_name_just_removed_makes_no_labels(household):
    home = household(taught() | {"beach": {}})
    home.files({"new.mp4": b"sea 100"})
    assert home.home_of("sea/new.mp4") == ("sea", "sortd")
    (home.root / "beach").rmdir()
    (home.root / "sea").rename(home.root / "beach")
    home.settle()
    assert home.home_of("beach/new.mp4") == ("beach", "sortd")
    assert home.home_of("beach/0.mp4") == ("beach", "owner")
    assert not home.events("corrected")
