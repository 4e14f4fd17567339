"""The state is full, forbidden, damaged, of another version or gone. Rows P5, P6, P7, P9, M2; L1, L2 and L5 over it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from sortd.store.migrations import MIGRATIONS
from tests.faults.conftest import Library
from tests.faults.kit import (
    DATABASE_CALLS,
    WITHOUT_PRIVILEGES,
    as_root,
    fill,
    killing,
    tmpfs,
    under_strace,
)

KILLED = (137, -9)
PAGE = 4096


def index_of(home: Library) -> Path:
    return home.state / "index.db"


def sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def taken_out(home: Library, clips: Path, name: str = "sea-6.mp4") -> None:
    """The owner took a placement back to the root."""
    shutil.copy(clips / name, home.root)
    assert home.once().returncode == 0
    assert home.places(name) == [f"sea/{name}"]
    (home.root / "sea" / name).rename(home.root / name)
    assert home.once().returncode == 0


def clear(done: subprocess.CompletedProcess[str]) -> bool:
    """It failed, and said why in one line, beside what it had logged before."""
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("{")]
    return done.returncode == 1 and len(lines) == 1 and "Traceback" not in done.stderr


# The index is lost: L2 and L5


@pytest.mark.fault("L2", "P6", sample=True)
def test_pins_and_placements_outlive_the_index(fresh, clips):
    home = fresh()
    taken_out(home, clips)
    shutil.copy(clips / "sea-7.mp4", home.root)
    assert home.once().returncode == 0
    with home.nothing_lost():
        index_of(home).unlink()
        (home.root / "sea" / "sea-7.mp4").rename(home.root / "sea-7.mp4")
        for _ in range(2):
            assert home.once().returncode == 0
            assert home.places("sea-6.mp4") == ["sea-6.mp4"]
            assert home.places("sea-7.mp4") == ["sea-7.mp4"]
    for name in ("sea-6.mp4", "sea-7.mp4"):
        assert home.ask("explain", str(home.root / name))["vetoes"] == ["sea"]
    assert len(home.told("index_restored")) == 1


@pytest.mark.fault("L5")
@pytest.mark.parametrize("lost", ["the index", "the state"])
def test_a_copy_of_what_was_taken_out_keeps_its_pin_over_a_rebuild(fresh, clips, lost):
    home = fresh()
    taken_out(home, clips)
    with home.nothing_lost():
        if lost == "the index":
            for path in home.state.glob("index.db*"):
                path.unlink()
        else:
            shutil.rmtree(home.state)
        shutil.copy(home.root / "sea-6.mp4", home.root / "another name.mp4")
        (home.root / "sea-6.mp4").unlink()
        assert home.once().returncode == 0
        assert home.places("another name.mp4") == ["another name.mp4"]
    assert home.ask("explain", str(home.root / "another name.mp4"))["reason"] == "vetoed"


@pytest.mark.fault("L1", "P6")
def test_what_sortd_filed_is_no_label_after_a_rebuild_and_can_be_undone(fresh, clips):
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    assert home.once().returncode == 0
    labels = home.ask("status")["videos"]["labelled"]
    shutil.rmtree(home.state)
    with home.nothing_lost():
        assert home.once().returncode == 0
        videos = home.ask("status")["videos"]
        assert (videos["labelled"], videos["placed"]) == (labels, 1)
        assert [move["state"] for move in home.ask("history")] == ["done"]
        assert home.run("undo", str(home.root / "sea" / "sea-6.mp4")).returncode == 0
        assert home.places("sea-6.mp4") == ["sea-6.mp4"]
        assert home.once().returncode == 0
        assert home.places("sea-6.mp4") == ["sea-6.mp4"]


# The index is damaged: P6


def random_bytes(index: Path) -> None:
    index.write_bytes(os.urandom(50_000))


def cut_in_half(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2 // PAGE * PAGE)


def cut_within_a_page(index: Path) -> None:
    os.truncate(index, index.stat().st_size - 1000)


def emptied(index: Path) -> None:
    os.truncate(index, 0)


def flipped(index: Path) -> None:
    """Some bits of every third page."""
    with index.open("r+b") as file:
        for start in range(PAGE, index.stat().st_size, 3 * PAGE):
            file.seek(start)
            page = bytearray(file.read(PAGE))
            for place in range(0, 200, 5):
                page[place] ^= 0x41
            file.seek(start)
            file.write(page)


def header_flipped(index: Path) -> None:
    with index.open("r+b") as file:
        file.write(b"SQLite formut 3")


def journal_without_index(index: Path) -> None:
    index.rename(index.with_name("index.db-journal"))


def log_without_index(index: Path) -> None:
    index.rename(index.with_name("index.db-wal"))
    index.with_name("index.db-shm").write_bytes(os.urandom(32_768))


DAMAGE = [
    random_bytes,
    cut_in_half,
    cut_within_a_page,
    emptied,
    flipped,
    header_flipped,
    journal_without_index,
    log_without_index,
]


@pytest.mark.fault("P6")
@pytest.mark.parametrize("backups", ["with backups", "without"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_put_aside_and_made_again(fresh, clips, damage: Callable[[Path], None], backups):
    home = fresh()
    taken_out(home, clips)
    kept = {path: path.read_bytes() for path in home.state.glob("index.db.backup-*")}
    assert kept
    if backups == "without":
        for path in kept:
            path.unlink()
        kept = {}
    damage(index_of(home))
    left = {path.name: path.read_bytes() for path in home.state.glob("index.db*") if path not in kept}
    extracted = len(home.told("extracted"))
    with home.nothing_lost():
        refused = home.run("undo")
        assert clear(refused) or "without" in damage.__name__
        assert home.once().returncode == 0
        assert home.places("sea-6.mp4") == ["sea-6.mp4"]
    assert sound(index_of(home))
    (restored,) = home.told("index_restored")
    assert (restored["backup"] is not None) == bool(kept)
    assert home.ask("explain", str(home.root / "sea-6.mp4"))["vetoes"] == ["sea"]
    aside = {path.name.partition(".corrupt-")[2]: path.read_bytes() for path in home.state.glob("*.corrupt-*")}
    assert sorted(aside.values()) == sorted(left.values())
    assert {path: path.read_bytes() for path in kept} == kept
    if kept:
        assert len(home.told("extracted")) - extracted <= 1, "the backup saves extracting all again"


@pytest.mark.fault("P6")
def test_damaged_again_and_again_nothing_put_aside_is_overwritten(fresh):
    home = fresh()
    for round_ in range(1, 4):
        random_bytes(index_of(home))
        assert home.once().returncode == 0
        assert len(list(home.state.glob("index.db.corrupt-*"))) == round_


@pytest.mark.fault("P6")
@pytest.mark.parametrize("damage", [random_bytes, flipped, emptied])
def test_no_command_stumbles_over_a_damaged_index_or_changes_anything(fresh, damage: Callable[[Path], None]):
    home = fresh()
    damage(index_of(home))
    before = {path: path.read_bytes() for path in home.state.iterdir()}
    for command in (["status"], ["preview"], ["history"], ["explain", str(home.root / "sea" / "sea-0.mp4")], ["undo"]):
        done = home.run(*command)
        assert clear(done) or (done.returncode == 0 and not done.stderr), (command, done.stderr)
    (checked,) = [one for one in json.loads(home.run("check", "--json").stdout) if one["name"] == "state"]
    assert not checked["ok"]
    assert "sortd run" in checked["cure"]
    after = {path: path.read_bytes() for path in home.state.iterdir() if path.name != "lock"}
    assert after == {path: content for path, content in before.items() if path.name != "lock"}


@pytest.mark.fault("P6")
@pytest.mark.parametrize("harm", [flipped, Path.unlink])
def test_damage_that_shows_while_it_runs_is_mended_without_an_end(fresh, clips, harm: Callable[[Path], None]):
    home = fresh(extract={"idle_seconds": 1.0})
    taken_out(home, clips)
    home.start()
    harm(index_of(home))
    # Something to write down, so that the damage shows.
    shutil.copy(clips / "garden-6.mp4", home.root)
    with home.nothing_lost():
        home.await_told("index_restored")
        home.until(lambda: home.places("garden-6.mp4") == ["garden/garden-6.mp4"] and sound(index_of(home)))
        assert home.places("sea-6.mp4") == ["sea-6.mp4"]
    assert home.ask("explain", str(home.root / "sea-6.mp4"))["vetoes"] == ["sea"]
    assert len(home.told("step_failed")) <= 1
    assert home.stop() == 0


# M2


@pytest.mark.fault("M2")
@pytest.mark.timeout(3600)
@under_strace
def test_killed_at_any_write_of_the_index_it_is_whole_and_the_next_start_goes_on(fresh, clips):
    for call in count(1):
        home = fresh()
        shutil.copy(clips / "sea-6.mp4", home.root)
        with home.nothing_lost():
            ended = home.once(*killing(DATABASE_CALLS, at=call)).returncode
            assert sound(index_of(home))
            assert home.once().returncode == 0
            assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]
            status = home.ask("status")
            assert (status["open_moves"], status["videos"]["placed"]) == (0, 1)
        assert not home.told("index_restored")
        if ended not in KILLED:
            break
    assert call > 10


@pytest.mark.fault("M2", "P6")
@pytest.mark.timeout(3600)
@under_strace
def test_killed_at_any_write_of_a_repair_the_next_start_repairs_it(fresh, clips):
    for call in count(1):
        home = fresh()
        taken_out(home, clips)
        flipped(index_of(home))
        with home.nothing_lost():
            ended = home.once(*killing(f"{DATABASE_CALLS},rename", at=call)).returncode
            assert home.once().returncode == 0
            assert home.places("sea-6.mp4") == ["sea-6.mp4"]
        assert sound(index_of(home))
        assert home.ask("explain", str(home.root / "sea-6.mp4"))["vetoes"] == ["sea"]
        if ended not in KILLED or call > 60:
            break
    assert call > 10


# Other versions: P7


@pytest.mark.fault("P7")
@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_index_is_backed_up_and_brought_up_to_date(home, clips, version):
    (home.root / "sea").mkdir()
    shutil.copy(clips / "sea-0.mp4", home.root / "sea")
    assert home.once().returncode == 0
    for path in home.state.glob("index.db*"):
        path.unlink()
    old = sqlite3.connect(index_of(home))
    for script in MIGRATIONS[:version]:
        old.executescript(script)
    old.execute(f"PRAGMA user_version = {version}")
    old.execute("INSERT INTO notes VALUES ('an old', 'note')")
    old.commit()
    old.close()
    assert clear(home.run("preview"))
    with home.nothing_lost():
        assert home.once().returncode == 0
    (backup, *_) = sorted(home.state.glob("index.db.backup-*"))
    kept = sqlite3.connect(backup)
    assert kept.execute("PRAGMA user_version").fetchone() == (version,)
    assert kept.execute("SELECT value FROM notes WHERE key = 'an old'").fetchone() == ("note",)
    kept.close()
    assert sound(index_of(home))
    assert home.ask("status")["videos"]["labelled"] == 1


@pytest.mark.fault("P7")
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_an_index_of_a_newer_sortd_is_refused_and_left_as_it_is(fresh, mode):
    home = fresh()
    newer = sqlite3.connect(index_of(home))
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.execute(f"PRAGMA journal_mode = {mode}")
    newer.close()
    before = index_of(home).read_bytes()
    with home.nothing_lost():
        for command in (["run", "--once"], ["run"], ["status"], ["undo"], ["preview"]):
            done = home.run(*command)
            assert clear(done), done.stderr
            assert "newer sortd" in done.stderr
    assert index_of(home).read_bytes() == before
    assert not list(home.state.glob("index.db.corrupt-*"))


# Full or forbidden: P5


@pytest.mark.fault("P5")
@as_root
@pytest.mark.parametrize("forbidden", ["state", "lock", "index.db"])
def test_what_may_not_be_written_is_told_in_one_line(fresh, forbidden):
    home = fresh()
    path = home.state if forbidden == "state" else home.state / forbidden
    path.chmod(0o500 if path.is_dir() else 0o400)
    if forbidden == "state":
        (home.state / "lock").chmod(0o400)
    try:
        with home.nothing_lost():
            done = home.once(*WITHOUT_PRIVILEGES)
            assert clear(done), done.stderr
    finally:
        path.chmod(0o700)
        (home.state / "lock").chmod(0o600)
    assert home.once().returncode == 0


@pytest.mark.fault("P5")
@as_root
def test_a_full_disk_at_the_first_start_is_one_line_and_leaves_nothing_half(home, clips):
    shutil.copy(clips / "sea-0.mp4", home.root)
    with tmpfs(home.state, "1m"), home.nothing_lost():
        filler = fill(home.state)
        done = home.once()
        assert clear(done), done.stderr
        filler.unlink()
        assert home.once().returncode == 0
        assert home.ask("status")["videos"]["total"] == 1


@pytest.mark.fault("P5")
@as_root
def test_a_disk_that_fills_while_it_runs_is_told_once_and_all_goes_on_when_there_is_room(fresh, clips):
    home = fresh()
    before = home.state.with_name("state before")
    home.state.rename(before)
    with tmpfs(home.state, "16m"):
        shutil.copytree(before, home.state, dirs_exist_ok=True)
        home.start()
        filler = fill(home.state)
        for number in (6, 7, 8):
            shutil.copy(clips / f"sea-{number}.mp4", home.root)
        with home.nothing_lost():
            home.await_told("step_failed")
            assert home.runs()
            told = len(home.told("step_failed"))
            filler.unlink()
            home.until(lambda: all(home.places(f"sea-{n}.mp4") == [f"sea/sea-{n}.mp4"] for n in (6, 7, 8)))
            assert told <= 2
        assert home.stop() == 0
        assert sound(index_of(home))
        assert not home.told("index_restored")


# The classifier's file: P9


class _Bomb:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):
        return os.system, (f"touch '{self.made}'",)


def pickled(path: Path, made: Path) -> None:
    path.write_bytes(pickle.dumps(_Bomb(made)))


def array_of_objects(path: Path, made: Path) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    objects = np.empty(1, dtype=object)
    objects[0] = _Bomb(made)
    np.savez(path.with_suffix(""), **(arrays | {"vectors": objects, "header": arrays["header"]}))


def truncated(path: Path, _: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def missing(path: Path, _: Path) -> None:
    path.unlink()


def of_rubbish(path: Path, _: Path) -> None:
    path.write_bytes(os.urandom(10_000))


@pytest.mark.fault("P9")
@pytest.mark.parametrize("harm", [pickled, array_of_objects, truncated, missing, of_rubbish])
def test_a_classifier_that_is_damaged_or_hostile_runs_no_code_and_is_made_again(fresh, clips, harm):
    home = fresh()
    made = home.folder / "PWNED"
    (classifier,) = home.state.glob("classifier-*.npz")
    harm(classifier, made)
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        assert home.run("preview").returncode == 0
        assert home.once().returncode == 0
        assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]
    assert not made.exists()
    assert len(home.told("classifier_unusable")) == 1
    assert home.told("trained", adopted=True)
