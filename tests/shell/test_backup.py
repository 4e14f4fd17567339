from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from sortd.domain.errors import IndexDamaged, LibraryUnavailable
from sortd.domain.feature import FeatureSpace, SpacePart
from sortd.domain.video import FileIdentity, Fingerprint, Sighting
from sortd.store import backup
from sortd.store.migrations import MIGRATIONS
from sortd.store.store import Store

SPACE = FeatureSpace((SpacePart("visual", "1", 3),))


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def store(index):
    store = Store.open(index.parent, SPACE)
    for number in range(200):
        see(store, f"{number}.mp4")
    yield store
    store.database.close()


def see(store, name):
    store.videos.see(Sighting(Path(name), Fingerprint(name), FileIdentity(1, 2, 3)), now=1.0)


def test_a_backup_holds_all_that_was_committed_and_three_are_kept(store, index):
    made = []
    for day in range(5):
        see(store, f"day {day}.mp4")
        made.append(backup.back_up(index, now=86_400.0 * day))
    assert backup.backups(index) == made[:-4:-1]
    assert made[0].name == "index.db.backup-000001"
    (count,) = sqlite3.connect(made[-1]).execute("SELECT count(*) FROM files").fetchone()
    assert count == 205
    assert sorted(path.name for path in index.parent.iterdir()) == sorted(["index.db", *(p.name for p in made[-3:])])


def test_the_newest_sound_backup_takes_the_place_of_a_lost_index(store, index):
    sound = backup.back_up(index, now=0.0)
    torn = backup.back_up(index, now=86_400.0)
    os.truncate(torn, torn.stat().st_size // 2)
    store.database.close()
    index.unlink()
    assert backup.bring_back(index) == sound
    assert Store.open(index.parent, SPACE).videos.tally().total == 200
    assert torn.exists()


def test_no_backup_is_made_of_a_damaged_index(store, index):
    store.database.close()
    flip(index)
    with pytest.raises(IndexDamaged):
        backup.back_up(index, now=0.0)
    assert [path.name for path in index.parent.iterdir()] == ["index.db"]


def test_what_is_put_aside_keeps_its_journal_and_replaces_nothing(tmp_path):
    names = ["index.db", "index.db-journal", "index.db-wal", "index.db-shm"]
    for again in range(2):
        for name in names:
            (tmp_path / name).write_text(f"{name} {again}")
        aside = backup.put_aside(tmp_path / "index.db", now=0.0)
        assert aside.read_text() == f"index.db {again}"
        assert aside.with_name(aside.name + "-wal").read_text() == f"index.db-wal {again}"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        name.replace("index.db", f"index.db.corrupt-19700101T000000{again}") for name in names for again in ("", "-2")
    )
    assert backup.put_aside(tmp_path / "index.db", now=0.0) is None


@pytest.mark.parametrize("content", [b"", os.urandom(20_000), b"SQLite format 3\0" + bytes(100)])
def test_what_is_no_index_is_called_damaged(tmp_path, content):
    (tmp_path / "index.db").write_bytes(content)
    with pytest.raises(IndexDamaged):
        backup.check(tmp_path / "index.db")


def test_an_index_of_a_newer_sortd_is_not_ours_to_judge(store, index):
    store.database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    store.database.close()
    flip(index)
    before = index.read_bytes()
    assert backup.check(index) == len(MIGRATIONS) + 1
    with pytest.raises(LibraryUnavailable, match="newer"):
        Store.open(index.parent, SPACE)
    assert index.read_bytes() == before


def test_damage_that_shows_in_the_middle_of_reading_is_one_clear_line(store, index):
    store.database.close()
    flip(index)
    reader = Store.open(index.parent, SPACE, query_only=True)
    with pytest.raises(IndexDamaged, match="cannot be used"):
        reader.videos.identities()
    reader.database.close()


def flip(index: Path) -> None:
    """Spoil every page but the first, which says that this is a database."""
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(index.stat().st_size - 4096))


@pytest.mark.fault("G13")
def test_whatever_the_clock_says_the_newest_backup_is_the_one_made_last(store, index):
    assert store.videos.tally().total == 200
    times = [4e9, 1.0, 2e9, 0.0, 1e9]  # far in the future, set back, and to and fro
    made = [backup.back_up(index, now=at) for at in times]
    assert backup.backups(index) == made[:-4:-1]
    assert all(path.exists() for path in made[-3:])


@pytest.mark.fault("G13")
def test_backups_of_an_earlier_sortd_are_older_than_numbered_ones(store, index):
    timed = [index.with_name(f"index.db.backup-2{century}991231T235959") for century in (0, 1, 9)]
    for path in timed:
        path.write_bytes(b"")
    index.with_name("index.db.backup-mine").write_bytes(b"")
    assert backup.backups(index) == timed[::-1]
    first = backup.back_up(index, now=0.0)
    assert backup.backups(index) == [first, timed[2], timed[1]]
    for path in timed:
        path.unlink(missing_ok=True)
    store.database.close()
    index.unlink()
    assert backup.bring_back(index) == first
    assert index.with_name("index.db.backup-mine").exists()


@pytest.mark.fault("G13")
@pytest.mark.parametrize("what", ["folder", "dangling link", "pipe"])
def test_what_only_bears_the_name_of_a_backup_hides_none_and_stands_in_the_way_of_none(store, index, what):
    first = backup.back_up(index, now=0.0)
    other = index.with_name("index.db.backup-000002")
    match what:
        case "folder":
            other.mkdir()
        case "dangling link":
            other.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(other)
    assert backup.made_at(index) == 0.0
    assert backup.back_up(index, now=1.0).name == "index.db.backup-000003"
    index.with_name("index.db.backup-000003").unlink()
    store.database.close()
    index.unlink()
    assert backup.bring_back(index) == first
    assert os.path.lexists(other)
