"""What the inbox carries (facts, in the past participle) and what the sorter orders (in the imperative)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from sortd.domain import Fault, Feature, FeatureSpace, Job, Part, Step, Vector, VerifiedCopy
from sortd.errors import MoveRefused


@dataclass(frozen=True, slots=True)
class Touched:
    """Look at this path (relative to the root) soon; a folder stands for every known path and every file below it."""

    path: PurePath


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


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
class Asked:
    """The owner's command; `reply` is called once, with plain JSON values."""

    request: Mapping[str, Any]
    reply: Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """A job's features; `seconds` is what it took."""

    job: Job
    features: tuple[Feature, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class ExtractionFailed:
    """This video gave no features. `fault=None`: its file changed or went meanwhile, which is nobody's fault."""

    job: Job
    fault: Fault | None
    message: str


@dataclass(frozen=True, slots=True)
class BatchLost:
    """The worker died or overran its deadline with these jobs unanswered."""

    jobs: tuple[Job, ...]
    fault: Fault
    message: str


@dataclass(frozen=True, slots=True)
class Stalled:
    """The encoder itself cannot work (a torn checkpoint, an unknown device): no video's fault, so none is counted."""

    jobs: tuple[Job, ...]
    why: str


CONFINED = "decoder_confined"
"""The event of Said that tells how decoders are held."""


@dataclass(frozen=True, slots=True)
class Said:
    """Something in a child that whoever reads the log should know, as a line of the log."""

    event: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class NamesRead:
    """What the encoder of this part made of words; those that are missing could not be read."""

    part: Part
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
class Copied:
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
    | Tick
    | RescanDue
    | RetrainDue
    | RetryDue
    | Asked
    | Extracted
    | ExtractionFailed
    | BatchLost
    | Stalled
    | Said
    | NamesRead
    | Trained
    | TrainingLost
    | Copied
    | Stop
)


@dataclass(frozen=True, slots=True)
class Extract:
    """Send these jobs to the extraction worker."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Let the extraction worker read these words with the encoder of this part."""

    part: Part
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """One training: `except_in` are folders that are no categories, `targets` those that ask for another precision.

    `others` are those of `except_in` whose videos belong to no category. All, and the classifier, speak of categories
    by number, so that a renamed folder needs no retraining; `names` are what they are called, in words.
    """

    digest: str
    space: FeatureSpace
    except_in: frozenset[int]
    targets: Mapping[int, float]
    others: frozenset[int] = frozenset()
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Train:
    """Give the training child a lesson."""

    lesson: Lesson


@dataclass(frozen=True, slots=True)
class Copy:
    """Make verified copies of a move's files, beside their targets and under temporary names that begin with `part`."""

    number: int
    part: str
    steps: tuple[Step, ...]


Order = Extract | Read | Train | Copy
