"""The loop's brain: one message in, orders out. It alone decides what is looked at, extracted, learned and moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import PurePath
from typing import Any

from sortd.config import Config
from sortd.disk.guard import Guard
from sortd.disk.library import Library
from sortd.domain import FeatureSpace
from sortd.messages import (
    Asked,
    BatchLost,
    Copied,
    Extracted,
    ExtractionFailed,
    Message,
    NamesRead,
    Order,
    RescanDue,
    RetrainDue,
    RetryDue,
    Said,
    Stalled,
    Tick,
    Touched,
    Train,
    Trained,
    TrainingLost,
)
from sortd.service.accepting import Accepter
from sortd.service.asked import Answers
from sortd.service.copying import copying
from sortd.service.deciding import Decider
from sortd.service.filing import Filer
from sortd.service.judge import Judge
from sortd.service.learner import Learner
from sortd.service.looking import Looker
from sortd.service.queue import Queue
from sortd.service.spaces import Spaces
from sortd.service.telling import Tell, flushing, noting, telling
from sortd.store.decisions import DECISION_LOG, DecisionLog
from sortd.store.memory import Memory

DEVICE = "device"
"""What an extraction child says of where its networks run, and the note that is kept of it."""


class Sorter:
    """Holds what the loop knows between messages. `now` is seconds on the monotonic clock, `wall` the time of day."""

    def __init__(
        self,
        memory: Memory,
        library: Library,
        guard: Guard,
        *,
        config: Config,
        observe: bool,
        write: Tell,
        wall: Callable[[], float],
    ) -> None:
        self.memory = memory
        self._library = library
        library.exempt(memory.index.holds_labels)
        self._guard = guard
        self._config = config
        self._wall = wall
        self._tell = telling(memory.database, write)
        decisions = DecisionLog(memory.database, guard.root / DECISION_LOG)
        self._flush = flushing(decisions, self._tell)
        note = noting(decisions, wall)
        limits = config.move
        self.judge = Judge(memory, library, probation=limits.probation, target_precision=limits.target_precision)
        self._spaces = Spaces(memory, self.judge, config=config, wall=wall)
        self.filer = Filer(memory, library, guard, note=note, companions=limits.companions, tell=self._tell, wall=wall)
        self.looker = Looker(
            memory,
            library,
            guard,
            note=note,
            settle_seconds=config.watch.settle_seconds,
            tell=self._tell,
            wall=wall,
        )
        self.decider = Decider(
            memory,
            self.judge,
            self.filer,
            observe=observe,
            held=lambda: self.looker.brake.held,
            tell=self._tell,
            wall=wall,
        )
        self.learner = Learner(
            memory, library, state=guard.state, judge=self.judge, config=config, tell=self._tell, wall=wall
        )
        self._queue = Queue(memory, library, self.looker, self.decider, tell=self._tell, wall=wall, away=guard.here)
        self._answers = Answers(
            memory,
            self.filer,
            self.decider,
            self.looker,
            self.learner,
            note=note,
            tell=self._tell,
            away=lambda: self.away,
            status=self.status,
            accepter=Accepter(memory, library, guard, judge=self.judge, looker=self.looker, filer=self.filer),
        )
        self.away: str | None = None
        """Why the root is away; nothing is looked at, extracted or moved meanwhile."""
        self.watcher: Mapping[str, str] = {"mode": "polling", "why": "one pass only"}

    # What the loop asks

    def start(self) -> None:
        """Take up what the last run left: open moves first, then the queue, then a scan of everything."""
        with self.memory.transaction():
            for aside in self.memory.backlog.prepare():
                self._tell("set_aside", path=aside.path, reason=aside.fault, message=aside.message)
        self.learner.load()
        self.want(self.memory.space)
        self.looker.rescan()

    def want(self, space: FeatureSpace) -> None:
        """Ask for every video's vector in this space; until a classifier of it is adopted the old one decides."""
        if space != self.memory.space:
            self._queue.go_on()
        if self._spaces.want(space):
            self.learner.ask("the encoder changed")
        self.decider.add_all()

    def disk_is_back(self) -> None:
        """The root is here again: the next rescan tries at once what could not be read."""
        self._queue.disk_is_back()

    def catch_up(self) -> None:
        """Look at everything now, but for what is being written, and decide nothing: for commands without a service."""
        with self.memory.transaction():
            self.memory.backlog.prepare()
            self.memory.backlog.want(self.memory.space, serving=None)
        self.looker.spare(self.filer.recover())
        self.looker.rescan()
        now = 0.0
        left: set[PurePath] = set()
        while self.looker.busy() and not (left and left == self.looker.unlooked()):  # nobody's writing ends meanwhile
            left = self.looker.unlooked()
            self.looker.step(now)
            now += self._config.watch.settle_seconds + 1
        self.learner.changed(self.looker.label_changes, now=now)
        self._flush_decisions()

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out one command while no loop runs."""
        answers: list[Mapping[str, Any]] = []
        self._answers.to(request, answers.append, now=0.0)
        copy = copying(self._guard.root)
        while orders := self.filer.orders():
            for said in chain.from_iterable(map(copy, orders)):
                if isinstance(said, Copied):
                    self._land(said, 0.0)
        self._answers.remind(now=0.0)
        self.learner.changed(self.looker.label_changes, now=0.0)
        self._flush_decisions()
        return answers[0]

    def release(self) -> None:
        """A clean stop, and no child is left: what was begun is as if never begun."""
        self.filer.release()
        with self.memory.transaction():
            self.memory.backlog.release_all()

    def handle(self, message: Message, now: float) -> list[Order]:
        """Take one message; everything it changes is committed when this returns."""
        if isinstance(message, Touched):
            # Hints come in floods; the next Tick follows them all at once.
            self.looker.touch(message.path)
            return []
        try:
            self._take(message, now)
            return self._orders(now)
        finally:
            self._flush_decisions()

    def wakes_at(self, now: float) -> float | None:
        """When the next Tick is worth having; None: only a message brings news."""
        if self.away is not None:
            return None
        if self.looker.crowded() or self.decider.waiting():
            return now
        if self.looker.busy():
            return now + max(0.05, self._config.watch.settle_seconds / 4)
        return None if self.decider.halted else self.learner.wakes_at()

    def idle(self) -> bool:
        """Whether nothing is left to do until something new happens."""
        works = self.looker.busy() or self.decider.waiting() or self._queue.busy() or self.learner.training
        return not (works or self.filer.copies())

    # Messages

    def _take(self, message: Message, now: float) -> None:
        match message:
            case RescanDue():
                self._rescan(now)
            case RetrainDue(why):
                self.learner.ask(why)
            case Asked(request, reply):
                self._answers.to(request, reply, now=now)
            case Extracted() | ExtractionFailed() | BatchLost() | Stalled() | NamesRead():
                self._queue.note(message, now)
            case Said(event, facts):
                self._note_said(event, facts)
            case Trained() | TrainingLost():
                self._note_training(message, now)
            case RetryDue():
                self.decider.retry()
            case Copied():
                self._land(message, now)
            case Tick():
                pass
        self._step(now)

    def _rescan(self, now: float) -> None:
        self.looker.rescan()
        before = self._wall() - self._config.state.keep_days * 86_400
        with self.memory.transaction():
            self.memory.index.purge(before=before)
            self._spaces.purge(before=before)
            self._queue.take_back(now)
        self.decider.add_those_time_may_help()
        self.learner.see_rules()

    def _note_said(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == DEVICE:
            self.memory.database.write_note(DEVICE, facts["device"])
        else:
            self._tell(event, **facts)

    def _note_training(self, message: Trained | TrainingLost, now: float) -> None:
        if isinstance(message, TrainingLost):
            self.learner.lose(message.why, now=now)
        elif self.learner.learned(message.report, message.problem):
            self.want(self.memory.space)

    def _land(self, copied: Copied, now: float) -> None:
        (entry,) = (entry for entry in self.filer.copies() if entry.number == copied.number)
        if entry.asked_for:
            self._answers.land(copied)
        else:
            self.decider.land(copied, entry, now)

    def _step(self, now: float) -> None:
        if self.away is not None:
            return
        if self.memory.journal.open_count():
            # Before any look, so that a move half noted is never taken for the owner's.
            self.looker.spare(self.filer.recover())
        self.decider.add(clip for clip in self.looker.step(now) if self.judge.unsorted(clip) is not None)
        self.learner.changed(self.looker.label_changes, now=now)
        self.looker.label_changes = 0
        if not self.looker.scanning():
            # Until a scan is through, a second copy or a label may not be known yet.
            self.decider.step(now)
        self._answers.remind(now=now)

    # Orders

    def _orders(self, now: float) -> list[Order]:
        orders: list[Order] = [*self.filer.orders()]
        if self.away is not None or self.decider.halted:
            return orders
        # Labels are told before the first batch is sent, so that what the owner filed goes first.
        if not self.looker.scanning():
            orders += self._queue.next(now, labelled_first=self.judge.classifier is None)
        why = None if self.looker.busy() else self.learner.due(now)
        if why is not None:
            lesson = self.learner.lesson(why)
            orders += [] if lesson is None else [Train(lesson)]
        return orders

    # What the owner's commands need

    def status(self) -> dict[str, Any]:
        """What only the running service knows."""
        now = self._wall()
        held = self.decider.paused or self.looker.brake.why
        state = "away" if self.away else "paused" if held else "idle" if self.idle() else "running"
        rate, ends_at = self._queue.pace.rate(now), self._queue.pace.ends_at(self.memory.index.tally().pending, now)
        told = {"state": state, "why": self.away or self.looker.brake.why, "watcher": self.watcher}
        return told | {"rate": rate, "ends_at": ends_at}

    def _flush_decisions(self) -> None:
        if self.away is None:
            self._flush()
