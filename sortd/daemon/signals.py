"""Turn signals into messages: putting one is all that is safe in a handler (SimpleQueue.put is re-entrant)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from sortd.domain.messages import Message, RescanDue, RetrainDue, RetryDue, Stop


@contextmanager
def signals_into(inbox: SimpleQueue[Message]) -> Iterator[None]:
    """SIGTERM and SIGINT stop, SIGHUP looks at everything and learns anew; once told to stop, more change nothing."""
    told: list[int] = []

    def handle(number: int, _: object) -> None:
        if number == signal.SIGHUP:
            inbox.put(RetryDue())
            inbox.put(RescanDue("SIGHUP"))
            inbox.put(RetrainDue("SIGHUP"))
        else:
            told.append(number)
            inbox.put(Stop(signal.Signals(number).name))

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if told else handler)
