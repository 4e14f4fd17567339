"""The owner accepts a group: its folder is made, and its videos are filed there as labels of theirs."""

from __future__ import annotations

import re
import time

import pytest

from sortd.domain.messages import RequestReceived
from sortd.engine.bulk_moves import PATIENCE_SECONDS
from sortd.judgement.trust import CategoryFeedback
from sortd.store.journal import DONE
from sortd.workers.copy_worker import copying
from tests.stories.conftest import taught
from tests.stories.test_index_lost import lose_the_index, start_again
from tests.stories.test_killed import Across, Deadly, Killed

CATS = {f"{number}.mp4": f"cats {number}".encode() for number in range(5)}
WITH_SUBTITLES = {**CATS, "0.srt": b"miaow"}


def shown(home, names=tuple(CATS)):
    """What a command asks with: where each video stood when it was shown, and what it is."""
    return {name: home.store.videos.known(home.path(name)).fingerprint for name in names}


def accept(home, category="cats", videos=None):
    return home.ask(do="accept", category=category, videos=videos or shown(home))


def test_its_videos_are_labels_with_all_that_belongs_to_them(household):
    home = household(WITH_SUBTITLES | {"stray.mp4": b"stray 1"})
    answer = accept(home)
    assert (answer["category"], answer["refused"]) == ("cats", [])
    assert [move["to"] for move in answer["done"]] == [f"cats/{name}" for name in CATS]
    assert home.tree == {"cats": WITH_SUBTITLES, "stray.mp4": b"stray 1"}
    assert {home.home_of(f"cats/{name}") for name in CATS} == {("cats", "owner")}
    assert len(home.events("moved")) == len(CATS)
    assert {str(line["path"]): line["category"] for line in home.events("labelled")} == {
        f"cats/{name}": "cats" for name in CATS
    }
    (line,) = home.events("accepted")
    assert (line["category"], line["videos"]) == ("cats", len(CATS))


def test_nothing_is_taken_for_a_move_of_sortds_own(household):
    home = household(CATS)
    accept(home)
    assert home.store.journal.moved_at("cats") == []
    assert home.ask(do="confirm", category="cats") == {"confirmed": []}
    home.move("cats/0.mp4", "dogs/0.mp4")
    assert home.store.track_record.of("cats") == CategoryFeedback()


def test_what_is_undone_is_back_and_never_moved_there_again(household):
    home = household(WITH_SUBTITLES)
    accept(home)
    home.ask(do="undo", category="cats")
    assert home.tree == {**WITH_SUBTITLES, "cats": {}}
    assert home.home_of("0.mp4") == (None, None)
    record = home.store.videos.record(shown(home)["0.mp4"])
    assert record.vetoes == {"cats"}
    assert {entry.state for entry in home.store.journal.recent()} == {"undone"}
    assert home.store.track_record.of("cats") == CategoryFeedback()


def test_what_is_undone_is_no_outsider_but_what_is_taken_out_by_hand_is(household):
    home = household({**CATS, "later.mp4": b"cats 9"})
    accept(home)
    home.ask(do="undo", category="cats")
    assert home.store.features.passed_over(home.space, since=None) == []
    lose_the_index(home)
    start_again(home)
    assert home.store.features.passed_over(home.space, since=None) == []
    home.move("later.mp4", "cats/later.mp4")
    home.move("cats/later.mp4", "later.mp4")
    later = shown(home, ["later.mp4"])["later.mp4"]
    assert home.store.features.passed_over(home.space, since=None) == [later]


def test_accepting_again_what_was_undone_takes_the_veto_back(household):
    home = household(CATS)
    accept(home)
    home.ask(do="undo", category="cats")
    accept(home)
    assert home.home_of("cats/0.mp4") == ("cats", "owner")
    assert home.store.videos.record(shown(home, ["cats/0.mp4"])["cats/0.mp4"]).vetoes == set()


def test_what_is_not_unsorted_any_more_stays_where_it_is(household):
    home = household(CATS)
    videos = shown(home)
    home.move("0.mp4", "dogs/0.mp4")
    (home.root / "1.mp4").unlink()
    home.settle()
    home.move("2.mp4", "renamed.mp4")
    (home.root / "3.mp4.nosort").touch()
    answer = accept(home, videos=videos)
    assert sorted(move["to"] for move in answer["done"]) == ["cats/4.mp4", "cats/renamed.mp4"]
    assert [refused["path"] for refused in answer["refused"]] == ["0.mp4", "1.mp4", "3.mp4"]
    assert [refused["why"] for refused in answer["refused"]] == [
        "it is not unsorted any more",
        "it is not unsorted any more",
        "a .nosort asks to leave it alone",
    ]
    assert sorted(home.tree["cats"]) == ["4.mp4", "renamed.mp4"]


def test_a_copy_of_what_is_filed_elsewhere_is_no_new_label(household):
    home = household(CATS)
    videos = shown(home)
    home.files({"dogs": {"0.mp4": CATS["0.mp4"]}})
    assert [refused["path"] for refused in accept(home, videos=videos)["refused"]] == ["0.mp4"]
    assert home.home_of("dogs/0.mp4") == ("dogs", "owner")


def test_where_none_is_unsorted_any_more_no_folder_is_made(household):
    home = household(CATS)
    videos = shown(home)
    accept(home)
    assert "none of these is unsorted any more" in accept(home, "dogs", videos)["error"]
    assert not (home.root / "dogs").exists()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/",
        "/cats",
        "../cats",
        ".cats",
        "@eaDir",
        "cats.part",
        "cats/tabby",
        "junk",
        "inbox",
        "n" * 256,
        "a\0",
    ],
)
def test_what_can_be_no_category_is_refused_and_nothing_is_made(household, name):
    inbox = {"inbox": {".sortd.toml": b'role = "unsorted"'}}
    home = household(CATS | inbox, library={"ignore": ["junk"]})
    assert re.search("can be no category|category cannot be", accept(home, name)["error"])
    assert home.tree == CATS | inbox
    assert home.events("accepted") == []


def test_a_folder_that_the_owner_asks_to_leave_alone_gets_nothing(household):
    left_alone = {"cats": {".nosort": b""}}
    home = household(CATS | left_alone)
    assert "a .nosort asks to leave cats alone" in accept(home)["error"]
    assert home.tree == CATS | left_alone


def test_where_something_else_has_the_name_nothing_is_moved(household, tmp_path):
    home = household(CATS | {"taken": b"a note", "away": tmp_path})
    for name in ("taken", "away"):
        assert name in accept(home, name)["error"]
    assert home.tree == CATS | {"taken": b"a note", "away": tmp_path}
    assert list(tmp_path.glob("*.mp4")) == []


def test_a_folder_that_stands_takes_the_group_too(household):
    home = household({"cats": {"0.mp4": b"cats 100"}, **CATS})
    accept(home)
    assert home.tree == {"cats": {"0.mp4": b"cats 100", "0 (2).mp4": b"cats 0", **dict(list(CATS.items())[1:])}}
    assert home.home_of("cats/0 (2).mp4") == ("cats", "owner")


@pytest.mark.parametrize("name", ["sports", "sports/soccer"])
def test_where_categories_are_two_folders_deep_one_may_be_made_at_either(household, name):
    home = household(CATS, library={"levels": 2})
    accept(home, name)
    assert {home.home_of(f"{name}/{video}") for video in CATS} == {(name, "owner")}
    home.restart()
    assert {home.home_of(f"{name}/{video}") for video in CATS} == {(name, "owner")}


def test_it_is_the_owners_word_also_while_sortd_may_move_nothing(household):
    home = household(CATS, move={"mode": "observe"})
    home.ask(do="pause")
    assert len(accept(home)["done"]) == len(CATS)


def test_a_folder_on_another_disk_gets_its_copies_as_labels(household):
    home = household({"cats": {}, **WITH_SUBTITLES})
    home.engine.moves._mover = Across(home.root)
    assert len(accept(home)["done"]) == len(CATS)
    assert home.tree == {"cats": WITH_SUBTITLES}
    assert {home.home_of(f"cats/{name}") for name in CATS} == {("cats", "owner")}


def test_a_running_service_goes_on_while_copies_are_made_and_answers_after(household):
    home = household({"cats": {}, **CATS})
    home.engine.moves._mover = Across(home.root)
    answers = []
    request = {"do": "accept", "category": "cats", "videos": shown(home)}
    home.engine._request_handler.to(request, answers.append, now=home.monotonic)
    assert answers == []
    home.settle()
    assert len(answers[0]["done"]) == len(CATS)
    assert {home.home_of(f"cats/{name}") for name in CATS} == {("cats", "owner")}


def test_copies_that_take_longer_than_the_answer_waits_become_labels_all_the_same(household):
    home = household({"cats": {}, **CATS})
    home.engine.moves._mover = Across(home.root)
    answers = []
    let_go = home.hold_extraction()
    home.tell(RequestReceived({"do": "accept", "category": "cats", "videos": shown(home)}, answers.append))
    home.wait(seconds=PATIENCE_SECONDS + 1)
    assert len(answers[0]["copying"]) == len(CATS)
    (home.root / "1.mp4").write_bytes(b"written to meanwhile")
    let_go()
    assert [line["why"] for line in home.events("retrain_due")] == ["the first labels"]
    (left,) = [line for line in home.events("left") if line["reason"] == "move_refused"]
    assert (left["path"], "changed" in left["why"]) == ("1.mp4", True)
    home.settle()
    assert sorted(home.tree["cats"]) == ["0.mp4", "2.mp4", "3.mp4", "4.mp4"]
    assert len(answers) == 1


@pytest.mark.parametrize("after_steps", [0, 1, 2])
def test_killed_in_between_each_is_a_label_or_where_it_was_and_the_rest_can_be_accepted_again(household, after_steps):
    home = household(WITH_SUBTITLES)
    videos = shown(home)
    home.engine.moves._mover = Deadly(home.root, after_steps=after_steps)
    home.engine.moves._wall = time.time  # the files' own times are held against it
    with pytest.raises(Killed):
        home.engine.answer({"do": "accept", "category": "cats", "videos": videos}, copy=copying(home.root))
    home.restart()
    assert home.store.journal.open_count() == 0
    if after_steps:
        assert home.home_of("cats/0.mp4") == ("cats", "owner")
        assert home.tree["cats"] == {"0.mp4": b"cats 0", "0.srt": b"miaow"}
    else:
        assert home.home_of("0.mp4") == (None, None)
    accept(home, videos=videos)
    assert home.tree == {"cats": WITH_SUBTITLES}
    assert {home.home_of(f"cats/{name}") for name in CATS} == {("cats", "owner")}
    assert home.store.journal.moved_at("cats") == []


def test_put_back_by_hand_after_a_kill_it_is_a_withdrawal(household):
    home = household(CATS)
    home.engine.moves._mover = Deadly(home.root, after_steps=1)
    home.engine.moves._wall = time.time
    with pytest.raises(Killed):
        home.engine.answer({"do": "accept", "category": "cats", "videos": shown(home)}, copy=copying(home.root))
    (home.root / "cats" / "0.mp4").rename(home.root / "0.mp4")
    home.restart()
    assert home.home_of("0.mp4") == (None, None)
    assert home.store.track_record.of("cats") == CategoryFeedback()
    lose_the_index(home)
    start_again(home)
    assert home.home_of("0.mp4") == (None, None)
    assert home.store.track_record.of("cats") == CategoryFeedback()


def test_an_index_made_again_knows_them_for_labels_that_can_be_undone(household):
    home = household(WITH_SUBTITLES)
    accept(home)
    lose_the_index(home)
    start_again(home)
    assert {home.home_of(f"cats/{name}") for name in CATS} == {("cats", "owner")}
    assert not home.events("labelled")
    assert home.store.journal.moved_at("cats") == []
    assert [entry.state for entry in home.store.journal.recent()] == [DONE] * len(CATS)
    home.ask(do="undo", category="cats")
    assert home.tree == {**WITH_SUBTITLES, "cats": {}}


def test_groups_that_were_accepted_teach_it_to_file_the_next(household):
    families = taught()
    unsorted = {f"{family} {name}": content for family, tree in families.items() for name, content in tree.items()}
    home = household(unsorted)
    for family in families:
        accept(home, family, shown(home, [name for name in unsorted if name.startswith(family)]))
    home.files({"new.mp4": b"cats 100"})
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


def test_a_move_that_is_refused_leaves_its_video_and_says_why(household):
    home = household(CATS)
    videos = shown(home)
    (home.root / "1.mp4").write_bytes(b"written to meanwhile")
    answer = home.engine.answer({"do": "accept", "category": "cats", "videos": videos}, copy=copying(home.root))
    assert len(answer["done"]) == len(CATS) - 1
    (refused,) = answer["refused"]
    assert refused["path"] == "1.mp4"
    assert "changed" in refused["why"]
