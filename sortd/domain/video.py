"""What sortd knows a video by, where it was seen, and what its owner said of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import NewType

from sortd.domain.category import CategoryName

Fingerprint = NewType("Fingerprint", str)
"""The identity of a video: a hash of its content, the same wherever it stands and whatever it is called."""


class Placer(StrEnum):
    """Who set a video's home; only a home that the owner set is a label."""

    OWNER = "owner"
    SORTD = "sortd"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells without reading a file that it is still the same; it is cheap, and no proof of its content.

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
        """The part that a rename, another mode and a new mount leave alone; an edit that sets times back does too."""
        return self.inode, self.size, self.mtime_ns

    def agrees(self, other: FileIdentity) -> bool:
        """Tell whether all that is known of both is equal."""
        pairs = ((self.ctime_ns, other.ctime_ns), (self.device, other.device))
        return self.lasting == other.lasting and all(a == b or a is None or b is None for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A video as it was seen at a path, relative to the root."""

    path: PurePath
    fingerprint: Fingerprint
    identity: FileIdentity


@dataclass(frozen=True, slots=True)
class Record:
    """The home and the vetoes of a video, as the index keeps them; its sightings tell whether it is present."""

    fingerprint: Fingerprint
    home: CategoryName | None = None
    placed_by: Placer | None = None
    vetoes: frozenset[CategoryName] = frozenset()
