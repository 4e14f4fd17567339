"""Work out what the owner did: compare where the index holds a video to be with where it stands, ask no events.

The form is that of a synchroniser that trusts a status file over a stream of events: gather, compare, then act.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sortd.domain.category import CategoryName, Locations
from sortd.domain.decision import MoveTo
from sortd.domain.video import Placer, Record


@dataclass(frozen=True, slots=True)
class Labelled:
    """The owner filed the video; `was` is the category it was held to before, a correction if there was one."""

    category: CategoryName
    was: CategoryName | None = None
    was_placed_by: Placer | None = None


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The owner took the video back out of its category to the unsorted."""

    category: CategoryName
    was_placed_by: Placer | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The owner arranged a placement within its category, and so agreed with it."""

    category: CategoryName


@dataclass(frozen=True, slots=True)
class Returned:
    """A video that was deleted everywhere is dropped again: a new one, but its vetoes stay."""


Fact = Labelled | Withdrawn | Confirmed | Returned


def reconcile(record: Record, before: Locations, now: Locations) -> Fact | None:
    """Tell what the owner did, from where the video stood when last looked at and where it stands now."""
    if not now or now == before:
        # Deleted, or half of a move whose other half comes next; or nothing was moved, and what the rules of today
        # make of its place is no deed of the owner's.
        return None
    folders = sorted({place.category for place in now if place.category is not None})
    home = record.home
    if home is not None and home in folders:
        if record.placed_by is Placer.SORTD and _rearranged(home, before, now):
            return Confirmed(home)
        # At home; further copies, in the root or elsewhere, change nothing.
        return None
    if home is not None and any(place.category is None and place.below.is_relative_to(home) for place in now):
        # In its home's folder, which is no category now: it rests.
        return None
    if folders:
        # Of two folders at once the first by name: arbitrary, but the same on every run.
        return Labelled(folders[0], was=home, was_placed_by=record.placed_by)
    if home is None:
        return None
    if not before:
        return Returned()
    return Withdrawn(home, was_placed_by=record.placed_by)


def apply(record: Record, fact: Fact) -> Record:
    """Keep a fact in the record.

    Whatever category the owner takes a video out of is vetoed, by a withdrawal as by a correction, until they file
    it there again.
    """
    match fact:
        case Labelled(category, was):
            left = frozenset() if was is None else frozenset({was})
            return replace(record, home=category, placed_by=Placer.OWNER, vetoes=(record.vetoes | left) - {category})
        case Withdrawn(category):
            return replace(record, home=None, placed_by=None, vetoes=record.vetoes | {category})
        case Confirmed(category):
            return replace(record, home=category, placed_by=Placer.OWNER, vetoes=record.vetoes - {category})
        case Returned():
            return replace(record, home=None, placed_by=None)


def filed(record: Record, move: MoveTo) -> Record:
    """Keep in the record that sortd moved the video: a placement, or a label where that was the owner's word."""
    if move.placed_by is Placer.OWNER:
        return apply(record, Labelled(move.category))
    return replace(record, home=move.category, placed_by=Placer.SORTD)


def _rearranged(home: CategoryName, before: Locations, now: Locations) -> bool:
    """Tell whether a copy left one path in its home and turned up at another one there."""
    then = {place for place in before if place.category == home}
    here = {place for place in now if place.category == home}
    return bool(then - here) and bool(here - then)
