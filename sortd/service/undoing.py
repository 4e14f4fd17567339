"""Moves that the owner wants back; the answer waits for a while where files must be copied back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sortd.errors import MoveRefused, MoveUnfinished
from sortd.messages import Copied
from sortd.service.deciding import Decider
from sortd.service.filing import Filer
from sortd.service.looking import Looker
from sortd.store.journal import DONE, Entry
from sortd.store.memory import Memory

PATIENCE_SECONDS = 60.0
"""For so long an answer waits for copies; then it tells which are still under way."""

Reply = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class _Undo:
    """What became of one request so far; `copying` holds moves to be undone by the number of the move back."""

    reply: Reply
    until: float
    done: list[Mapping[str, Any]] = field(default_factory=list)
    refused: list[Mapping[str, Any]] = field(default_factory=list)
    copying: dict[int, Entry] = field(default_factory=dict)

    def answer(self) -> None:
        copying = [{"id": entry.number, "from": str(entry.steps[0].target)} for entry in self.copying.values()]
        self.reply({"done": self.done, "refused": self.refused} | ({"copying": copying} if copying else {}))


class Undoer:
    """Puts videos back. Times named `now` are seconds on the monotonic clock."""

    def __init__(self, memory: Memory, filer: Filer, decider: Decider, looker: Looker) -> None:
        self._memory = memory
        self._filer = filer
        self._decider = decider
        self._looker = looker
        self._unanswered: list[_Undo] = []

    def undo(self, entries: list[Entry], reply: Reply, *, now: float) -> None:
        """Put these moves back, in this order."""
        undo = _Undo(reply, now + PATIENCE_SECONDS)
        for entry in entries:
            self._try(undo, entry, partial(self._filer.put_back, entry))
        self._unanswered.append(undo)
        self.answer(now=now)

    def land(self, copied: Copied) -> None:
        """The copies for a move back are made, or failed."""
        for undo in self._unanswered:
            if copied.number in undo.copying:
                self._try(undo, undo.copying.pop(copied.number), partial(self._filer.land, copied))
                return
        self._filer.land(copied)  # its answer was given long ago

    def answer(self, *, now: float) -> None:
        """Answer what is through, or has waited long enough."""
        for undo in [undo for undo in self._unanswered if not undo.copying or now >= undo.until]:
            self._unanswered.remove(undo)
            undo.answer()

    def _try(self, undo: _Undo, entry: Entry, act: Callable[[], Entry]) -> None:
        path = str(entry.steps[0].target)
        try:
            back = act()
        except (MoveRefused, MoveUnfinished) as no:
            undo.refused.append({"path": path, "why": str(no)})
            return
        if back.state != DONE:
            undo.copying[back.number] = entry
            return
        undo.done.append({"id": entry.number, "from": path, "to": str(back.steps[0].target)})
        self._looker.label_changes += 1
        if self._memory.index.record(entry.fingerprint).home is None:
            self._decider.add([entry.fingerprint])
