"""Which videos are to be decided, and what becomes of each: moved, or left with a reason that is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sortd.domain import Decision, Fingerprint, Leave, MoveTo, Reason
from sortd.errors import SortdError
from sortd.service.filing import Filer
from sortd.service.judge import Judge
from sortd.service.telling import Tell
from sortd.store.memory import Memory

AT_ONCE = 20
"""Videos decided before the loop looks into its inbox again."""

MAY_PASS = (Reason.ON_PROBATION, Reason.HANDS_OFF, Reason.MOVE_REFUSED)
"""Reasons that time, or a change outside of any video, may lift."""

_PAUSED = "paused"


def is_paused(memory: Memory) -> bool:
    """Whether the owner paused this library; it stays so while no service runs."""
    return memory.database.note(_PAUSED) == "1"


class Decider:
    """Holds the videos to decide; `observe`: never move; `held`: whether to wait without a word."""

    def __init__(
        self,
        memory: Memory,
        judge: Judge,
        filer: Filer,
        *,
        observe: bool,
        held: Callable[[], bool],
        tell: Tell,
        wall: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._judge = judge
        self._filer = filer
        self._observe = observe
        self._held = held
        self._tell = tell
        self._wall = wall
        self._waiting: dict[Fingerprint, None] = {}

    def add(self, clips: Iterable[Fingerprint]) -> None:
        """Decide these anew: what is known of them changed."""
        self._waiting.update(dict.fromkeys(clips))

    def add_all(self) -> None:
        """Decide every unsorted video anew: what decides changed."""
        self.add(self._memory.index.fingerprints(home=None))

    def add_those_time_may_help(self) -> None:
        """Decide those anew whose reason may have passed by itself."""
        self.add(self._memory.index.left_for(MAY_PASS))

    def waiting(self) -> bool:
        """Whether any can be decided now."""
        return bool(self._waiting) and not self._held()

    def step(self) -> None:
        """Decide some."""
        if not self.waiting():
            return
        self._judge.refresh()
        for clip in [clip for clip, _ in zip(self._waiting, range(AT_ONCE), strict=False)]:
            del self._waiting[clip]
            self._decide(clip)

    @property
    def paused(self) -> bool:
        """The owner asked for no moves and no extraction meanwhile."""
        return is_paused(self._memory)

    @property
    def halted(self) -> bool:
        """Whether nothing is to be moved, extracted or learned now, by the owner's wish or for caution."""
        return self.paused or self._held()

    def pause(self, *, paused: bool) -> None:
        """Keep the owner's wish, over restarts too."""
        self._memory.database.write_note(_PAUSED, "1" if paused else "0")
        if not paused:
            self.add_all()

    def _decide(self, clip: Fingerprint) -> None:
        verdict = self._judge.judge(clip, now=self._wall())
        if verdict is None or verdict.fault is not None:
            return
        decision: Decision = verdict.decision
        why: str | None = None
        if isinstance(decision, MoveTo):
            refusal = self._move(clip, decision)
            decision, why = refusal or (decision, None)
        if isinstance(decision, Leave) and decision.reason is not Reason.PENDING:
            confidence = None if verdict.prediction is None else round(verdict.prediction.confidence, 4)
            facts = {"reason": decision.reason, "category": decision.category, "confidence": confidence}
            with self._memory.transaction():
                if self._memory.index.tell_left(clip, decision.reason, decision.category):
                    self._tell("left", path=verdict.path, **facts, **({} if why is None else {"why": why}))

    def _move(self, clip: Fingerprint, move: MoveTo) -> tuple[Leave, str | None] | None:
        """Carry a move out; where it may not or could not be made: why not."""
        if self.paused:
            return Leave(Reason.PAUSED, move.category), None
        if self._observe:
            return Leave(Reason.OBSERVE_MODE, move.category), None
        sighting = self._judge.unsorted(clip)
        if sighting is None:
            return None
        try:
            self._filer.file(sighting, move)
        except SortdError as refused:
            return Leave(Reason.MOVE_REFUSED, move.category), str(refused)
        return None
