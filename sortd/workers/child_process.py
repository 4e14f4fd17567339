"""Run one child process for heavy work: one task at a time, replaced when it dies or hangs, ended when idle.

The child is a fresh interpreter that runs `main`, so the service itself imports nothing heavy,
and what the child held (memory, a GPU) is really given back when it leaves. `multiprocessing` would keep a helper
process alive for as long as the service lives, so only its `Connection` is used.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from sortd.config.printable_text import printable
from sortd.config.python_interpreter import ANYWHERE, environment, program

LAST_WORDS = 2000
"""Bytes of what a child wrote to stderr that are looked at when it died."""

NICENESS = 10
"""What a child adds to the niceness of the service, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """The task was not finished: its child died, or gave no sign of life for too long (`hung`).

    `unavailable`: no child can work at all now (no process can be started, a library is missing), whatever the task is.
    """

    hung: bool
    message: str
    unavailable: bool = False


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What a child answers to a task."""

    value: Any


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a task yields when it has nothing to answer yet but is not stuck.

    `seconds`: the next sign of life may take so long; None: no longer than ever.
    """

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Finished:
    """The task is done; `problem` tells of an exception nobody in the child expected.

    `unavailable`: it says nothing of the task, for no other would have gone better.
    """

    problem: str | None
    unavailable: bool = False


class ChildProcess:
    """Hands tasks to a child and their answers to `on_answer(task, answer)`, both called in a thread of its own.

    `call` names, as "module:function", what the child runs: `function(settings)` gives a callable that takes a task and
    yields answers (or Alive). `on_end(task, lost)` is called once for each task, with None when all went well.
    `threads` is how many cores one numerical operation may take, `niceness` how far the child stands back for others.
    """

    def __init__(
        self,
        call: str,
        settings: object,
        *,
        on_answer: Callable[[Any, Any], None],
        on_end: Callable[[Any, WorkerFailure | None], None],
        deadline_seconds: float,
        idle_seconds: float,
        threads: int,
        niceness: int = NICENESS,
    ) -> None:
        self._call = call
        self._settings = settings
        self._on_answer = on_answer
        self._on_end = on_end
        self._deadline_seconds = deadline_seconds
        self._idle_seconds = idle_seconds
        self._threads = threads
        self._niceness = niceness
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._child: _Child | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=call, daemon=True)
        self._thread.start()

    def submit(self, task: object) -> None:
        """Queue a task after those submitted before; None is no task."""
        self._tasks.put(task)

    def stop(self) -> None:
        """Kill the child and forget every task; no callback is called any more."""
        self._stopping.set()
        self._tasks.put(None)
        while self._thread.is_alive():
            child = self._child
            if child is not None:
                child.kill()
            self._thread.join(timeout=0.1)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                task = self._tasks.get(timeout=self._idle_seconds if self._child else None)
            except queue.Empty:
                self._dismiss()
                continue
            if task is None:
                break
            lost = self._attempt(task)
            if lost is not None:
                self._dismiss()
            if not self._stopping.is_set():
                self._on_end(task, lost)
        self._dismiss()

    def _attempt(self, task: object) -> WorkerFailure | None:
        """Have a child do it. Whatever goes wrong is told as a failure: nobody would see that this thread had ended."""
        try:
            if self._child is not None and self._child.ended():  # it was killed while it had nothing to do
                self._dismiss()
            if self._child is None:
                self._child = _Child(self._call, self._settings, threads=self._threads, niceness=self._niceness)
        except (OSError, RuntimeError) as problem:
            return WorkerFailure(hung=False, message=f"no process can be started: {problem}", unavailable=True)
        try:
            return self._serve(self._child, task)
        except Exception as problem:  # noqa: BLE001 - as said
            return WorkerFailure(hung=False, message=f"its answer cannot be used: {type(problem).__name__}: {problem}")

    def _serve(self, child: _Child, task: object) -> WorkerFailure | None:
        patience = self._deadline_seconds
        try:
            child.connection.send(task)
            while child.connection.poll(patience):
                message = child.connection.recv()
                patience = self._deadline_seconds
                if isinstance(message, Heartbeat):
                    patience = message.seconds or patience
                elif isinstance(message, _Finished):
                    if message.problem is None:
                        return None
                    return WorkerFailure(hung=False, message=message.problem, unavailable=message.unavailable)
                elif not self._stopping.is_set():
                    self._on_answer(task, message.value)
        except (EOFError, OSError):
            return WorkerFailure(hung=False, message=f"its process ended ({child.reap()})")
        return WorkerFailure(hung=True, message=f"no sign of life for {patience:g} seconds")

    def _dismiss(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.close()
            self._child = None


class _Child:
    def __init__(self, call: str, settings: object, *, threads: int, niceness: int) -> None:
        ours, theirs = socket.socketpair()
        self._said = TemporaryFile()  # noqa: SIM115 - it is read when the child is gone
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves, by the very interpreter that runs us
                program("sortd.workers.child_process:main", str(theirs.fileno()), call, str(niceness)),
                pass_fds=[theirs.fileno()],
                cwd=ANYWHERE,
                env=environment(**threading_settings(min(threads, free_cores(_cores(), os.getloadavg()[0])))),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )
        self.connection = Connection(ours.detach())
        with contextlib.suppress(OSError):
            self.connection.send(settings)

    def ended(self) -> bool:
        """Tell whether its process is no more."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill it and whatever it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Wait for its end and close what belongs to it."""
        self.reap()
        self.connection.close()
        self._said.close()

    def reap(self) -> str:
        """Wait for its end; return how it ended and what it said last."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "still running"
        return ": ".join(filter(None, (_how(status), self._last_words())))

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - LAST_WORDS))
        lines = self._said.read(LAST_WORDS).decode(errors="replace").split("\n")
        return printable(next((line for line in reversed(lines) if line.strip()), ""))


def _how(status: int) -> str:
    """Say how a process ended; not all signals have a name."""
    if status >= 0:
        return f"status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def threading_settings(threads: int) -> dict[str, str]:
    """What numerical libraries read of the environment, once, when they are loaded.

    By default each takes all cores, and its threads spin while they wait for each other: on a busy machine those that
    spin keep those from running that they wait for.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
    }


def free_cores(cores: int, load: float) -> int:
    """Return how many cores are free, as far as the load of the last minute tells; one at least."""
    return max(1, cores - round(load))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _work(connection: Connection, call: str) -> None:
    """Serve tasks in the child until the parent closes the connection."""
    module, function = call.split(":")
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    settings = connection.recv()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    handle: Callable[[Any], Iterator[Any]] | None = None
    while True:
        task = tasks.get()
        ended = _Finished(None)
        try:
            handle = handle or getattr(import_module(module), function)(settings)
            for answer in handle(task):
                connection.send(answer if isinstance(answer, Heartbeat) else TaskAnswer(answer))
        except ImportError as missing:
            ended = _Finished(f"{missing}; install sortd anew, with all that it needs", unavailable=True)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the service must hear of it
            ended = _Finished(traceback.format_exc(limit=-3))
            if handle is None:
                ended = _Finished(f"it cannot begin: {type(problem).__name__}: {problem}", unavailable=True)
        connection.send(ended)


_last_calls: list[Callable[[], None]] = []


def before_abandoned(call: Callable[[], None]) -> None:
    """Have the child make this call when its parent is gone, before it ends too."""
    _last_calls.append(call)


def _receive(connection: Connection, tasks: queue.SimpleQueue[Any]) -> None:
    """Read ahead, so that the end of the parent is the end of the child, even in the middle of a task."""
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        for call in _last_calls:
            call()
        os._exit(0)


def main() -> None:
    """Be the child; sys.argv holds the connection's descriptor, "module:function" and what it adds to niceness."""
    os.nice(int(sys.argv[3]))
    # A child takes the blame for memory: the kernel ends it, not the service.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    # The parent decides when to stop; a Ctrl-C meant for it must not end us in the middle of an answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _work(Connection(int(sys.argv[1])), sys.argv[2])
