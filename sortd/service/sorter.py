"""The loop's brain: one message in, orders out. It alone decides what is looked at, extracted, learned and moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sortd.config import Config
from sortd.disk.guard import Guard
from sortd.disk.library import Library
from sortd.domain import FeatureSpace
from sortd.extract import extractable, parts
from sortd.messages import (
    Asked,
    BatchLost,
    Extracted,
    ExtractionFailed,
    Message,
    Order,
    RescanDue,
    RetrainDue,
    Said,
    Stalled,
    Tick,
    Touched,
    Train,
    Trained,
    TrainingLost,
)
from sortd.service.asked import Answers
from sortd.service.deciding import Decider
from sortd.service.filing import Filer
from sortd.service.judge import Judge
from sortd.service.learner import Learner
from sortd.service.looking import Looker
from sortd.service.opening import extract_settings
from sortd.service.queue import Queue
from sortd.service.telling import Tell, telling
from sortd.store.decisions import DECISION_LOG, DecisionLog
from sortd.store.memory import Memory

DEVICE = "device"
"""What an extraction child says of where its networks run, and the note that is kept of it."""

_SPACE = "space"
_SPACE_SINCE = "space_since"


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
        self._guard = guard
        self._config = config
        self._wall = wall
        self._tell = telling(memory.database, write)
        self.decisions = DecisionLog(memory.database, guard.root / DECISION_LOG)
        self.judge = Judge(memory, library, probation=config.move.probation)
        self.filer = Filer(
            memory,
            library,
            guard,
            decisions=self.decisions,
            companions=config.move.companions,
            tell=self._tell,
            wall=wall,
        )
        self.looker = Looker(
            memory,
            library,
            guard,
            decisions=self.decisions,
            settle_seconds=config.watch.settle_seconds,
            tell=self._tell,
            wall=wall,
        )
        self.decider = Decider(
            memory, self.judge, self.filer, observe=observe, held=self.looker.held, tell=self._tell, wall=wall
        )
        self.learner = Learner(
            memory, library, state=guard.state, judge=self.judge, config=config, tell=self._tell, wall=wall
        )
        self._queue = Queue(memory, self.looker, self.decider, tell=self._tell, wall=wall)
        self._answers = Answers(
            memory,
            self.filer,
            self.decider,
            self.looker,
            decisions=self.decisions,
            tell=self._tell,
            wall=wall,
            away=lambda: self.away,
            status=self.status,
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
        """Ask for every video's vector in this space; until a classifier of it is adopted the old one decides.

        The old space's parts are asked for too while they can still be extracted, so that what is dropped meanwhile
        is not left waiting.
        """
        if space != self.memory.space:
            self._queue.go_on()
        self.memory.space = space
        old = None if self.judge.classifier is None else self.judge.classifier.space
        changes = old is not None and old != space
        asked = old if changes and old is not None and self._extractable(old) else None
        with self.memory.transaction():
            if self.memory.database.note(_SPACE) != space.key:
                self.memory.database.write_note(_SPACE, space.key)
                self.memory.database.write_note(_SPACE_SINCE, str(self._wall()))
            self.memory.backlog.want(space, serving=asked)
        if changes:
            self.learner.ask("the encoder changed")
        self.decider.add_all()

    def _extractable(self, space: FeatureSpace) -> bool:
        settings = extract_settings(self._config)
        return all(extractable(part, settings) for part in space.parts)

    def catch_up(self) -> None:
        """Look at everything now and decide nothing: for a command while no service runs and nobody writes."""
        with self.memory.transaction():
            self.memory.backlog.prepare()
            self.memory.backlog.want(self.memory.space, serving=None)
        self.filer.recover()
        self.looker.rescan()
        now = 0.0
        while self.looker.busy():
            self.looker.step(now)
            now += self._config.watch.settle_seconds
        self.learner.changed(self.looker.label_changes, now=now)
        self._flush_decisions()

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out one command while no loop runs."""
        answer = self._answers.to(request)
        self.learner.changed(self.looker.label_changes, now=0.0)
        self._flush_decisions()
        return answer

    def _answer(self, request: Mapping[str, Any], reply: Callable[[Mapping[str, Any]], None]) -> None:
        answer: Mapping[str, Any] = {"error": "the service could not do it; its log says why"}
        try:
            answer = self._answers.to(request)
        finally:
            reply(answer)

    def release(self) -> None:
        """A clean stop: what was begun is as if never begun."""
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
        return not (self.looker.busy() or self.decider.waiting() or self._queue.busy() or self.learner.training)

    # Messages

    def _take(self, message: Message, now: float) -> None:
        match message:
            case RescanDue():
                self._rescan()
            case RetrainDue(why):
                self.learner.ask(why)
            case Asked(request, reply):
                self._answer(request, reply)
            case Extracted() | ExtractionFailed() | BatchLost() | Stalled():
                self._queue.note(message)
            case Said(event, facts):
                self._note_said(event, facts)
            case Trained() | TrainingLost():
                self._note_training(message, now)
            case Tick():
                pass
        self._step(now)

    def _rescan(self) -> None:
        self.looker.rescan()
        before = self._wall() - self._config.state.keep_days * 86_400
        with self.memory.transaction():
            self.memory.index.purge(before=before)
            if float(self.memory.database.note(_SPACE_SINCE) or 0) < before:
                # The vectors of an encoder or a setting that was given up so long ago are wanted by nobody.
                classifier = self.judge.classifier
                self.memory.features.purge(
                    parts([self.memory.space, *([] if classifier is None else [classifier.space])])
                )
            self._queue.take_back()
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

    def _step(self, now: float) -> None:
        if self.away is not None:
            return
        if self.memory.journal.open_count():
            # Before any look, so that a move half noted is never taken for the owner's.
            self.filer.recover()
        self.decider.add(clip for clip in self.looker.step(now) if self.judge.unsorted(clip) is not None)
        self.learner.changed(self.looker.label_changes, now=now)
        self.looker.label_changes = 0
        if not self.looker.scanning():
            # Until a scan is through, a second copy or a label may not be known yet.
            self.decider.step()

    # Orders

    def _orders(self, now: float) -> list[Order]:
        if self.away is not None or self.decider.halted:
            return []
        orders: list[Order] = []
        # Labels are told before the first batch is sent, so that what the owner filed goes first.
        if not self.looker.scanning():
            batch = self._queue.next(labelled_first=self.judge.classifier is None)
            orders += [] if batch is None else [batch]
        why = None if self.looker.busy() else self.learner.due(now)
        if why is not None:
            lesson = self.learner.lesson(why)
            orders += [] if lesson is None else [Train(lesson)]
        return orders

    # What the owner's commands need

    def status(self) -> dict[str, Any]:
        """What only the running service knows."""
        now = self._wall()
        held = self.decider.paused or self.looker.brake
        state = "away" if self.away else "paused" if held else "idle" if self.idle() else "running"
        rate, ends_at = self._queue.pace.rate(now), self._queue.pace.ends_at(self.memory.index.tally().pending, now)
        why = self.away or self.looker.brake
        return {"state": state, "why": why, "watcher": self.watcher, "rate": rate, "ends_at": ends_at}

    def _flush_decisions(self) -> None:
        if self.away is None:
            try:
                self.decisions.flush()
            except OSError as problem:
                # It stays in the index and is appended once the root can be written again.
                self._tell("decision_log_waits", why=str(problem))
