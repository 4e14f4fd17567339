"""Match known folders with those seen on disk: the same, renamed, new or gone.

A category is its folder's (device, inode), so a rename costs nothing and teaches nothing. Inodes are believed only
where they cannot mislead: file systems hand a freed inode to the next folder made, and a restored backup shuffles all.
Folders that swapped their names are told from a shuffle by what lies in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sortd.domain.category import CategoryName


@dataclass(frozen=True, slots=True)
class Folder:
    """A category's folder as it stands on disk."""

    name: CategoryName
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Known:
    """A category as the index knows it; `present` when its folder stood there at the last look."""

    number: int
    name: CategoryName
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
    was: CategoryName
    folder: Folder


@dataclass(frozen=True, slots=True)
class New:
    """A folder never seen."""

    folder: Folder


@dataclass(frozen=True, slots=True)
class Gone:
    """No folder is this category any more; what is known of it is kept, it takes no videos and teaches nothing."""

    number: int
    name: CategoryName


Change = Same | Renamed | New | Gone

Carries = Callable[[Known, Folder], int | None]


def compare(
    known: Sequence[Known],
    seen: Sequence[Folder],
    *,
    carries: Carries,
    empty: Callable[[Folder], bool],
) -> list[Change]:
    """Match known categories with the folders seen.

    `carries(category, folder)` tells how much of what the category held a folder holds: the proof that it was renamed,
    and is not a new folder on a freed inode; None where it held nothing. `empty(folder)`: it holds no video, which
    tells the mount point of a category whose disk is away from a category carried to another disk.
    """
    moved = _moved(known, seen, carries)
    numbers = {category.number for category in moved.values()}
    stayed = {category.name: category for category in known if category.number not in numbers}
    changes: list[Change] = []
    for folder in seen:
        namesake = stayed.pop(folder.name, None)
        if folder.name in moved:
            if namesake is not None and namesake.present:
                changes.append(Gone(namesake.number, namesake.name))
            changes.append(Renamed(moved[folder.name].number, moved[folder.name].name, folder))
        elif namesake is None:
            changes.append(New(folder))
        elif _is_elsewhere(namesake, folder) and empty(folder):
            # What would be filed there is hidden once the disk is back.
            changes += [Gone(namesake.number, namesake.name)] if namesake.present else []
        else:
            changes.append(Same(namesake.number, folder))
    return changes + [Gone(category.number, category.name) for category in stayed.values() if category.present]


def in_turn(renames: Sequence[Renamed]) -> list[Renamed]:
    """The same renames, to be made one after the other without one touching what another has still to move.

    The deepest folder goes first; where a new name is still another's, the way leads over a name that no folder has.
    """
    first: list[Renamed] = []
    last: list[Renamed] = []
    for rename in sorted(renames, key=lambda rename: -rename.was.count("/")):
        if any(_overlap(rename.folder.name, other.was) for other in renames if other is not rename):
            passing = CategoryName(f".renamed-{rename.number}")
            first.append(replace(rename, folder=replace(rename.folder, name=passing)))
            last.append(replace(rename, was=passing))
        else:
            first.append(rename)
    return first + last


def _moved(known: Sequence[Known], seen: Sequence[Folder], carries: Carries) -> dict[CategoryName, Known]:
    """The categories that stand under another name, by that name; each that is found frees its old name for another."""
    standing = {folder.name: folder for folder in seen}
    namesakes = {category.name: category for category in known if category.present}
    moved: dict[CategoryName, Known] = {}
    waiting = _on_other_names(known, seen)
    before = len(waiting) + 1
    while len(waiting) < before:
        before = len(waiting)
        for category, folder in waiting:
            here = None if category.name in moved else standing.get(category.name)
            namesake = namesakes.get(folder.name)
            free = namesake is None or namesake in moved.values()
            if folder.name not in moved and _is_renamed(category, folder, carries, here=here, free=free):
                moved[folder.name] = category
        waiting = [(category, folder) for category, folder in waiting if category not in moved.values()]
    return moved


def _on_other_names(known: Sequence[Known], seen: Sequence[Folder]) -> list[tuple[Known, Folder]]:
    """The categories whose inode a folder of another name has, and none of their own name; with that folder."""
    folders = {(folder.device, folder.inode): folder for folder in seen}
    present = {(category.name, category.device, category.inode): category for category in known if category.present}
    unmoved = {
        (folder.device, folder.inode) for folder in seen if (folder.name, folder.device, folder.inode) in present
    }
    return [
        (category, folders[device, inode])
        for (_, device, inode), category in present.items()
        if (device, inode) in folders.keys() - unmoved
    ]


def _is_renamed(category: Known, folder: Folder, carries: Carries, *, here: Folder | None, free: bool) -> bool:
    """Tell whether the folder with a category's inode is that category.

    `here` is what has the category's own name now, if that is not another category; `free`: nothing stood under the
    folder's name, or that stands elsewhere.
    """
    proof = carries(category, folder)
    if here is None:
        return bool(proof) or (free and proof is None)
    # A restored backup shuffles inodes, and a copy may have the name of what it was copied from.
    return proof > (carries(category, here) or 0) if proof else False


def _overlap(one: CategoryName, other: CategoryName) -> bool:
    """Tell whether one of two folders is the other, or lies in it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _is_elsewhere(known: Known, folder: Folder) -> bool:
    """On another filesystem; one that merely has another number since a restart keeps its inodes."""
    return folder.device != known.device and folder.inode != known.inode
