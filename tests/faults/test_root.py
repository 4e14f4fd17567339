"""Is the root what it was? Rows W8 to W10, P3, P4, P8 and L7 of the fault matrix, and disks that do not answer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from itertools import product
from pathlib import Path

import pytest

from sortd.cli.demo_clips import FAMILIES
from tests.faults.conftest import TAUGHT
from tests.faults.kit import (
    WITHOUT_PRIVILEGES,
    another,
    as_root,
    bind,
    delaying,
    hanging,
    racing,
    tmpfs,
    under_strace,
)
from tests.stories.service import SORTD
from tests.waiting import PATIENCE_SECONDS, was_quick

AS_ANOTHER_HOST = ("unshare", "--uts", "sh", "-c", 'hostname attic; exec "$0" "$@"')


def what_is_known(home):
    """All that an owner would miss, had an absent disk been taken for an empty one."""
    return [(row["name"], row["labels"], row["placed"]) for row in home.ask("status")["categories"]]


def intends(home):
    """Whether a move was begun and not yet noted."""
    with sqlite3.connect(f"file:{home.state / 'index.db'}?mode=ro", uri=True) as index:
        return index.execute("SELECT 1 FROM moves WHERE state = 'open'").fetchone()


def lives_on(home, clips, name="sea-6.mp4"):
    """It files what is dropped now."""
    shutil.copy(clips / name, home.root)
    home.until(lambda: home.places(name) == [f"sea/{name}"])


# The root goes away


@pytest.mark.fault("W8")
@as_root
def test_a_disk_that_is_hidden_for_a_while_costs_nothing(fresh, clips):
    home = fresh(watch={"settle_seconds": 0.3, "rescan_seconds": 1.0}).start()
    home.until(lambda: home.ask("status")["state"] == "idle")
    known = what_is_known(home)
    with home.nothing_lost():
        with tmpfs(home.root):
            home.await_told("root_away")
            told = home.ask("status")
            assert (told["state"], told["why"]) == ("away", f"{home.root} is without its marker .sortd/library.json")
            assert home.run("undo").returncode == 1
            assert list(home.root.iterdir()) == []
            time.sleep(3)  # some rescans
        home.await_told("root_back")
        home.until(lambda: home.ask("status")["state"] == "idle")
        assert what_is_known(home) == known
    assert not [line for line in home.lines if line["event"] in {"labelled", "withdrawn", "retrain_due", "moved"}]
    lives_on(home, clips)


@pytest.mark.fault("W8")
@as_root
def test_a_disk_that_comes_and_goes_during_scans_costs_nothing(fresh):
    home = fresh(watch={"settle_seconds": 0.1, "rescan_seconds": 0.2}).start()
    known = what_is_known(home)

    def flicker():
        with tmpfs(home.root):
            time.sleep(0.15)
        time.sleep(0.15)

    with home.nothing_lost():
        with racing(flicker):
            for _ in range(40):
                home.process.send_signal(signal.SIGHUP)
                time.sleep(0.25)
        home.process.send_signal(signal.SIGHUP)
        home.until(lambda: home.ask("status")["state"] == "idle")
        assert what_is_known(home) == known
    assert not [line for line in home.lines if line["event"] in {"labelled", "withdrawn", "moved", "step_failed"}]


@pytest.mark.fault("W8")
@as_root
def test_a_disk_that_goes_during_an_extraction_sets_nothing_aside(home, clips):
    home.start()
    for clip in clips.glob("sea-*.mp4"):
        shutil.copy(clip, home.root)
    with home.nothing_lost():
        home.await_told("found")
        with tmpfs(home.root):
            home.await_told("root_away")
        home.await_told("extracted", len(list(clips.glob("sea-*.mp4"))))
        told = home.ask("status")
        assert (told["set_aside"], told["videos"]["pending"]) == ([], 0)


@pytest.mark.fault("W8")
@under_strace
def test_a_disk_that_goes_during_a_move_has_the_video_once(fresh, clips):
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        home.launch(*delaying("renameat2", 4, when="1"))
        home.until(lambda: intends(home))
        with tmpfs(home.root):
            home.await_told("root_away")
        home.until(lambda: home.places("sea-6.mp4") == ["sea/sea-6.mp4"])
        home.until(lambda: not home.ask("status")["open_moves"])


@pytest.mark.fault("W9", sample=True)
def test_a_folder_without_the_marker_is_never_a_new_library(fresh):
    home = fresh()
    known = what_is_known(home)
    with home.nothing_lost():
        home.root.rename(home.folder / "aside")
        home.root.mkdir()
        done = home.once()
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "without its marker" in done.stderr
        assert list(home.root.iterdir()) == []
        home.root.rmdir()
        (home.folder / "aside").rename(home.root)
        assert what_is_known(home) == known


@pytest.mark.fault("W9")
def test_another_folder_in_its_place_is_left_alone(fresh, clips):
    home = fresh().start()
    known = what_is_known(home)
    aside, other = home.folder / "aside", home.folder / "other"
    other.mkdir()
    library = [*SORTD, "run", "--once", str(other)]
    environment = os.environ | {"XDG_STATE_HOME": str(home.folder / "states"), "XDG_CONFIG_HOME": str(home.folder)}
    subprocess.run(library, check=True, capture_output=True, timeout=PATIENCE_SECONDS, env=environment)
    with home.nothing_lost():
        home.root.rename(aside)
        other.rename(home.root)
        shutil.copy(clips / "sea-6.mp4", home.root)
        home.await_told("root_away")
        assert home.ask("status")["why"] == f"{home.root} is another library now"
        assert home.places("sea-6.mp4") == ["sea-6.mp4"]
        home.root.rename(other)
        aside.rename(home.root)
        home.await_told("root_back")
        assert what_is_known(home) == known
    lives_on(home, clips, "sea-7.mp4")


@pytest.mark.fault("W10")
@as_root
def test_a_root_that_may_not_be_read_for_a_while_costs_nothing(fresh, clips):
    home = fresh(watch={"settle_seconds": 0.3, "rescan_seconds": 1.0})
    home.launch(*WITHOUT_PRIVILEGES)
    home.await_told("ready")
    known = what_is_known(home)
    with home.nothing_lost():
        home.root.chmod(0)
        home.await_told("root_away")
        assert "Permission denied" in home.ask("status")["why"]
        time.sleep(2)
        home.root.chmod(0o755)
        home.await_told("root_back")
        home.until(lambda: home.ask("status")["state"] == "idle")
        assert what_is_known(home) == known
    lives_on(home, clips)


@pytest.mark.fault("W8")
def test_a_root_that_is_away_at_the_start_is_waited_for(fresh, clips):
    home = fresh()
    home.root.rename(home.folder / "aside")
    assert home.once().returncode == 1
    home.launch()
    home.await_told("root_away")
    told = home.ask("status")
    assert (told["state"], told["videos"]["labelled"] > 0) == ("away", True)
    assert not home.root.exists()
    (home.folder / "aside").rename(home.root)
    home.await_told("root_back")
    lives_on(home, clips)


# A disk that does not answer


@pytest.mark.fault("W8")
@under_strace
def test_a_disk_that_does_not_answer_is_away_until_it_does(fresh, clips):
    home = fresh().start()
    with hanging(home.process.pid, home.root / ".sortd" / "library.json"):
        home.await_told("root_away")
        for _ in range(2):
            asked = time.monotonic()
            told = home.ask("status")
            assert was_quick(asked, seconds=30), "the loop goes round"
            assert (told["state"], told["why"]) == ("away", f"{home.root}: the disk does not answer")
            time.sleep(6)  # the service asks again
        tasks = Path(f"/proc/{home.process.pid}/task")
        threads = len([*tasks.iterdir()])
        time.sleep(11)
        assert len([*tasks.iterdir()]) <= threads
    home.await_told("root_back")
    lives_on(home, clips)


@pytest.mark.fault("W8", "P1")
@under_strace
def test_a_service_whose_disk_does_not_answer_can_be_stopped(fresh):
    home = fresh().start()
    with hanging(home.process.pid, home.root / ".sortd" / "library.json"):
        home.await_told("root_away")
        asked = time.monotonic()
        home.process.send_signal(signal.SIGTERM)
        # The thread that hangs is kept by the tracer; the service itself has ended.
        home.until(lambda: Path(f"/proc/{home.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        assert was_quick(asked, seconds=10)
    assert home.process.wait(PATIENCE_SECONDS) == 0
    assert home.told("stopped", why="SIGTERM")


# One service alone


@pytest.mark.fault("P3")
@as_root
def test_a_second_service_ends_at_once_and_names_the_first(home):
    home.start()
    said = f"already served by process {home.process.pid}"
    other_state = home.configure("other.toml", state={"dir": str(home.folder / "other state")})
    door = home.folder / "door"
    with bind(home.root, door):
        for settings, root in [(home.config, home.root), (other_state, home.root), (other_state, door)]:
            command = [*SORTD, "run", "--config", str(settings), str(root)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert said in done.stderr
    assert home.ask("status")["state"] in {"idle", "running"}


@pytest.mark.fault("P4", sample=True)
def test_the_lock_of_a_killed_service_keeps_nobody_out(fresh, clips):
    home = fresh().start()
    home.kill()
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        assert home.once().returncode == 0
        assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]


@pytest.mark.fault("P3")
@as_root
def test_another_host_is_refused_until_it_takes_the_library_over(fresh, clips):
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    there = home.configure("there.toml", state={"dir": str(home.folder / "state there")}, move={"probation": []})

    def from_there(*command):
        line = [*AS_ANOTHER_HOST, *SORTD, *command, "--config", str(there)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)

    with home.nothing_lost():
        for command in (["run"], ["run", "--once"], ["pause"], ["undo", "1"]):
            done = from_there(*command)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert "served by the host" in done.stderr
            assert "sortd run --take-over" in done.stderr
        told = from_there("status", "--json")
        assert told.returncode == 0
        assert "served by the host" in json.loads(told.stdout)["why"]
        assert home.places("sea-6.mp4") == ["sea-6.mp4"]
        assert from_there("run", "--once", "--take-over").returncode == 0
        assert home.told("taken_over")
        refused = home.once()
        assert refused.returncode == 1
        assert "served by the host attic" in refused.stderr


@pytest.mark.fault("P3")
@as_root
def test_a_machine_that_was_renamed_goes_on(fresh, clips):
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        assert home.once(*AS_ANOTHER_HOST).returncode == 0
        assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]
        assert home.once().returncode == 0


@pytest.mark.fault("P3")
@as_root
def test_a_service_whose_library_is_taken_over_stops_touching_it(fresh, clips):
    home = fresh().start()
    marker = home.root / ".sortd" / "library.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"host": "attic"}))
    home.await_told("root_away")
    assert "is served by the host attic now" in home.ask("status")["why"]
    shutil.copy(clips / "sea-6.mp4", home.root)
    time.sleep(3)
    assert home.places("sea-6.mp4") == ["sea-6.mp4"]


# Far too many videos vanish at once


STAYS, LOST, LOST_TOO, _ = FAMILIES

DROPPED = f"{STAYS}-6.mp4"
"""What is filed by itself, unless the brake holds."""


def serving_many(fresh, clips):
    """Where so many videos stand, 30 of each family and all learned, that the brake may count."""
    home = fresh(watch={"settle_seconds": 0.3, "rescan_seconds": 1.0})
    for family, number in product(FAMILIES, range(30 - TAUGHT)):
        another(clips / f"{family}-{number % TAUGHT}.mp4", home.root / family / f"more-{number}.mp4", number)
    assert home.once().returncode == 0
    assert home.ask("status")["videos"]["labelled"] == 120
    shutil.copytree(home.root, home.folder / "backup", ignore=shutil.ignore_patterns(".sortd"))
    home.log.unlink()
    return home.start()


def delete_most(home):
    """72 of 120, two folders whole, and wait until it is told."""
    shutil.rmtree(home.root / LOST)
    shutil.rmtree(home.root / LOST_TOO)
    for path in sorted((home.root / STAYS).glob("*.mp4"))[:12]:
        path.unlink()
    (line,) = home.await_told("videos_vanished")
    assert (line["count"], line["of"]) == (72, 120)


def nothing_follows(home):
    time.sleep(3)  # some rescans
    told = home.ask("status")
    assert told["state"] == "paused"
    assert "72 of 12" in told["why"]
    assert "sortd resume --vanished" in told["why"]
    assert {row["name"] for row in told["categories"]} == set(FAMILIES)
    assert home.places(DROPPED) == [DROPPED]
    followed = {"moved", "withdrawn", "corrected", "retrain_due", "trained", "videos_back"}
    assert not followed & {line["event"] for line in home.lines}


@pytest.mark.fault("L7")
def test_nothing_follows_from_most_videos_vanishing_until_they_are_back(fresh, clips):
    home = serving_many(fresh, clips)
    with home.nothing_lost():
        delete_most(home)
        shutil.copy(clips / DROPPED, home.root)
        home.await_told("found", path=DROPPED)
        nothing_follows(home)
        assert len(home.told("videos_vanished")) == 1
        assert home.stop() == 0
        home.start()
        nothing_follows(home)
        shutil.copytree(home.folder / "backup", home.root, dirs_exist_ok=True)
        home.await_told("videos_back")
        home.until(lambda: home.places(DROPPED) == [f"{STAYS}/{DROPPED}"])
        home.until(lambda: home.ask("status")["state"] == "idle")
        assert home.ask("status")["videos"]["labelled"] == 120
        assert home.told("withdrawn") == home.told("corrected") == home.told("labelled") == []
        (home.root / STAYS / DROPPED).unlink()  # dropped since the count


@pytest.mark.fault("L7")
def test_the_owners_word_takes_them_for_deleted(fresh, clips):
    home = serving_many(fresh, clips)
    delete_most(home)
    with home.nothing_lost():
        assert "72 videos" in home.run("resume", "--vanished").stdout
        home.until(
            lambda: {row["name"] for row in home.ask("status")["categories"]} == set(FAMILIES) - {LOST, LOST_TOO}
        )
        shutil.copy(clips / DROPPED, home.root)
        home.until(lambda: home.places(DROPPED) == [f"{STAYS}/{DROPPED}"])
        assert home.ask("status")["state"] != "paused"
        (home.root / STAYS / DROPPED).unlink()  # dropped since the count


# Settings that cannot be meant


@pytest.mark.fault("P8")
@pytest.mark.parametrize(
    ("settings", "line", "said"),
    [
        ("[library\n", 1, ""),
        ("[library]\nroot = /\n", 2, ""),
        ('[libary]\nroot = "ROOT"\n', 1, "library"),
        ('[library]\nrot = "ROOT"\n', 2, "root"),
        ('[library]\nroot = "ROOT"\nlevels = "one"\n', 3, "levels"),
        ('[library]\nroot = "ROOT"\n[move]\ntarget_precison = 0.9\n', 4, "target_precision"),
        ('[library]\nroot = "ROOT"\n[move]\ntarget_precision = 2\n', 4, "target_precision"),
        ('[library]\nroot = "/"\n', 2, "root"),
        ('[library]\nroot = "~"\n', 2, "root"),
        ('[library]\nroot = "ROOT"\n[state]\ndir = "ROOT/sea/state"\n', 4, "outside"),
    ],
)
def test_settings_that_cannot_be_meant_are_told_with_their_line(home, clips, settings, line, said):
    (home.root / "sea").mkdir()
    shutil.copy(clips / "sea-0.mp4", home.root / "sea")
    home.config.write_text(settings.replace("ROOT", str(home.root)))
    with home.nothing_lost():
        for command in (["run"], ["run", "--once"], ["status"], ["undo"]):
            done = home.run(*command)
            assert done.returncode == 78, done.stderr
            assert f"{home.config}:{line}" in done.stderr
            assert said in done.stderr
            assert "Traceback" not in done.stderr
    assert sorted(path.name for path in Path(home.root).iterdir()) == ["sea"]
