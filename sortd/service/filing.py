"""Moves that survive anything: the intent is committed, the file moved, the outcome committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath

from sortd.disk.guard import Guard
from sortd.disk.library import Library
from sortd.disk.move import FileMover, Standing, plan_move
from sortd.domain import Category, Identity, MovePlan, MoveTo, Placer, Record, Sighting
from sortd.errors import MoveRefused, NameTaken
from sortd.service.telling import Tell
from sortd.store.decisions import DecisionLog
from sortd.store.journal import Entry, Step
from sortd.store.memory import Memory

RACES = 5
"""So often another name is tried when somebody takes the planned one first."""


class Filer:
    """Moves videos with their companions, back too; every method raises MoveRefused where nothing was moved."""

    def __init__(
        self,
        memory: Memory,
        library: Library,
        guard: Guard,
        *,
        decisions: DecisionLog,
        companions: bool,
        tell: Tell,
        wall: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._library = library
        self._guard = guard
        self._mover = FileMover(library.root)
        self._decisions = decisions
        self._companions = companions
        self._tell = tell
        self._wall = wall

    def file(self, sighting: Sighting, move: MoveTo) -> None:
        """Move a video out of the unsorted into a category."""
        target = self._carry(sighting, PurePath(move.category), category=move.category, confidence=move.confidence)
        self._tell("moved", path=sighting.path, to=target, category=move.category, confidence=round(move.confidence, 4))

    def put_back(self, entry: Entry) -> PurePath:
        """Undo a move: the video goes back to where it came from, and never to that category again; its path now."""
        sighting = self._placed(entry)
        source = entry.steps[0].source
        back = self._carry(
            sighting,
            source.parent,
            name=source.name,
            category=entry.category,
            confidence=entry.confidence,
            undoes=entry.number,
        )
        self._tell("undone", path=sighting.path, to=back)
        return back

    def recover(self) -> None:
        """Close every intent that a kill or an error left open, before anything is looked at."""
        for entry in self._memory.journal.open_intents():
            standing = self._stands(entry, entry.steps[0])
            if standing is Standing.MOVED:
                self._send_after(entry)
                self._complete(entry, _resting(entry))
            elif standing is Standing.PUT_BACK:
                # It was moved, and the owner put it back before that could be noted: a withdrawal.
                self._complete(entry, None)
            else:
                with self._memory.transaction():
                    self._memory.journal.abandon(entry.number, f"found {standing} when taken up again")

    def _carry(
        self,
        sighting: Sighting,
        folder: PurePath,
        *,
        name: str | None = None,
        category: Category,
        confidence: float,
        undoes: int | None = None,
    ) -> PurePath:
        """Plan, intend, move and note; again under another name while somebody else takes the planned one."""
        away = self._guard.here()
        if away is not None:
            raise MoveRefused(away)
        if self._library.look(sighting.path, sighting) != sighting:
            raise MoveRefused("it changed or went after it was judged")
        for race in range(RACES):
            companions = self._library.companions(sighting.path) if self._companions else ()
            plan = plan_move(sighting.path, companions, folder=folder, taken=self._mover.taken(folder), name=name)
            identities = {sighting.path: sighting.identity} | {path: self._identity(path) for path in companions}
            with self._memory.transaction():
                number = self._memory.journal.intend(
                    sighting.fingerprint,
                    plan,
                    identities=identities,
                    category=category,
                    confidence=confidence,
                    now=self._wall(),
                    undoes=undoes,
                )
            try:
                self._mover.move(plan, expected=identities)
            except MoveRefused as refused:
                with self._memory.transaction():
                    self._memory.journal.abandon(number, str(refused))
                if isinstance(refused, NameTaken) and race < RACES - 1:
                    continue
                raise
            target = plan.steps[0][1]
            self._complete(self._memory.journal.entry(number), replace(sighting, path=target))
            return target
        raise AssertionError("the last race moves or raises")

    def _complete(self, entry: Entry, resting: Sighting | None) -> None:
        """Note in one step that the move was made, where the video rests and what it is held to."""
        index = self._memory.index
        with self._memory.transaction():
            self._memory.journal.complete(entry.number)
            record = index.record(entry.fingerprint)
            if entry.undoes is None and resting is not None:
                record = replace(record, home=entry.category, placed_by=Placer.SORTD)
                self._decisions.note(
                    "placed",
                    at=self._wall(),
                    video=entry.fingerprint,
                    category=entry.category,
                    steps=[[str(step.source), str(step.target)] for step in entry.steps],
                    confidence=entry.confidence,
                )
            else:
                record = self._withdrawn(entry, record)
            index.keep(record)
            if resting is not None:
                index.move(entry.steps[0].source, resting)

    def _withdrawn(self, entry: Entry, record: Record) -> Record:
        if record.placed_by is Placer.SORTD or entry.undoes is None:
            self._memory.categories.judged(entry.category, corrected=1, now=self._wall())
        self._memory.journal.taken_out(entry.fingerprint, entry.category)
        self._decisions.note("undone", at=self._wall(), video=entry.fingerprint, category=entry.category)
        return replace(record, home=None, placed_by=None, vetoes=record.vetoes | {entry.category})

    def _placed(self, entry: Entry) -> Sighting:
        """The video of a move, where it stands in that move's category."""
        sightings = self._memory.index.sightings(entry.fingerprint)
        home = [s for s in sightings if self._library.category_of(s.path) == entry.category]
        target = entry.steps[0].target
        if not home:
            raise MoveRefused(f"{target} is not in {entry.category} any more")
        return next((sighting for sighting in home if sighting.path == target), home[0])

    def _send_after(self, entry: Entry) -> None:
        """The video was moved; companions that were not yet follow it, unless something stands in their way now."""
        rest = [step for step in entry.steps[1:] if self._stands(entry, step) is Standing.NOT_MOVED]
        plan = MovePlan(tuple((step.source, step.target) for step in rest))
        try:
            self._mover.move(plan, expected={step.source: step.identity for step in rest})
        except MoveRefused as refused:
            self._tell("companions_stayed", path=entry.steps[0].target, why=str(refused))

    def _stands(self, entry: Entry, step: Step) -> Standing:
        return self._mover.recover(step.source, step.target, identity=step.identity, intended_at=entry.at)

    def _identity(self, path: PurePath) -> Identity:
        identity = self._library.stat(path)
        if identity is None:
            raise MoveRefused(f"{path} went while the move was planned")
        return identity


def _resting(entry: Entry) -> Sighting:
    step = entry.steps[0]
    return Sighting(step.target, entry.fingerprint, step.identity)
