"""The few exceptions; an expected "no" is a value, these are surprises.

SortdError                  anything sortd can say in one clear line
├── ConfigError             the configuration cannot be used (exit status 78)
├── LibraryUnavailable      the root, its marker or its state is not there, or is another service's
│   └── IndexUnavailable    the index cannot be read or written now: it is locked, or its disk is full or failing
│       └── IndexDamaged    its file is not what was written; it can be made again
├── ExtractionError         this video gives no features; carries its Fault
├── NoNumbers               a network gives no numbers for this video, though it does for others
├── DeviceLost              the device that computes is lost to this process; a new process may have it again
├── MoveRefused             nothing was moved; carries why
│   ├── Changed             the video is not what was judged any more: it is judged anew
│   ├── NameTaken           a name of the plan was taken since: plan afresh
│   ├── Elsewhere           the target is on another filesystem: only a copy gets there
│   └── FolderRefuses       the folder takes no file at all now, so none need be tried
└── MoveUnfinished          neither done nor taken back: the intent stays open until the next look at it
"""

from __future__ import annotations

from pathlib import PurePath

from sortd.domain.feature import Fault


class SortdError(Exception):
    """Anything sortd can say in one clear line."""


class ConfigError(SortdError):
    """The configuration cannot be used; `problems` holds one line for each thing wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class LibraryUnavailable(SortdError):
    """The root, its marker or its state directory is not there, or belongs to another service."""


class IndexUnavailable(LibraryUnavailable):
    """The index cannot be read or written now: what failed is tried again, and nothing of it was kept."""


class IndexDamaged(IndexUnavailable):
    """The index's file is not what was written into it; it can be made again from a backup and the decision log."""


class ExtractionError(SortdError):
    """This video gives no features."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class NoNumbers(SortdError):
    """A network gives no numbers for this video, though it does for others."""


class DeviceLost(SortdError):
    """The device that computes is lost to this process; a new process may have it again."""


class MoveRefused(SortdError):
    """Nothing was moved: every file of the group is where it was."""


class Changed(MoveRefused):
    """The video is not what was judged any more: once it has settled it is judged anew."""


class NameTaken(MoveRefused):
    """A name of the plan was taken since: plan afresh."""


class Elsewhere(MoveRefused):
    """The target is on another filesystem: only a copy gets there."""


class FolderRefuses(MoveRefused):
    """The folder takes no file at all now: it is full, read-only, without permission."""

    def __init__(self, folder: PurePath, why: str) -> None:
        super().__init__(folder, why)
        self.folder = folder
        self.why = why

    def __str__(self) -> str:
        """Tell which one, and why."""
        return f"{'the root' if self.folder == PurePath() else self.folder}: {self.why}"


class MoveUnfinished(SortdError):
    """Neither done nor taken back: the intent stays open until `recover` tells where the file stands."""
