"""The single writer: it takes messages, changes the index and the library, and gives tasks to the workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import PurePath
from typing import Any

from sortd.config.settings import Settings
from sortd.disk.library import Library
from sortd.disk.root_guard import RootGuard
from sortd.domain.errors import IndexUnavailable
from sortd.domain.feature import FeatureSpace
from sortd.domain.messages import (
    Extracted,
    ExtractionFailed,
    ExtractorUnavailable,
    FilesCopied,
    Message,
    RequestReceived,
    RescanDue,
    RetrainDue,
    RetryDue,
    TaskLost,
    TextsEncoded,
    Touched,
    Trained,
    TrainingLost,
    WorkerEvent,
)
from sortd.domain.tasks import CopyFiles, Task, Train
from sortd.engine.decision_inputs import DecisionInputsReader
from sortd.engine.event_log import Tell, flushing, noting, telling
from sortd.engine.extraction_queue import ExtractionQueue
from sortd.engine.feature_retention import FeatureRetention
from sortd.engine.group_acceptance import GroupAcceptance
from sortd.engine.journaled_moves import JournaledMoves
from sortd.engine.pending_decisions import PendingDecisions
from sortd.engine.request_handler import RequestHandler
from sortd.engine.retraining import Retraining
from sortd.engine.scanner import Scanner
from sortd.store.decision_log import DECISION_LOG, DecisionLog
from sortd.store.extraction_trace import died_with, forget_trace
from sortd.store.store import Store

DEVICE = "device"
"""The event in which an extraction child tells where its networks run, and the note that is kept of it."""


class Engine:
    """Holds the parts that do the work. `now` is seconds on the monotonic clock, `wall` gives the time of day."""

    def __init__(
        self,
        store: Store,
        library: Library,
        guard: RootGuard,
        *,
        config: Settings,
        observe: bool,
        write: Tell,
        wall: Callable[[], float],
    ) -> None:
        self.store = store
        self._library = library
        library.exempt(store.videos.holds_labels)
        self._guard = guard
        self._config = config
        self._wall = wall
        self._tell = telling(store.database, write)
        decisions = DecisionLog(store.database, guard.root / DECISION_LOG)
        self._flush = flushing(decisions, self._tell)
        note = noting(decisions, wall)
        limits = config.move
        self.decision_inputs = DecisionInputsReader(
            store, library, probation=limits.probation, target_precision=limits.target_precision
        )
        self._feature_retention = FeatureRetention(store, self.decision_inputs, config=config, wall=wall)
        self.moves = JournaledMoves(
            store, library, guard, note=note, companions=limits.companions, tell=self._tell, wall=wall
        )
        self.scanner = Scanner(
            store,
            library,
            guard,
            note=note,
            settle_seconds=config.watch.settle_seconds,
            tell=self._tell,
            wall=wall,
        )
        self.pending_decisions = PendingDecisions(
            store,
            self.decision_inputs,
            self.moves,
            observe=observe,
            held=lambda: self.scanner.loss_guard.held,
            tell=self._tell,
            wall=wall,
        )
        self.retraining = Retraining(
            store,
            library,
            state=guard.state,
            decision_inputs=self.decision_inputs,
            config=config,
            tell=self._tell,
            wall=wall,
        )
        self._extraction_queue = ExtractionQueue(
            store, library, self.scanner, self.pending_decisions, tell=self._tell, wall=wall, away=guard.here
        )
        self._request_handler = RequestHandler(
            store,
            self.moves,
            self.pending_decisions,
            self.scanner,
            self.retraining,
            note=note,
            tell=self._tell,
            away=lambda: self.away,
            status=self.status,
            reload=self._reload_later,
            group_acceptance=GroupAcceptance(
                store, library, guard, decision_inputs=self.decision_inputs, scanner=self.scanner, moves=self.moves
            ),
        )
        self.wanted = store.space
        """The feature space that every video is to have its vector in."""
        self._unhandled: deque[Message] = deque()
        self._tasks: list[Task] = []
        self._reload_due = False
        self._started = False
        self._stale = True
        self.away: str | None = None
        """Why the root is away; nothing is looked at, extracted or moved meanwhile."""
        self.watcher: Mapping[str, str] = {"mode": "polling", "why": "one pass only"}

    # What the loop asks

    def want(self, space: FeatureSpace) -> None:
        """Ask for every video's vector in this space; the old classifier decides until one of this space is adopted."""
        if space != self.wanted:
            self._extraction_queue.go_on()
        self.wanted = space
        self._reload_due = True

    def disk_is_back(self) -> None:
        """Have the next rescan try at once what could not be read: the root is here again."""
        self._extraction_queue.disk_is_back()

    def catch_up(self) -> None:
        """Look at everything that is not being written, and decide nothing: for a command while no service runs."""
        with self.store.transaction():
            self.store.backlog.prepare()
            self.store.backlog.want(self.store.space, serving=None)
        self.scanner.spare(self.moves.recover())
        self.scanner.rescan()
        now = 0.0
        left: set[PurePath] = set()
        while self.scanner.busy() and not (left and left == self.scanner.unlooked()):  # nobody's writing ends meanwhile
            left = self.scanner.unlooked()
            self.scanner.step(now)
            now += self._config.watch.settle_seconds + 1
        self._flush_decisions()

    def answer(self, request: Mapping[str, Any], *, copy: Callable[[CopyFiles], Iterable[object]]) -> Mapping[str, Any]:
        """Carry out one command while no service runs; `copy` does what the copying child would do."""
        answers: list[Mapping[str, Any]] = []
        self._request_handler.to(request, answers.append, now=0.0)
        while not answers:
            self._request_handler.step(now=0.0)
            for said in chain.from_iterable(map(copy, self.moves.orders())):
                if isinstance(said, FilesCopied):
                    self._land(said, 0.0)
        self._flush_decisions()
        return answers[0]

    def release(self) -> None:
        """Take back what was begun, at a clean stop when no child is left: it is as if it had never begun."""
        self._request_handler.stop()
        self.moves.release()
        with self.store.transaction():
            self.store.backlog.release_all()

    def handle(self, message: Message) -> None:
        """Take one message from the inbox; the next `work` does what follows from it."""
        if isinstance(message, Touched):
            self.scanner.touch(message.path)
        else:
            self._unhandled.append(message)

    def work(self, now: float) -> list[Task]:
        """Do what follows from the messages, and some of what waits; the tasks to be given to the workers.

        All that is changed is committed when this returns. IndexUnavailable: what could not be committed is done by
        the next call, but for requests, which are answered with an error. Whatever else is raised costs one message.
        """
        try:
            self._resync()
            while self._unhandled:
                self._handle_next(now)
            if self._reload_due:
                self._reload()
            self._step(now)
            self._order(now)
            self._flush_decisions()
        except BaseException:
            self._stale = True
            self._refuse_requests()
            raise
        tasks, self._tasks = self._tasks, []
        return tasks

    def wakes_at(self, now: float) -> float | None:
        """Return when `work` should be called next; None: not before a message comes."""
        if self._stale or self._reload_due or self._request_handler.waiting():
            return now
        if self.away is not None:
            return None
        if self.scanner.crowded() or self.pending_decisions.waiting():
            return now
        if self.scanner.busy():
            return now + max(0.05, self._config.watch.settle_seconds / 4)
        return None if self.pending_decisions.halted else self.retraining.wakes_at()

    def idle(self) -> bool:
        """Tell whether nothing is left to do until something new happens."""
        works = (
            self.scanner.busy()
            or self.pending_decisions.waiting()
            or self._extraction_queue.busy()
            or self.retraining.training
            or self._request_handler.waiting()
        )
        failed = self._stale and self._started
        return not (works or failed or self._unhandled or self._reload_due or self.moves.copies())

    # Messages

    def _resync(self) -> None:
        """Make anew what is kept in memory, at the start and after a step that failed: it all follows from the index.

        What was found and not noted is found again by a scan of everything.
        """
        if not self._stale:
            return
        if not self._started:
            guilty = died_with(self._guard.state)
            with self.store.transaction():
                for aside in self.store.backlog.prepare(died_with=guilty):
                    self._tell("set_aside", path=aside.path, reason=aside.fault, message=aside.message)
            forget_trace(self._guard.state)
            self._started = True
        self._reload()
        self.scanner.resync()
        self._extraction_queue.resync()
        self._stale = False

    def _reload(self) -> None:
        """Let the adopted classifier serve, and have all the unsorted decided anew."""
        self.retraining.load()
        if self._feature_retention.want(self.wanted):
            self.retraining.ask("the encoder changed")
        self.pending_decisions.resync()
        self._reload_due = False

    def _reload_later(self) -> None:
        self._reload_due = True

    def _handle_next(self, now: float) -> None:
        message = self._unhandled[0]
        if isinstance(message, RequestReceived):  # it is answered whatever happens
            self._unhandled.popleft()
        try:
            self._take(message, now)
        except IndexUnavailable:
            raise
        except BaseException:
            self._drop(message)
            raise
        self._drop(message)

    def _drop(self, message: Message) -> None:
        if self._unhandled and self._unhandled[0] is message:
            self._unhandled.popleft()

    def _refuse_requests(self) -> None:
        """Answer waiting requests with an error: nobody wants to wait until the index can be used."""
        for message in [message for message in self._unhandled if isinstance(message, RequestReceived)]:
            self._unhandled.remove(message)
            message.reply({"error": "the service could not do it; its log says why"})

    def _take(self, message: Message, now: float) -> None:
        match message:
            case RescanDue():
                self._rescan(now)
            case RetrainDue(why):
                self.retraining.ask(why)
            case RequestReceived(request, reply):
                self._request_handler.to(request, reply, now=now)
            case Extracted() | ExtractionFailed() | TaskLost() | ExtractorUnavailable() | TextsEncoded():
                self._extraction_queue.record(message, now)
            case WorkerEvent(event, facts):
                self._note_said(event, facts)
            case Trained(report, problem):
                self._reload_due |= self.retraining.learned(report, problem, now=now)
            case TrainingLost(why):
                self.retraining.lose(why, now=now)
            case RetryDue():
                self.pending_decisions.retry()
            case FilesCopied():
                self._land(message, now)

    def _rescan(self, now: float) -> None:
        self.scanner.rescan()
        before = self._wall() - self._config.state.keep_days * 86_400
        with self.store.transaction():
            self.store.videos.purge(before=before)
            self._feature_retention.purge(before=before)
            self._extraction_queue.take_back(now)
        self.pending_decisions.add_those_time_may_help()
        self.retraining.see_rules()

    def _note_said(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == DEVICE:
            self.store.database.write_note(DEVICE, facts["device"])
        else:
            self._tell(event, **facts)

    def _land(self, copied: FilesCopied, now: float) -> None:
        entry = next((entry for entry in self.moves.copies() if entry.number == copied.number), None)
        if entry is None:
            return  # it was told before, or is of a move that was given up
        if entry.asked_for:
            self._request_handler.land(copied)
        else:
            self.pending_decisions.land(copied, entry, now)

    def _step(self, now: float) -> None:
        if self.away is not None:
            self._request_handler.step(now=now)  # they are refused
            return
        if self.store.journal.open_count():
            # Before any look, so that a move half noted is never taken for the owner's.
            self.scanner.spare(self.moves.recover())
        self.pending_decisions.add(
            video for video in self.scanner.step(now) if self.decision_inputs.unsorted(video) is not None
        )
        self.retraining.notice(now)
        self._request_handler.step(now=now)
        self.pending_decisions.add(self.moves.taken_back())
        if not self.scanner.scanning():
            # Until a scan is through, a second copy or a label may not be known yet.
            self.pending_decisions.step(now)

    # Tasks

    def _order(self, now: float) -> None:
        """Add what the workers are to do next to `_tasks`, where it stays until `work` has come to its end."""
        self._tasks += self.moves.orders()
        if self.away is not None or self.pending_decisions.halted:
            return
        # Labels are told before the first batch is sent, so that what the owner filed goes first.
        if not self.scanner.scanning():
            self._tasks += self._extraction_queue.next(now, labelled_first=self.decision_inputs.classifier is None)
        why = None if self.scanner.busy() else self.retraining.due(now)
        payload = None if why is None else self.retraining.payload(why)
        if payload is not None:
            self._tasks.append(Train(payload))

    # What the owner's commands need

    def status(self) -> dict[str, Any]:
        """Return what only the running service knows."""
        now = self._wall()
        held = self.pending_decisions.paused or self.scanner.loss_guard.why
        state = "away" if self.away else "paused" if held else "idle" if self.idle() else "running"
        rate, ends_at = (
            self._extraction_queue.pace.rate(now),
            self._extraction_queue.pace.ends_at(self.store.videos.tally().pending, now),
        )
        told = {"state": state, "why": self.away or self.scanner.loss_guard.why, "watcher": self.watcher}
        return told | {"rate": rate, "ends_at": ends_at}

    def _flush_decisions(self) -> None:
        if self.away is None:
            self._flush()
