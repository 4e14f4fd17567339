"""Real children, killed for real."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from sortd.config.settings import Settings
from sortd.domain.feature import FeatureSpace
from sortd.domain.messages import Trained
from sortd.domain.tasks import TrainingPayload
from sortd.workers import local_executor
from sortd.workers.child_process import ChildProcess, Heartbeat
from tests.waiting import PATIENCE_SECONDS, until


def helper(greeting):  # noqa: C901 - one case each
    """What the children of these tests run."""

    def handle(task):  # noqa: C901 - one case each
        match task:
            case "who":
                yield os.getpid()
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die of a real-time signal":
                os.kill(os.getpid(), signal.SIGRTMIN + 6)  # one without a name
            case "how nice":
                yield os.nice(0)
            case "hang":
                yield os.getpid()
                yield Heartbeat(0.2)  # until then it may take all its time
                time.sleep(600)
            case "slow":
                for _ in range(12):
                    yield Heartbeat(2.0)
                    time.sleep(0.2)
                yield "at last"
            case "fail":
                raise RuntimeError("as asked")
            case "lack":
                import no_such_library  # noqa: F401, PLC0415 - as asked
            case "complain":
                sys.stderr.write("warming up\nlibGL.so.1 \x1b[2J is broken\n")
                sys.stderr.flush()
                os.kill(os.getpid(), signal.SIGABRT)
            case _:
                yield f"{greeting} {task}"

    return handle


def never_ready(_):
    """What a child runs that cannot be made ready."""
    raise OSError("no space left")


@pytest.fixture
def start():
    """Starts a worker with settings of its own; gives what asks it: the answers to a task, and how it was lost."""
    workers = []

    def start(**settings):
        answers = SimpleQueue()
        worker = ChildProcess(
            settings.pop("call", "tests.shell.test_child_process:helper"),
            "hello",
            on_answer=lambda task, answer: answers.put((task, answer)),
            on_end=lambda task, lost: answers.put((task, lost)),
            deadline_seconds=PATIENCE_SECONDS,
            threads=1,
            **{"idle_seconds": PATIENCE_SECONDS} | settings,
        )
        workers.append(worker)

        def ask(task):
            worker.submit(task)
            got = []
            while True:
                of, answer = answers.get(timeout=PATIENCE_SECONDS)
                assert of == task
                if answer is None or hasattr(answer, "hung"):
                    return got, answer
                got.append(answer)

        return ask

    yield start
    for worker in workers:
        worker.stop()


@pytest.fixture
def work(start):
    return start()


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


def test_a_child_that_died_of_a_signal_without_a_name_is_replaced(work):
    _, lost = work("die of a real-time signal")
    assert str(signal.SIGRTMIN + 6) in lost.message
    assert work("you") == (["hello you"], None)


def test_a_child_that_was_killed_while_it_waited_is_replaced_and_no_task_is_lost(work):
    ((child,), _) = work("who")
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert work("you") == (["hello you"], None)


def test_a_child_that_cannot_be_made_ready_is_no_fault_of_the_task(start):
    _, lost = start(call="tests.shell.test_child_process:never_ready")("you")
    assert lost.unavailable
    assert "no space left" in lost.message


def test_a_child_that_hangs_is_killed_at_the_deadline(work):
    (child,), lost = work("hang")
    assert lost.hung
    assert not Path(f"/proc/{child}").exists()


def test_a_child_that_is_slow_but_alive_is_left_to_it(work):
    assert work("slow") == (["at last"], None)


def test_an_exception_nobody_expected_is_told(work):
    _, lost = work("fail")
    assert "as asked" in lost.message
    assert not lost.unavailable


def test_what_a_child_said_last_is_told_with_how_it_died(work):
    _, lost = work("complain")
    assert lost.message == r"its process ended (SIGABRT: libGL.so.1 \x1b[2J is broken)"


@pytest.mark.fault("G5")
def test_a_library_that_is_missing_is_no_fault_of_the_task(work, start):
    for ask in (work, start(call="tests.shell.no_such_module:helper")):
        _, lost = ask("lack")
        assert lost.unavailable
        assert re.fullmatch(r"No module named '[a-z_.]+'; install sortd anew, with all that it needs", lost.message)
    assert work("you") == (["hello you"], None)


NO_DESCRIPTORS = """
import resource, os
from queue import SimpleQueue
from sortd.workers.child_process import ChildProcess
told = SimpleQueue()
child = ChildProcess("tests.shell.test_child_process:helper", "hello", on_answer=lambda task, answer: told.put(answer),
    on_end=lambda task, lost: told.put(lost), deadline_seconds=300, idle_seconds=300, threads=1)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
child.submit("you")
lost = told.get(timeout=300)
print(lost.unavailable, lost.message)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
child.submit("you")
print(told.get(timeout=300), told.get(timeout=300))
child.stop()
"""


@pytest.mark.fault("G4")
def test_where_no_process_can_be_started_it_is_told_and_the_next_task_goes_well():
    root = Path(__file__).parents[2]
    code = f"import sys; sys.path.append({str(root)!r})\n{NO_DESCRIPTORS}"
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "True no process can be started: [Errno 24] Too many open files\nhello you None\n"


def test_an_idle_child_leaves(start):
    ((child,), _) = start(idle_seconds=0.3)("who")
    until(lambda: not Path(f"/proc/{child}").exists())


def test_a_child_stands_back_for_others_as_far_as_it_is_told(start):
    own = os.nice(0)
    assert start(niceness=3)("how nice") == ([min(own + 3, 19)], None)
    assert os.nice(0) == own


def told_and_gone(_):
    """What a training child runs that tells its result and dies before it can say that it is done."""

    def handle(_):
        yield Trained({}, "nothing to learn")
        os.kill(os.getpid(), signal.SIGKILL)

    return handle


def test_a_training_whose_child_died_after_its_answer_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, "TRAINING", "tests.shell.test_child_process:told_and_gone")
    inbox = SimpleQueue()
    settings = Settings.model_validate({"library": {"root": tmp_path}}, strict=False)
    worker = local_executor.training_worker(settings, tmp_path, inbox)
    payload = TrainingPayload("digest", FeatureSpace(()), frozenset(), {}, frozenset(), {})
    for _ in range(2):
        worker.submit(payload)
    told = [inbox.get(timeout=PATIENCE_SECONDS) for _ in range(2)]
    worker.stop()
    assert [type(message) for message in told] == [Trained, Trained]
    assert inbox.empty()
