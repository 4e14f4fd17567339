"""Moves that the owner asks for; the answer waits for a while where files must be copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

from sortd.domain.decision import Reason
from sortd.domain.errors import MoveRefused, MoveUnfinished
from sortd.domain.messages import FilesCopied
from sortd.engine.event_log import Tell
from sortd.engine.journaled_moves import JournaledMoves
from sortd.engine.pending_decisions import PendingDecisions
from sortd.engine.scanner import Scanner
from sortd.store.journal import DONE, Move
from sortd.store.store import Store

PATIENCE_SECONDS = 60.0
"""For so long an answer waits for copies; then it tells which are still under way."""

Reply = Callable[[Mapping[str, Any]], None]

Wish = tuple[PurePath, Callable[[], Move]]
"""A video, and what moves it: it raises MoveRefused or MoveUnfinished, or gives a move that may still be `open`."""


@dataclass(slots=True)
class _MoveRequest:
    """What became of one request so far; `copying` is by the number of the move that waits for copies."""

    reply: Reply
    until: float
    about: Mapping[str, Any]
    done: list[Mapping[str, Any]] = field(default_factory=list)
    refused: list[Mapping[str, Any]] = field(default_factory=list)
    copying: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    answered: bool = False

    def answer(self) -> None:
        self.answered = True
        copying = {"copying": list(self.copying.values())} if self.copying else {}
        self.reply({**self.about, "done": self.done, "refused": self.refused, **copying})


class BulkMoves:
    """Carries them out. Times named `now` are seconds on the monotonic clock."""

    def __init__(
        self, store: Store, moves: JournaledMoves, pending_decisions: PendingDecisions, scanner: Scanner, *, tell: Tell
    ) -> None:
        self._store = store
        self._moves = moves
        self._pending_decisions = pending_decisions
        self._scanner = scanner
        self._tell = tell
        self._unfinished: list[_MoveRequest] = []

    def run(self, wishes: Iterable[Wish], reply: Reply, *, now: float, **about: str) -> None:
        """Make these moves, in this order; `about` stands in the answer too."""
        request = _MoveRequest(reply, now + PATIENCE_SECONDS, about)
        self._unfinished.append(request)
        try:
            for path, act in wishes:
                self._try(request, str(path), act)
        except Exception:
            request.answered = True  # what went wrong is told instead; copies that are under way go on
            raise
        self.answer(now=now)

    def land(self, copied: FilesCopied) -> None:
        """The copies for such a move are made, or failed; its answer may have been given long ago."""
        (request,) = (request for request in self._unfinished if copied.number in request.copying)
        path = request.copying.pop(copied.number)["from"]
        self._try(request, path, partial(self._moves.land, copied))

    def answer(self, *, now: float) -> None:
        """Answer what is through, or has waited long enough."""
        for request in self._unfinished:
            if not request.answered and (not request.copying or now >= request.until):
                request.answer()
        self._unfinished = [request for request in self._unfinished if request.copying]

    def _try(self, request: _MoveRequest, path: str, act: Callable[[], Move]) -> None:
        try:
            move = act()
        except (MoveRefused, MoveUnfinished) as no:
            request.refused.append({"path": path, "why": str(no)})
            if request.answered:
                self._tell("left", path=path, reason=Reason.MOVE_REFUSED, category=None, confidence=None, why=str(no))
            return
        told = {"id": move.undoes or move.number, "from": path}
        if move.state != DONE:
            request.copying[move.number] = told
            return
        request.done.append(told | {"to": str(move.steps[0].target)})
        self._scanner.label_changes += 1
        if self._store.videos.record(move.fingerprint).home is None:
            self._pending_decisions.add([move.fingerprint])
