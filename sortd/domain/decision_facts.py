"""One class for each kind of line of the decision log, and how a line is written and read.

A line is read with care: the log lies on the owner's disk, open to anyone who may write there. What cannot be true is
not understood, and keys that a class does not have are passed over: a later sortd may have written them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any, ClassVar

from sortd.domain.category import CategoryName
from sortd.domain.video import Fingerprint, Placer

Steps = tuple[tuple[PurePath, PurePath], ...]
"""Pairs of paths (from, to), relative to the root: the video first, then companions."""

_LARGEST = 2**127
"""Device and inode numbers that the index can keep are smaller, to either side."""


@dataclass(frozen=True, slots=True)
class VideoPlaced:
    """A move was made into a category; by the owner's word it is a label."""

    did: ClassVar[str] = "placed"
    video: Fingerprint
    category: CategoryName
    steps: Steps
    confidence: float
    by: Placer
    kept_from: CategoryName | None
    """The stopped category that would have got the video."""


@dataclass(frozen=True, slots=True)
class MoveUndone:
    """A move was taken back: the video is vetoed there. `by`: whose word the move had followed."""

    did: ClassVar[str] = "undone"
    video: Fingerprint
    category: CategoryName
    by: Placer


@dataclass(frozen=True, slots=True)
class VideoLabelled:
    """The owner filed a video."""

    did: ClassVar[str] = "labelled"
    video: Fingerprint
    category: CategoryName
    path: PurePath | None
    kept_from: CategoryName | None
    """The stopped category that would have got the video."""


@dataclass(frozen=True, slots=True)
class VideoCorrected:
    """The owner moved a video from one category to another."""

    did: ClassVar[str] = "corrected"
    video: Fingerprint
    was: CategoryName | None
    category: CategoryName
    path: PurePath | None


@dataclass(frozen=True, slots=True)
class VideoWithdrawn:
    """The owner took a video out of a category: it is vetoed there."""

    did: ClassVar[str] = "withdrawn"
    video: Fingerprint
    category: CategoryName


@dataclass(frozen=True, slots=True)
class PlacementConfirmed:
    """The owner agreed with a placement: it is a label."""

    did: ClassVar[str] = "confirmed"
    video: Fingerprint
    category: CategoryName
    path: PurePath | None = field(default=None, metadata={"omit": True})


@dataclass(frozen=True, slots=True)
class VideoReturned:
    """A video that was gone stands among the unsorted again."""

    did: ClassVar[str] = "returned"
    video: Fingerprint


@dataclass(frozen=True, slots=True)
class VideosGone:
    """No copy of these videos stands any more."""

    did: ClassVar[str] = "gone"
    videos: tuple[Fingerprint, ...]


@dataclass(frozen=True, slots=True)
class VideoForgotten:
    """A video's label or vetoes are forgotten by the owner's wish; `category`: the veto of that one only."""

    did: ClassVar[str] = "forgotten"
    video: Fingerprint
    what: str
    """ "labels" or "vetoes"."""
    category: CategoryName | None


@dataclass(frozen=True, slots=True)
class VideoReplaced:
    """A video is known by another content now: it was encoded anew, or put into another container."""

    did: ClassVar[str] = "changed"
    was: Fingerprint
    video: Fingerprint
    path: PurePath | None


@dataclass(frozen=True, slots=True)
class CategorySeen:
    """A folder is a category; its device and inode tell it when it is renamed."""

    did: ClassVar[str] = "category"
    category: CategoryName
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class CategoryRenamed:
    """A category's folder has another name."""

    did: ClassVar[str] = "renamed"
    was: CategoryName
    category: CategoryName


@dataclass(frozen=True, slots=True)
class PauseChanged:
    """The owner paused or resumed."""

    did: ClassVar[str] = "paused"
    paused: bool


DecisionFact = (
    VideoPlaced
    | MoveUndone
    | VideoLabelled
    | VideoCorrected
    | VideoWithdrawn
    | PlacementConfirmed
    | VideoReturned
    | VideosGone
    | VideoForgotten
    | VideoReplaced
    | CategorySeen
    | CategoryRenamed
    | PauseChanged
)


class NotUnderstood(Exception):
    """A line of a later sortd, or not of sortd at all."""


def encode(fact: DecisionFact) -> dict[str, Any]:
    """Give what a line holds of a fact, as JSON values in the order in which they are written."""
    line: dict[str, Any] = {"did": fact.did}
    for one in fields(fact):
        value = getattr(fact, one.name)
        if value is not None or not one.metadata.get("omit"):
            line[one.name] = _plain(value)
    return line


def decode(did: str, values: Mapping[str, Any]) -> DecisionFact:
    """Read all of a line. NotUnderstood: it is of no kind that is known, or says what cannot be true."""
    read = _READERS.get(did)
    if read is None:
        raise NotUnderstood
    return read(_Values(values))


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field
    match value:
        case PurePath():
            return str(value)
        case tuple():
            return [_plain(item) for item in value]
        case _:
            return value


class _Values:
    """The values of one line, each believed only where it can be true."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, key: str) -> str:
        value = self._values.get(key)
        if not isinstance(value, str) or not value:
            raise NotUnderstood
        return value

    def number(self, key: str) -> float:
        value = self._values.get(key)
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise NotUnderstood
        return float(value)

    def whole(self, key: str) -> int:
        value = self._values.get(key)
        if not isinstance(value, int) or not -_LARGEST <= value < _LARGEST:
            raise NotUnderstood
        return value

    def video(self, key: str = "video") -> Fingerprint:
        return Fingerprint(str(_inside(self.text(key))))

    def videos(self) -> tuple[Fingerprint, ...]:
        videos = self._values.get("videos")
        if not isinstance(videos, list):
            raise NotUnderstood
        return tuple(Fingerprint(str(_inside(video))) for video in videos)

    def category(self, key: str = "category") -> CategoryName:
        return CategoryName(str(_inside(self.text(key))))

    def category_or_none(self, key: str) -> CategoryName | None:
        return None if self._values.get(key) is None else self.category(key)

    def placer(self) -> Placer:
        """Lines from before owners could ask for moves do not say whose word a move followed."""
        return Placer.OWNER if self._values.get("by") == Placer.OWNER else Placer.SORTD

    def path_or_none(self) -> PurePath | None:
        return None if self._values.get("path") is None else _inside(self.text("path"))

    def steps(self) -> Steps:
        steps = self._values.get("steps")
        if not isinstance(steps, list) or not steps or not all(isinstance(s, list) and len(s) == 2 for s in steps):  # noqa: PLR2004 - from, to
            raise NotUnderstood
        return tuple((_inside(source), _inside(target)) for source, target in steps)


_READERS: Mapping[str, Callable[[_Values], DecisionFact]] = {
    VideoPlaced.did: lambda line: VideoPlaced(
        line.video(),
        line.category(),
        line.steps(),
        line.number("confidence"),
        line.placer(),
        line.category_or_none("kept_from"),
    ),
    MoveUndone.did: lambda line: MoveUndone(line.video(), line.category(), line.placer()),
    VideoLabelled.did: lambda line: VideoLabelled(
        line.video(), line.category(), line.path_or_none(), line.category_or_none("kept_from")
    ),
    VideoCorrected.did: lambda line: VideoCorrected(
        line.video(), line.category_or_none("was"), line.category(), line.path_or_none()
    ),
    VideoWithdrawn.did: lambda line: VideoWithdrawn(line.video(), line.category()),
    PlacementConfirmed.did: lambda line: PlacementConfirmed(line.video(), line.category(), line.path_or_none()),
    VideoReturned.did: lambda line: VideoReturned(line.video()),
    VideosGone.did: lambda line: VideosGone(line.videos()),
    VideoForgotten.did: lambda line: VideoForgotten(line.video(), line.text("what"), line.category_or_none("category")),
    VideoReplaced.did: lambda line: VideoReplaced(line.video("was"), line.video(), line.path_or_none()),
    CategorySeen.did: lambda line: CategorySeen(line.category(), line.whole("device"), line.whole("inode")),
    CategoryRenamed.did: lambda line: CategoryRenamed(line.category("was"), line.category()),
    PauseChanged.did: lambda line: PauseChanged(bool(line.whole("paused"))),
}


def _inside(name: Any) -> PurePath:  # noqa: ANN401 - whatever the line holds
    """Read a path below the root; bytes that are no text stand in it as surrogates."""
    if not isinstance(name, str):
        raise NotUnderstood
    try:
        name.encode("utf-8", "surrogateescape")
        path = PurePath(name)
    except ValueError as wrong:
        raise NotUnderstood from wrong
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in str(path):
        raise NotUnderstood
    return path
