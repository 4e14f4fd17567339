"""The service's two children: what they are told, and how their answers come to the inbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from sortd.config import Config
from sortd.domain import Fault, Fingerprint, Job
from sortd.extract import Settings
from sortd.messages import BatchLost, Extracted, ExtractionFailed, Lesson, Message, Said, Stalled, TrainingLost
from sortd.service.opening import extract_settings
from sortd.service.worker import Lost, Worker

EXTRACTION = "sortd.service.extracting:extraction"
TRAINING = "sortd.service.training:training"

LOADING_SECONDS = 30.0
"""The extraction child may be silent for so long, however short the timeout is: it starts, and loads its networks.

Its decoders keep the timeout as it is.
"""

TRAINING_DEADLINE_SECONDS = 1800.0
TRAINING_THREADS = 2
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


def extraction_worker(config: Config, root: Path, inbox: SimpleQueue[Message]) -> Worker:
    """Takes batches of jobs; each video's answer is put into the inbox as soon as it is there."""
    settings = config.extract
    answered: set[Fingerprint] = set()

    def on_answer(_: tuple[Job, ...], answer: Extracted | ExtractionFailed | Stalled | Said) -> None:
        if isinstance(answer, Stalled):
            answered.update(job.fingerprint for job in answer.jobs)
        elif not isinstance(answer, Said):
            answered.add(answer.job.fingerprint)
        inbox.put(answer)

    def on_end(jobs: tuple[Job, ...], lost: Lost | None) -> None:
        rest = tuple(job for job in jobs if job.fingerprint not in answered)
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
    )
