"""What moves a file, or a video with its companions: plans, steps, copies, and what a filesystem can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from sortd.domain.video import FileIdentity


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Pairs of paths (from, to), relative to the root: the video first, then its companions. All are moved, or none."""

    steps: tuple[tuple[PurePath, PurePath], ...]


@dataclass(frozen=True, slots=True)
class VerifiedCopy:
    """What was read back of a copy: what tells it from other files, and the hash of its whole content."""

    identity: FileIdentity
    digest: str


@dataclass(frozen=True, slots=True)
class MoveStep:
    """One file of a move, as it was when the move was decided; `copy` is its copy on the other filesystem."""

    source: PurePath
    target: PurePath
    identity: FileIdentity
    copy: VerifiedCopy | None = None


@dataclass(frozen=True, slots=True)
class FilesystemAbilities:
    """What a filesystem was seen to do, whatever it is called; where it says yes, it refused a name that was taken."""

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
