"""Real children, killed for real."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from sortd.service.worker import Alive, Worker


def helper(greeting):
    """What the children of these tests run."""

    def handle(task):
        match task:
            case "who":
                yield os.getpid()
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(60)
            case "slow":
                for _ in range(40):
                    time.sleep(0.1)
                    yield Alive()
                yield "at last"
            case "fail":
                raise RuntimeError("as asked")
            case _:
                yield f"{greeting} {task}"

    return handle


@pytest.fixture
def work():
    answers = SimpleQueue()
    worker = Worker(
        "tests.shell.test_worker:helper",
        "hello",
        on_answer=lambda task, answer: answers.put((task, answer)),
        on_end=lambda task, lost: answers.put((task, lost)),
        deadline_seconds=3.0,
        idle_seconds=0.3,
        threads=1,
    )

    def ask(task):
        worker.submit(task)
        got = []
        while True:
            of, answer = answers.get(timeout=60)
            assert of == task
            if answer is None or hasattr(answer, "hung"):
                return got, answer
            got.append(answer)

    yield ask
    worker.stop()


def test_it_answers_and_keeps_its_child(work):
    assert work("you") == (["hello you"], None)
    assert work("who") == work("who")


def test_a_child_that_died_is_replaced(work):
    ((before,), _) = work("who")
    got, lost = work("die")
    assert got == []
    assert not lost.hung
    assert "SIGKILL" in lost.message
    ((after,), _) = work("who")
    assert after != before


def test_a_child_that_hangs_is_killed_at_the_deadline(work):
    ((child,), _) = work("who")
    _, lost = work("hang")
    assert lost.hung
    assert not Path(f"/proc/{child}").exists()


def test_a_child_that_is_slow_but_alive_is_left_to_it(work):
    assert work("slow") == (["at last"], None)


def test_an_exception_nobody_expected_is_told(work):
    _, lost = work("fail")
    assert "as asked" in lost.message


def test_an_idle_child_leaves(work):
    ((child,), _) = work("who")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
