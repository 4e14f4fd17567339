"""The index is damaged, of a newer version or gone. Rows P6 and P7; L1, L2 and L5 over a rebuild."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sortd.store.migrations import MIGRATIONS
from tests.faults.conftest import Library

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
    """It failed, and said why in one line."""
    lines = done.stderr.strip().splitlines()
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


DAMAGE = [random_bytes, cut_in_half]


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
        assert clear(refused)
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


# Other versions: P7


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
