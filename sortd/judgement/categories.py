"""Which folders known are which folders seen: the same, renamed, new or gone.

A category is its folder's (device, inode), so a rename costs nothing and teaches nothing. Inodes are believed only
where they cannot mislead: file systems hand a freed inode to the next folder made, and a restored backup shuffles all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sortd.domain import Category


@dataclass(frozen=True, slots=True)
class Folder:
    """A category's folder as it stands on disk."""

    name: Category
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Known:
    """A category as the index knows it; `present` when its folder stood there at the last look."""

    number: int
    name: Category
    device: int
    inode: int
    present: bool


@dataclass(frozen=True, slots=True)
class Same:
    """The folder still stands under its name (its inode may be another: a restored backup)."""

    number: int
    folder: Folder


@dataclass(frozen=True, slots=True)
class Renamed:
    """The folder stands under another name; everything held to it follows."""

    number: int
    was: Category
    folder: Folder


@dataclass(frozen=True, slots=True)
class New:
    """A folder never seen."""

    folder: Folder


@dataclass(frozen=True, slots=True)
class Gone:
    """No folder is this category any more; what is known of it is kept, it takes no videos and teaches nothing."""

    number: int
    name: Category


Change = Same | Renamed | New | Gone


def compare(
    known: Sequence[Known],
    seen: Sequence[Folder],
    *,
    carries: Callable[[Known, Folder], bool | None],
    empty: Callable[[Folder], bool],
) -> list[Change]:
    """Match known categories with the folders seen.

    `carries(category, folder)` tells whether a folder of the same inode holds what the category held: the proof that
    it was renamed, and is not a new folder on a freed inode; None where it held nothing. `empty(folder)`: it holds no
    video, which tells the mount point of a category whose disk is away from a category carried to another disk.
    """
    by_name = {category.name: category for category in known}
    names_seen = {folder.name for folder in seen}
    missing = {(c.device, c.inode): c for c in known if c.present and c.name not in names_seen}
    changes: list[Change] = []
    for folder in seen:
        moved = missing.get((folder.device, folder.inode))
        namesake = by_name.get(folder.name)
        if moved is not None and _is_renamed(namesake, folder, proof=carries(moved, folder)):
            del missing[folder.device, folder.inode]
            if namesake is not None and namesake.present:
                changes.append(Gone(namesake.number, namesake.name))
            changes.append(Renamed(moved.number, moved.name, folder))
        elif namesake is not None and _is_elsewhere(namesake, folder) and empty(folder):
            # What would be filed there is hidden once the disk is back.
            changes += [Gone(namesake.number, namesake.name)] if namesake.present else []
        elif namesake is not None:
            changes.append(Same(namesake.number, folder))
        else:
            changes.append(New(folder))
    changes += [Gone(category.number, category.name) for category in missing.values()]
    return changes


def _is_renamed(namesake: Known | None, folder: Folder, *, proof: bool | None) -> bool:
    """Whether a folder with a missing category's inode is that category, though `namesake` had its name."""
    if namesake is None or not namesake.present:
        return proof is not False
    return bool(proof) and (namesake.device, namesake.inode) != (folder.device, folder.inode)


def _is_elsewhere(known: Known, folder: Folder) -> bool:
    """On another filesystem; one that merely has another number since a restart keeps its inodes."""
    return folder.device != known.device and folder.inode != known.inode
