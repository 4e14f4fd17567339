"""The values everything else speaks in: plain, frozen, without a clock, a file or a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

Fingerprint = NewType("Fingerprint", str)
"""What a video *is*: a hash of its content, the same wherever it goes and whatever it is called."""

Category = NewType("Category", str)
"""A folder's path relative to the root, `levels` deep at most, with "/" between its parts."""

Vector = NDArray[np.float32]
"""Shape [dim]."""

Matrix = NDArray[np.float32]
"""Shape [n, dim]."""

Image = NDArray[np.uint8]
"""Shape [height, width, 3], red green blue, turned as a player shows it."""

Waveform = NDArray[np.float32]
"""Shape [samples]: mono, 16 kHz, from -1 to 1, in steps of 1/32768 as 16-bit sound files have them."""


class Placer(StrEnum):
    """Who set a video's home: only the owner's word is a label."""

    OWNER = "owner"
    SORTD = "sortd"


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells, without reading it, that a file is still the same: cheap, and never proof of content.

    Numbers are whatever a filesystem gives: times before 1970 and far ahead, inodes beyond 2^63. `ctime_ns` (when the
    content or the status changed last) and `device` are None where an index from before did not keep them.
    """

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int | None = None
    device: int | None = None

    @property
    def lasting(self) -> tuple[int, int, int]:
        """What a rename, another mode and a new mount leave as it is; an edit that sets the times back does too."""
        return self.inode, self.size, self.mtime_ns

    def agrees(self, other: Identity) -> bool:
        """Whether all that is known of both is equal."""
        pairs = ((self.ctime_ns, other.ctime_ns), (self.device, other.device))
        return self.lasting == other.lasting and all(a == b or a is None or b is None for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A video seen at a path (relative to the root)."""

    path: PurePath
    fingerprint: Fingerprint
    identity: Identity


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where one copy stands: its category (None: unsorted) and its path below that category's folder."""

    category: Category | None
    below: PurePath


Standing = frozenset[Place]
"""The places of a video's live copies."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the index holds a video to. Whether it is present is no part of it: its sightings tell."""

    fingerprint: Fingerprint
    home: Category | None = None
    placed_by: Placer | None = None
    vetoes: frozenset[Category] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """What one extractor found in one video; `vector=None` is a known absence (no sound, no speech), not a failure."""

    extractor: str
    version: str
    vector: Vector | None
    text: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    frames: Matrix | None = None
    """Each frame's own vector [n, dim], where the extractor looks at frames."""


@dataclass(frozen=True, slots=True)
class Part:
    """One extractor's share of a feature space."""

    extractor: str
    version: str
    dim: int


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """The ordered parts a vector is made of; vectors of two spaces are never compared."""

    parts: tuple[Part, ...]

    @property
    def dim(self) -> int:
        """Length of a fused vector."""
        return sum(part.dim for part in self.parts)

    @property
    def key(self) -> str:
        """The space as one line of text: equal for equal spaces, different for any other."""
        return " ".join(f"{part.extractor}={part.version}:{part.dim}" for part in self.parts)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Every category with its calibrated probability, best first, and how unlike the winner's examples the video is.

    The probabilities add up to less than 1 where it may belong to none. `distance`: 1 - cosine to that nearest example.
    """

    ranking: tuple[tuple[Category, float], ...]
    distance: float

    @property
    def best(self) -> Category:
        """The likeliest category."""
        return self.ranking[0][0]

    @property
    def confidence(self) -> float:
        """Probability of the likeliest category."""
        return self.ranking[0][1]

    @property
    def margin(self) -> float:
        """By how much the likeliest category beats the next."""
        return self.ranking[0][1] - (self.ranking[1][1] if len(self.ranking) > 1 else 0.0)


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that a move must meet. A category without `min_confidence` gets no automatic moves."""

    min_confidence: Mapping[Category, float]
    min_margin: float = 0.0
    max_distance: float = 2.0
    min_examples: int = 1


class Trust(StrEnum):
    """What a category's past automatic moves entitle the next one to."""

    FREE = "free"
    ON_PROBATION = "on_probation"
    STOPPED = "stopped"


class Reason(StrEnum):
    """Why a video was left where it is. `decide` gives those up to CATEGORY_STOPPED, the first that applies."""

    NO_CLASSIFIER = "no_classifier"
    TOO_FEW_EXAMPLES = "too_few_examples"
    VETOED = "vetoed"
    UNFAMILIAR = "unfamiliar"
    LOW_CONFIDENCE = "low_confidence"
    CLOSE_CALL = "close_call"
    ON_PROBATION = "on_probation"
    CATEGORY_STOPPED = "category_stopped"
    HANDS_OFF = "hands_off"
    ALREADY_FILED = "already_filed"
    OBSERVE_MODE = "observe_mode"
    PAUSED = "paused"
    MOVE_REFUSED = "move_refused"
    ROOT_AWAY = "root_away"
    PENDING = "pending"


class Fault(StrEnum):
    """Why a video was set aside: nothing could be learned from its bytes."""

    EMPTY = "empty"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    DECODER_CRASHED = "decoder_crashed"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"

    @property
    def may_pass(self) -> bool:
        """Whether another try may go better: a refusal by the decoder is final, a crash or a hang is not."""
        return self in {Fault.TIMEOUT, Fault.DECODER_CRASHED}


@dataclass(frozen=True, slots=True)
class MoveTo:
    """File the video into this category; at the owner's word it is a label."""

    category: Category
    confidence: float
    placed_by: Placer = Placer.SORTD


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the video where it is, and say why."""

    reason: Reason
    category: Category | None = None


Decision = MoveTo | Leave


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Paths relative to the root, (from, to): the video first, then its companions. All or none."""

    steps: tuple[tuple[PurePath, PurePath], ...]


@dataclass(frozen=True, slots=True)
class VerifiedCopy:
    """What was read back of a copy: what tells it from any other file, and the hash of all that is in it."""

    identity: Identity
    digest: str


@dataclass(frozen=True, slots=True)
class Step:
    """One file of a move, and what it was when the move was decided; `copy` is what was made of it elsewhere."""

    source: PurePath
    target: PurePath
    identity: Identity
    copy: VerifiedCopy | None = None


@dataclass(frozen=True, slots=True)
class FilesystemAbilities:
    """What a filesystem was seen to do, whatever it is called; a name that is taken was refused where it says yes."""

    renames_exclusively: bool
    """A file gets another name only if that is free."""
    links: bool
    """A file gets a second name, only if that is free."""
    links_keep_inode: bool
    """Both names of a file show that they are one file."""
    inodes_are_stable: bool
    """A file keeps its number at a second look, and in another folder."""
    syncs_folders: bool
    folds_case: bool
    keeps_modes: bool
    """Files have permissions of their own; otherwise the mount decides whose they are and who may read them."""
    keeps_owners: bool
    """A file may be given to any owner, as far as this process goes."""
    keeps_attributes: bool
    """Files have extended attributes of the user's."""
    time_step_ns: int
    """The finest time that a file keeps, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Job:
    """One video and the parts of feature spaces that it lacks."""

    fingerprint: Fingerprint
    path: PurePath
    identity: Identity
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """The owner's labels that have a vector: row i of `vectors` [n, dim] belongs to `categories[i]`."""

    space: FeatureSpace
    vectors: Matrix
    categories: Sequence[Category]
    fingerprints: Sequence[Fingerprint]
    passed_over: Matrix | None = None
    """Videos that are known to belong to none of the categories, [passed over, dim]."""
    unsorted: Matrix | None = None
    """What else is there, or a sample of it: of whatever category, or of none, [unsorted, dim]."""
    names: Mapping[Category, Vector] = field(default_factory=dict)
    """What the encoder of the pictures makes of what folders are called, where it reads, [dim of a picture]."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an extractor wants out of a file, so that one opening serves all of them."""

    frames: int = 0
    """How many evenly spaced frames, the first and the last included."""
    following: bool = False
    """Also the frame right after each of them (motion)."""
    short_side: int | None = None
    """Frames may be scaled down to this many pixels on their shorter side; None: as they are."""
    sound: bool = False
    sound_seconds: float | None = None
    """At most this much sound, from the beginning; None: all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What came out of one file for the extractors: pictures and sound, never a path."""

    frames: tuple[Image, ...]
    following: tuple[Image, ...]
    times: tuple[float, ...]
    """Seconds from the start, one for each of `frames`."""
    sound: Waveform | None
    """None where there is no sound track or none of it decodes."""
    seconds: float
    width: int
    height: int
