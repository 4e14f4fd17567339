"""Moves that the owner asks for; the answer waits for a while where files must be copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

from sortd.domain import Reason
from sortd.errors import MoveRefused, MoveUnfinished
from sortd.messages import Copied
from sortd.service.deciding import Decider
from sortd.service.filing import Filer
from sortd.service.looking import Looker
from sortd.service.telling import Tell
from sortd.store.journal import DONE, Entry
from sortd.store.memory import Memory

PATIENCE_SECONDS = 60.0
"""For so long an answer waits for copies; then it tells which are still under way."""

Reply = Callable[[Mapping[str, Any]], None]

Wish = tuple[PurePath, Callable[[], Entry]]
"""A video, and what moves it: it raises MoveRefused or MoveUnfinished, or gives a move that may still be `open`."""


@dataclass(slots=True)
class _Errand:
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


class Errands:
    """Carries them out. Times named `now` are seconds on the monotonic clock."""

    def __init__(self, memory: Memory, filer: Filer, decider: Decider, looker: Looker, *, tell: Tell) -> None:
        self._memory = memory
        self._filer = filer
        self._decider = decider
        self._looker = looker
        self._tell = tell
        self._unfinished: list[_Errand] = []

    def run(self, wishes: Iterable[Wish], reply: Reply, *, now: float, **about: str) -> None:
        """Make these moves, in this order; `about` stands in the answer too."""
        errand = _Errand(reply, now + PATIENCE_SECONDS, about)
        self._unfinished.append(errand)
        try:
            for path, act in wishes:
                self._try(errand, str(path), act)
        except Exception:
            errand.answered = True  # what went wrong is told instead; copies that are under way go on
            raise
        self.answer(now=now)

    def land(self, copied: Copied) -> None:
        """The copies for such a move are made, or failed; its answer may have been given long ago."""
        (errand,) = (errand for errand in self._unfinished if copied.number in errand.copying)
        path = errand.copying.pop(copied.number)["from"]
        self._try(errand, path, partial(self._filer.land, copied))

    def answer(self, *, now: float) -> None:
        """Answer what is through, or has waited long enough."""
        for errand in self._unfinished:
            if not errand.answered and (not errand.copying or now >= errand.until):
                errand.answer()
        self._unfinished = [errand for errand in self._unfinished if errand.copying]

    def _try(self, errand: _Errand, path: str, act: Callable[[], Entry]) -> None:
        try:
            move = act()
        except (MoveRefused, MoveUnfinished) as no:
            errand.refused.append({"path": path, "why": str(no)})
            if errand.answered:
                self._tell("left", path=path, reason=Reason.MOVE_REFUSED, category=None, confidence=None, why=str(no))
            return
        told = {"id": move.undoes or move.number, "from": path}
        if move.state != DONE:
            errand.copying[move.number] = told
            return
        errand.done.append(told | {"to": str(move.steps[0].target)})
        self._looker.label_changes += 1
        if self._memory.index.record(move.fingerprint).home is None:
            self._decider.add([move.fingerprint])
