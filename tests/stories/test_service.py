"""A real service on a real folder: clips come and go as they do in life, and it is stopped, killed and asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import datetime
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sortd.cli.demo_clips import FAMILIES, make_clip
from tests.stories.service import SORTD, Service
from tests.waiting import PATIENCE_SECONDS, until, was_quick

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")

TAUGHT = 10
DROPPED = 3


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Short clips, named FAMILY-NUMBER.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    wanted = [(family, number) for number, family in product(range(TAUGHT + DROPPED), FAMILIES)]
    with ProcessPoolExecutor(2, get_context("spawn")) as makers:
        made = [makers.submit(make_clip, folder / f"{f}-{n}.mp4", f, n, seconds=0.75) for f, n in wanted]
        for one in made:
            one.result()
    return folder


@pytest.fixture(scope="session")
def school(tmp_path_factory, clips):
    """A library that has learned four families of ten; it is copied, never served itself."""
    school = Service(tmp_path_factory.mktemp("school") / "before")
    for family, number in product(FAMILIES, range(TAUGHT)):
        (school.root / family).mkdir(exist_ok=True)
        shutil.copy2(clips / f"{family}-{number}.mp4", school.root / family)
    done = school.run("run", "--once")
    assert done.returncode == 0, done.stderr
    # Whoever finds the folder gone where the state says it was takes a copy of it for the library, moved.
    return school.folder.rename(school.folder.with_name("after"))


@pytest.fixture
def serve(tmp_path):
    """Services that are gone when the test is, and never said a thing that nobody expected."""
    made: list[Service] = []

    def serve(folder: Path | None = None, **settings: Any) -> Service:
        made.append(Service(folder or tmp_path / "home", **settings))
        return made[-1]

    yield serve
    for service in made:
        service.end()
    for service in made:
        assert [line for line in service.lines if line["event"] == "step_failed" or "exception" in line] == []


@pytest.fixture
def taught(tmp_path, school, serve):
    def taught(**settings):
        folder = tmp_path / "taught"
        shutil.copytree(school / "videos", folder / "videos")
        shutil.copytree(school / "state", folder / "state")
        return serve(folder, move={"probation": []}, **settings)

    return taught


def videos(root: Path) -> Counter[bytes]:
    """What is in all the files below a folder."""
    return Counter(path.read_bytes() for path in root.rglob("*") if path.is_file() and ".sortd" not in path.parts)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Coming and being filed


def test_of_twelve_new_ones_dropped_while_it_runs_at_least_ten_are_filed_and_none_wrongly(taught, clips):
    home = taught().start()
    new = [f"{family}-{number}.mp4" for number, family in product(range(TAUGHT, TAUGHT + DROPPED), FAMILIES)]
    for name in new:
        shutil.copy(clips / name, home.root)
    home.until(lambda: len(home.told("moved")) + len(home.told("left")) >= len(new))
    assert home.stop() == 0
    moved = home.told("moved")
    assert len(moved) >= 10
    assert all(line["path"].startswith(line["category"]) for line in moved)
    assert all((home.root / line["to"]).read_bytes() == (clips / line["path"]).read_bytes() for line in moved)
    assert sorted(line["path"] for line in home.told("extracted")[-12:]) == sorted(new)


def test_clips_that_come_in_every_way_are_taken_once_and_whole(serve, clips):
    home = serve().start()
    whole = (clips / "sea-0.mp4").read_bytes()

    # A slow copy.
    with (home.root / "slow.mp4").open("wb", buffering=0) as file:
        for start in range(0, len(whole), len(whole) // 8):
            file.write(whole[start : start + len(whole) // 8])
            time.sleep(0.15)
    ended = (home.root / "slow.mp4").stat().st_mtime
    # A download.
    shutil.copy(clips / "sea-1.mp4", home.root / "download.mp4.part")
    # A folder with all that is in it, and something more that comes later.
    shutil.copytree(
        clips, home.folder / "trip", ignore=lambda _, names: [n for n in names if not n.startswith("city-1.")]
    )
    (home.folder / "trip").rename(home.root / "trip")
    home.await_told("extracted", path="slow.mp4")
    (home.root / "download.mp4.part").rename(home.root / "download.mp4")
    shutil.copy(clips / "city-2.mp4", home.root / "trip" / "late.mp4")

    home.await_told("extracted", path="download.mp4")
    home.await_told("extracted", path="trip/late.mp4")
    home.await_told("labelled", path="trip/city-1.mp4", category="trip")
    home.await_told("labelled", path="trip/late.mp4", category="trip")
    home.until(lambda: home.ask("status")["state"] == "idle")
    assert home.stop() == 0
    taken = [line["path"] for line in home.told("found")]
    assert sorted(taken) == ["download.mp4", "slow.mp4", "trip/city-1.mp4", "trip/late.mp4"]
    assert sorted(line["path"] for line in home.told("extracted")) == sorted(taken)
    assert datetime.fromisoformat(home.told("found", path="slow.mp4")[0]["at"]).timestamp() > ended
    assert home.told("set_aside") == []


def test_what_no_event_tells_is_found_on_sighup(serve, clips):
    home = serve(watch={"mode": "polling", "poll_seconds": 3600, "settle_seconds": 0.3}).start()
    shutil.copy(clips / "sea-0.mp4", home.root)
    home.process.send_signal(signal.SIGHUP)
    home.await_told("extracted", path="sea-0.mp4")
    assert home.stop() == 0


def test_where_no_events_come_it_polls_and_says_why(serve, clips):
    home = serve(watch={"mode": "polling", "poll_seconds": 0.3, "settle_seconds": 0.3}).start()
    assert home.ask("status")["watcher"] == {"mode": "polling", "why": "the configuration asks for polling"}
    shutil.copy(clips / "sea-0.mp4", home.root)
    home.await_told("extracted", path="sea-0.mp4")
    (home.root / "sea").mkdir()
    (home.root / "sea-0.mp4").rename(home.root / "sea" / "mine.mp4")
    home.await_told("labelled", path="sea/mine.mp4", category="sea")
    assert home.stop() == 0
    assert len(home.told("extracted")) == 1


def test_a_root_that_goes_is_waited_for_and_taken_up_again(serve, clips):
    home = serve().start()
    shutil.copy(clips / "sea-0.mp4", home.root)
    home.await_told("extracted")
    home.root.rename(home.folder / "unplugged")
    home.await_told("root_away")
    assert home.ask("status")["state"] == "away"
    shutil.copy(clips / "sea-1.mp4", home.folder / "unplugged")
    (home.folder / "unplugged").rename(home.root)
    home.await_told("root_back")
    home.await_told("extracted", path="sea-1.mp4")
    assert home.ask("status")["videos"]["total"] == 2
    assert home.stop() == 0
    assert len(home.told("extracted")) == 2


# What nobody can sort


def rubbish(root: Path, clips: Path) -> dict[str, str]:
    """Put what people's folders hold into the root; the reason for each that can be no video."""
    clip = (clips / "sea-0.mp4").read_bytes()
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("Dear diary, " * 500)
    (root / "half.mp4").write_bytes(clip[: len(clip) // 2])
    with av.open(root / "song.mp4", "w") as song:
        stream = song.add_stream("aac", rate=16_000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="flt", layout="mono")
        sound.sample_rate = 16_000
        song.mux([*stream.encode(sound), *stream.encode()])
    os.mkfifo(root / "pipe.mp4")
    (root / "link.mp4").symlink_to(clips / "sea-0.mp4")
    (root / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as telephone:
        telephone.bind(os.path.relpath(root / "telephone.mp4"))
    return {"empty.mp4": "empty", "text.mp4": "not_a_video", "half.mp4": "damaged", "song.mp4": "no_video_stream"}


HOSTILE = [
    b"two\nlines.mp4",
    b"\x1b[31mred.mp4",
    b"caf\xe9.mp4",
    b"-rf.mp4",
    b"concat:a|b.mp4",
    b"%s{0}$(touch owned).MP4",
    b"n" * 251 + b".mp4",
]


def untouched(path):
    """What no reader changes; the time of the last reading is no touch."""
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def test_rubbish_costs_one_reason_each_and_everything_else_goes_on(serve, clips):
    home = serve().start()
    reasons = rubbish(home.root, clips)
    for number, name in enumerate(HOSTILE):
        shutil.copy(os.fsencode(clips / f"city-{number}.mp4"), os.fsencode(home.root) + b"/" + name)
    before = {path: untouched(path) for path in home.root.rglob("*") if ".sortd" not in path.parts}
    home.await_told("extracted", len(HOSTILE))
    home.await_told("set_aside", len(reasons))
    home.process.send_signal(signal.SIGHUP)
    shutil.copy(clips / "sea-1.mp4", home.root)
    home.await_told("extracted", path="sea-1.mp4")
    status = home.ask("status")
    assert {line["path"]: line["reason"] for line in status["set_aside"]} == reasons
    assert status["videos"]["total"] == len(HOSTILE) + len(reasons) + 1
    assert home.stop() == 0
    assert sorted(line["path"] for line in home.told("extracted")) == sorted([*map(os.fsdecode, HOSTILE), "sea-1.mp4"])
    assert sorted(line["path"] for line in home.told("set_aside")) == sorted(reasons)
    assert {path: untouched(path) for path in before} == before
    assert not (Path.cwd() / "owned").exists()


# Being stopped, killed, and started twice


def test_told_to_stop_it_leaves_at_once_and_takes_its_children_along(serve, clips):
    home = serve().start()
    for number in range(12):
        shutil.copy(clips / f"sea-{number}.mp4", home.root)
    home.await_told("extracted")
    children = home.children()
    assert children
    began = time.monotonic()
    assert home.stop() == 0
    assert was_quick(began, seconds=10)
    until(lambda: not any(map(alive, children)))
    assert home.lines[-1]["event"] == "stopped"


def test_killed_again_and_again_it_loses_nothing_and_does_nothing_twice(taught, clips):
    home = taught()
    new = [f"{family}-{number}.mp4" for number, family in product(range(TAUGHT, TAUGHT + DROPPED), FAMILIES)]
    before = videos(home.root) + Counter((clips / name).read_bytes() for name in new)
    for number, moment in enumerate(["ready", "found", "extracted", "moved", "extracted", "moved"]):
        for name in new[2 * number : 2 * number + 2]:
            shutil.copy(clips / name, home.root)
        already = len(home.told(moment))
        home.launch()
        home.await_told(moment, already + 1)
        children = home.children()
        home.kill()
        until(lambda gone=children: not any(map(alive, gone)))
    home.start()
    home.until(lambda: home.ask("status")["state"] == "idle")
    status, history = home.ask("status"), home.ask("history")
    assert home.stop() == 0
    assert videos(home.root) == before
    assert status["videos"]["total"] == len(before)
    assert status["videos"]["pending"] == status["open_moves"] == 0
    extracted = Counter(line["path"] for line in home.told("extracted"))
    assert max(extracted.values()) == 1
    assert Counter(line["state"] for line in history)["done"] == status["videos"]["placed"] == len(new)
    moves = Counter(line["path"] for line in home.told("moved"))
    assert max(moves.values()) == 1
    with closing(sqlite3.connect(home.state / "index.db")) as index:
        assert index.execute("PRAGMA quick_check").fetchall() == [("ok",)]


def test_killed_while_it_learns_it_learns_after_the_next_start(serve, clips):
    home = serve()
    for family, number in product(FAMILIES, range(4)):
        (home.root / family).mkdir(exist_ok=True)
        shutil.copy(clips / f"{family}-{number}.mp4", home.root / family)
    home.start()
    home.await_told("retrain_due")
    home.kill()
    home.start()
    assert home.await_told("trained")[0]["labels"] == 16
    assert home.stop() == 0


def test_a_second_service_leaves_and_names_the_first(serve):
    home = serve().start()
    elsewhere = home.configure("other.toml", state={"dir": str(home.folder / "other")})
    for settings in (home.config, elsewhere):
        second = subprocess.run(
            [*SORTD, "run", "--config", settings], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
        assert second.returncode == 1
        assert second.stderr == f"sortd: this library is already served by process {home.process.pid}\n"
    assert home.runs()
    assert home.stop() == 0


# Living with it


def test_idle_the_daemon_is_alone_small_and_still(serve, clips):
    home = serve(extract={"idle_seconds": 0.5}).start()
    shutil.copy(clips / "sea-0.mp4", home.root)
    home.await_told("extracted")
    home.until(lambda: not home.children())

    def is_still() -> bool:
        used = home.cpu_seconds()
        time.sleep(10)
        return home.cpu_seconds() - used <= 0.05

    assert any(is_still() for _ in range(3))  # beside others the same work takes more of a processor
    assert home.children() == []
    assert home.resident() < 80_000_000
    assert home.stop() == 0


def test_the_owner_asks_it_while_it_runs(taught, clips):
    home = taught().start()
    shutil.copy(clips / "sea-10.mp4", home.root)
    home.await_told("moved", path="sea-10.mp4")
    (move,) = home.ask("history")
    assert (move["to"], move["state"]) == ("sea/sea-10.mp4", "done")
    assert home.ask("undo")["done"][0]["to"] == "sea-10.mp4"
    home.await_told("left", path="sea-10.mp4", reason="vetoed")

    assert home.run("pause").returncode == 0
    shutil.copy(clips / "city-10.mp4", home.root)
    home.await_told("found", path="city-10.mp4")
    status = home.ask("status")
    assert (status["state"], status["videos"]["pending"]) == ("paused", 1)
    assert home.run("resume").returncode == 0
    home.await_told("moved", path="city-10.mp4")

    assert home.ask("confirm", "city/city-10.mp4") == {"confirmed": ["city/city-10.mp4"]}
    (city,) = [category for category in home.ask("status")["categories"] if category["name"] == "city"]
    assert (city["labels"], city["placed"], city["live"]) == (11, 0, {"confirmed": 1, "corrected": 0})
    assert [line["state"] for line in home.ask("history")] == ["done", "undone"]
    assert home.stop() == 0


def test_it_goes_on_when_its_log_is_rotated_and_nobody_reads_its_errors(serve, clips):
    home = serve()
    home.launch("sh", "-c", 'exec "$@" 2>&-', "sh")
    home.await_told("ready")
    home.log.rename(home.log.with_suffix(".log.1"))
    shutil.copy(clips / "sea-0.mp4", home.root)
    home.await_told("extracted", path="sea-0.mp4")
    assert home.stop() == 0
    assert b'"extracted"' in home.log.read_bytes()


# Being read


@pytest.mark.fault("G2")
def test_whoever_reads_a_preview_slowly_holds_up_nothing(taught, clips):
    home = taught()
    for number in range(600):  # more than a pipe holds
        (home.root / f"{number}-{'x' * 100}.mp4").write_bytes(b"no video %d" % number)
    home.start()
    home.await_told("set_aside", 600)
    read, write = os.pipe()
    with subprocess.Popen([*SORTD, "preview", "--json", "--config", home.config], stdout=write) as pager:
        os.close(write)
        until(lambda: Path(f"/proc/{pager.pid}/wchan").read_text() in {"anon_pipe_write", "pipe_write", "pipe_wait"})
        shutil.copy(clips / "sea-10.mp4", home.root)
        home.await_told("moved")
        (home.root / "sea-11.mp4").write_bytes((clips / "sea-11.mp4").read_bytes())
        (home.root / "sea-11.mp4").rename(home.root / "sea" / "sea-11.mp4")
        home.await_told("labelled")
        assert pager.poll() is None
        with os.fdopen(read) as told:
            assert len(json.load(told)) == 600
    assert home.stop() == 0
