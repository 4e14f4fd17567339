"""The socket by which a command asks the running service: one JSON line there, one JSON line back.

It lies in the state directory and nowhere else, whatever the caller's environment says, so that there is one for one
state. Where its path is too long for a socket it is reached through the open folder. Both ends ask the system whose
process the other one is, and speak to their own account's and to root's only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from sortd.daemon.control_server import BACKLOG, LONGEST_REQUEST, ControlServer
from sortd.domain.errors import LibraryUnavailable, SortdError
from sortd.domain.messages import Message

NAME = "control.sock"

LONGEST_PATH = 100
"""Bytes: a Unix socket's path must be shorter than 104 (macOS) or 108 (Linux)."""

ANSWER_SECONDS = 120.0
"""Undoing a thousand moves takes a while; a loop that answers nothing for so long is stuck."""

CONNECT_SECONDS = 10.0
"""So long a command waits while more clients than may be at once wait for the service."""

LONGEST_ANSWER = 64 << 20
"""Bytes; an answer that names a hundred thousand moves is shorter."""

_BLOCK = 1 << 16


class NoAnswer(SortdError):
    """A service holds the library, but does not answer."""


class _NoSocket(OSError):
    """No socket can be reached there."""


def socket_path(state: Path) -> Path:
    """Where the service of a state directory listens."""
    return state / NAME


@contextlib.contextmanager
def listen(state: Path, inbox: SimpleQueue[Message]) -> Iterator[None]:
    """Put what commands ask into the inbox; the caller holds the library's lock, so a socket left over is nobody's.

    LibraryUnavailable: there can be no socket.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(_opened(state))
            _clear(folder, state)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            # Linux makes the name with the mode of the socket itself, so that nobody is ever let in.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(_address(folder, state))
            stack.callback(_remove, folder)
            os.chmod(NAME, 0o600, dir_fd=folder)
            listener.listen(BACKLOG)
        except OSError as problem:
            why = problem.strerror or str(problem)
            raise LibraryUnavailable(f"{socket_path(state)} cannot be listened at: {why}") from problem
        server = ControlServer(
            listener, inbox, answer_seconds=ANSWER_SECONDS, admits=lambda peer: _uid_of(peer) in {None, os.geteuid(), 0}
        )
        stack.enter_context(server)
        yield


def ask(state: Path, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The running service's answer; None where no service runs. NoAnswer: one does, and gives none."""
    line = json.dumps(dict(request)).encode() + b"\n"
    if len(line) > LONGEST_REQUEST:
        raise NoAnswer(f"that is too much for one request: {len(line):,} bytes of {LONGEST_REQUEST:,}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            owner = _connect(connection, state)
        except OSError:
            return None
        peer = _uid_of(connection)
        if peer not in {None, os.geteuid(), 0, owner if os.geteuid() == 0 else None}:
            raise NoAnswer(f"{socket_path(state)} is held by another account (uid {peer})")
        try:
            answer = json.loads(_converse(connection, line))
        except (OSError, ValueError, RecursionError) as error:
            raise NoAnswer(f"the service does not answer: {error}") from error
        if not isinstance(answer, dict):
            raise NoAnswer("the service does not answer: what it says is no JSON object")
        return answer


def _connect(connection: socket.socket, state: Path) -> int:
    """Connect to the service of a state directory; whose the directory is. OSError: no service is to be reached."""
    until = time.monotonic() + CONNECT_SECONDS
    with _opened(state) as folder:
        if not stat.S_ISSOCK(os.stat(NAME, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _NoSocket(errno.ENOTSOCK, "no socket")
        connection.settimeout(CONNECT_SECONDS)
        while True:
            try:
                connection.connect(_address(folder, state))
            except BlockingIOError:  # as many as may be are waiting to be let in
                if time.monotonic() > until:
                    raise NoAnswer("the service does not answer: too many ask it at once") from None
                time.sleep(0.05)
            else:
                return os.fstat(folder).st_uid


def _converse(connection: socket.socket, line: bytes) -> bytes:
    """Send the line; the line that comes back."""
    until = time.monotonic() + ANSWER_SECONDS
    # Whoever is refused in the middle of its request still has a reason to read.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.settimeout(CONNECT_SECONDS)
        connection.sendall(line)
    answer = bytearray()
    while not answer.endswith(b"\n"):
        connection.settimeout(max(0.1, until - time.monotonic()))
        block = connection.recv(_BLOCK)
        answer += block
        if len(answer) > LONGEST_ANSWER:
            raise ValueError("its answer does not end")
        if not block:
            break
    return bytes(answer)


@contextlib.contextmanager
def _opened(state: Path) -> Iterator[int]:
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _address(folder: int, state: Path) -> str:
    """What the system is told; it takes a long path by way of the open folder, where it has /proc."""
    through = f"/proc/self/fd/{folder}"
    if os.path.isdir(through):  # noqa: PTH112 - a name for the system, no path of ours
        return f"{through}/{NAME}"
    path = str(socket_path(state))
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise _NoSocket(errno.ENAMETOOLONG, "its path is too long for a socket; name a shorter [state] dir")
    return path


def _clear(folder: int, state: Path) -> None:
    """Make room for the socket: one that is left over goes, anything else is somebody's."""
    try:
        status = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise LibraryUnavailable(f"{socket_path(state)} is in the way: it is no socket of sortd's; move it away")
    os.unlink(NAME, dir_fd=folder)


def _remove(folder: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(NAME, dir_fd=folder)


def _uid_of(connection: socket.socket) -> int | None:
    """Whose process is at the other end; None where the system does not tell, and only the folder's mode counts."""
    if sys.platform != "linux":
        return None
    form = "3i"  # pid, uid, gid: struct ucred of unix(7)
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    return int(struct.unpack(form, told)[1])
