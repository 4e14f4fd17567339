"""The few exceptions; an expected "no" is a value, these are surprises.

SortdError                  anything sortd can say in one clear line
├── ConfigError             the configuration cannot be used (exit status 78)
├── LibraryUnavailable      the root, its marker or its state is not there, or is another service's
├── ExtractionError         this video gives no features; carries its Fault
├── DeviceLost              the device that computes is lost to this process; a new process may have it again
└── MoveRefused             nothing was moved; carries why
"""

from __future__ import annotations

from sortd.domain import Fault


class SortdError(Exception):
    """Anything sortd can say in one clear line."""


class ConfigError(SortdError):
    """The configuration cannot be used; `problems` holds one line for each thing wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class LibraryUnavailable(SortdError):
    """The root, its marker or its state directory is not there, or belongs to another service."""


class ExtractionError(SortdError):
    """This video gives no features."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class DeviceLost(SortdError):
    """The device that computes is lost to this process; a new process may have it again."""


class MoveRefused(SortdError):
    """Nothing was moved: every file of the group is where it was."""
