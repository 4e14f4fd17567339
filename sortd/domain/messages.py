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
    """Look at this path (relative to the root) soon; a folder stands for every known path and every file below it."""

    path: PurePath


@dataclass(frozen=True, slots=True)
class RescanDue:
    """Compare the whole tree with the index."""

    why: str


@dataclass(frozen=True, slots=True)
class RetrainDue:
    """Train, if labels changed."""

    why: str


@dataclass(frozen=True, slots=True)
class RetryDue:
    """The owner may have mended what refused: try at once what would be tried later."""


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The owner's command; `reply` is called once, with plain JSON values."""

    request: Mapping[str, Any]
    reply: Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """A job's features; `seconds` is what it took."""

    job: ExtractionJob
    features: tuple[Feature, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class ExtractionFailed:
    """This video gave no features. `fault=None`: its file changed or went meanwhile, which is nobody's fault."""

    job: ExtractionJob
    fault: Fault | None
    message: str


@dataclass(frozen=True, slots=True)
class TaskLost:
    """The worker died or overran its deadline with these jobs unanswered."""

    jobs: tuple[ExtractionJob, ...]
    fault: Fault
    message: str


@dataclass(frozen=True, slots=True)
class ExtractorUnavailable:
    """The encoder itself cannot work (a torn checkpoint, an unknown device): no video's fault, so none is counted."""

    jobs: tuple[ExtractionJob, ...]
    why: str


CONFINED = "decoder_confined"
"""The event of WorkerEvent that tells how decoders are held."""


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something in a child that whoever reads the log should know, as a line of the log."""

    event: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class TextsEncoded:
    """What the encoder of this part made of words; those that are missing could not be read."""

    part: SpacePart
    vectors: Mapping[str, Vector]


@dataclass(frozen=True, slots=True)
class Trained:
    """What the training child reports: `problem` is a sentence where no classifier came out of it that may serve."""

    report: Mapping[str, Any]
    problem: str | None


@dataclass(frozen=True, slots=True)
class TrainingLost:
    """The training child died or gave no sign of life."""

    why: str


@dataclass(frozen=True, slots=True)
class FilesCopied:
    """The copies that the move of this number waits for: one for each step, or why there are none."""

    number: int
    copies: tuple[VerifiedCopy, ...]
    refused: MoveRefused | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish the step at hand and leave."""

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
