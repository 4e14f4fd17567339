from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from pathlib import PurePath

import numpy as np
import pytest

from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo, Reason
from sortd.domain.decision_facts import CategoryRenamed
from sortd.domain.errors import LibraryUnavailable
from sortd.domain.feature import Fault, Feature, FeatureSpace, SpacePart
from sortd.domain.move_plan import MovePlan
from sortd.domain.video import FileIdentity, Fingerprint, Placer, Record, Sighting
from sortd.judgement.category_diff import Folder
from sortd.judgement.decide import LEFT_TO_THE_OWNER
from sortd.judgement.trust import CategoryFeedback
from sortd.store.classifier_table import AdoptedClassifier
from sortd.store.decision_log import DecisionLog
from sortd.store.migrations import MIGRATIONS
from sortd.store.store import Store

SPACE = FeatureSpace((SpacePart("visual", "1", 3), SpacePart("speech", "1", 2)))
CLIP = Fingerprint("clip")
CATS = CategoryName("cats")
NOT_UTF8 = PurePath("w\udce9dding.mp4")


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path, SPACE)
    yield store
    store.database.close()


def sighting(path="a.mp4", clip=CLIP, inode=1):
    return Sighting(PurePath(path), clip, FileIdentity(inode, 10, 20))


def features():
    return (Feature("visual", "1", np.array([1, 2, 3], np.float32)), Feature("speech", "1", None))


def test_a_name_that_is_not_text_is_kept_byte_for_byte(store, tmp_path):
    store.videos.see(sighting(NOT_UTF8), now=1.0)
    (row,) = sqlite3.connect(tmp_path / "index.db").execute("SELECT path FROM files")
    assert row == (b"w\xe9dding.mp4",)
    assert store.videos.known(NOT_UTF8) == sighting(NOT_UTF8)


def test_paths_below_a_folder_are_not_those_of_a_folder_with_a_longer_name(store):
    for path in ("cats/a.mp4", "cats/2024/b.mp4", "cats2/c.mp4", "cats.mp4"):
        store.videos.see(sighting(path), now=1.0)
    below = {str(path) for path in store.videos.paths_below(PurePath("cats"))}
    assert below == {"cats/a.mp4", "cats/2024/b.mp4"}
    assert len(store.videos.paths_below(PurePath())) == 4


def test_what_is_lost_is_forgotten_when_a_scan_that_began_after_it_has_passed(store):
    store.categories.add(Folder(CategoryName("cats"), 1, 2))
    store.videos.see(sighting(), now=1.0)
    store.videos.keep(Record(CLIP, CategoryName("cats"), Placer.OWNER))
    store.videos.begin_scan()
    store.videos.lose(PurePath("a.mp4"))
    assert store.videos.forget_lost(now=2.0) == []
    assert store.videos.lost_meanwhile()
    assert store.videos.sightings(CLIP, lost=True) == (sighting(),)
    store.videos.begin_scan()
    assert store.videos.forget_lost(now=3.0) == [CLIP]
    assert not store.videos.lost_meanwhile()
    assert store.videos.sightings(CLIP, lost=True) == ()


def test_a_deleted_video_is_known_for_a_while_and_its_vetoes_for_ever(store):
    store.categories.add(Folder(CategoryName("cats"), 1, 2))
    store.videos.see(sighting(), now=1.0)
    store.videos.keep(Record(CLIP, None, None, frozenset({CategoryName("cats")})))
    store.backlog.finish(job(store), features())
    store.videos.lose(PurePath("a.mp4"))
    for _ in range(2):
        store.videos.begin_scan()
        store.videos.forget_lost(now=100.0)
    store.videos.purge(before=100.0)
    assert len(store.features.of(CLIP, SPACE)) == 2
    store.videos.purge(before=101.0)
    assert store.features.of(CLIP, SPACE) == {}
    assert store.videos.record(CLIP).vetoes == {"cats"}


def job(store):
    (found,) = store.backlog.next_jobs(1, labelled_first=True)
    store.backlog.begin([found])
    return found


def test_features_come_back_as_they_were(store):
    store.videos.see(sighting(), now=1.0)
    store.backlog.finish(job(store), features())
    found = store.features.of(CLIP, SPACE)
    assert found["visual"].vector.tolist() == [1, 2, 3]
    assert found["speech"].vector is None
    assert store.backlog.next_jobs(1, labelled_first=True) == ()


def test_vectors_are_read_in_the_order_asked_for_with_zeros_for_what_is_missing(store):
    east, north = Fingerprint("east"), Fingerprint("north")
    for number, clip in enumerate((east, north)):
        store.videos.see(sighting(f"{clip}.mp4", clip, inode=number), now=1.0)
    store.features.store(east, Feature("visual", "1", np.array([2, 0, 0], np.float32)))
    store.features.store(east, Feature("speech", "1", np.array([0, 3], np.float32)))
    store.features.store(north, Feature("visual", "1", np.array([0, 4, 0], np.float32)))
    read = store.features.vectors([north, east, CLIP], SPACE)
    assert read.tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert store.features.vectors([], SPACE).shape == (0, 5)
    assert [store.features.whole(clip, SPACE) for clip in (north, east, CLIP)] == [False, True, False]
    store.features.store(north, Feature("speech", "1", None))
    assert store.features.whole(north, SPACE)


def test_another_version_of_an_extractor_makes_the_video_a_job_again(store, tmp_path):
    store.videos.see(sighting(), now=1.0)
    store.backlog.finish(job(store), features())
    other = Store.open(tmp_path, FeatureSpace((SpacePart("visual", "2", 3), SpacePart("speech", "1", 2))))
    other.backlog.want(other.space, serving=None)
    (found,) = other.backlog.next_jobs(1, labelled_first=True)
    assert [part.extractor for part in found.parts] == ["visual"]
    other.database.close()


def test_labelled_videos_come_first_until_there_is_a_classifier_then_the_newest_unsorted(store):
    store.categories.add(Folder(CategoryName("cats"), 1, 2))
    for n, path in enumerate(("old.mp4", "new.mp4", "cats/c.mp4")):
        store.videos.see(sighting(path, Fingerprint(path), n), now=float(n))
    store.videos.keep(Record(Fingerprint("cats/c.mp4"), CategoryName("cats"), Placer.OWNER))
    first = [str(j.path) for j in store.backlog.next_jobs(3, labelled_first=True)]
    later = [str(j.path) for j in store.backlog.next_jobs(3, labelled_first=False)]
    assert (first, later) == (["cats/c.mp4", "new.mp4", "old.mp4"], ["new.mp4", "old.mp4", "cats/c.mp4"])


def test_a_file_that_still_changes_keeps_nobody_else_waiting(store):
    for n, path in enumerate(("whole.mp4", "growing.mp4")):
        store.videos.see(sighting(path, Fingerprint(path), n), now=float(n))
    (job,) = store.backlog.next_jobs(1, labelled_first=True, but_at={PurePath("growing.mp4")})
    assert job.path == PurePath("whole.mp4")


def test_a_set_aside_video_is_tried_again_when_its_file_changes(store):
    store.videos.see(sighting(), now=1.0)
    assert store.backlog.fail(job(store), Fault.DAMAGED, "torn") == 1
    store.videos.see(sighting(), now=2.0)
    assert store.backlog.fault_of(CLIP) is Fault.DAMAGED
    store.videos.see(sighting(inode=2), now=3.0)
    assert store.backlog.fault_of(CLIP) is None


def test_a_clean_stop_counts_no_attempt(store):
    store.videos.see(sighting(), now=1.0)
    for _ in range(5):
        job(store)
        store.backlog.release_all()
    store.backlog.prepare()
    assert store.backlog.fault_of(CLIP) is None


def test_a_category_that_takes_the_name_of_a_gone_one_takes_what_was_held_to_it(store):
    store.categories.add(Folder(CategoryName("cats"), 1, 1))
    store.categories.add(Folder(CategoryName("dogs"), 1, 2))
    store.videos.see(sighting(), now=1.0)
    store.videos.keep(Record(CLIP, CategoryName("dogs"), Placer.OWNER))
    store.categories.retire(2)
    store.categories.update(1, Folder(CategoryName("dogs"), 1, 1))
    assert store.videos.record(CLIP).home == "dogs"
    assert [known.name for known in store.categories.all()] == ["dogs"]


def test_no_category_gets_the_number_of_one_that_was_absorbed(store):
    store.categories.add(Folder(CategoryName("cats"), 1, 1))
    store.categories.add(Folder(CategoryName("dogs"), 1, 2))
    store.categories.retire(2)
    store.categories.update(1, Folder(CategoryName("dogs"), 1, 1))
    store.categories.add(Folder(CategoryName("birds"), 1, 3))
    assert {known.name: known.number for known in store.categories.all()} == {"dogs": 1, "birds": 3}


def test_a_move_is_open_until_it_is_done_and_undone_by_another(store):
    store.categories.add(Folder(CategoryName("cats"), 1, 1))
    plan = MovePlan(((PurePath("a.mp4"), PurePath("cats/a.mp4")),))
    facts = {"identities": {PurePath("a.mp4"): FileIdentity(1, 2, 3)}}
    move = MoveTo(CategoryName("cats"), 0.9)
    number = store.journal.intend(CLIP, plan, move, **facts, now=5.0)
    assert [entry.number for entry in store.journal.open_intents()] == [number]
    store.journal.complete(number)
    back = store.journal.intend(CLIP, plan, move, **facts, now=6.0, undoes=number)
    store.journal.complete(back)
    assert [(entry.number, entry.state) for entry in store.journal.recent()] == [(number, "undone")]
    assert store.journal.moved_at(CategoryName("cats")) == [5.0]


def test_decisions_are_appended_once_each_and_only_when_committed(store, tmp_path):
    log = DecisionLog(store.database, tmp_path / "decisions.jsonl")
    log.note(CategoryRenamed(CategoryName("was"), CategoryName("w\udce9ddings")), at=1.0)

    def decide_and_fail():
        with store.transaction():
            log.note(CategoryRenamed(CategoryName("was"), CategoryName("never")), at=2.0)
            raise KeyError

    with pytest.raises(KeyError):
        decide_and_fail()
    log.flush()
    log.flush()
    (line,) = (tmp_path / "decisions.jsonl").read_text().splitlines()
    assert json.loads(line) == {"n": 1, "at": 1.0, "did": "renamed", "was": "was", "category": "w\udce9ddings"}


@contextmanager
def of_version(version, state):
    """An index that an older sortd made, which knows one video; what is written to it is there when it is opened."""
    old = sqlite3.connect(state / "index.db")
    for script in MIGRATIONS[:version]:
        old.executescript(script)
    old.execute(f"PRAGMA user_version = {version}")
    old.execute("INSERT INTO videos (fingerprint, first_seen) VALUES ('clip', 1.0)")
    yield old
    old.commit()
    old.close()


def test_an_index_of_an_older_sortd_is_brought_up_to_date_with_all_it_knows(tmp_path):
    with of_version(1, tmp_path) as old:
        old.execute(
            "INSERT INTO features (fingerprint, extractor, version, details) VALUES ('clip', 'speech', '1', '{}')"
        )
    store = Store.open(tmp_path, SPACE)
    assert store.features.of(CLIP, SPACE)["speech"].frames is None
    store.database.close()


def test_paths_that_an_older_sortd_wrote_as_text_are_found_again(tmp_path):
    with of_version(4, tmp_path) as old:
        old.execute("INSERT INTO files VALUES (x'6b697474656e732f' || ?, 'clip', 1, 2, 3, 0)", (bytes(NOT_UTF8),))
    store = Store.open(tmp_path, SPACE)
    assert [known.path for known in store.videos.sightings(CLIP)] == ["kittens" / NOT_UTF8]
    assert store.videos.known("kittens" / NOT_UTF8)
    store.database.close()


def test_what_was_taken_out_under_an_older_sortd_can_be_filed_back(tmp_path):
    with of_version(5, tmp_path) as old:
        old.execute("INSERT INTO categories VALUES (1, x'736561', 1, 1, 1, 4, 2, 9.0)")
        old.execute("INSERT INTO vetoes VALUES ('clip', 1)")
        move = "INSERT INTO moves (fingerprint, category, confidence, state, at)"
        old.execute(f"{move} VALUES ('clip', 1, 0.9, 'undone', 5)")
    store = Store.open(tmp_path, SPACE)
    for _ in range(2):
        store.track_record.filed(CLIP, CategoryName("sea"), kept_from=None)
        assert store.track_record.of(CategoryName("sea")) == CategoryFeedback(
            confirmed=5, corrected=1, last_correction=9.0
        )
    store.database.close()


def test_a_folder_that_takes_the_name_of_a_gone_one_takes_what_was_said_of_it(store):
    for number, name in enumerate(("sea", "ocean")):
        store.categories.add(Folder(CategoryName(name), 1, number))
        store.track_record.taken_out(CLIP, CategoryName(name), unconfirmed=True, now=5.0 + number)
        store.track_record.confirmed(CategoryName(name), moves=3)
    store.categories.retire(2)
    store.categories.update(1, Folder(CategoryName("ocean"), 1, 0))
    assert store.track_record.of(CategoryName("ocean")) == CategoryFeedback(
        confirmed=6, corrected=2, last_correction=6.0
    )


def test_each_frames_own_vector_is_kept(store):
    store.videos.see(sighting(), now=1.0)
    frames = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    visual = Feature("visual", "1", frames.mean(0), frames=frames)
    store.backlog.finish(job(store), [visual, features()[1]])
    assert store.features.of(CLIP, SPACE)["visual"].frames.tolist() == frames.tolist()


def test_an_index_of_a_newer_sortd_is_left_untouched(store, tmp_path):
    store.database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = (tmp_path / "index.db").read_bytes()
    with pytest.raises(LibraryUnavailable, match="newer"):
        Store.open(tmp_path, SPACE)
    assert (tmp_path / "index.db").read_bytes() == before


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path):
    (tmp_path / "index.db").write_bytes(b"this is not a database, however long it may be" * 100)
    with pytest.raises(LibraryUnavailable, match="cannot be used"):
        Store.open(tmp_path, SPACE)


def test_a_reader_sees_what_was_committed_and_cannot_write(store, tmp_path):
    store.videos.see(sighting(), now=1.0)
    reader = Store.open(tmp_path, SPACE, query_only=True)
    assert reader.videos.tally().total == 1
    with pytest.raises(LibraryUnavailable):
        reader.videos.lose(PurePath("a.mp4"))
    reader.database.close()


def test_a_classifier_s_file_goes_when_nobody_names_it_any_more(store):
    def adopt(file):
        return store.classifiers.adopt(AdoptedClassifier("labels", 0.0, {}, file), store.space)

    assert [adopt("same.npz") for _ in range(5)] == [[]] * 5
    assert [adopt(f"{number}.npz") for number in range(4)] == [[], [], ["same.npz"], ["0.npz"]]


@pytest.fixture
def comes(store):
    """Tell of a video that came then, with its vector; `left`: why sortd did not move it."""
    store.categories.add(Folder(CATS, 1, 1))

    def tell(name, *, at, home=None, vetoes=(), left=Reason.UNFAMILIAR):
        clip = Fingerprint(name)
        store.videos.see(sighting(f"{name}.mp4", clip, inode=at), now=float(at))
        store.videos.keep(Record(clip, home, Placer.OWNER if home else None, frozenset(vetoes)))
        for feature in features():
            store.features.store(clip, feature)
        if home is None and left is not None:
            store.videos.tell_left(clip, left, CATS)
        return clip

    return tell


def test_videos_are_passed_over_when_later_ones_were_filed_or_when_they_were_taken_out(store, comes):
    comes("backlog", at=1)
    comes("taken out", at=2, vetoes=[CATS])
    comes("passed over", at=20)
    for number in range(5):
        comes(f"filed {number}", at=30 + number, home=CATS)
    comes("new", at=40)
    assert sorted(store.features.passed_over(SPACE, since=10.0)) == ["passed over", "taken out"]
    assert store.features.passed_over(SPACE, since=None) == ["taken out"]
    assert sorted(store.features.unsorted(SPACE)) == ["backlog", "new", "passed over", "taken out"]


@pytest.mark.parametrize("left", [None, *sorted(set(Reason) - set(LEFT_TO_THE_OWNER))])
def test_what_sortd_holds_back_or_has_not_judged_was_not_passed_over(store, comes, left):
    comes("held back", at=20, left=left)
    comes("in doubt", at=20, left=Reason.LOW_CONFIDENCE)
    for number in range(5):
        comes(f"filed {number}", at=30 + number, home=CATS)
    assert store.features.passed_over(SPACE, since=10.0) == ["in doubt"]


@pytest.mark.parametrize("placed_by", Placer)
def test_what_sortd_moved_does_not_tell_that_the_owner_looked_at_what_came_before(store, comes, placed_by):
    comes("early", at=20)
    clips = [comes(f"filed {number}", at=30 + number, home=CATS) for number in range(5)]
    plan = MovePlan(((PurePath("filed.mp4"), PurePath("cats/filed.mp4")),))
    of = {PurePath("filed.mp4"): FileIdentity(1, 2, 3)}
    moved = store.journal.intend(clips[0], plan, MoveTo(CATS, 0.99, placed_by), identities=of, now=50.0)
    assert store.features.passed_over(SPACE, since=10.0) == ["early"]
    store.journal.complete(moved)  # then confirmed, or at the owner's word in the first place
    assert store.features.passed_over(SPACE, since=10.0) == []
    store.journal.taken_out(clips[0], CATS)  # and put back there by hand
    assert store.features.passed_over(SPACE, since=10.0) == ["early"]
