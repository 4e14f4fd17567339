"""Make the moves that the owner asks for, some at a time; the answer waits for them, but not for ever."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

from sortd.domain.decision import Reason
from sortd.domain.errors import IndexUnavailable, SortdError
from sortd.domain.messages import FilesCopied
from sortd.engine.event_log import Tell
from sortd.engine.journaled_moves import JournaledMoves
from sortd.store.journal import DONE, Move
from sortd.store.store import Store

AT_ONCE = 10
"""Moves that are made before the loop looks into its inbox again; each is committed three times."""

PATIENCE_SECONDS = 60.0
"""An answer waits so long; then it tells which moves are still under way."""

FAILED = "the service could not do it; its log says why"

Reply = Callable[[Mapping[str, Any]], None]

Wish = tuple[PurePath, Callable[[], Move]]
"""A video, and what moves it: it raises a SortdError, or gives a move that may still be `open`."""


@dataclass(slots=True)
class _MoveRequest:
    """What became of one request so far; `copying` is by the number of the move that waits for copies."""

    reply: Reply
    until: float
    about: Mapping[str, Any]
    wishes: deque[Wish]
    done: list[Mapping[str, Any]] = field(default_factory=list)
    refused: list[Mapping[str, Any]] = field(default_factory=list)
    copying: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    answered: bool = False

    def answer(self) -> None:
        self.answered = True
        under_way = [*self.copying.values(), *({"from": str(path)} for path, _ in self.wishes)]
        copying = {"copying": under_way} if under_way else {}
        self.reply({**self.about, "done": [*self.done], "refused": [*self.refused], **copying})

    def fail(self) -> None:
        """Give up the rest of the request: something went wrong that is no fault of a move."""
        self.wishes.clear()
        self.answered = True
        self.reply({"error": FAILED})


class BulkMoves:
    """Makes the moves of each request, some in each step. Times named `now` are seconds on the monotonic clock."""

    def __init__(self, store: Store, moves: JournaledMoves, *, tell: Tell) -> None:
        self._store = store
        self._moves = moves
        self._tell = tell
        self._unfinished: list[_MoveRequest] = []

    def start(self, wishes: Iterable[Wish], reply: Reply, *, now: float, **about: str) -> None:
        """Make these moves in the steps that follow, in this order; `about` stands in the answer too."""
        self._unfinished.append(_MoveRequest(reply, now + PATIENCE_SECONDS, about, deque(wishes)))

    def waiting(self) -> bool:
        """Tell whether a move is still to be tried."""
        return any(request.wishes for request in self._unfinished)

    def step(self, *, now: float, away: str | None = None) -> None:
        """Make some moves, of the earliest request first, and answer what is through or has waited long enough.

        `away`: why the root is away, so that no move can be made.
        """
        if away is None:
            self._make_some()
        else:
            self._refuse_all(away)
        for request in self._unfinished:
            if not request.answered and (not (request.wishes or request.copying) or now >= request.until):
                request.answer()
        self._unfinished = [request for request in self._unfinished if request.wishes or request.copying]

    def _make_some(self) -> None:
        request = next((request for request in self._unfinished if request.wishes), None)
        if request is None:
            return
        for _ in range(min(AT_ONCE, len(request.wishes))):
            path, act = request.wishes.popleft()
            try:
                self._try(request, str(path), act)
            except Exception:
                if request.answered:  # the rest was promised
                    self._refuse(request, str(path), FAILED)
                else:
                    request.fail()
                raise

    def _refuse_all(self, why: str) -> None:
        for request in self._unfinished:
            while request.wishes:
                path, _ = request.wishes.popleft()
                self._refuse(request, str(path), why)

    def stop(self, why: str) -> None:
        """Refuse what was not made, and answer: nothing is made any more."""
        self._refuse_all(why)
        for request in self._unfinished:
            for told in request.copying.values():
                self._refuse(request, told["from"], why)
            request.copying.clear()
            if not request.answered:
                request.answer()
        self._unfinished.clear()

    def land(self, copied: FilesCopied) -> None:
        """Finish a move whose copies are made, or failed; its answer may have been given long ago, or never."""
        request = next((request for request in self._unfinished if copied.number in request.copying), None)
        if request is None:
            request = _MoveRequest(lambda _: None, 0.0, {}, deque(), answered=True)
            path = str(self._store.journal.entry(copied.number).steps[0].source)
        else:
            path = request.copying[copied.number]["from"]
        self._try(request, path, partial(self._moves.land, copied))
        request.copying.pop(copied.number, None)

    def _try(self, request: _MoveRequest, path: str, act: Callable[[], Move]) -> None:
        try:
            move = act()
        except IndexUnavailable:
            raise  # no fault of the move
        except SortdError as no:
            self._refuse(request, path, str(no))
            return
        told = {"id": move.undoes or move.number, "from": path}
        if move.state != DONE:
            request.copying[move.number] = told
            return
        request.done.append(told | {"to": str(move.steps[0].target)})

    def _refuse(self, request: _MoveRequest, path: str, why: str) -> None:
        request.refused.append({"path": path, "why": why})
        if request.answered:
            self._tell("left", path=path, reason=Reason.MOVE_REFUSED, category=None, confidence=None, why=why)
