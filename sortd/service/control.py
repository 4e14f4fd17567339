"""The socket by which a command asks the running service: one JSON line there, one JSON line back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from sortd.errors import SortdError
from sortd.messages import Asked, Message

LONGEST_PATH = 100
"""Bytes: a Unix socket's path must be shorter than 104 (macOS) or 108 (Linux)."""

ANSWER_SECONDS = 120.0
"""Undoing a thousand moves takes a while; a loop that answers nothing for so long is stuck."""


class NoAnswer(SortdError):
    """A service holds the library, but does not answer."""


def socket_path(state: Path) -> Path:
    """Where the service of a state directory listens; elsewhere when the path would be too long for a socket."""
    path = state / "control.sock"
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return path
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/sortd-{os.getuid()}"
    return Path(runtime) / f"sortd-{hashlib.blake2b(os.fsencode(state), digest_size=8).hexdigest()}.sock"


@contextlib.contextmanager
def listen(state: Path, inbox: SimpleQueue[Message]) -> Iterator[None]:
    """Put what commands ask into the inbox; the caller holds the library's lock, so a socket left over is nobody's."""
    path = socket_path(state)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        threading.Thread(target=_serve, args=(listener, inbox), name="control", daemon=True).start()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            # Closing alone does not wake a thread that waits in accept().
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def ask(state: Path, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The running service's answer; None where no service runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(socket_path(state)))
        except OSError:
            return None
        try:
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer: Mapping[str, Any] = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise NoAnswer(f"the service does not answer: {error}") from error
        return answer


def _serve(listener: socket.socket, inbox: SimpleQueue[Message]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_converse, args=(connection, inbox), name="control", daemon=True).start()


def _converse(connection: socket.socket, inbox: SimpleQueue[Message]) -> None:
    answered = threading.Event()
    answers: list[Mapping[str, Any]] = []

    def reply(answer: Mapping[str, Any]) -> None:
        answers.append(answer)
        answered.set()

    with connection, contextlib.suppress(OSError, ValueError):
        connection.settimeout(ANSWER_SECONDS)
        with connection.makefile("rb") as stream:
            inbox.put(Asked(json.loads(stream.readline()), reply))
        if answered.wait(ANSWER_SECONDS):
            connection.sendall(json.dumps(dict(answers[0])).encode() + b"\n")
