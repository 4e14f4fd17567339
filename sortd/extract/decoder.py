"""One disposable child for each file: what hostile bytes can crash, hang or flood is only the process that reads them.

A warm server forks the children, so that each costs milliseconds. Python's own fork server will not do: it runs the
program's main module again in every child, and gives each child the pipe that keeps the server alive, so that one
that hangs would outlive its owner.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from sortd.domain import Fault, Needs, Sample
from sortd.errors import ExtractionError

FORKS = sys.platform == "linux"
"""Elsewhere a process that has loaded the system's libraries must not fork: there each file gets its own server."""

MEMORY_BYTES = 2 << 30
"""On top of what an idle child maps; 8K video takes half of it."""
OPEN_FILES = 64
NICENESS = 10
LONGEST_SECONDS = 12 * 3600
"""A header may claim any length; no claim earns more patience than this."""
MESSAGE_BYTES = 1 << 20
START_SECONDS = 60.0

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1


class Decoder:
    """Decodes files in children that are gone when it is closed, or when the process that owns it dies.

    `read` names what a child calls, as "module:function": it takes an open file, Needs and `on_length`, and gives a
    Sample, as `sortd.extract.media.read` does. The owner never imports it.
    """

    def __init__(self, needs: Needs, *, timeout_seconds: float, read: str = "sortd.extract.media:read") -> None:
        self._needs = needs
        self._timeout_seconds = timeout_seconds
        self._settings = json.dumps([read, asdict(needs), timeout_seconds, FORKS])
        self._server: _Server | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start nothing yet: the first file does."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server and every child."""
        with self._lock:
            if self._server:
                self._server.stop()
            self._server = None

    def decode(self, fd: int) -> Sample:
        """Decode the file that `fd` has open, from its beginning; any thread may ask. Raises ExtractionError.

        It may take `timeout_seconds` plus half the video's length.
        """
        ours, theirs = socket.socketpair()
        with ours, self._child(fd, theirs):
            try:
                return _Answer(ours, self._needs, self._timeout_seconds).sample()
            except TimeoutError as error:
                raise ExtractionError(Fault.TIMEOUT, "decoding it took too long") from error
            except (EOFError, OSError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
                raise ExtractionError(Fault.DECODER_CRASHED, "the decoder died of it, or talked nonsense") from error

    @contextlib.contextmanager
    def _child(self, fd: int, theirs: socket.socket) -> Iterator[None]:
        """A child at work, and then the end of it and of all it started."""
        with theirs:
            server, child = self._ask(fd, theirs)
        try:
            yield
        finally:
            # The child leads its group. It may all be gone by now; numbers are given out anew too slowly to matter.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            if not FORKS:
                server.stop()

    def _ask(self, fd: int, theirs: socket.socket) -> tuple[_Server, int]:
        """Hand the file to the server; to a new one where there is none, or it was killed."""
        with self._lock:
            for _ in range(2):
                server, self._server = self._server or _Server(self._settings), None
                with contextlib.suppress(OSError, EOFError):
                    child = server.fork(fd, theirs)
                    self._server = server if FORKS else None
                    return server, child
                server.stop()
        raise ExtractionError(Fault.DECODER_CRASHED, "no decoder could be started")


class _Server:
    """The owner's end of a server; the process ends when this end is closed, be it by the owner's death."""

    def __init__(self, settings: str) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_SECONDS)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
                [sys.executable, "-c", f"from {__name__} import serve; serve()", settings],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # More threads of numpy's would only reserve memory in every child.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def fork(self, fd: int, answer: socket.socket) -> int:
        """Start a child that reads `fd` and talks to `answer`; give its number. Raises OSError or EOFError."""
        socket.send_fds(self._control, [b"?"], [fd, answer.fileno()])
        number = self._control.recv(4, socket.MSG_WAITALL)
        if not number:
            raise EOFError
        return int.from_bytes(number)

    def stop(self) -> None:
        """End the server, and with it the children it has."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class _Answer:
    """What a child says: messages of JSON, each after its length, then bare numbers. None of it is believed."""

    def __init__(self, connection: socket.socket, needs: Needs, timeout_seconds: float) -> None:
        self._connection = connection
        self._needs = needs
        self._patience_ends = time.monotonic() + timeout_seconds

    def sample(self) -> Sample:
        """Take it in. Raises ExtractionError, TimeoutError, and for nonsense almost anything."""
        header = self._message()
        began = self._patience_ends
        while "length" in header:
            longer = began + min(float(header["length"]), LONGEST_SECONDS) / 2
            self._patience_ends = max(self._patience_ends, longer)
            header = self._message()
        if "fault" in header:
            raise ExtractionError(Fault(header["fault"]), str(header["message"]))
        sizes = [(int(height), int(width), 3) for height, width in header["frames"] + header["following"]]
        expected = self._needs.frames * (2 if self._needs.following else 1)
        claimed = sum(map(math.prod, sizes)) + 4 * (header["sound"] or 0)
        if len(sizes) != expected or claimed > MEMORY_BYTES:
            raise ValueError(header)
        pictures = [self._array(size, np.uint8) for size in sizes]
        sample = Sample(
            frames=tuple(pictures[: self._needs.frames]),
            following=tuple(pictures[self._needs.frames :]),
            times=tuple(map(float, header["times"])),
            sound=None if header["sound"] is None else self._array((int(header["sound"]),), np.float32),
            seconds=float(header["seconds"]),
            width=int(header["width"]),
            height=int(header["height"]),
        )
        if self._connection.recv(1):
            raise ValueError("more than was announced")
        return sample

    def _message(self) -> dict[str, Any]:
        length = int.from_bytes(self._array((4,), np.uint8).tobytes())
        if length > MESSAGE_BYTES:
            raise ValueError(length)
        message: dict[str, Any] = json.loads(self._array((length,), np.uint8).tobytes())
        return message

    def _array(self, shape: tuple[int, ...], kind: type[Any]) -> NDArray[Any]:
        array = np.empty(shape, kind)
        missing = array.reshape(-1).view(np.uint8).data
        while missing:
            left = self._patience_ends - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
            count = self._connection.recv_into(missing)
            if not count:
                raise EOFError
            missing = missing[count:]
        return array


def serve() -> None:
    """Be a server: fork a child for each pair of descriptors (file, answer) that comes through standard input."""
    call, needs, timeout_seconds, forks = json.loads(sys.argv[1])
    module, _, name = call.partition(":")
    read = getattr(import_module(module), name)
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: their silence tells enough
    _leave_network()
    server = os.getpid()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not request:
            return
        child = os.fork() if forks else server
        if child:
            control.sendall(child.to_bytes(4))
        if child in {0, server}:
            control.close()
            _work(read, Needs(**needs), *descriptors, timeout_seconds=timeout_seconds, server=server)
        for descriptor in descriptors:
            os.close(descriptor)


def _work(
    read: Callable[..., Sample], needs: Needs, file: int, answer: int, *, timeout_seconds: float, server: int
) -> NoReturn:
    try:
        _confine(timeout_seconds, server)
        _tell(socket.socket(fileno=answer), read, needs, file)
    finally:
        os._exit(0)


def _tell(connection: socket.socket, read: Callable[..., Sample], needs: Needs, file: int) -> None:
    def say(**message: object) -> None:
        told = json.dumps(message).encode()
        connection.sendall(len(told).to_bytes(4) + told)

    try:
        # Opened anew, it has a position of its own: two children may read one descriptor.
        with Path(f"/dev/fd/{file}").open("rb", buffering=0) as video:
            sample = read(video, needs, on_length=lambda seconds: say(length=seconds))
    except ExtractionError as error:
        say(fault=error.fault, message=str(error))
        return
    except MemoryError:
        say(fault=Fault.TOO_LARGE, message="it takes more memory than one video may")
        return
    say(
        frames=[picture.shape[:2] for picture in sample.frames],
        following=[picture.shape[:2] for picture in sample.following],
        times=sample.times,
        sound=None if sample.sound is None else len(sample.sound),
        seconds=sample.seconds,
        width=sample.width,
        height=sample.height,
    )
    for picture in (*sample.frames, *sample.following):
        connection.sendall(picture.tobytes())
    if sample.sound is not None:
        connection.sendall(sample.sound.data)


def _confine(timeout_seconds: float, server: int) -> None:
    """Leave this child what decoding takes, and nothing else."""
    for standard in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    os.nice(NICENESS)
    mapped = 0
    with contextlib.suppress(OSError):
        mapped = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")
    for kind, most in {
        resource.RLIMIT_AS: mapped + MEMORY_BYTES,
        resource.RLIMIT_CPU: math.ceil(timeout_seconds + LONGEST_SECONDS / 2),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }.items():
        with contextlib.suppress(OSError, ValueError):  # the owner may be held tighter already
            resource.setrlimit(kind, (most, most))
    if os.getpid() != server:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(0)


def _leave_network() -> None:
    """Go where there is no network, if that is allowed; a user of no privileges needs a world of his own for it."""
    with contextlib.suppress(AttributeError):  # only Linux can
        unshare = ctypes.CDLL(None).unshare
        if unshare(CLONE_NEWNET):
            unshare(CLONE_NEWUSER | CLONE_NEWNET)
