"""The service's children: what they are told, and how their answers come to the inbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from sortd.config import Config
from sortd.disk.guard import Guard
from sortd.domain import Fault, Fingerprint, Job
from sortd.errors import FolderRefuses
from sortd.extract import Settings
from sortd.messages import (
    BatchLost,
    Copied,
    Copy,
    Extract,
    Extracted,
    ExtractionFailed,
    Lesson,
    Message,
    NamesRead,
    Order,
    Read,
    Said,
    Stalled,
    Train,
    TrainingLost,
)
from sortd.service.opening import extract_settings
from sortd.service.worker import Lost, Worker

EXTRACTION = "sortd.service.extracting:extraction"
TRAINING = "sortd.service.training:training"
COPYING = "sortd.service.copying:copying"

LOADING_SECONDS = 30.0
"""The extraction child may be silent for so long, however short the timeout is: it starts, and loads its networks.

Its decoders keep the timeout as it is.
"""

TRAINING_DEADLINE_SECONDS = 1800.0
TRAINING_THREADS = 2
TRAINING_NICENESS = 19
"""Nothing waits for it."""
COPYING_DEADLINE_SECONDS = 300.0
"""So long may a disk take for the few megabytes between two signs of life."""
COPYING_IDLE_SECONDS = 30.0
EXTRACTION_THREADS = 2
"""Decoders work beside; the networks gain from a second core, the built-in encoder hardly loses by it."""


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """What an extraction child is told once."""

    root: Path
    extract: Settings
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a training child is told once."""

    state: Path
    target_precision: float
    candidates: tuple[str, ...]


def patience(timeout_seconds: float) -> float:
    """For how long the extraction child may be silent."""
    return max(timeout_seconds, LOADING_SECONDS)


class Children:
    """All of them; none is started before it has work."""

    def __init__(self, config: Config, guard: Guard, inbox: SimpleQueue[Message]) -> None:
        self._extraction = extraction_worker(config, guard.root, inbox)
        self._training = training_worker(config, guard.state, inbox)
        self._copying = copying_worker(guard.root, inbox)

    def submit(self, order: Order) -> None:
        """Hand an order to the one whose work it is."""
        match order:
            case Extract(jobs):
                self._extraction.submit(jobs)
            case Read():
                self._extraction.submit(order)
            case Train(lesson):
                self._training.submit(lesson)
            case Copy():
                self._copying.submit(order)

    def stop(self) -> None:
        """End them, whatever they are doing."""
        for worker in (self._copying, self._training, self._extraction):
            worker.stop()


def extraction_worker(config: Config, root: Path, inbox: SimpleQueue[Message]) -> Worker:
    """Takes batches of jobs, and words; each video's answer is put into the inbox as soon as it is there."""
    settings = config.extract
    answered: set[Fingerprint] = set()

    def on_answer(_: object, answer: Extracted | ExtractionFailed | Stalled | Said | NamesRead) -> None:
        if isinstance(answer, Stalled):
            answered.update(job.fingerprint for job in answer.jobs)
        elif not isinstance(answer, Said | NamesRead):
            answered.add(answer.job.fingerprint)
        inbox.put(answer)

    def on_end(task: tuple[Job, ...] | Read, lost: Lost | None) -> None:
        if isinstance(task, Read):
            if lost is not None:
                inbox.put(NamesRead(task.part, {}))
            return
        rest = tuple(job for job in task if job.fingerprint not in answered)
        answered.clear()
        if lost is not None and rest:
            inbox.put(BatchLost(rest, Fault.TIMEOUT if lost.hung else Fault.DECODER_CRASHED, lost.message))

    return Worker(
        EXTRACTION,
        ExtractionSettings(root, extract_settings(config), settings.timeout_seconds),
        on_answer=on_answer,
        on_end=on_end,
        deadline_seconds=patience(settings.timeout_seconds),
        idle_seconds=settings.idle_seconds,
        threads=EXTRACTION_THREADS,
    )


def training_worker(config: Config, state: Path, inbox: SimpleQueue[Message]) -> Worker:
    """Takes lessons; its child is gone after each of them."""

    def on_end(_: Lesson, lost: Lost | None) -> None:
        if lost is not None:
            inbox.put(TrainingLost(lost.message))

    return Worker(
        TRAINING,
        TrainingSettings(state, config.move.target_precision, tuple(config.train.candidates)),
        on_answer=lambda _, answer: inbox.put(answer),
        on_end=on_end,
        deadline_seconds=TRAINING_DEADLINE_SECONDS,
        idle_seconds=0.0,
        threads=TRAINING_THREADS,
        niceness=TRAINING_NICENESS,
    )


def copying_worker(root: Path, inbox: SimpleQueue[Message]) -> Worker:
    """Takes orders to copy; one copy is made at a time."""

    def on_end(order: Copy, lost: Lost | None) -> None:
        if lost is not None:
            inbox.put(Copied(order.number, (), FolderRefuses(order.steps[0].target.parent, lost.message)))

    return Worker(
        COPYING,
        root,
        on_answer=lambda _, answer: inbox.put(answer),
        on_end=on_end,
        deadline_seconds=COPYING_DEADLINE_SECONDS,
        idle_seconds=COPYING_IDLE_SECONDS,
        threads=1,
    )
