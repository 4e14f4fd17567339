from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from sortd.daemon.backup_schedule import BackupSchedule
from sortd.daemon.index_recovery import open_store, run_with_recovery
from sortd.disk.mounts import Mount
from sortd.disk.root_guard import RootGuard
from sortd.domain.decision_facts import PauseChanged
from sortd.domain.errors import ConfigError, IndexDamaged, LibraryUnavailable
from sortd.domain.feature import FeatureSpace, SpacePart
from sortd.engine.engine_assembly import check_state
from sortd.engine.event_log import flushing
from sortd.store import backup
from sortd.store.decision_log import DECISION_LOG, DecisionLog
from sortd.store.migrations import MIGRATIONS
from tests.fakes import Clock

SPACE = FeatureSpace((SpacePart("visual", "1", 3),))
DAY = 86_400.0


class Told(list):
    def __call__(self, event, **facts):
        self.append({"event": event} | facts)


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def guard(tmp_path):
    (tmp_path / "videos").mkdir()
    with RootGuard.open(tmp_path / "videos", state=tmp_path / "state") as guard:
        yield guard


def opened(guard, told, **how):
    store = open_store(guard, SPACE, tell=told, now=0.0, **how)
    store.database.close()
    return [line["event"] for line in told]


def corrupt(guard):
    return sorted(guard.state.glob("index.db.corrupt-*"))


def test_a_new_library_is_nothing_to_tell_of(guard, told):
    assert opened(guard, told) == []
    assert opened(guard, told) == []


def test_a_damaged_index_is_put_aside_only_by_the_service(guard, told):
    opened(guard, told)
    (guard.state / "index.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(IndexDamaged, match="sortd run"):
        opened(guard, told)
    assert not corrupt(guard)
    assert opened(guard, told, damages=0) == ["index_restored"]
    assert [path.read_bytes() for path in corrupt(guard)] == [b"rubbish" * 1000]


def test_damage_that_comes_back_makes_the_backups_suspect_too(guard, told):
    opened(guard, told)
    made = backup.back_up(guard.state / "index.db", now=0.0)
    opened(guard, told, damages=1)
    opened(guard, told, damages=2)
    assert [line["backup"] for line in told] == [made.name, None]
    assert len(corrupt(guard)) == 2
    assert made.exists()


def test_damage_without_end_ends_the_service(told):
    def serve(damages):
        raise IndexDamaged(str(damages))

    with pytest.raises(IndexDamaged, match="2"):
        run_with_recovery(serve, tell=told)
    assert [line["why"] for line in told] == ["0", "1"]


def test_an_older_index_is_backed_up_before_it_is_changed(guard, told):
    old = sqlite3.connect(guard.state / "index.db")
    old.executescript(MIGRATIONS[0])
    old.execute("PRAGMA user_version = 1")
    old.close()
    opened(guard, told)
    (made,) = backup.backups(guard.state / "index.db")
    assert backup.check(made) == 1
    assert backup.check(guard.state / "index.db") == len(MIGRATIONS)


def test_a_log_that_cannot_be_read_stops_a_new_index_and_no_other(guard, told):
    log = guard.root / DECISION_LOG
    os.mkfifo(log)
    with pytest.raises(LibraryUnavailable, match="cannot be read"):
        opened(guard, told)
    log.unlink()
    store = open_store(guard, SPACE, tell=told, now=0.0)
    DecisionLog(store.database, log).note(PauseChanged(True), at=0.0)
    store.database.close()
    os.mkfifo(log)
    assert opened(guard, told) == []


def test_a_log_that_cannot_be_read_stops_an_index_from_a_backup_until_it_can(guard, told):
    index, log, aside = guard.state / "index.db", guard.root / DECISION_LOG, guard.state / "log"
    store = open_store(guard, SPACE, tell=told, now=0.0)
    decisions = DecisionLog(store.database, log)
    decisions.note(PauseChanged(True), at=0.0)
    decisions.flush()
    made = backup.back_up(index, now=0.0)
    decisions.note(PauseChanged(False), at=1.0)
    decisions.flush()
    store.database.close()
    index.unlink()
    log.rename(aside)
    os.mkfifo(log)
    for _ in range(2):
        with pytest.raises(LibraryUnavailable, match="cannot be read"):
            opened(guard, told, damages=0)
    log.unlink()
    aside.rename(log)
    opened(guard, told, damages=0)
    assert [(line["event"], line["backup"], line["decisions"]) for line in told] == [("index_restored", made.name, 1)]


def run_down(backups):
    backups.step(idle=True)
    if backups._thread is not None:
        backups._thread.join()
    backups.step(idle=True)


def test_a_service_that_is_busy_waits_for_a_quiet_moment(guard, told):
    opened(guard, told)
    backups = BackupSchedule(guard.state, tell=told, wall=Clock())
    backups.step(idle=False)
    assert backups._thread is None
    run_down(backups)
    assert [line["event"] for line in told] == ["backed_up"]


def test_one_backup_a_day_however_often_it_starts(guard, told):
    opened(guard, told)
    clock = Clock()
    for _ in range(5):
        run_down(BackupSchedule(guard.state, tell=told, wall=clock))
    assert [line["event"] for line in told] == ["backed_up"]
    clock.now += DAY + 60
    run_down(BackupSchedule(guard.state, tell=told, wall=clock))
    assert len(backup.backups(guard.state / "index.db")) == 2


def test_a_backup_that_finds_damage_or_no_file_says_so(guard, told):
    opened(guard, told)
    with (guard.state / "index.db").open("r+b") as index:
        index.seek(4096)
        index.write(os.urandom(8192))
    with pytest.raises(IndexDamaged):
        run_down(BackupSchedule(guard.state, tell=told, wall=Clock()))
    assert not backup.backups(guard.state / "index.db")
    (guard.state / "index.db").unlink()
    with pytest.raises(IndexDamaged, match="taken away"):
        BackupSchedule(guard.state, tell=told, wall=Clock()).step(idle=False)


def test_a_decision_log_that_waits_is_told_of_once(guard, told):
    log = guard.root / DECISION_LOG
    store = open_store(guard, SPACE, tell=told, now=0.0)
    decisions = DecisionLog(store.database, log)
    flush = flushing(decisions, told)
    log.mkdir()
    for at in range(3):
        decisions.note(PauseChanged(True), at=float(at))
        flush()
    assert [line["event"] for line in told] == ["decision_log_waits"]
    log.rmdir()
    flush()
    assert len(log.read_text().splitlines()) == 3
    store.database.close()


def test_a_network_disk_is_refused_unless_the_owner_named_it(told):
    state = Path("/home/owner/state")
    local, remote = Mount(1, "/", "ext4"), Mount(2, "/home", "nfs4")
    check_state(state, (), wished=None, tell=told)
    check_state(state, (local, remote), wished=None, tell=told)
    assert told == []
    with pytest.raises(ConfigError, match=r"\[state\] dir.*nfs4"):
        check_state(state, (remote,), wished=None, tell=told)
    check_state(state, (remote,), wished=state, tell=told)
    assert [line["event"] for line in told] == ["state_is_remote"]


@pytest.mark.fault("G13")
def test_a_clock_that_is_set_to_and_fro_makes_no_backup_and_puts_none_off(guard, told):
    opened(guard, told)
    clock = Clock()
    backups = BackupSchedule(guard.state, tell=told, wall=clock)
    run_down(backups)
    for years in (50, -50, 1, -1):
        clock.now += years * 366 * DAY
        run_down(backups)
    assert [line["event"] for line in told] == ["backed_up"]
    # Its last one bears a time that is yet to come: the next start makes another, which stays.
    clock.now -= 400 * DAY
    run_down(BackupSchedule(guard.state, tell=told, wall=clock))
    (newest, _) = backup.backups(guard.state / "index.db")
    assert newest.name == told[-1]["file"]
