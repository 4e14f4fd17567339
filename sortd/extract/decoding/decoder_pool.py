"""Decode each file in a process of its own: hostile bytes can crash, hang or flood only the one that reads them.

A warm server (`sortd.extract.decoding.sandbox`) forks the children, so that each costs milliseconds. Python's own
fork server will not do: it runs the program's main module again in every child, and gives each child the pipe that
keeps the server alive, so that one that hangs would outlive its owner.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Self

from sortd.config.python_interpreter import ANYWHERE, program
from sortd.domain.errors import ExtractionError, SortdError
from sortd.domain.feature import Fault
from sortd.extract.decoding.confinement_probe import Confinement
from sortd.extract.decoding.sandbox import DECODE, PROBE, READY, believed_length
from sortd.extract.decoding.window_reader import SAID_CHARACTERS, WindowReader, clean_message
from sortd.extract.spec import Needs, Sample

FORKS = sys.platform == "linux"
"""Elsewhere a process that has loaded the system's libraries must not fork: there each file gets its own server."""

START_SECONDS = 60.0

KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")
"""Of the owner's environment a server is given what finds its libraries and tells how names are encoded."""


class DecoderPool:
    """Decodes files in children that are gone when it is closed, or when the process that owns it dies.

    `read` names what a child calls, as "module:function": it takes an open file, Needs and `on_length`, and gives a
    Sample, as `sortd.extract.media.frames.read` does. The owner never imports it.
    """

    def __init__(self, needs: Needs, *, timeout_seconds: float, read: str = "sortd.extract.media.frames:read") -> None:
        self._needs = needs
        self._timeout_seconds = timeout_seconds
        self._settings = json.dumps([read, asdict(needs), timeout_seconds, FORKS])
        self._server: SandboxServer | None = None
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

        It may take `timeout_seconds` plus half the video's length; of a length that the file cannot hold, what its
        bytes hold at the usual rate.
        SortdError: no file can be decoded here at all.
        """
        believed = partial(believed_length, status=os.fstat(fd))
        ours, theirs = socket.socketpair()
        with ours, self._child(DECODE, fd, theirs):
            try:
                return WindowReader(ours, self._needs, self._timeout_seconds, believed=believed).sample()
            except TimeoutError as error:
                raise ExtractionError(Fault.TIMEOUT, "decoding it took too long") from error
            except MemoryError as error:
                raise ExtractionError(Fault.TOO_LARGE, "it takes more memory than there is") from error
            except (EOFError, OSError, ValueError) as error:
                raise ExtractionError(Fault.DECODER_CRASHED, "the decoder died of it, or talked nonsense") from error

    def confinement(self) -> Confinement:
        """Have a child try what it can do, once it is held as those that decode. SortdError: there can be none."""
        ours, theirs = socket.socketpair()
        with open(os.devnull, "rb") as nothing, ours, self._child(PROBE, nothing.fileno(), theirs):  # noqa: PTH123
            try:
                return Confinement(*WindowReader(ours, self._needs, START_SECONDS).confinement())
            except (EOFError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                raise SortdError("a decoder ends before it can tell how it is held") from error

    @contextlib.contextmanager
    def _child(self, request: bytes, fd: int, theirs: socket.socket) -> Iterator[None]:
        """A child at work, and then the end of it and of all it started."""
        with theirs:
            server, child = self._ask(request, fd, theirs)
        try:
            yield
        finally:
            # The child leads its group, if it came so far. It may all be gone by now; numbers are given out anew too
            # slowly to matter.
            for end in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    end(child, signal.SIGKILL)
            if not FORKS:
                server.stop()

    def _ask(self, request: bytes, fd: int, theirs: socket.socket) -> tuple[SandboxServer, int]:
        """Hand the file to the server; to a new one where there is none, or it was killed."""
        why = "its process ends at once"
        with self._lock:
            for _ in range(2):
                server, self._server = self._server or SandboxServer(self._settings), None
                try:
                    child = server.fork(request, fd, theirs)
                except (OSError, EOFError) as error:
                    why = str(error) or why
                    server.stop()
                    continue
                self._server = server if FORKS else None
                return server, child
        raise SortdError(f"no video can be decoded: {why}; install sortd anew, with its package av (PyAV)")


class SandboxServer:
    """The owner's end of a server; the process ends when this end is closed, be it by the owner's death."""

    def __init__(self, settings: str) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_SECONDS)
        self._ready = False
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
                program("sortd.extract.decoding.sandbox:serve", settings),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=ANYWHERE,
                # More threads of numpy's would only reserve memory in every child. Who takes one over shall not find
                # in it what else the owner's environment holds.
                env={name: os.environ[name] for name in KEPT if name in os.environ} | {"OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def fork(self, request: bytes, fd: int, answer: socket.socket) -> int:
        """Start a child that reads `fd` and talks to `answer`; give its number. Raises OSError or EOFError."""
        self._greet()
        socket.send_fds(self._control, [request], [fd, answer.fileno()])
        number = self._control.recv(4, socket.MSG_WAITALL)
        if not number:
            raise EOFError
        return int.from_bytes(number)

    def _greet(self) -> None:
        """Once, hear whether the server can serve, or what it lacks."""
        if not self._ready:
            greeting = self._control.recv(SAID_CHARACTERS)
            if greeting != READY:
                raise EOFError(clean_message(greeting.decode(errors="replace")))
            self._ready = True

    def stop(self) -> None:
        """End the server, and with it the children it has."""
        self._control.close()
        self._process.kill()
        self._process.wait()
