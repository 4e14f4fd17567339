"""The service's end of the control socket: one thread, which keeps nobody waiting because of somebody else.

A client that is slow, silent, endless or wrong costs itself an answer and nobody else anything: the number of clients,
the bytes that are held for them and the time that each step may take are bounded.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Self

from sortd.domain.messages import Message, RequestReceived
from sortd.domain.requests import BadRequest, parse

MOST_CLIENTS = 64
BACKLOG = 128
"""Clients that the system lets wait until they are let in."""

REQUEST_SECONDS = 10.0
"""From being let in to the end of the line."""

READING_SECONDS = 30.0
"""So long a client may take to read its answer."""

LONGEST_REQUEST = 4 << 20
"""Bytes: the largest names the 3,000 videos of a group, with paths of a thousand bytes."""

MOST_BYTES = 16 << 20
"""Bytes of unfinished requests that are held at once."""

_AT_ONCE = 16
"""Clients let in before those that are in get their turn again."""

_BLOCK = 1 << 16


@dataclass(eq=False, slots=True)
class _Client:
    """Until its line is whole it is read from, then it waits for the loop, then it is written to."""

    connection: socket.socket
    until: float
    line: bytearray = field(default_factory=bytearray)
    asked: bool = False
    answer: memoryview | None = None


class ControlServer:
    """Serves a listening socket for as long as it is entered; `admits` says whether a client may ask at all."""

    def __init__(
        self,
        listener: socket.socket,
        inbox: SimpleQueue[Message],
        *,
        answer_seconds: float,
        admits: Callable[[socket.socket], bool],
    ) -> None:
        self._listener = listener
        self._inbox = inbox
        self._answer_seconds = answer_seconds
        self._admits = admits
        self._clients: list[_Client] = []  # in the order in which they came
        self._replies: SimpleQueue[tuple[_Client, Mapping[str, Any]]] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve."""
        for own in (self._listener, self._bell, self._ringer):
            own.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let every client go."""
        self._stopped = True
        self._ring()
        self._thread.join()
        self._hand_out()  # what was answered last
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def _serve(self) -> None:
        while not self._stopped:
            now = time.monotonic()
            wait = min((client.until - now for client in self._clients), default=None)
            for key, _ in self._selector.select(None if wait is None else max(0.0, wait)):
                if key.fileobj is self._listener:
                    self._let_in()
                elif key.fileobj is self._bell:
                    self._hand_out()
                elif isinstance(key.data, _Client) and key.data in self._clients:
                    self._go_on(key.data)
            now = time.monotonic()
            for client in [client for client in self._clients if client.until <= now]:
                self._drop(client)

    def _let_in(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                time.sleep(0.1)  # no descriptors are left: the others must end first
                return
            if not self._admitted(connection):
                connection.close()
                continue
            if len(self._clients) >= MOST_CLIENTS:
                self._make_room()
            connection.setblocking(False)
            client = _Client(connection, time.monotonic() + REQUEST_SECONDS)
            self._clients.append(client)
            self._selector.register(connection, selectors.EVENT_READ, client)
            self._read(client)

    def _admitted(self, connection: socket.socket) -> bool:
        try:
            return self._admits(connection)
        except OSError:
            return False

    def _make_room(self) -> None:
        """Whoever says nothing for the longest time goes; a request that is being carried out is the last to."""
        self._drop(next((client for client in self._clients if not client.asked), self._clients[0]))

    def _go_on(self, client: _Client) -> None:
        if client.answer is not None:
            self._write(client)
        else:
            self._read(client)

    def _read(self, client: _Client) -> None:
        try:
            block = client.connection.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        if not block:
            self._drop(client)
            return
        client.line += block
        line, end, _ = client.line.partition(b"\n")
        if end:
            self._ask(client, bytes(line))
        elif len(client.line) > LONGEST_REQUEST:
            self._answer(client, {"error": f"the request is longer than {LONGEST_REQUEST:,} bytes"})
        elif sum(len(one.line) for one in self._clients) > MOST_BYTES:
            self._answer(client, {"error": "too many long requests at once; ask again"})

    def _ask(self, client: _Client, line: bytes) -> None:
        client.line.clear()
        try:
            request = parse(line)
        except BadRequest as wrong:
            self._answer(client, {"error": str(wrong)})
            return
        client.asked = True
        client.until = time.monotonic() + self._answer_seconds
        self._selector.unregister(client.connection)

        def reply(answer: Mapping[str, Any]) -> None:
            self._replies.put((client, answer))
            self._ring()

        self._inbox.put(RequestReceived(request, reply))

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it rings already, or nobody listens any more
            self._ringer.send(b"!")

    def _hand_out(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(_BLOCK)
        with contextlib.suppress(Empty):
            while True:
                client, answer = self._replies.get_nowait()
                if client in self._clients and client.answer is None:
                    self._answer(client, answer)

    def _answer(self, client: _Client, answer: Mapping[str, Any]) -> None:
        client.line.clear()
        client.answer = memoryview(json.dumps(dict(answer)).encode() + b"\n")
        client.until = time.monotonic() + READING_SECONDS
        if client.asked:
            self._selector.register(client.connection, selectors.EVENT_WRITE, client)
        else:
            client.asked = True
            self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
        self._write(client)

    def _write(self, client: _Client) -> None:
        assert client.answer is not None  # noqa: S101 - for the type checker: only who has an answer is written to
        try:
            client.answer = client.answer[client.connection.send(client.answer) :]
        except BlockingIOError:
            return
        except OSError:
            client.answer = memoryview(b"")
        if not client.answer:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.remove(client)
        with contextlib.suppress(KeyError, ValueError):  # it waited for the loop
            self._selector.unregister(client.connection)
        client.connection.close()
