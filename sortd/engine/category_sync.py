"""Keep the table of categories as the folders are: some came, some went, some were renamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePath

from sortd.disk.library import Library
from sortd.domain.decision_facts import CategoryRenamed, CategorySeen
from sortd.engine.event_log import Note, Tell
from sortd.judgement import category_diff
from sortd.judgement.category_diff import Folder, Gone, Known, Renamed
from sortd.store.store import Store

WITNESSES = 20
"""So many known files of a category are looked for in a folder that has its inode and another name."""


class CategorySync:
    """Compares the known folders with those on disk; the caller opens the transactions."""

    def __init__(self, store: Store, library: Library, *, note: Note, tell: Tell) -> None:
        self._store = store
        self._library = library
        self._note = note
        self._tell = tell
        self.gone_unseen = False
        """Whether a folder is gone whose category still counts, because too many videos went with it."""

    def refresh(self, *, would_hold: Callable[[int], bool]) -> int:
        """Take the folders as they are on disk; return how many labels went with those that are gone.

        `would_hold` tells whether so many videos that vanish with their folders are too many at once.
        """
        table = self._store.categories
        seen = self._library.folders()
        counted = {category.number for category in table.all() if category.present}
        known = [self._as_resting(category) for category in table.all() if not seen.hides(category.name)]
        standing = [*seen.folders, *seen.left_out]
        changes = category_diff.compare(known, standing, carries=self._carries, empty=self._is_empty)
        gone = {change.name for change in changes if isinstance(change, Gone)}
        # Of one that went a moment ago the files may not have been looked at yet: they vanish with those of this one.
        before = {old.name for old in known if not old.present} - {folder.name for folder in standing}
        # One that stands, but is no category by its rules or by the settings, takes nothing with it.
        vanished = [name for name in gone | before if self._library.folder(name) is None]
        taken = sum(len(self._store.videos.paths_below(PurePath(name))) for name in vanished)
        self.gone_unseen = bool(gone) and would_hold(taken)
        labels = 0
        for change in changes:
            if isinstance(change, Gone) and not self.gone_unseen:
                table.retire(change.number)
                labels += table.labels(change.number) if change.number in counted else 0
        self._rename([change for change in changes if isinstance(change, Renamed)])
        for change in changes:
            match change:
                case category_diff.Same(number, folder):
                    if table.update(number, folder):
                        self._note_folder(folder)
                case category_diff.New(folder) if folder not in seen.left_out:
                    table.add(folder)
                    self._note_folder(folder)
        return labels + self._rest(seen.left_out, counted=counted)

    def _as_resting(self, category: Known) -> Known:
        """Return a category whose videos rest as one that has its folder still, so that a rename meanwhile is seen."""
        if category.present:
            return category
        rests = self._store.videos.paths_below(PurePath(category.name), resting=True)
        return replace(category, present=bool(rests))

    def _rest(self, left_out: Sequence[Folder], *, counted: set[int]) -> int:
        """Retire folders that the owner's rules leave out; return how many labels rest now that counted before."""
        table = self._store.categories
        labels = 0
        for category in table.all():
            if category.present and Folder(category.name, category.device, category.inode) in left_out:
                table.retire(category.number)
                labels += table.labels(category.number) if category.number in counted else 0
        return labels

    def _rename(self, renames: list[Renamed]) -> None:
        """Make renames of one moment, and note them in the order in which they are made, for the log is read so."""
        for rename in renames:
            self._tell("renamed", was=rename.was, category=rename.folder.name)
        for step in category_diff.in_turn(renames):
            self._store.categories.update(step.number, step.folder)
            self._note(CategoryRenamed(step.was, step.folder.name))

    def know(self, folder: Folder) -> None:
        """Note a folder as a category that was made at this moment, before it holds a video."""
        table = self._store.categories
        if table.stands(folder):
            return
        number = next((known.number for known in table.all() if known.name == folder.name), None)
        if number is None:
            table.add(folder)
        else:
            table.update(number, folder)
        self._note_folder(folder)

    def _note_folder(self, folder: Folder) -> None:
        """Note in the decision log what tells a renamed folder, for an index that has to be made anew."""
        self._note(CategorySeen(folder.name, folder.device, folder.inode))

    def _carries(self, known: Known, folder: Folder) -> int | None:
        """Count how many of some known files of the category are in the folder; None: it held none."""
        was = PurePath(known.name)
        paths = self._store.videos.paths_below(was, resting=True)[:WITNESSES]
        found = 0
        for path in paths:
            sighting = self._store.videos.known(path, resting=True)
            found += sighting is not None and self._library.holds(
                PurePath(folder.name) / path.relative_to(was), sighting
            )
        return found if paths else None

    def _is_empty(self, folder: Folder) -> bool:
        scan = self._library.videos_below(PurePath(folder.name))
        return not (scan.videos or scan.unreadable)
