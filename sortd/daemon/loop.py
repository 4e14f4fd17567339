"""Run the service: build its parts, run the loop, stop them."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from sortd.config.logging_setup import get
from sortd.config.settings import Settings
from sortd.daemon import sd_notify
from sortd.daemon.backup_schedule import BackupSchedule
from sortd.daemon.control_socket import listen
from sortd.daemon.index_recovery import open_store, raise_if_damaged, run_with_recovery
from sortd.daemon.schedule import schedule, zone_problem
from sortd.daemon.signals import signals_into
from sortd.daemon.wait_for_root import take_root
from sortd.daemon.watch_supervisor import WatchSupervisor
from sortd.disk.library_marker import RootAway
from sortd.disk.mounts import mounts_of
from sortd.disk.open_writers import keep_capabilities_from_children
from sortd.disk.root_guard import RootGuard
from sortd.disk.watch import watch
from sortd.domain.errors import IndexDamaged, LibraryUnavailable, SortdError
from sortd.domain.feature import FeatureSpace
from sortd.domain.messages import Extracted, ExtractionFailed, Message, RescanDue, Stop, TrainingLost
from sortd.domain.tasks import Task
from sortd.engine.engine import Engine
from sortd.engine.engine_assembly import check_state, library_at, state_wished
from sortd.extract.registry import encoder, extract_settings, feature_space
from sortd.store.store import INDEX_NAME
from sortd.workers.local_executor import LocalExecutor

CHECK_SECONDS = 5.0
"""How often the root and the watcher are asked whether they are well."""

STEP_BACK_SECONDS = 1.0
"""The pause after a step that failed, so that a lasting fault does not cost all of a core; it doubles up to a check."""

PROGRESS_SECONDS = 0.2

BURST = 1000
"""Messages that are taken from the inbox before other work gets its turn."""

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""`progress(done, total)`: videos that need no extraction any more, and all."""


class Daemon:
    """The service for one library; `once` makes one full pass of it."""

    def __init__(
        self,
        config: Settings,
        *,
        observe: bool,
        take_over: bool = False,
        once: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._config = config
        self._take_over = take_over
        self._observe = observe or config.move.mode == "observe"
        self._once = once
        self._progress = progress
        self._told_progress_at = 0.0
        self._problems: dict[str, str] = {}
        self._encoder_problem: str | None = None
        self._news = True
        self._tell_manager_at = 0.0
        # The manager wants to hear of the loop twice as often as it would give up on it.
        self._check_seconds = min(CHECK_SECONDS, (sd_notify.watchdog_seconds() or 2 * CHECK_SECONDS) / 2)
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._log = get()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until the one pass is done.

        LibraryUnavailable: another service or host has the library, its state cannot be used, or it is away and
        this is one pass.
        """
        keep_capabilities_from_children()
        with signals_into(self._inbox):
            run_with_recovery(self._serve, tell=self._log.error)

    def _serve(self, damages: int) -> None:
        with ExitStack() as stack:
            wait_seconds = None if self._once else self._check_seconds
            guard = take_root(self._config, self._inbox, take_over=self._take_over, wait_seconds=wait_seconds)
            if guard is None:
                return
            stack.enter_context(guard)
            wished = state_wished(self._config)
            check_state(guard.state, mounts_of(guard.state), wished=wished, tell=self._log.warning)
            # What children of an index now put aside said of it is of no use to its successor.
            stack.callback(self._empty_inbox)
            store = open_store(
                guard, feature_space(self._config), tell=self._log.warning, now=time.time(), damages=damages
            )
            stack.callback(store.database.close)
            self._index = guard.state / INDEX_NAME
            self._backups = BackupSchedule(guard.state, tell=self._log.info, wall=time.time)
            engine = Engine(
                store,
                library_at(guard.root, self._config),
                guard,
                config=self._config,
                observe=self._observe,
                write=self._log.info,
                wall=time.time,
            )
            self._tell_missing_weights()
            self._loop(engine, guard, stack)

    # Starting

    def _empty_inbox(self) -> None:
        told_to_stop = [message for message in self._wait(0.0) if isinstance(message, Stop)]
        for message in told_to_stop:
            self._inbox.put(message)

    # The loop

    def _loop(self, engine: Engine, guard: RootGuard, stack: ExitStack) -> None:
        executor = LocalExecutor(self._config, guard, self._inbox)
        stack.callback(executor.stop)
        supervisor = None if self._once else self._start_watching(engine, guard, stack)
        if self._once:
            engine.retraining.ask("one pass was asked for")
        now = time.monotonic()
        rescan_at, check_at = now + self._config.watch.rescan_seconds, now + self._check_seconds
        messages: list[Message] = []
        failed = 0
        while True:
            for message in messages:
                if isinstance(message, Stop):
                    self._stop(engine, executor, message.why)
                    return
                engine.handle(message)
            tasks = self._guarded("work", partial(self._work, engine, messages))
            for task in tasks or ():
                executor.submit(task)
            if self._once and not tasks and engine.idle():
                self._backups.make()
                self._stop(engine, executor, "one pass was made")
                return
            failed = failed + 1 if tasks is None else 0
            messages = self._step_back(failed)
            now = time.monotonic()
            wakes_at = self._guarded("wake", partial(engine.wakes_at, now))
            messages += self._wait(0.0 if messages else min(rescan_at, check_at, wakes_at or check_at) - now)
            now = time.monotonic()
            if now >= rescan_at:
                rescan_at = now + self._config.watch.rescan_seconds
                messages.append(RescanDue("it is time"))
            if now >= check_at or self._problems:
                check_at = now + self._check_seconds
                sd_notify.alive()
                self._guarded("check", partial(self._check, engine, guard, supervisor))

    def _step_back(self, failed: int) -> list[Message]:
        """Pause after so many steps in a row that failed; return the messages that came, at once if one is a Stop."""
        messages: list[Message] = []
        until = time.monotonic() + (
            min(STEP_BACK_SECONDS * 2 ** min(failed - 1, 8), self._check_seconds) if failed else 0.0
        )
        while time.monotonic() < until and not any(isinstance(message, Stop) for message in messages):
            messages += self._wait(until - time.monotonic())
        return messages

    def _wait(self, seconds: float) -> list[Message]:
        messages: list[Message] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=max(0.0, seconds)))
            while len(messages) < BURST:
                messages.append(self._inbox.get_nowait())
        return messages

    def _work(self, engine: Engine, messages: Sequence[Message]) -> list[Task]:
        """Let the engine do what follows from these messages, and tell how far it is."""
        self._news |= bool(messages)
        self._tell_manager(engine)
        if any(isinstance(message, TrainingLost) for message in messages):
            # The child reads what the loop itself never does.
            raise_if_damaged(self._index)
        if any(isinstance(message, Extracted | ExtractionFailed) for message in messages):
            self._tell_progress(engine)
        return engine.work(time.monotonic())

    def _guarded(self, what: str, act: Callable[[], T | None]) -> T | None:
        """Do what the loop asks of the engine. A failure is told once, gives None, and ends a step, not the service."""
        try:
            result = act()
        except IndexDamaged:
            raise
        except Exception as problem:
            if self._once:
                raise
            if repr(problem) not in self._problems.values():
                # Told once, not every second for as long as it lasts.
                self._problems[what] = repr(problem)
                self._log.error("step_failed", why=str(problem), exc_info=not isinstance(problem, LibraryUnavailable))
                raise_if_damaged(self._index)
            self._problems[what] = repr(problem)
            return None
        self._problems.pop(what, None)
        return result

    def _tell_progress(self, engine: Engine) -> None:
        now = time.monotonic()
        if self._progress is not None and now - self._told_progress_at >= PROGRESS_SECONDS:
            self._told_progress_at = now
            tally = engine.store.videos.tally()
            self._progress(tally.total - tally.pending, tally.total)

    def _check(self, engine: Engine, guard: RootGuard, supervisor: WatchSupervisor | None) -> None:
        """Notice a root that went or came back, weights that did, a watcher that died, an index that is damaged."""
        if not self._once:
            self._backups.step(idle=engine.idle())
        why = guard.here()
        if why is not None and self._once:
            raise RootAway(why)
        if why is not None and engine.away is None:
            self._log.warning("root_away", root=guard.root, why=why)
        elif why is None and engine.away is not None:
            self._log.info("root_back", root=guard.root)
            engine.disk_is_back()
        back = why is None and engine.away is not None
        self._news = self._news or why != engine.away
        engine.away = why
        space = self._space_wanted(engine)
        if why is None and space != engine.wanted:
            self._log.info("encoder_changed", encoder=encoder(extract_settings(self._config)))
            engine.want(space)
        if why is None and supervisor is not None and supervisor.mend(anew=back):
            engine.watcher = supervisor.state()
            back = True
        if back:
            self._inbox.put(RescanDue("the watcher began anew"))

    def _space_wanted(self, engine: Engine) -> FeatureSpace:
        """Return the feature space of the present weights; while they make none, the one that is wanted already."""
        try:
            space = feature_space(self._config)
        except SortdError as problem:
            if str(problem) != self._encoder_problem:
                self._encoder_problem = str(problem)
                self._log.error("encoder_unusable", why=str(problem))
            return engine.wanted
        self._encoder_problem = None
        return space

    def _tell_manager(self, engine: Engine) -> None:
        """Tell the service manager what is going on, if that may have changed: counting looks at every video."""
        now = time.monotonic()
        if self._news and now >= self._tell_manager_at and sd_notify.listening():
            self._tell_manager_at = now + self._check_seconds
            sd_notify.status(self._in_one_line(engine))
            self._news = not engine.idle()

    def _in_one_line(self, engine: Engine) -> str:
        told, tally = engine.status(), engine.store.videos.tally()
        return sd_notify.backlog(
            state=told["state"], why=told["why"], pending=tally.pending, total=tally.total, ends_at=told["ends_at"]
        )

    def _stop(self, engine: Engine, executor: LocalExecutor, why: str) -> None:
        sd_notify.stopping()
        executor.stop()  # so that no child goes on with what is taken back
        with contextlib.suppress(LibraryUnavailable):
            engine.release()
        self._log.info("stopped", why=why)

    # The parts

    def _start_watching(self, engine: Engine, guard: RootGuard, stack: ExitStack) -> WatchSupervisor:
        asked = self._config.watch
        watcher = stack.enter_context(watch(guard.root, self._inbox, mode=asked.mode, poll_seconds=asked.poll_seconds))
        if why := zone_problem():
            cure = "set TZ to a name such as Europe/Berlin"
            self._log.warning("timezone_unknown", tz=os.environ.get("TZ"), why=why, using="UTC", cure=cure)
        stack.enter_context(schedule(self._config.train.cron, self._inbox))
        stack.enter_context(listen(guard.state, self._inbox))
        supervisor = WatchSupervisor(watcher, warn=self._log.warning)
        engine.watcher = supervisor.state()
        serving = encoder(extract_settings(self._config))
        self._log.info("ready", root=guard.root, watcher=watcher.mode, why=watcher.why, encoder=serving)
        if sd_notify.listening():
            sd_notify.ready(self._in_one_line(engine))
        return supervisor

    def _tell_missing_weights(self) -> None:
        settings = extract_settings(self._config)
        missing = [str(weights.path()) for weights in settings.weights if not weights.present()]
        if settings.encoder == "auto" and missing:
            self._log.warning("weights_missing", missing=missing, encoder="builtin", cure="sortd models fetch")
