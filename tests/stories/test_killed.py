"""sortd is killed at the worst moments; the next start repairs it before it looks at anything."""

from __future__ import annotations

import sqlite3
import time

import pytest

from sortd.disk.library_marker import RootAway
from sortd.disk.move import FileMover
from sortd.domain.errors import Elsewhere, IndexUnavailable, MoveRefused, MoveUnfinished, NameTaken
from sortd.domain.messages import FilesCopied
from sortd.store.extraction_trace import TRACE
from sortd.workers.copy_worker import copying
from tests.stories.conftest import taught


class Killed(BaseException):
    """kill -9 as a test can have it: nothing that runs afterwards may count on being run."""


class Deadly(FileMover):
    """Moves, or not, and then dies."""

    def __init__(self, root, *, after_steps):
        super().__init__(root)
        self.after_steps = after_steps

    def move(self, plan, *, expected, **_):
        if self.after_steps:
            done = type(plan)(plan.steps[: self.after_steps])
            super().move(done, expected={source: expected[source] for source, _ in done.steps})
        raise Killed


class Across(FileMover):
    """Its categories lie on another disk."""

    def move(self, plan, **_):
        raise Elsewhere(f"{plan.steps[0][1]} is on another disk")


def unplug(home):
    """What is left is an empty mount point, until what is given back is called."""
    aside = home.root.with_name("elsewhere")
    home.root.rename(aside)
    home.root.mkdir()

    def plug_in():
        home.root.rmdir()
        aside.rename(home.root)

    return plug_in


def killed_while_filing(household, *, after_steps):
    home = household(taught())
    home.engine.moves._mover = Deadly(home.root, after_steps=after_steps)
    home.engine.moves._wall = time.time  # the files' own times are held against it
    with pytest.raises(Killed):
        home.files({"new.mp4": b"cats 100", "new.srt": b"miaow"})
    home.kill()
    return home


@pytest.mark.parametrize("after_steps", [0, 1, 2])
def test_killed_between_intent_and_note_it_is_filed_once_and_is_no_label(household, after_steps):
    home = killed_while_filing(household, after_steps=after_steps)
    home.start()
    home.settle()
    assert home.tree["cats"]["new.mp4"] == b"cats 100"
    assert home.tree["cats"]["new.srt"] == b"miaow"
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")
    assert home.store.journal.open_count() == 0
    assert [entry.state for entry in home.store.journal.recent()] in (["done"], ["done", "abandoned"])
    assert home.extracted.count(b"cats 100") == 1
    assert [str(line["to"]) for line in home.events("moved")] == ["cats/new.mp4"]


def test_what_the_owner_took_elsewhere_meanwhile_is_the_owners_label(household):
    home = killed_while_filing(household, after_steps=2)
    (home.root / "cats" / "new.mp4").rename(home.root / "dogs" / "new.mp4")
    home.start()
    home.settle()
    assert home.home_of("dogs/new.mp4") == ("dogs", "owner")


def test_what_the_owner_put_back_meanwhile_stays_where_they_put_it(household):
    home = killed_while_filing(household, after_steps=2)
    (home.root / "cats" / "new.mp4").rename(home.root / "new.mp4")
    home.start()
    home.settle()
    assert home.tree["new.mp4"] == b"cats 100"
    assert home.reasons("new.mp4")[-1] == "vetoed"


@pytest.mark.parametrize("fails", [False, True])
def test_a_disk_unplugged_when_a_copy_is_through_keeps_no_part_of_it(household, fails):
    home = household(taught())
    home.engine.moves._mover = Across(home.root)
    orders = []
    home.copy = orders.append
    home.files({"new.mp4": b"cats 100", "new.srt": b"miaow"})
    (copied,) = (said for said in copying(home.root)(orders[0]) if isinstance(said, FilesCopied))
    del home.copy
    plug_in = unplug(home)
    with pytest.raises(RootAway):
        home.tell(FilesCopied(copied.number, (), MoveRefused("for the test")) if fails else copied)
    assert home.store.journal.open_count() == 1
    plug_in()
    home.settle()
    assert sorted(path.name for path in home.root.rglob(".sortd-*")) == []
    assert home.store.journal.open_count() == 0
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


def test_a_move_to_be_noted_waits_for_a_disk_that_is_unplugged(household):
    home = household(taught())
    home.engine.moves._mover = Deadly(home.root, after_steps=2)
    with pytest.raises(Killed):
        home.files({"new.mp4": b"cats 100", "new.srt": b"miaow"})
    home.engine.moves._mover = FileMover(home.root)
    plug_in = unplug(home)
    with pytest.raises(RootAway):
        home.tell(None)
    plug_in()
    home.settle()
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


class Blind(FileMover):
    """Cannot look into a category, as its permissions are."""

    def recover(self, source, target, **how):
        if target.parent.name == "cats":
            raise MoveUnfinished(f"{target}: Permission denied")
        return super().recover(source, target, **how)


@pytest.mark.parametrize("after_steps", [0, 2])
def test_a_category_that_cannot_be_read_holds_up_its_own_unfinished_move_alone(household, after_steps):
    home = killed_while_filing(household, after_steps=after_steps)
    home.start()
    home.engine.moves._mover = Blind(home.root)
    home.files({"another.mp4": b"dogs 100"})
    home.settle()
    assert home.home_of("dogs/another.mp4") == ("dogs", "sortd")
    assert ("new.mp4" in home.tree["cats"]) == (after_steps > 0)
    assert not [line for line in home.events("labelled") if line["path"].name == "new.mp4"]
    assert len(home.events("move_unfinished")) == 1
    assert home.store.journal.open_count() == 1

    home.engine.moves._mover = FileMover(home.root)
    home.settle()
    home.settle()
    assert home.store.journal.open_count() == 0
    assert home.home_of("cats/new.mp4") == ("cats", "sortd")


class Interrupted(FileMover):
    """Dies once it has put back a move that failed; the owner took the name of a companion."""

    def move(self, plan, *, expected, before_taking_back):
        (self._root / plan.steps[1][1]).write_bytes(b"the owner's")
        try:
            super().move(plan, expected=expected, before_taking_back=before_taking_back)
        except NameTaken:
            raise Killed from None


def test_what_it_put_back_itself_is_no_wish_of_the_owners(household):
    home = household(taught())
    home.engine.moves._mover = Interrupted(home.root)
    home.engine.moves._wall = lambda: time.time() - 1  # the files' own times are held against it
    with pytest.raises(Killed):
        home.files({"new.mp4": b"cats 100", "new.srt": b"miaow"})
    assert "new.mp4" in home.tree
    home.kill()
    home.start()
    home.settle()
    assert home.home_of("cats/new (2).mp4") == ("cats", "sortd")
    assert not home.events("left")


@pytest.mark.fault("D8", "G14")
@pytest.mark.parametrize("together", [True, False], ids=["its child dies with it", "its child outlives it"])
def test_a_video_with_which_the_service_dies_goes_alone_and_last_and_pays_only_where_both_died(household, together):
    home = household()
    (home.root / "good.mp4").write_bytes(b"cats 1")
    (home.root / "evil.mp4").write_bytes(b"evil 1")

    def extract(job):
        if home.root.joinpath(job.path).read_bytes() == b"evil 1":
            if together and home.store.backlog.was_alone(job):
                (home.guard.state / TRACE).write_text(job.fingerprint)
            raise Killed
        return type(home).extract(home, job)

    home.extract = extract
    for _ in range(6):
        try:
            home.settle(seconds=10)
        except Killed:
            home.kill()
            home.start()
    assert [str(line["path"]) for line in home.events("extracted")] == ["good.mp4"]
    set_aside = [(str(line.path), line.attempts) for line in home.store.backlog.set_aside()]
    assert set_aside == ([("evil.mp4", 3)] if together else [])


def test_a_video_with_which_the_service_died_pays_also_where_the_next_start_cannot_note_it_at_once(household):
    home = household()

    def die(job):
        (home.guard.state / TRACE).write_text(job.fingerprint)
        raise Killed

    home.extract = die
    with pytest.raises(Killed):
        home.files({"evil.mp4": b"evil 1"})
    home.kill()
    home.start()
    database = home.store.database
    database._connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    with pytest.raises(IndexUnavailable):
        home.engine.work(0.0)
    database._connection.set_authorizer(None)
    home.engine.work(1.0)
    assert database.one("SELECT count FROM attempts") == (1,)


def test_killed_while_it_learns_it_learns_at_the_next_start(household):
    home = household()

    def die(_):
        raise Killed

    home.train = die
    with pytest.raises(Killed):
        home.files(taught())
    home.kill()
    del home.train
    home.start()
    home.settle()
    assert [line["labels"] for line in home.events("trained")] == [40]


def test_labels_that_come_while_it_learns_are_learned_next(household):
    home = household()
    lessons = []
    home.train = lessons.append
    home.files(taught())
    home.files({"cats": {f"more{n}.mp4": f"cats {200 + n}".encode() for n in range(5)}})
    del home.train
    home.train(lessons[0])
    home.settle()
    assert len(home.events("trained")) == 2
    assert home.events("trained")[-1]["labels"] == 45
