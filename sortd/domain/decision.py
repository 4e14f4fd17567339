"""What is predicted for a video, what a move must meet, and what is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath

from sortd.domain.category import CategoryName
from sortd.domain.feature import Fault
from sortd.domain.video import Placer


@dataclass(frozen=True, slots=True)
class Prediction:
    """Every category with its calibrated probability, best first, and how unlike the winner's examples the video is.

    The probabilities add up to less than 1 where it may belong to none. `distance`: 1 - cosine to that nearest example.
    """

    ranking: tuple[tuple[CategoryName, float], ...]
    distance: float

    @property
    def best(self) -> CategoryName:
        """The category with the highest probability."""
        return self.ranking[0][0]

    @property
    def confidence(self) -> float:
        """The probability of that category."""
        return self.ranking[0][1]

    @property
    def margin(self) -> float:
        """The difference between the highest probability and the next."""
        return self.ranking[0][1] - (self.ranking[1][1] if len(self.ranking) > 1 else 0.0)


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that a move must meet. A category without `min_confidence` gets no automatic moves."""

    min_confidence: Mapping[CategoryName, float]
    min_margin: float = 0.0
    max_distance: float = 2.0
    min_examples: int = 1


class Trust(StrEnum):
    """What a category's past automatic moves entitle the next one to."""

    FREE = "free"
    ON_PROBATION = "on_probation"
    STOPPED = "stopped"


class Reason(StrEnum):
    """Why a video was left where it is; the gates of `decide` give those up to CATEGORY_STOPPED, in this order."""

    NO_CLASSIFIER = "no_classifier"
    TOO_FEW_EXAMPLES = "too_few_examples"
    NOTHING_TO_TELL = "nothing_to_tell"
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


@dataclass(frozen=True, slots=True)
class MoveTo:
    """File the video into this category; if the owner asked for it, it is a label."""

    category: CategoryName
    confidence: float
    placed_by: Placer = Placer.SORTD


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the video where it is, for this reason."""

    reason: Reason
    category: CategoryName | None = None


Decision = MoveTo | Leave


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """All that the verdict on one video depends on."""

    path: PurePath
    """Where its copy stands among the unsorted."""
    home: CategoryName | None
    vetoes: frozenset[CategoryName]
    fault: Fault | None
    """Why it was set aside."""
    prediction: Prediction | None
    may_replace: bool = False
    """Whether it may be a known video in another form, which is not known yet."""
    lacks_features: bool = False
    """Whether a feature may still come."""
    tells_nothing: bool = False
    """Whether every extractor that the classifier asks for has answered, and none gave numbers."""
    policy: Policy = Policy({})
    examples: Mapping[CategoryName, int] = field(default_factory=dict)
    trust: Trust | None = None
    """What the likeliest category's past moves entitle the next one to; None where it made none."""
    hands_off: bool = False
    """Whether its owner asks to leave the video alone."""
    takes_moves: bool = True
    """Whether the likeliest category's folder takes automatic moves, by its rules."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What sortd makes of one video; `fault` where it was set aside, `prediction` where there could be one."""

    path: PurePath
    decision: Decision
    prediction: Prediction | None = None
    fault: Fault | None = None
