"""What the inbox carries: facts, in the past participle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from sortd.domain.errors import MoveRefused
from sortd.domain.feature import Fault, Feature, SpacePart, Vector
from sortd.domain.move_plan import VerifiedCopy
from sortd.domain.tasks import ExtractionJob


@dataclass(frozen=True, slots=True)
class Touched:
    """Something changed at this path, relative to the root; a folder stands for all known paths and files below it."""

    path: PurePath


@dataclass(frozen=True, slots=True)
class RescanDue:
    """The whole tree is to be compared with the index."""

    why: str


@dataclass(frozen=True, slots=True)
class RetrainDue:
    """A training is asked for."""

    why: str


@dataclass(frozen=True, slots=True)
class RetryDue:
    """What waits for another try is to be tried now: the owner may have mended what refused."""


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The owner gave a command; `reply` is called once, with plain JSON values."""

    request: Mapping[str, Any]
    reply: Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """The features of a job were extracted, in so many seconds."""

    job: ExtractionJob
    features: tuple[Feature, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class ExtractionFailed:
    """This video gave no features. `fault=None`: its file changed or went meanwhile, so nothing is counted."""

    job: ExtractionJob
    fault: Fault | None
    message: str


@dataclass(frozen=True, slots=True)
class TaskLost:
    """The child died or overran its deadline, with these jobs unanswered."""

    jobs: tuple[ExtractionJob, ...]
    fault: Fault
    message: str


@dataclass(frozen=True, slots=True)
class ExtractorUnavailable:
    """The encoder cannot work (a torn checkpoint, an unknown device): no video's fault, so nothing is counted."""

    jobs: tuple[ExtractionJob, ...]
    why: str


CONFINED = "decoder_confined"
"""The WorkerEvent that tells how decoders are confined."""


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something happened in a child that is to be a line of the log."""

    event: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class TextsEncoded:
    """The encoder of this part read texts; those that are missing could not be read."""

    part: SpacePart
    vectors: Mapping[str, Vector]


@dataclass(frozen=True, slots=True)
class Trained:
    """A training ended; `problem` is a sentence where no classifier came out of it that may serve."""

    report: Mapping[str, Any]
    problem: str | None


@dataclass(frozen=True, slots=True)
class TrainingLost:
    """The training child died, or gave no sign of life for too long."""

    why: str


@dataclass(frozen=True, slots=True)
class FilesCopied:
    """The copies for the move of this number are made, one for each step, or were refused."""

    number: int
    copies: tuple[VerifiedCopy, ...]
    refused: MoveRefused | None


@dataclass(frozen=True, slots=True)
class Stop:
    """The service is to finish its step and end."""

    why: str


Message = (
    Touched
    | RescanDue
    | RetrainDue
    | RetryDue
    | RequestReceived
    | Extracted
    | ExtractionFailed
    | TaskLost
    | ExtractorUnavailable
    | WorkerEvent
    | TextsEncoded
    | Trained
    | TrainingLost
    | FilesCopied
    | Stop
)
