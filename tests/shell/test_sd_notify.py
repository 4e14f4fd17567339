from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import sys
import time

import pytest

from sortd.daemon import sd_notify
from sortd.daemon.control_socket import ask
from tests.stories.service import Service
from tests.waiting import PATIENCE_SECONDS, once_within, until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets, and systemd")


class Manager:
    """What a service manager hears, each message as the lines it holds."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)

    def hear(self, *, seconds: float = PATIENCE_SECONDS) -> list[str] | None:
        """The next message; None: none came."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return None

    def await_line(self, line: str) -> list[str]:
        """The first message with this line in it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        last = None
        while time.monotonic() < deadline:
            last = self.hear(seconds=max(0.01, deadline - time.monotonic()))
            if last and line in last:
                return last
        raise AssertionError(f"{line} never came; the last was {last}")

    def forget(self) -> None:
        """Drop all that came so far."""
        while self.hear(seconds=0.01):
            pass


@pytest.fixture
def manager(tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    manager = Manager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with manager.socket:
        yield manager


# The words


def test_the_manager_hears_each_word_at_once(manager):
    sd_notify.ready("idle: 3 videos")
    sd_notify.alive()
    sd_notify.status("paused: 3 videos")
    sd_notify.stopping()
    assert [manager.hear() for _ in range(4)] == [
        ["READY=1", "STATUS=idle: 3 videos"],
        ["WATCHDOG=1"],
        ["STATUS=paused: 3 videos"],
        ["STOPPING=1", "STATUS=stopping"],
    ]


@linux_only
def test_a_manager_without_a_file_is_told_too(monkeypatch):
    name = f"sortd-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with manager.socket:
        sd_notify.alive()
        assert manager.hear() == ["WATCHDOG=1"]


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/not/there", "/" + 200 * "long", "@not-there"])
def test_where_nobody_listens_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    sd_notify.ready("idle: 3 videos")


def test_a_manager_that_takes_nothing_in_costs_a_moment_only(manager):
    manager.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as crowd, contextlib.suppress(BlockingIOError):
        crowd.setblocking(False)
        crowd.connect(manager.socket.getsockname())
        while True:
            crowd.send(b"X=1")
    began = time.monotonic()
    once_within(5 * sd_notify.PATIENCE_SECONDS, sd_notify.alive)
    assert time.monotonic() - began >= sd_notify.PATIENCE_SECONDS


def test_a_folder_cannot_speak_to_the_manager_by_its_name(manager):
    sd_notify.status("away: /videos/x\nMAINPID=1\u2028 is not there")
    assert manager.hear() == ["STATUS=away: /videos/x?MAINPID=1? is not there"]


def test_names_of_any_bytes_and_any_length_are_told_as_far_as_that_can_be(manager):
    sd_notify.ready("away: \udcff" + 5000 * "\N{CLAPPER BOARD}")
    assert manager.hear() == ["READY=1", "STATUS=away: ?" + 993 * "\N{CLAPPER BOARD}"]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_who_watches_says_how_often_it_wants_to_hear(monkeypatch, told, seconds):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert sd_notify.watchdog_seconds() == seconds


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (("idle", "", 0, 1, None), "idle: 1 video"),
        (("running", "", 12, 40, None), "running: 40 videos, 12 to extract"),
        (("paused", "", 12, 40, None), "paused: 40 videos, 12 to extract"),
        (("away", "/videos is not there", 0, 2, None), "away (/videos is not there): 2 videos"),
    ],
)
def test_one_line_says_what_is_going_on(facts, line):
    state, why, pending, total, ends_at = facts
    assert sd_notify.backlog(state=state, why=why, pending=pending, total=total, ends_at=ends_at) == line


def test_the_end_of_the_backlog_is_told_in_the_time_on_the_wall():
    saturday_noon = time.mktime((2026, 11, 21, 12, 5, 0, 0, 0, -1))
    line = sd_notify.backlog(state="running", why="", pending=12, total=40, ends_at=saturday_noon)
    assert line == "running: 40 videos, 12 to extract, done about Sat 12:05"


# The service


@pytest.fixture
def service(tmp_path, manager, monkeypatch):  # noqa: ARG001 - the service finds it in its environment
    """One that is watched over by a strict manager."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    service = Service(tmp_path / "home", extract={"encoder": "builtin"})
    yield service
    service.end()


def test_it_is_ready_when_all_is_well_alive_while_it_runs_and_says_that_it_stops(service, manager):
    service.launch()
    # Nothing comes before: not even that it is alive.
    assert manager.hear() == ["READY=1", "STATUS=idle: 0 videos"]
    assert service.told("ready")
    for _ in range(3):
        once_within(1.0, lambda: manager.await_line("WATCHDOG=1"))
    service.process.send_signal(signal.SIGTERM)
    manager.await_line("STOPPING=1")
    assert service.process.wait(timeout=PATIENCE_SECONDS) == 0


def test_one_that_may_not_have_the_library_is_never_ready(service, manager):
    service.start()
    service.process.send_signal(signal.SIGSTOP)
    manager.forget()
    assert service.run("run").returncode == 1
    assert manager.hear(seconds=0.1) is None


def test_while_the_library_is_away_it_is_ready_alive_and_says_so(service, manager):
    aside = service.root.rename(service.root.with_name("aside"))
    service.launch()
    assert manager.hear() == ["READY=1", f"STATUS=away: {service.root} is not there"]
    for _ in range(3):
        manager.await_line("WATCHDOG=1")
    aside.rename(service.root)
    manager.await_line("STATUS=idle: 0 videos")
    manager.await_line("WATCHDOG=1")
    service.root.rename(aside)
    manager.await_line(f"STATUS=away ({service.root} is not there): 0 videos")
    manager.await_line("WATCHDOG=1")
    assert service.stop() == 0
    manager.await_line("STOPPING=1")


def test_one_that_waits_for_its_library_says_that_it_stops(service, manager):
    service.root.rmdir()
    service.launch()
    manager.await_line("READY=1")
    assert service.stop() == 0
    manager.await_line("STOPPING=1")


def test_the_backlog_is_told(service, manager):
    service.start()
    ask(service.state, {"do": "pause"})
    for name in ("a.mp4", "b.mp4"):
        (service.root / name).write_bytes(name.encode())
    manager.await_line("STATUS=paused: 2 videos, 2 to extract")
    ask(service.state, {"do": "resume"})
    manager.await_line("STATUS=idle: 2 videos")


def test_a_loop_that_is_stuck_does_not_say_that_it_is_alive(service, manager):
    service.start()
    with contextlib.closing(sqlite3.connect(service.state / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: manager.hear(seconds=1.5) is None)
    manager.await_line("WATCHDOG=1")
    assert service.runs()


def test_an_index_that_cannot_be_read_for_a_while_costs_the_status_and_not_the_service(service, manager):
    service.start()
    with contextlib.closing(sqlite3.connect(service.state / "index.db", isolation_level=None)) as other:
        other.execute("ALTER TABLE attempts RENAME TO elsewhere")
        service.process.send_signal(signal.SIGHUP)
        service.await_told("step_failed")
        manager.forget()
        for _ in range(2):
            manager.await_line("WATCHDOG=1")
        other.execute("ALTER TABLE elsewhere RENAME TO attempts")
    manager.await_line("STATUS=idle: 0 videos")
