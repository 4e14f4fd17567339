"""How much of the machine a child of the service takes while others work on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest

from sortd.workers.child_process import ChildProcess, free_cores
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def reader(_settings):
    """What the child runs: it tells its environment as it really is."""

    def handle(_task):
        yield Path("/proc/self/environ").read_bytes()

    return handle


def environment_of_a_child(*, threads: int) -> dict[str, str]:
    answers: SimpleQueue[bytes] = SimpleQueue()
    worker = ChildProcess(
        "tests.shell.test_threads:reader",
        None,
        on_answer=lambda _, answer: answers.put(answer),
        on_end=lambda *_: None,
        deadline_seconds=60.0,
        idle_seconds=0.0,
        threads=threads,
    )
    try:
        worker.submit("tell")
        lines = os.fsdecode(answers.get(timeout=PATIENCE_SECONDS)).split("\0")
    finally:
        worker.stop()
    return dict(line.partition("=")[::2] for line in lines if line)


@pytest.mark.fault("G15")
def test_threads_that_wait_sleep(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    environ = environment_of_a_child(threads=2)
    assert environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert (environ["GOMP_SPINCOUNT"], environ["KMP_BLOCKTIME"]) == ("0", "0")


@pytest.mark.fault("G15")
def test_a_child_has_no_more_threads_than_there_are_free_cores():
    cores = len(os.sched_getaffinity(0))
    for threads in (1, 64):
        loads = [os.getloadavg()[0]]
        environ = environment_of_a_child(threads=threads)
        loads.append(os.getloadavg()[0])
        most = min(threads, free_cores(cores, min(loads) - 1.0))  # what it was in between is not known
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            assert 1 <= int(environ[name]) <= most


@pytest.mark.fault("G15")
@pytest.mark.parametrize(("load", "free"), [(0.0, 8), (0.4, 8), (1.0, 7), (7.4, 1), (8.0, 1), (80.0, 1)])
def test_what_others_work_on_is_not_free(load, free):
    assert free_cores(8, load) == free
