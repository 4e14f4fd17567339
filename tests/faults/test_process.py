"""Its processes are told to stop, stopped, killed, starved and silenced. Rows P1 and P10 to P18 of the fault matrix."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing, suppress
from itertools import count, product
from pathlib import Path
from random import Random

import pytest

from sortd.cli.demo_clips import FAMILIES
from sortd.learn.classifier import Classifier
from tests.faults.conftest import Library
from tests.faults.kit import alive, another, as_root, doing, fill, racing, slow_copy, tmpfs
from tests.shell.test_sd_notify import Manager
from tests.waiting import PATIENCE_SECONDS, until, was_quick

WORKER = "sortd.workers.extraction_worker:extraction"
LEARNER = "sortd.workers.training_worker:training"
DECODERS = "serve()"
"""In the command line of the decoders' server, and so of what it forks."""


def held_decoder(home: Library, clips: Path) -> int:
    """A decoder stopped in the middle of its file, confined by then: videos are dropped until one was caught."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for number in count():
        another(clips / "sea-0.mp4", home.root / f"held-{number}.mp4", number)
        moment = time.monotonic() + 0.5
        while time.monotonic() < moment:
            servers = doing(DECODERS, home.children())
            parents = {child: parent_of(child) for child in servers}
            for child in servers:
                if parents[child] in servers and is_confined(child):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGSTOP)
                        return child
        assert time.monotonic() < deadline, "no decoder was seen"
    raise AssertionError


def is_confined(process: int) -> bool:
    """Whether it has given up all else, and so ends with its parent: one that is stopped before never would."""
    with contextlib.suppress(OSError):
        return "Seccomp:\t2" in Path(f"/proc/{process}/status").read_text()
    return False


def parent_of(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def asked_of(home: Library, question: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(home.state / "index.db")) as index:
        return list(index.execute(question))


def left_tidy(home: Library) -> None:
    """Nothing is half done: no try was begun, no move is open, no file is half written, the index is sound."""
    assert asked_of(home, "SELECT count(*) FROM attempts WHERE running IS NOT NULL OR count > 0") == [(0,)]
    assert asked_of(home, "SELECT count(*) FROM moves WHERE state = 'open'") == [(0,)]
    assert asked_of(home, "PRAGMA quick_check") == [("ok",)]
    for file in home.state.glob("classifier-*"):
        Classifier.load(file)
    assert [path.name for path in home.folder.rglob("*") if path.name.endswith((".part", ".tmp"))] == []


# P1: told to stop


def extracting(home: Library, clips: Path) -> None:
    home.start()
    held_decoder(home, clips)


def learning(home: Library, clips: Path) -> None:
    for family, number in product(FAMILIES, range(6)):
        (home.root / family).mkdir(exist_ok=True)
        shutil.copy(clips / f"{family}-{number}.mp4", home.root / family)
    home.start()
    os.kill(home.child(LEARNER), signal.SIGSTOP)


def scanning(home: Library, _: Path) -> None:
    for number in range(5000):
        (home.root / f"{number}.mp4").write_bytes(b"no video %d" % number)
    home.start()
    home.await_told("found")


@pytest.mark.fault("P1")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("deed", [extracting, learning, scanning])
def test_told_to_stop_it_is_gone_in_ten_seconds_with_all_its_children(home, clips, deed, number):
    deed(home, clips)
    children, process = home.children(), home.process
    with home.nothing_lost():
        began = time.monotonic()
        while process.poll() is None:
            process.send_signal(number)  # who is impatient may say so again and again
            time.sleep(0.002)
        assert process.returncode == 0
        until(lambda: not any(map(alive, children)))  # a decoder hears of it a moment later
        assert was_quick(began, seconds=10)
    assert [line["why"] for line in home.told("stopped")] == [number.name]
    left_tidy(home)
    assert home.told("step_failed") == []


# P10: the clock jumps

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    static const volatile long *offset;
    if (!real) {
        offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, open(getenv("CLOCK_OFFSET"), O_RDONLY), 0);
        real = dlsym(RTLD_NEXT, "clock_gettime");
    }
    int failed = real(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += *offset;
    return failed;
}
"""
HOUR, DAY, YEAR = 3600, 86_400, 365 * 86_400


class WallClock:
    """A clock that `through` shows to what it runs: the real one and an offset."""

    def __init__(self, folder: Path) -> None:
        (folder / "clock.c").write_text(CLOCK)
        library = folder / "clock.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", library, folder / "clock.c", "-ldl"], check=True, timeout=PATIENCE_SECONDS
        )
        self._file = folder / "offset"
        self._file.write_bytes(bytes(8))
        self.through = ("env", f"LD_PRELOAD={library}", f"CLOCK_OFFSET={self._file}")

    def set(self, seconds: int) -> None:
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))


@pytest.mark.fault("P10")
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs a C compiler, on Linux")
def test_a_clock_that_jumps_to_and_fro_changes_nothing(fresh, clips, tmp_path):
    home, clock = fresh(train={"cron": "30 4 * * *"}), WallClock(tmp_path)
    jumps = [("sea", YEAR), ("city", -DAY), ("garden", HOUR), ("cooking", 0)]
    home.launch(*clock.through)
    home.await_told("ready")
    for family, offset in jumps:
        name = f"{family}-6.mp4"
        clock.set(offset)
        goes_on(home, clips, name)
        # While it comes, too: what is settled is told by another clock.
        with racing(lambda offset=offset: clock.set(offset + HOUR), pause=0.1), racing(lambda: clock.set(0), pause=0.1):
            slow_copy(clips / f"{family}-7.mp4", home.root / f"{family}-7.mp4", seconds=2)
        home.until(lambda family=family: home.places(f"{family}-7.mp4") == [f"{family}/{family}-7.mp4"])
    assert home.stop() == 0
    # And while it is off.
    for family, offset in jumps:
        clock.set(offset)
        home.launch(*clock.through)
        goes_on(home, clips, f"{family}-8.mp4")
        assert home.stop() == 0
    names = [f"{family}-{n}.mp4" for family, _ in jumps for n in (6, 7)] + [f"{family}-8.mp4" for family, _ in jumps]
    assert [move["from"] for move in reversed(home.ask("history"))] == names
    assert home.told("retrain_due") == home.told("step_failed") == home.told("set_aside") == []
    found = [line["path"] for line in home.told("found")]
    assert len(found) == len(set(found))  # none was taken before it was whole, and then again


# P11 and P12: learning


@pytest.mark.fault("P11")
def test_a_training_killed_at_any_moment_leaves_the_old_classifier_in_service(fresh, clips):
    home = fresh()
    dice = Random(11)  # noqa: S311 - no secret hangs on it
    already = {path.name for path in home.state.glob("classifier-*")}
    for kill in range(6):
        spare, label = list(product(FAMILIES, range(6, 8)))[kill], f"{list(FAMILIES)[kill % 4]}"
        another(clips / f"{label}-0.mp4", home.root / label / f"more-{kill}.mp4", kill)
        name = f"{spare[0]}-{spare[1]}.mp4"
        with home.nothing_lost():
            home.start()
            home.process.send_signal(signal.SIGHUP)
            retraining = home.child(LEARNER)
            time.sleep(dice.uniform(0, 3))
            with suppress(ProcessLookupError):  # it was quicker
                os.killpg(retraining, signal.SIGKILL)
            home.until(lambda: home.told("training_lost") or home.told("trained"))
            for file in home.state.glob("classifier-*.npz"):
                Classifier.load(file)
            assert home.ask("status")["classifier"] is not None
        shutil.copy(clips / name, home.root)
        home.until(lambda name=name, family=spare[0]: home.places(name) == [f"{family}/{name}"])
        assert home.stop() == 0
        home.log.unlink()
    another(clips / f"{label}-0.mp4", home.root / label / "last.mp4", 6)  # the last kill may have come too late
    assert home.once().returncode == 0
    assert {line["adopted"] for line in home.told("trained")} == {True}
    left_tidy(home)
    assert {path.name for path in home.state.glob("classifier-*")} != already


def nothing_filed(_: Library, __: Path) -> None:
    """No label at all."""


def one_folder(home: Library, clips: Path) -> None:
    (home.root / "sea").mkdir()
    for number in range(8):
        another(clips / f"sea-{number}.mp4", home.root / "sea" / f"{number}.mp4", number)


def one_each(home: Library, clips: Path) -> None:
    for family in FAMILIES:
        (home.root / family).mkdir()
        shutil.copy(clips / f"{family}-0.mp4", home.root / family)


def all_alike(home: Library, clips: Path) -> None:
    for family, number in product(("sea", "city"), range(12)):
        (home.root / family).mkdir(exist_ok=True)
        another(clips / "sea-0.mp4", home.root / family / f"{number}.mp4", number + 100 * (family == "sea"))


@pytest.mark.fault("P12")
@pytest.mark.parametrize(
    ("filed", "reasons"),
    [
        (nothing_filed, {"no_classifier"}),
        (one_folder, {"no_classifier"}),
        (one_each, {"no_classifier", "too_few_examples"}),
        (all_alike, {"no_classifier", "too_few_examples", "low_confidence", "close_call", "unfamiliar"}),
    ],
)
def test_from_too_little_it_learns_nothing_says_why_and_moves_nothing(home, clips, filed, reasons):
    filed(home, clips)
    names = [f"new-{family}.mp4" for family in FAMILIES]
    for number, (name, family) in enumerate(zip(names, FAMILIES, strict=True)):
        another(clips / f"{family}-0.mp4", home.root / name, 1000 + number)
    with home.nothing_lost():
        assert home.once().returncode == 0
        assert [place for name in names for place in home.places(name)] == names
    assert {line["reason"] for line in home.told("left")} <= reasons
    assert len({line["path"] for line in home.told("left")}) == len(names)
    for line in home.told("trained", adopted=False):
        assert line["why"]
    status = home.ask("status")
    assert status["set_aside"] == []
    assert all(category["why"] for category in status["categories"])
    assert home.told("step_failed") == []


# P13: one hangs


@pytest.fixture
def watched(home, monkeypatch):
    """A service that a strict manager watches, and the manager."""
    manager = Manager(str(home.folder / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(home.folder / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with manager.socket:
        yield home, manager


@pytest.mark.fault("P13")
def test_a_worker_that_hangs_is_replaced_while_the_loop_is_alive_and_says_so(watched, clips):
    home, manager = watched
    home.configure("config.toml", extract={"encoder": "builtin", "timeout_seconds": 20})
    home.start()
    for number in range(4):
        shutil.copy(clips / f"sea-{number}.mp4", home.root)
    victim = home.child(WORKER)
    os.kill(victim, signal.SIGSTOP)
    shutil.copy(clips / "sea-4.mp4", home.root)  # however quick it was, there is something left to do
    with home.nothing_lost():
        manager.forget()
        beats = 0
        while alive(victim):
            beats += manager.await_line("WATCHDOG=1") is not None
        assert beats > 5
        home.await_told("extracted", 5)
        assert home.ask("status")["set_aside"] == []
    assert home.stop() == 0
    assert len(home.told("ready")) == 1


@pytest.mark.fault("P13")
def test_a_loop_that_is_stuck_says_nothing_so_that_its_manager_ends_it(watched):
    home, manager = watched
    home.start()
    manager.await_line("WATCHDOG=1")
    home.process.send_signal(signal.SIGSTOP)
    manager.forget()
    assert manager.hear(seconds=5) is None
    home.process.send_signal(signal.SIGCONT)
    manager.await_line("WATCHDOG=1")
    assert home.stop() == 0


# P14: memory runs out


@pytest.mark.fault("P14")
def test_where_memory_runs_out_the_decoder_goes_before_the_worker_and_the_worker_before_the_service(home, clips):
    home.start()
    decoder = held_decoder(home, clips)
    blame = [
        int(Path(f"/proc/{process}/oom_score_adj").read_text())
        for process in (decoder, home.child(WORKER), home.process.pid)
    ]
    assert blame[0] > blame[1] > blame[2]
    with home.nothing_lost():
        os.kill(decoder, signal.SIGKILL)
        names = [path.name for path in home.root.glob("held-*")]
        home.await_told("extracted", len(names))
        assert home.ask("status")["set_aside"] == []
        assert home.stop() == 0
    assert len(home.told("ready")) == 1


# P17: thousands of extractions

EXTRACTIONS = 3000
WARM = 300
"""By then every thread is started and every table is as large as it gets."""


def held(process: int) -> dict[str, int]:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{process}/fd").iterdir()))
    return {"fds": descriptors, "threads": int(status["Threads"]), "KiB": int(status["VmRSS"].split()[0])}


@pytest.mark.fault("P17")
@pytest.mark.timeout(3600)
def test_thousands_of_extractions_take_no_more_of_anything_than_hundreds(home, clips, capsys):
    def extracted(number: int) -> bool:
        return home.log.read_bytes().count(b'"extracted"') >= number

    def everyone() -> dict[str, dict[str, int]]:
        """What each holds once all are idle."""
        children = home.until(lambda: found if len(found := home.children()) == 2 else [])
        (worker,), (server,) = doing(WORKER, children), doing(DECODERS, children)
        return {name: held(process) for name, process in zip(names, (home.process.pid, worker, server), strict=True)}

    names = ("service", "worker", "server")
    home.start()
    began = time.monotonic()
    seen = []
    for first, beyond in ((0, WARM), (WARM, EXTRACTIONS)):
        for number in range(first, beyond):
            another(clips / f"{list(FAMILIES)[number % 4]}-{number % 6}.mp4", home.root / f"{number}.mp4", number)
        for number in range(first, beyond, 50):
            home.until(lambda number=number: extracted(number))
        home.until(lambda beyond=beyond: extracted(beyond))
        home.until(lambda: home.ask("status")["state"] == "idle")
        seen.append(everyone())
    before, after = seen
    with capsys.disabled():
        print(f"\nP17: {EXTRACTIONS} extractions in {time.monotonic() - began:.0f} s; {before} -> {after}")  # noqa: T201
    for name in names:
        assert after[name]["fds"] <= before[name]["fds"], name
        assert after[name]["threads"] <= before[name]["threads"], name
        assert after[name]["KiB"] <= before[name]["KiB"] * 1.1 + 8192, name
    assert home.told("set_aside") == []
    assert home.stop() == 0


# P18: nobody takes in what it says


def goes_on(home: Library, clips: Path, name: str) -> None:
    """One more clip is filed."""
    family, _, _ = name.partition("-")
    shutil.copy(clips / name, home.root)
    home.until(lambda: home.places(name) == [f"{family}/{name}"])


@pytest.mark.fault("P18", sample=True)
@pytest.mark.parametrize("to", [">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_who_cannot_speak_still_files(fresh, clips, to):
    home = fresh(log={"file": "/dev/full"})
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        home.launch("sh", "-c", f'exec "$@" {to}', "sh")
        home.until(lambda: home.places("sea-6.mp4") == ["sea/sea-6.mp4"])
        assert home.stop() == 0


@pytest.mark.fault("P18")
@as_root
def test_a_log_whose_disk_is_full_comes_back_when_there_is_room(fresh, clips, tmp_path):
    with tmpfs(tmp_path / "logs", "1m") as logs:
        home = fresh(log={"file": str(logs / "sortd.log")})
        home.log = logs / "sortd.log"
        home.start()
        filler = fill(logs)
        size = home.log.stat().st_size
        goes_on(home, clips, "sea-6.mp4")
        filler.unlink()
        goes_on(home, clips, "city-6.mp4")
        assert home.stop() == 0
        assert b"city-6.mp4" in home.log.read_bytes()[size:]
        assert home.told("stopped")


@pytest.mark.fault("P18")
def test_a_log_whose_folder_went_comes_back_with_it(fresh, clips, tmp_path):
    (tmp_path / "logs").mkdir()
    home = fresh(log={"file": str(tmp_path / "logs" / "sortd.log")})
    home.log = tmp_path / "logs" / "sortd.log"
    home.start()
    shutil.rmtree(tmp_path / "logs")
    goes_on(home, clips, "sea-6.mp4")
    (tmp_path / "logs").mkdir()
    goes_on(home, clips, "city-6.mp4")
    assert home.stop() == 0
    assert home.told("moved", path="city-6.mp4")
    assert home.told("stopped")
