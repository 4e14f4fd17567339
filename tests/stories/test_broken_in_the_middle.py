"""Something goes wrong while there is much to do: it costs what it must, and the rest is done and answered."""

from __future__ import annotations

import pytest

from sortd.domain.errors import IndexUnavailable, LibraryUnavailable
from sortd.domain.messages import RequestReceived, RescanDue, Touched, Trained, TrainingLost
from sortd.engine.bulk_moves import AT_ONCE, FAILED
from tests.stories.conftest import taught
from tests.stories.test_killed import Across, unplug

MANY = 3 * AT_ONCE + 1


def filed(household, number=MANY):
    home = household(taught(), move={"probation": []})
    home.files({f"new-{n}.mp4": f"cats {100 + n}".encode() for n in range(number)})
    assert len([name for name in home.tree["cats"] if name.startswith("new-")]) == number
    return home


def ask(home, **request):
    """Have the service asked, without waiting for its answer."""
    answers = []
    home.engine.handle(RequestReceived(request, answers.append))
    home.engine.work(home.monotonic)
    return answers


def test_an_undo_under_way_when_the_root_goes_is_answered_and_costs_no_processor(household):
    home = filed(household)
    answers = ask(home, do="undo")
    plug_in = unplug(home)
    home.engine.away = "it is not there"
    home.engine.work(home.monotonic)
    assert home.engine.wakes_at(home.monotonic) is None
    (answer,) = answers
    assert (len(answer["done"]), len(answer["refused"])) == (AT_ONCE, MANY - AT_ONCE)
    assert answer["refused"][0]["why"] == "it is not there"
    plug_in()
    home.engine.away = None
    home.settle()
    assert len([name for name in home.tree["cats"] if name.startswith("new-")]) == MANY - AT_ONCE


def test_an_undo_under_way_when_the_service_is_stopped_is_answered_with_what_was_made_and_what_was_not(household):
    home = filed(household)
    answers = ask(home, do="undo")
    home.engine.release()
    (answer,) = answers
    assert (len(answer["done"]), len(answer["refused"])) == (AT_ONCE, MANY - AT_ONCE)
    assert {line["why"] for line in answer["refused"]} == {"the service was stopped before its turn came"}


def test_copies_under_way_when_the_service_is_stopped_are_answered(household):
    home = filed(household, 3)
    home.engine.moves._mover = Across(home.root)
    home.carry_out = lambda _: None
    answers = ask(home, do="undo")
    home.engine.release()
    (answer,) = answers
    assert (len(answer["done"]), len(answer["refused"])) == (0, 3)
    assert home.store.journal.open_count() == 0


def test_one_video_that_cannot_be_looked_at_costs_an_undo_of_many_that_one(household):
    home = filed(household)
    look = home.library.look

    def fails(path, known):
        if path.name == "new-7.mp4":
            raise LibraryUnavailable(f"{path} cannot be looked at: Input/output error")
        return look(path, known)

    home.library.look = fails
    answers = ask(home, do="undo")
    while not answers:
        home.engine.work(home.monotonic)
    (answer,) = answers
    assert len(answer["done"]) == MANY - 1
    assert [(line["path"], line["why"]) for line in answer["refused"]] == [
        ("cats/new-7.mp4", "cats/new-7.mp4 cannot be looked at: Input/output error")
    ]


@pytest.mark.parametrize("answered", [False, True])
def test_an_undo_that_the_index_refuses_is_given_up_unless_the_rest_was_promised(household, answered):
    home = filed(household)
    put_back, failures = home.engine.moves.put_back, []

    def fails_once(entry):
        if len(home.tree["cats"]) < 10 + MANY - 2 * AT_ONCE and not failures:
            failures.append(entry)
            raise IndexUnavailable("the index is locked")
        return put_back(entry)

    home.engine.moves.put_back = fails_once
    answers = []
    home.engine.handle(RequestReceived({"do": "undo"}, answers.append))
    home.engine.work(home.monotonic)
    home.monotonic += 61.0 if answered else 1.0
    home.engine.work(home.monotonic)
    assert bool(answers) == answered
    with pytest.raises(IndexUnavailable):
        home.wait(seconds=5)
    home.settle()
    (answer,) = answers
    left = [name for name in home.tree["cats"] if name.startswith("new-")]
    if answered:
        assert len(answer["copying"]) == MANY - 2 * AT_ONCE
        assert len(left) == 1
        assert [line["why"] for line in home.events("left") if line["reason"] == "move_refused"] == [FAILED]
    else:
        assert answer == {"error": FAILED}
        assert len(left) == MANY - 2 * AT_ONCE - 1
    assert home.engine.wakes_at(home.monotonic) is None


def test_a_category_renamed_while_its_moves_are_undone_is_undone_to_the_end(household):
    home = filed(household)
    answers = ask(home, do="undo")
    (home.root / "cats").rename(home.root / "felines")
    home.engine.handle(Touched(home.path("cats")))
    home.engine.handle(Touched(home.path("felines")))
    for _ in range(20):
        home.monotonic += 20.0
        home.engine.work(home.monotonic)
    (answer,) = answers
    home.settle()
    assert not [name for name in home.tree["felines"] if name.startswith("new-")], answer


def test_what_the_owner_files_anew_while_its_move_waits_to_be_undone_stays(household):
    home = filed(household, 120)
    last = home.store.journal.recent()[-1].steps[0]
    ask(home, do="undo")
    for source, target in [(last.target, last.source), (last.source, last.target)]:
        (home.root / source).rename(home.root / target)
        for path in (source, target):
            home.engine.handle(Touched(path))
        for _ in range(3):
            home.monotonic += 15.0
            home.engine.work(home.monotonic)
    assert home.home_of(str(last.target)) == ("cats", "owner")
    home.settle()
    assert [name for name in home.tree["cats"] if name.startswith("new-")] == [last.target.name]
    assert home.home_of(str(last.target)) == ("cats", "owner")


def test_a_training_asked_for_twice_and_lost_comes_to_an_end(household):
    home = household(taught())
    lessons = []
    home.train = lessons.append
    home.files({"cats": {"more.mp4": b"cats 200"}})
    home.engine.retraining.ask("once")
    home.settle()
    assert len(lessons) == 1
    home.engine.retraining.ask("twice")
    home.move("cats/more.mp4", "more.mp4")  # the labels are again those learned from before
    home.tell(TrainingLost("killed"))
    home.wait(seconds=700)
    assert not home.store.database.note("training_asked")
    assert len(lessons) == 1


def test_a_video_that_nobody_can_decide_keeps_up_nothing_and_is_told_once(household):
    home = household(taught(), move={"probation": []})
    read = home.engine.decision_inputs.read

    def fails(clip, **facts):
        if "bad.mp4" in {sighting.path.name for sighting in home.store.videos.sightings(clip)}:
            raise ValueError("as asked")
        return read(clip, **facts)

    home.engine.decision_inputs.read = fails
    home.files({"bad.mp4": b"bad 1"})
    home.files({"next.mp4": b"cats 300"})
    assert "next.mp4" in home.tree["cats"]
    home.engine.pending_decisions.add_all()
    home.settle()
    told = [(str(line["path"]), line["why"]) for line in home.events("not_looked_at")]
    assert told == [("bad.mp4", "ValueError: as asked")]


def test_a_result_of_a_training_that_makes_no_sense_does_not_end_all_learning(household):
    home = household(taught())
    home.train = lambda payload: home.tell(Trained({"digest": payload.digest}, None))  # as of another version: no file
    home.engine.retraining.ask("as a test wants it")
    (home.root / "cats" / "0.mp4").rename(home.root / "dogs" / "from cats.mp4")
    with pytest.raises(KeyError):
        home.settle()
    del home.train
    assert [line["why"] for line in home.events("training_lost")] == ["its result cannot be used: KeyError: 'file'"]
    home.wait(seconds=700)
    assert [line["adopted"] for line in home.events("trained")] == [True, True]
    assert not home.store.database.note("training_asked")


def test_a_damaged_classifier_is_told_once_however_often_steps_fail_meanwhile(household):
    home = household(taught())
    scan = home.library.scan

    def fails():
        raise LibraryUnavailable("the root cannot be listed")

    home.library.scan = fails
    for file in home.guard.state.glob("classifier-*"):
        file.write_bytes(b"no classifier")
    for _ in range(5):
        home.engine.handle(RescanDue("a test"))
        with pytest.raises(LibraryUnavailable):
            home.engine.work(home.monotonic)
    home.library.scan = scan
    home.settle()
    assert len(home.events("classifier_unusable")) == 1
    assert [line["adopted"] for line in home.events("trained")] == [True, True]


def test_an_answer_stays_as_it_was_given(household):
    home = filed(household)
    answers = ask(home, do="undo")
    home.monotonic += 61.0
    home.engine.work(home.monotonic)
    (answer,) = answers
    home.settle()
    assert len(answer["done"]) + len(answer["copying"]) == MANY
