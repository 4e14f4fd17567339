"""Start the service's children, give them tasks, and put their answers into the inbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from sortd.config.settings import Settings
from sortd.disk.root_guard import RootGuard
from sortd.domain.errors import FolderRefuses, MoveRefused
from sortd.domain.feature import Fault
from sortd.domain.messages import (
    CONFINED,
    Extracted,
    ExtractionFailed,
    ExtractorUnavailable,
    FilesCopied,
    Message,
    TaskLost,
    TextsEncoded,
    Trained,
    TrainingLost,
    WorkerEvent,
)
from sortd.domain.tasks import CopyFiles, EncodeTexts, Extract, ExtractionJob, Task, Train, TrainingPayload
from sortd.domain.video import Fingerprint
from sortd.extract.registry import EncoderSettings, extract_settings
from sortd.workers.child_process import ChildProcess, WorkerFailure

EXTRACTION = "sortd.workers.extraction_worker:extraction"
TRAINING = "sortd.workers.training_worker:training"
COPYING = "sortd.workers.copy_worker:copying"

LOADING_SECONDS = 30.0
"""The extraction child may be silent for so long, however short the timeout is: it starts, and loads its networks.

Its decoders keep the timeout as it is.
"""

TRAINING_DEADLINE_SECONDS = 1800.0
TRAINING_THREADS = 2
TRAINING_NICENESS = 19
"""Nothing waits for it."""
COPYING_DEADLINE_SECONDS = 300.0
"""How long a disk may take for the few megabytes between two signs of life."""
COPYING_IDLE_SECONDS = 30.0
EXTRACTION_THREADS = 2
"""Decoders work beside; the networks gain from a second core, the built-in encoder hardly loses by it."""


@dataclass(frozen=True, slots=True)
class ExtractionWorkerSettings:
    """What an extraction child is told when it starts."""

    root: Path
    extract: EncoderSettings
    timeout_seconds: float
    state: Path | None = None
    """The state directory, for the record of the video in work; None: none is kept."""


@dataclass(frozen=True, slots=True)
class TrainingWorkerSettings:
    """What a training child is told when it starts."""

    state: Path
    target_precision: float
    candidates: tuple[str, ...]


def patience(timeout_seconds: float) -> float:
    """Return for how long the extraction child may be silent."""
    return max(timeout_seconds, LOADING_SECONDS)


class LocalExecutor:
    """Holds one worker for each kind of task; no child is started before it has work."""

    def __init__(self, config: Settings, guard: RootGuard, inbox: SimpleQueue[Message]) -> None:
        self._extraction = extraction_worker(config, guard, inbox)
        self._training = training_worker(config, guard.state, inbox)
        self._copying = copying_worker(guard.root, inbox)

    def submit(self, order: Task) -> None:
        """Give a task to the worker whose work it is."""
        match order:
            case Extract(jobs):
                self._extraction.submit(jobs)
            case EncodeTexts():
                self._extraction.submit(order)
            case Train(payload):
                self._training.submit(payload)
            case CopyFiles():
                self._copying.submit(order)

    def stop(self) -> None:
        """End all children, whatever they are doing."""
        for worker in (self._copying, self._training, self._extraction):
            worker.stop()


def extraction_worker(config: Settings, guard: RootGuard, inbox: SimpleQueue[Message]) -> ChildProcess:
    """Make the worker for batches of jobs and for texts; each answer goes into the inbox as soon as it is there."""
    settings = config.extract
    answered: set[Fingerprint] = set()
    confined: list[WorkerEvent] = []

    def on_answer(
        _: object, answer: Extracted | ExtractionFailed | ExtractorUnavailable | WorkerEvent | TextsEncoded
    ) -> None:
        if isinstance(answer, WorkerEvent) and answer.event == CONFINED:
            if answer in confined:  # each new child tells it
                return
            confined.append(answer)
        if isinstance(answer, ExtractorUnavailable):
            answered.update(job.fingerprint for job in answer.jobs)
        elif not isinstance(answer, WorkerEvent | TextsEncoded):
            answered.add(answer.job.fingerprint)
        inbox.put(answer)

    def on_end(task: tuple[ExtractionJob, ...] | EncodeTexts, lost: WorkerFailure | None) -> None:
        if isinstance(task, EncodeTexts):
            if lost is not None:
                inbox.put(TextsEncoded(task.part, {}))
            return
        rest = tuple(job for job in task if job.fingerprint not in answered)
        answered.clear()
        if lost is not None and rest:
            inbox.put(_loss(rest, lost))

    return ChildProcess(
        EXTRACTION,
        ExtractionWorkerSettings(guard.root, extract_settings(config), settings.timeout_seconds, guard.state),
        on_answer=on_answer,
        on_end=on_end,
        deadline_seconds=patience(settings.timeout_seconds),
        idle_seconds=settings.idle_seconds,
        threads=EXTRACTION_THREADS,
    )


def _loss(jobs: tuple[ExtractionJob, ...], lost: WorkerFailure) -> ExtractorUnavailable | TaskLost:
    if lost.unavailable:
        return ExtractorUnavailable(jobs, lost.message)
    return TaskLost(jobs, Fault.TIMEOUT if lost.hung else Fault.DECODER_CRASHED, lost.message)


def training_worker(config: Settings, state: Path, inbox: SimpleQueue[Message]) -> ChildProcess:
    """Make the worker for trainings; its child ends after each of them."""
    answers: list[Trained] = []

    def on_answer(_: TrainingPayload, answer: Trained) -> None:
        answers.append(answer)
        inbox.put(answer)

    def on_end(_: TrainingPayload, lost: WorkerFailure | None) -> None:
        if lost is not None and not answers:  # a child that dies after its answer loses nothing
            inbox.put(TrainingLost(lost.message))
        answers.clear()

    return ChildProcess(
        TRAINING,
        TrainingWorkerSettings(state, config.move.target_precision, tuple(config.train.candidates)),
        on_answer=on_answer,
        on_end=on_end,
        deadline_seconds=TRAINING_DEADLINE_SECONDS,
        idle_seconds=0.0,
        threads=TRAINING_THREADS,
        niceness=TRAINING_NICENESS,
    )


def copying_worker(root: Path, inbox: SimpleQueue[Message]) -> ChildProcess:
    """Make the worker for copies; one is made at a time."""

    def on_end(order: CopyFiles, lost: WorkerFailure | None) -> None:
        if lost is not None:
            folder = order.steps[0].target.parent
            refused = MoveRefused(lost.message) if lost.unavailable else FolderRefuses(folder, lost.message)
            inbox.put(FilesCopied(order.number, (), refused))

    return ChildProcess(
        COPYING,
        root,
        on_answer=lambda _, answer: inbox.put(answer),
        on_end=on_end,
        deadline_seconds=COPYING_DEADLINE_SECONDS,
        idle_seconds=COPYING_IDLE_SECONDS,
        threads=1,
    )
