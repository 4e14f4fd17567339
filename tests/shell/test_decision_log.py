from __future__ import annotations

import json
import os

import pytest

from sortd.domain.category import CategoryName
from sortd.domain.decision_facts import VideoLabelled, VideoReturned, VideoWithdrawn
from sortd.domain.feature import FeatureSpace, SpacePart
from sortd.domain.video import Fingerprint, Placer
from sortd.store.backup import back_up, bring_back, put_aside
from sortd.store.decision_log import LONGEST, DecisionLog, read_after
from sortd.store.log_replay import replay
from sortd.store.store import Store

SPACE = FeatureSpace((SpacePart("visual", "1", 3),))
CLIP = Fingerprint("clip")

SEA = CategoryName("sea")


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path, SPACE)
    yield store
    store.database.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.jsonl"


def write(path, *lines):
    with path.open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")


def line(number, did="labelled", **facts):
    return {"n": number, "at": 1.0, "did": did} | (facts or {"video": "clip", "category": "sea"})


def placed(number, source="a.mp4", target="sea/a.mp4", **facts):
    steps = [[source, target]]
    return line(number, "placed", **{"video": "clip", "category": "sea", "confidence": 0.9, "steps": steps} | facts)


def again(store, path, known=0):
    lines, skipped = read_after(path, known)
    with store.transaction():
        return skipped + replay(store, lines)


def test_lines_that_are_torn_doubled_or_none_at_all_are_skipped_and_counted(store, path):
    write(path, line(1), line(1), b'{"n": 2, "at": 1.0, "di\n', b"\xff\xfe\n", b"[1]\n", b"\n", b'{"n": 3}\n')
    write(path, b'{"n": 4, "at": NaN, "did": "labelled"}\n', b"[" * 100_000 + b"\n", b"x" * (3 * LONGEST) + b"\n")
    write(path, line(5, "predicted"), line(10**30), line(6, video="other", category="city", did="labelled"))
    assert again(store, path) == 11
    assert store.videos.record(CLIP).home == "sea"
    assert store.videos.record(Fingerprint("other")).home == "city"


def test_what_is_gone_stood_nowhere_until_it_is_filed_again(store, path):
    clips = [line(n, video=f"{n}", category="sea", path=f"sea/{n}.mp4") for n in (1, 2, 3)]
    write(path, *clips, line(4, "gone", videos=["1", "2"]), line(5, "gone", videos="3"), line(6, "gone", videos=[".."]))
    write(path, line(7, video="2", category="city", path="city/2.mp4"))
    assert again(store, path) == 2
    assert {str(path) for path in store.videos.identities()} == {"sea/3.mp4", "city/2.mp4"}
    assert store.videos.record(Fingerprint("1")).home == "sea"


@pytest.mark.parametrize("name", ["..", "../sea", "/sea", "a/../../b", "", "\0", "sea\0", "\ud800", 5, None, ["sea"]])
def test_a_name_that_leads_out_of_the_root_is_not_believed(store, path, name):
    write(path, line(1, video="clip", category=name), placed(2, target=name), placed(3, category=name))
    write(path, line(4, "renamed", was="sea", category=name), line(5, "category", category=name, device=1, inode=2))
    assert again(store, path) == 5
    assert store.categories.all() == []
    assert store.videos.identities() == {}


def test_a_name_that_is_not_text_is_kept_byte_for_byte(store, path):
    write(path, placed(1, target="w\udce9ddings/a.mp4", category="w\udce9ddings"))
    assert again(store, path) == 0
    assert [os.fsencode(path) for path in store.videos.identities()] == [b"w\xe9ddings/a.mp4"]


def test_only_what_comes_after_the_last_known_line_is_read(path):
    # An index that was lost once began to count anew.
    anew = [line(number, video="other", category="city") for number in (1, 2, 3, 4)]
    write(path, *(line(number) for number in (1, 2, 3, 4)), *anew[:2])
    assert read_after(path, 2) == ([], 0)
    write(path, b"torn\n", *anew[2:], anew[2])
    lines, skipped = read_after(path, 2)
    assert ([line.number for line in lines], skipped) == ([3, 4], 2)


def test_every_restore_from_one_backup_brings_back_all_that_came_after_it(path, tmp_path):
    index = tmp_path / "index.db"
    store = Store.open(tmp_path, SPACE)
    log = DecisionLog(store.database, path)
    for number in (1, 2):
        log.note(VideoWithdrawn(Fingerprint(f"{number}"), SEA), at=number)
    made = back_up(index, now=0.0)  # with what was not yet appended
    for number in (3, 4):
        log.note(VideoWithdrawn(Fingerprint(f"{number}"), SEA), at=number)
    log.flush()
    store.database.close()
    for _ in range(3):
        put_aside(index, now=0.0)
        assert bring_back(index) == made
        store = Store.open(tmp_path, SPACE)
        log = DecisionLog(store.database, path)
        assert [line.number for line in read_after(path, log.known())[0]] == [3, 4]
        log.go_on_after(4)
        log.flush()
        store.database.close()


def test_a_line_torn_by_a_full_disk_does_not_spoil_the_next(store, path):
    log = DecisionLog(store.database, path)
    write(path, b'{"n": 1, "at": 1.0, "did": "label')
    log.note(VideoLabelled(Fingerprint("clip"), SEA, None, None), at=1.0)
    log.flush()
    lines, skipped = read_after(path, 0)
    assert ([line.did for line in lines], skipped) == (["labelled"], 1)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_plain_file_is_neither_read_nor_written(store, path, tmp_path, kind):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    {"link": lambda: path.symlink_to(elsewhere), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    log = DecisionLog(store.database, path)
    log.note(VideoLabelled(Fingerprint("clip"), SEA, None, None), at=1.0)
    with pytest.raises(OSError, match=r".*"):
        log.flush()
    with pytest.raises(OSError, match=r".*"):
        read_after(path, 0)
    assert elsewhere.read_bytes() == b""
    path.rmdir() if kind == "folder" else path.unlink()
    log.flush()
    assert len(read_after(path, 0)[0]) == 1


def test_the_numbers_go_on_after_those_that_were_made_again(store, path):
    write(path, line(7))
    log = DecisionLog(store.database, path)
    assert log.known() == 0
    assert again(store, path) == 0
    log.go_on_after(7)
    assert log.known() == 7
    log.note(VideoReturned(Fingerprint("clip")), at=2.0)
    log.flush()
    assert [line.number for line in read_after(path, 0)[0]] == [7, 8]


def test_old_lines_without_a_place_are_understood(store, path):
    write(path, line(1), line(2, "corrected", video="clip", was="sea", category="city"))
    write(path, placed(3, "b.mp4", "sea/b.mp4", video="b"), line(4, "confirmed", video="b", category="sea"))
    write(path, line(5, "undone", video="c", category="sea"), line(6, "withdrawn", video="clip", category="city"))
    assert again(store, path) == 0
    assert store.videos.record(CLIP).vetoes == {"sea", "city"}
    assert store.videos.record(Fingerprint("b")).placed_by is Placer.OWNER
    assert store.videos.record(Fingerprint("c")).vetoes == {"sea"}
    word = store.track_record.of(CategoryName("sea"))
    assert (word.confirmed, word.corrected) == (1, 1)
    assert [str(path) for path in store.videos.identities()] == ["sea/b.mp4"]
