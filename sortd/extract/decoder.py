"""One disposable child for each file: what hostile bytes can crash, hang or flood is only the process that reads them.

A warm server (`sortd.extract.sandbox`) forks the children, so that each costs milliseconds. Python's own fork server
will not do: it runs the program's main module again in every child, and gives each child the pipe that keeps the
server alive, so that one that hangs would outlive its owner.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sortd.domain import Fault, Needs, Sample
from sortd.errors import ExtractionError, SortdError
from sortd.extract.sandbox import LONGEST_SECONDS, MEMORY_BYTES, READY

FORKS = sys.platform == "linux"
"""Elsewhere a process that has loaded the system's libraries must not fork: there each file gets its own server."""

MESSAGE_BYTES = 1 << 20
SAID_CHARACTERS = 1_000
"""So much of a refusal is told: it comes from the process that a hostile file may have taken over."""
START_SECONDS = 60.0


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

        It may take `timeout_seconds` plus half the video's length. SortdError: no file can be decoded here at all.
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
        why = "its process ends at once"
        with self._lock:
            for _ in range(2):
                server, self._server = self._server or _Server(self._settings), None
                try:
                    child = server.fork(fd, theirs)
                except (OSError, EOFError) as error:
                    why = str(error) or why
                    server.stop()
                    continue
                self._server = server if FORKS else None
                return server, child
        raise SortdError(f"no video can be decoded: {why}; install sortd anew, with its package av (PyAV)")


class _Server:
    """The owner's end of a server; the process ends when this end is closed, be it by the owner's death."""

    def __init__(self, settings: str) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_SECONDS)
        self._ready = False
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
                [sys.executable, "-c", "from sortd.extract.sandbox import serve; serve()", settings],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # More threads of numpy's would only reserve memory in every child.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def fork(self, fd: int, answer: socket.socket) -> int:
        """Start a child that reads `fd` and talks to `answer`; give its number. Raises OSError or EOFError."""
        self._greet()
        socket.send_fds(self._control, [b"?"], [fd, answer.fileno()])
        number = self._control.recv(4, socket.MSG_WAITALL)
        if not number:
            raise EOFError
        return int.from_bytes(number)

    def _greet(self) -> None:
        """Once, hear whether the server can serve, or what it lacks."""
        if not self._ready:
            greeting = self._control.recv(SAID_CHARACTERS)
            if greeting != READY:
                raise EOFError(greeting.decode(errors="replace"))
            self._ready = True

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
            raise ExtractionError(Fault(header["fault"]), str(header["message"])[:SAID_CHARACTERS])
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
        if self._connection.recv(1) or not all(map(math.isfinite, (sample.seconds, *sample.times))):
            raise ValueError("more than was announced, or beyond all numbers")
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
