"""Ask a disk that may never answer, such as an unplugged network share or a dying drive, with a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sortd.disk.library_marker import RootAway

ANSWER_SECONDS = 5.0
"""A disk that only has to wake up may answer too late; then it is back at the next question."""

T = TypeVar("T")


class TimedIO:
    """Asks in a thread that may be left behind; while one hangs, no other is sent after it."""

    def __init__(self, seconds: float = ANSWER_SECONDS) -> None:
        self._seconds = seconds
        self._sent: threading.Thread | None = None

    def ask(self, question: Callable[[], T]) -> T:
        """What the question returns or raises. RootAway: there is no answer."""
        if self._sent is None or not self._sent.is_alive():
            answer: Future[T] = Future()
            # A daemon, for the interpreter does not wait for those at its end.
            self._sent = threading.Thread(target=_answer, args=(question, answer), name="patience", daemon=True)
            self._sent.start()
            self._sent.join(self._seconds)
            if answer.done():
                return answer.result()
        raise RootAway("the disk does not answer")


def _answer(question: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(question())
    except BaseException as problem:  # noqa: BLE001 - it is raised where the question was asked
        answer.set_exception(problem)
