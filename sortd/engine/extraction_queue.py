"""Give jobs to the extraction child, and note what comes back from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from sortd.disk.library import Library
from sortd.domain.errors import IndexUnavailable
from sortd.domain.feature import Fault, Feature
from sortd.domain.messages import Extracted, ExtractionFailed, ExtractorUnavailable, TaskLost, TextsEncoded
from sortd.domain.tasks import EncodeTexts, Extract, ExtractionJob
from sortd.domain.video import Fingerprint
from sortd.engine.event_log import Tell
from sortd.engine.pending_decisions import PendingDecisions
from sortd.engine.scanner import Scanner
from sortd.engine.zero_shot_prompts import ZeroShotPrompts
from sortd.judgement.backoff import Backoff
from sortd.judgement.forecast import BacklogPace
from sortd.judgement.usable_numbers import PROBLEM, checked
from sortd.store.store import Store

BATCH = 8
"""Videos that are sent to the child at once, so that decoders run ahead while one video is embedded."""

_ANY = PurePath()
"""The key of one common pause for all videos that could not be read: they all wait for the disk."""

AGAIN_SECONDS = 60.0
"""Wait so long after an encoder that could not work."""


class ExtractionQueue:
    """Sends one task at a time; which videos lack features stands in the index.

    `now` is seconds on the monotonic clock.
    """

    def __init__(
        self,
        store: Store,
        library: Library,
        scanner: Scanner,
        pending_decisions: PendingDecisions,
        *,
        tell: Tell,
        wall: Callable[[], float],
        away: Callable[[], str | None],
    ) -> None:
        self._away = away
        self._unreadable = Backoff()
        self._told_unreadable: set[Fingerprint] = set()
        self._store = store
        self._zero_shot_prompts = ZeroShotPrompts(store, library)
        self._scanner = scanner
        self._pending_decisions = pending_decisions
        self._tell = tell
        self._wall = wall
        self._in_flight = 0
        self._changing: set[PurePath] = set()
        self._not_before = 0.0
        self._stalled: str | None = None
        self.pace = BacklogPace()

    def busy(self) -> bool:
        """Tell whether the child has a task."""
        return self._in_flight > 0

    def next(self, now: float, *, labelled_first: bool) -> list[Extract | EncodeTexts]:
        """Return the next task, if the child has none and anything waits; names of folders go first, being quick."""
        if self._in_flight or now < self._not_before:
            return []
        names = self._zero_shot_prompts.next()
        if names is not None:
            self._in_flight = 1
            return [names]
        # A file that somebody still writes would fail again at once, and again.
        self._changing = {path for path in self._changing if self._scanner.settling(path)}
        jobs = self._store.backlog.next_jobs(BATCH, labelled_first=labelled_first, but_at=self._changing)
        if not jobs:
            return []
        with self._store.transaction():
            self._store.backlog.begin(jobs)
        self._in_flight = len(jobs)
        return [Extract(jobs)]

    def record(
        self, message: Extracted | ExtractionFailed | TaskLost | ExtractorUnavailable | TextsEncoded, now: float
    ) -> None:
        """Note one answer of the child, or its loss. IndexUnavailable: the same message is to be recorded again."""
        try:
            self._record(message, now)
        except IndexUnavailable:
            raise  # the same message comes once more
        except BaseException:
            self._end(message)
            raise
        self._end(message)
        if isinstance(message, Extracted):
            self.pace.done(self._wall())

    def _end(self, message: Extracted | ExtractionFailed | TaskLost | ExtractorUnavailable | TextsEncoded) -> None:
        done = len(message.jobs) if isinstance(message, TaskLost | ExtractorUnavailable) else 1
        self._in_flight = max(0, self._in_flight - done)

    def _record(
        self, message: Extracted | ExtractionFailed | TaskLost | ExtractorUnavailable | TextsEncoded, now: float
    ) -> None:
        backlog = self._store.backlog
        if isinstance(message, ExtractionFailed | TaskLost) and self._away() is not None:
            self._excuse(message, now)
            return
        with self._store.transaction():
            match message:
                case Extracted(job, features, seconds):
                    self._told_unreadable.discard(job.fingerprint)
                    self._stalled = None
                    features = self._checked(job, features)
                    if not backlog.finish(job, features):
                        return
                    speech = any(f.extractor == "speech" and f.vector is not None for f in features)
                    self._tell("extracted", path=job.path, seconds=round(seconds, 3), speech=speech)
                    self._pending_decisions.add([job.fingerprint])
                case ExtractionFailed(job, None, _):
                    backlog.release(job)
                    self._changing.add(job.path)
                    self._scanner.touch(job.path)
                case ExtractionFailed(job, Fault() as fault, why):
                    self._fail(job, fault, why, now)
                case TextsEncoded():
                    self._zero_shot_prompts.keep(message)
                case ExtractorUnavailable(jobs, why):
                    self._stall(jobs, why, now)
                case TaskLost():
                    self._lose(message)

    def _lose(self, lost: TaskLost) -> None:
        """Count the loss of the child against a video that was alone in it; of several, send each alone next time."""
        if not (len(lost.jobs) == 1 and self._store.backlog.was_alone(lost.jobs[0])):
            self._store.backlog.lose_batch(lost.jobs)
        elif self._store.backlog.fail(lost.jobs[0], lost.fault, lost.message) is not None:
            self._tell("set_aside", path=lost.jobs[0].path, reason=lost.fault, message=lost.message)

    def _checked(self, job: ExtractionJob, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        """Return the features without those that hold no numbers, and tell of these."""
        kept = tuple(checked(feature, job.parts) for feature in features)
        for given, feature in zip(features, kept, strict=True):
            why = feature.details.get(PROBLEM)
            if why is not None:
                self._tell("no_numbers", path=job.path, extractor=given.extractor, why=why)
        return kept

    def _excuse(self, message: ExtractionFailed | TaskLost, now: float) -> None:
        """Count nothing that failed while the root was away; it is tried again when the root is back."""
        self._not_before = now + AGAIN_SECONDS
        with self._store.transaction():
            for job in message.jobs if isinstance(message, TaskLost) else (message.job,):
                self._store.backlog.release(job)

    def _fail(self, job: ExtractionJob, fault: Fault, why: str, now: float) -> None:
        if self._store.backlog.fail(job, fault, why) is None:
            return
        if fault is Fault.UNREADABLE:
            self._unreadable.refuse(_ANY, now=now)
            if job.fingerprint in self._told_unreadable:
                return  # it was tried again, and is as it was
            self._told_unreadable.add(job.fingerprint)
        self._tell("set_aside", path=job.path, reason=fault, message=why)

    def _stall(self, jobs: tuple[ExtractionJob, ...], why: str, now: float) -> None:
        """Tell once that the encoder cannot work, and try again from time to time: the owner may mend it."""
        for job in jobs:
            self._store.backlog.release(job)
        self._not_before = now + AGAIN_SECONDS
        if why != self._stalled:
            self._stalled = why
            self._tell("extraction_stalled", why=why)

    def go_on(self) -> None:
        """Try again at once: something changed that may have mended the encoder."""
        self._not_before = 0.0
        self._stalled = None

    def disk_is_back(self) -> None:
        """Try what could not be read again at the next rescan, however lately it was tried."""
        self._unreadable.forgive()
        self._not_before = 0.0

    def resync(self) -> None:
        """Look anew which names of folders the encoder has not read."""
        self._zero_shot_prompts.look_again()

    def take_back(self, now: float) -> None:
        """Take back at a rescan what was sent and never answered, so that no video stays sent for ever.

        What could not be read is tried again, after pauses that grow.
        """
        self._zero_shot_prompts.look_again()
        if not self._unreadable.waits(_ANY, now=now):
            # An earlier run of the service told of its own.
            self._told_unreadable |= self._store.backlog.retry_unreadable()
        if not self._in_flight:
            self._store.backlog.release_all()
