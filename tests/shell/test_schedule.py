from __future__ import annotations

import subprocess
import sys
import threading
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

import pytest

from sortd.daemon.schedule import schedule
from sortd.domain.messages import Message, RetrainDue
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture
def inbox() -> SimpleQueue[Message]:
    return SimpleQueue()


def test_when_the_hour_comes_training_is_due(inbox: SimpleQueue[Message]) -> None:
    with schedule("30 4 * * *", inbox) as scheduler:
        (job,) = scheduler.get_jobs()
        job.modify(next_run_time=datetime.now(scheduler.timezone))
        assert inbox.get(timeout=PATIENCE_SECONDS) == RetrainDue("cron")
        with pytest.raises(Empty):
            inbox.get(timeout=0.1)


def test_the_hour_is_the_owners_own(inbox: SimpleQueue[Message]) -> None:
    with schedule("30 4 * * *", inbox) as scheduler:
        (job,) = scheduler.get_jobs()
        here = job.next_run_time.astimezone()
        assert (here.hour, here.minute) == (4, 30)
        assert timedelta(0) < job.next_run_time - datetime.now(scheduler.timezone) < timedelta(days=1, hours=2)


def test_hours_slept_through_are_made_up_for_once(inbox: SimpleQueue[Message]) -> None:
    # Every hour, but not while this is looked at.
    with schedule(f"{(datetime.now().astimezone().minute + 30) % 60} * * * *", inbox) as scheduler:
        (job,) = scheduler.get_jobs()
        job.modify(next_run_time=datetime.now(scheduler.timezone) - timedelta(days=3))
        assert inbox.get(timeout=PATIENCE_SECONDS) == RetrainDue("cron")
        with pytest.raises(Empty):
            inbox.get(timeout=0.1)


def test_without_a_line_it_is_never_due(inbox: SimpleQueue[Message]) -> None:
    with schedule("", inbox) as scheduler:
        assert scheduler.get_jobs() == []


def test_afterwards_nothing_runs_on(inbox: SimpleQueue[Message]) -> None:
    before = set(threading.enumerate())
    with schedule("* * * * *", inbox):
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("zone", ["CET-1CEST", "Nowhere/Land"])
def test_a_time_zone_only_the_system_understands_does_not_stop_the_service(zone: str) -> None:
    code = """
from queue import SimpleQueue
from sortd.daemon.schedule import schedule
with schedule("30 4 * * *", SimpleQueue()) as scheduler:
    here = scheduler.get_jobs()[0].next_run_time.astimezone()
    print(here.strftime("%H:%M"))
"""
    ended = subprocess.run([sys.executable, "-c", code], env={"TZ": zone}, capture_output=True, text=True, check=False)
    assert ended.stdout == "04:30\n", ended.stderr


@pytest.mark.fault("G12")
@pytest.mark.parametrize(
    "zone",
    [
        "Europe/",
        "Europe",
        "America/",
        "Nowhere/Land",
        ":/nonsense",
        "/etc/passwd",
        "../../etc/passwd",
        "",
        "x" * 5000,
        "UTC+25",
    ],
)
def test_a_time_zone_that_nobody_understands_is_one_line_and_utc(zone: str) -> None:
    code = """
from queue import SimpleQueue
from sortd.daemon.schedule import schedule, zone_problem
with schedule("30 4 * * *", SimpleQueue()) as scheduler:
    print(scheduler.get_jobs()[0].next_run_time.strftime("%H:%M %z"))
print(zone_problem())
"""
    ended = subprocess.run([sys.executable, "-c", code], env={"TZ": zone}, capture_output=True, text=True, check=False)
    hour, problem = ended.stdout.splitlines()
    assert hour == "04:30 +0000", ended.stderr
    assert problem
    assert ended.stderr == ""


@pytest.mark.fault("G12")
@pytest.mark.parametrize("zone", ["UTC+25", "ABC-99:59"])
def test_where_there_can_be_no_such_zone_times_are_told_in_utc(zone: str) -> None:
    code = """
import io, logging
from datetime import UTC, datetime
from sortd.config.local_time import local
from sortd.config.logging_setup import configure, get
told = io.StringIO()
configure(format="console", level="info", file=None, stream=told)
get().info("moved", path="a.mp4")
assert "path='a.mp4'" in told.getvalue(), told.getvalue()
print(local(datetime(2026, 1, 1, 12, tzinfo=UTC)).strftime("%H:%M"))
"""
    ended = subprocess.run([sys.executable, "-c", code], env={"TZ": zone}, capture_output=True, text=True, check=False)
    assert ended.stdout == "12:00\n", ended.stderr
    assert ended.stderr == ""
