"""Events are lost, refused, or never come, and nothing is missed for it. Rows W1 to W7 of the fault matrix.

Folders are paused where only what is found counts: then nothing is extracted.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import Library
from tests.faults.kit import (
    INOTIFY,
    another,
    aside,
    failing,
    pretending,
    stopped,
    under_strace,
)
from tests.namespaces import require_limits_of_its_own, with_inotify_limits

linux = pytest.mark.skipif(not INOTIFY.exists(), reason="about inotify, which is Linux's")


def launched(home: Library, *through: str) -> Library:
    home.launch(*through)
    home.await_told("ready")
    return home


def found(home: Library, *paths: str) -> None:
    """Each of these is found, once, long before it would be time for a rescan."""
    home.until(lambda: set(paths) <= {line["path"] for line in home.told("found")})
    for path in paths:
        assert len(home.told("found", path=path)) == 1


def watcher(home: Library) -> tuple[str, str]:
    told = home.ask("status")["watcher"]
    return told["mode"], told["why"]


def is_heard_again(home: Library, clip: Path, folder: Path) -> None:
    """What comes later is told by an event: a rescan is minutes away."""
    mended = home.told("watcher_restarted")
    another(clip, folder / "late.mp4", number=10**6)
    found(home, str((folder / "late.mp4").relative_to(home.root)))
    assert watcher(home) == ("events", "")
    assert home.told("watcher_restarted") == mended


# Events that are lost


@pytest.mark.fault("W1")
@linux
def test_more_events_than_the_system_keeps_cost_a_warning_and_a_scan_and_no_video(home, clips):
    home.start()
    kept = int((INOTIFY / "max_queued_events").read_text())
    (home.root / "trip").mkdir()
    another(clips / "sea-0.mp4", home.root / "first.mp4", number=0)
    home.await_told("found", path="first.mp4")
    with stopped(home.process.pid):
        busy, other = home.root / "busy", home.root / "other"
        busy.touch()
        for _ in range(kept // 2):  # each rename is two events: twice as many as are kept
            busy.rename(other)
            other.rename(busy)
        for number in range(1, 20):
            another(clips / "sea-0.mp4", home.root / f"trip/{number}.mp4", number)
    found(home, *(f"trip/{number}.mp4" for number in range(1, 20)))
    (line,) = home.await_told("watcher_restarted")
    assert (line["level"], line["watcher"]) == ("warning", "events")
    assert "more happened at once" in line["why"]
    is_heard_again(home, clips / "sea-0.mp4", home.root / "trip")


# Watches that are refused

FOLDERS = 40
FEW = 20


def folders(home: Library, clips: Path) -> list[str]:
    """Make folders with a clip in each; the paths of the clips."""
    for number in range(FOLDERS):
        (home.root / f"trip {number}").mkdir()
        another(clips / "sea-0.mp4", home.root / f"trip {number}/clip.mp4", number)
    return [f"trip {number}/clip.mp4" for number in range(FOLDERS)]


def is_polled(home: Library, clips: Path, *, sysctl: str) -> None:
    """It polls all of the tree and says why in one clear line, and a late file in any folder is found."""
    mode, why = watcher(home)
    assert mode == "polling"
    assert sysctl in why
    lines = [line for line in home.lines if sysctl in line.get("why", "")]
    assert len(lines) == 1
    for number in (0, FOLDERS - 1):
        another(clips / "sea-0.mp4", home.root / f"trip {number}/late.mp4", number=1000 + number)
    found(home, "trip 0/late.mp4", f"trip {FOLDERS - 1}/late.mp4")


@pytest.fixture
def polled(home) -> Library:
    """Polls every second where it must, and extracts nothing."""
    home.configure("config.toml", watch={"settle_seconds": 0.3, "poll_seconds": 1.0})
    assert home.start().run("pause").returncode == 0
    assert home.stop() == 0
    home.log.unlink()
    return home


@pytest.mark.fault("W2")
def test_more_folders_than_may_be_watched_are_all_polled(polled, clips):
    clips_there = folders(polled, clips)
    require_limits_of_its_own()
    launched(polled, *with_inotify_limits(watches=FEW))
    found(polled, *clips_there)
    is_polled(polled, clips, sysctl="fs.inotify.max_user_watches")


@pytest.mark.fault("W2")
def test_a_limit_that_is_reached_while_it_runs_makes_it_poll_everything(polled, clips):
    require_limits_of_its_own()
    launched(polled, *with_inotify_limits(watches=FEW))
    assert watcher(polled) == ("events", "")
    found(polled, *folders(polled, clips))
    (line,) = polled.await_told("watcher_restarted")
    assert (line["level"], line["watcher"]) == ("warning", "polling")
    is_polled(polled, clips, sysctl="fs.inotify.max_user_watches")


@pytest.mark.fault("W3")
def test_without_an_inotify_instance_everything_is_polled(polled, clips):
    clips_there = folders(polled, clips)
    require_limits_of_its_own()
    launched(polled, *with_inotify_limits(instances=0))
    found(polled, *clips_there)
    is_polled(polled, clips, sysctl="fs.inotify.max_user_instances")


# Events that never come


@pytest.mark.fault("W4")
@under_strace
def test_where_no_watch_is_granted_a_new_file_is_found_by_polling(polled, clips):
    launched(polled, *aside(failing("inotify_add_watch", "ENOSPC")))
    found(polled, *folders(polled, clips))
    is_polled(polled, clips, sysctl="fs.inotify.max_user_watches")


@pytest.mark.fault("W4")
@under_strace
def test_where_watches_are_granted_and_stay_silent_a_rescan_finds_the_file(home, clips):
    home.configure("config.toml", watch={"settle_seconds": 0.3, "rescan_seconds": 3.0})
    launched(home, *aside(pretending("inotify_add_watch", 1)))
    assert watcher(home) == ("events", "")
    shutil.copy(clips / "sea-0.mp4", home.root)
    found(home, "sea-0.mp4")


# Folders that come and go in a hurry


@pytest.mark.fault("W5")
def test_a_folder_that_is_moved_in_is_watched_from_then_on(home, clips):
    home.start()
    outside = home.folder / "trip"
    (outside / "day 1").mkdir(parents=True)
    for number, name in enumerate(("a.mp4", "day 1/b.mp4")):
        another(clips / "sea-0.mp4", outside / name, number)
    outside.rename(home.root / "trip")
    found(home, "trip/a.mp4", "trip/day 1/b.mp4")
    for number, name in enumerate(("late.mp4", "day 1/late.mp4"), start=2):
        another(clips / "sea-0.mp4", home.root / "trip" / name, number)
    found(home, "trip/late.mp4", "trip/day 1/late.mp4")
    assert home.told("watcher_restarted") == []


@pytest.mark.fault("W6")
def test_three_hundred_folders_made_filled_and_renamed_are_each_known_once(home, clips):
    home.start()
    assert home.run("pause").returncode == 0
    for number in range(300):
        folder = home.root / "New folder"
        folder.mkdir()
        another(clips / "sea-0.mp4", folder / "clip.mp4", number)
        folder.rename(home.root / f"trip {number}")
    paths = [f"trip {number}/clip.mp4" for number in range(300)]
    found(home, *paths)
    home.until(lambda: home.ask("status")["videos"]["labelled"] == 300)
    assert sorted(line["path"] for line in home.told("labelled")) == sorted(paths)
    assert {category["name"]: category["labels"] for category in home.ask("status")["categories"]} == {
        f"trip {number}": 1 for number in range(300)
    }


# Watchers that die


def made_anew(root: Path) -> None:
    """The root is another folder of the same content."""
    root.rename(root.with_name("aside"))
    root.mkdir()
    for path in root.with_name("aside").iterdir():
        path.rename(root / path.name)
    root.with_name("aside").rmdir()


@pytest.mark.fault("W7")
def test_a_root_that_is_made_anew_is_watched_anew(home, clips):
    (home.root / "trip").mkdir()
    shutil.copy(clips / "sea-0.mp4", home.root / "trip")
    home.start()
    home.await_told("extracted")
    with home.nothing_lost():
        made_anew(home.root)
        is_mended(home)
    is_heard_again(home, clips / "sea-0.mp4", home.root / "trip")
    assert len(home.told("labelled", path="trip/sea-0.mp4")) == 1
    assert home.told("withdrawn") == home.told("corrected") == []


def is_mended(home: Library) -> None:
    home.until(lambda: home.told("watcher_restarted") or home.told("root_back"))


@pytest.mark.fault("W7")
@under_strace
def test_a_listening_thread_that_dies_is_replaced_within_a_minute_and_nothing_is_missed(home, clips):
    (home.root / "trip").mkdir()
    launched(home, *aside(failing("read", "EIO", when="2", path=Path("anon_inode:inotify"))))
    for number in range(3):
        another(clips / "sea-0.mp4", home.root / f"{number}.mp4", number)
        found(home, f"{number}.mp4")
    is_mended(home)
    is_heard_again(home, clips / "sea-0.mp4", home.root / "trip")
