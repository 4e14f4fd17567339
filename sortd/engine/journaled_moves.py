"""Make moves that survive a kill at any point: the intent is committed, the file moved, the outcome committed.

A move to another filesystem waits, open, for the copying child; `land` finishes it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePath

from sortd.disk.filesystem_probe import Filesystems, survey
from sortd.disk.library import Library
from sortd.disk.library_marker import RootAway
from sortd.disk.move import FileMover, RecoveryState, plan_move
from sortd.disk.root_guard import RootGuard
from sortd.disk.transfer import publish, was_put_back, why_not_taken, withdraw
from sortd.domain.decision import MoveTo
from sortd.domain.decision_facts import MoveUndone, VideoPlaced
from sortd.domain.errors import (
    Changed,
    Elsewhere,
    FolderRefuses,
    IndexUnavailable,
    LibraryUnavailable,
    MoveRefused,
    MoveUnfinished,
    NameTaken,
)
from sortd.domain.messages import FilesCopied
from sortd.domain.move_plan import FilesystemAbilities, MovePlan, MoveStep
from sortd.domain.tasks import CopyFiles
from sortd.domain.video import FileIdentity, Fingerprint, Placer, Record, Sighting
from sortd.engine.event_log import Note, Tell
from sortd.judgement.move_method import move_method, why_unsafe
from sortd.judgement.reconcile import filed
from sortd.store.journal import DONE, Move
from sortd.store.store import Store

RACES = 5
"""So many names are tried when somebody takes the planned one first."""

MOST_NOTED = 10
"""So many steps of a move are written into the decision log; further companions are found again by their names."""


class JournaledMoves:
    """Moves videos with their companions, also back; every method raises MoveRefused where nothing was moved."""

    def __init__(
        self,
        store: Store,
        library: Library,
        guard: RootGuard,
        *,
        note: Note,
        companions: bool,
        tell: Tell,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._library = library
        self._guard = guard
        self._filesystems = Filesystems()
        self._mover = FileMover(library.root, self._filesystems)
        self._note = note
        self._companions = companions
        self._tell = tell
        self._wall = wall
        self._copies: dict[int, Move] = {}
        self._unfinished: dict[int, Move] = {}
        self._orders: list[CopyFiles] = []
        self._taken_back: list[Fingerprint] = []

    def file(self, sighting: Sighting, move: MoveTo) -> Move:
        """Move a video out of the unsorted into a category; the move stays `open` while copies are made for it."""
        return self._carry(sighting, PurePath(move.category), move)

    def put_back(self, entry: Move) -> Move:
        """Undo a move: the video goes back, and never to that category again; `open` while copies are made for it.

        The move is read anew: among many its turn comes late.
        """
        entry = self._store.journal.entry(entry.number)
        if entry.state != DONE:
            raise MoveRefused(f"{entry.steps[0].target} was taken out of {entry.category} meanwhile")
        source = entry.steps[0].source
        return self._carry(
            self._placed(entry),
            source.parent,
            entry.move,
            name=source.name,
            undoes=entry.number,
        )

    def unsafe(self) -> list[FolderRefuses]:
        """Return the filesystems of the library on which no move is safe, by the root or the first category on each."""
        categories = [PurePath(known.name) for known in self._store.categories.all() if known.present]
        return [
            FolderRefuses(folder, why_unsafe(seen))
            for folder, seen in survey(self._library.root, categories)
            if isinstance(seen, FilesystemAbilities) and move_method(seen) is None
        ]

    # Copies

    def orders(self) -> list[CopyFiles]:
        """Return the copies that are to be made and were not ordered yet."""
        orders, self._orders = self._orders, []
        return orders

    def taken_back(self) -> list[Fingerprint]:
        """Return the videos that moves brought back to the unsorted since this was last asked, to be decided anew."""
        videos, self._taken_back = self._taken_back, []
        return videos

    def copies(self) -> tuple[Move, ...]:
        """Return the moves that wait for their copies."""
        return tuple(self._copies.values())

    def land(self, copied: FilesCopied) -> Move:
        """Finish a move whose copies are made; where a name was taken since, it is `open` again, under another.

        MoveRefused: it is as if it had never begun.
        """
        entry = self._copies[copied.number]
        try:
            return self._land(entry, copied)
        except IndexUnavailable:
            self._copies[copied.number] = entry  # the same copies are landed once more
            raise

    def _land(self, entry: Move, copied: FilesCopied) -> Move:
        del self._copies[entry.number]
        away = self._guard.here()
        if away is not None:
            raise MoveUnfinished(away)
        if isinstance(copied.refused, NameTaken):  # its temporary name, so what stands there is not ours to withdraw
            with self._store.transaction():
                self._store.journal.abandon(entry.number, str(copied.refused))
        elif copied.refused is not None:
            self._give_up(entry, str(copied.refused))
        if copied.refused is not None:
            raise copied.refused
        with self._store.transaction():
            self._store.journal.copied(entry.number, copied.copies)
        try:
            return self._publish(self._store.journal.entry(entry.number))
        except NameTaken:
            video = entry.steps[0]
            return self._carry(
                Sighting(video.source, entry.fingerprint, video.identity),
                video.target.parent,
                entry.move,
                name=None if entry.undoes is None else self._store.journal.entry(entry.undoes).steps[0].source.name,
                undoes=entry.undoes,
            )

    def release(self) -> None:
        """Take back moves that wait for copies, at a clean stop when no child copies any more."""
        while self._copies:
            _, entry = self._copies.popitem()
            with suppress(MoveUnfinished):  # the next start takes it up
                self._give_up(entry, "stopped while it was copied")

    def recover(self) -> set[PurePath]:
        """Finish or take back moves that a kill or an error left open; return the paths of those that must wait."""
        entries = [entry for entry in self._store.journal.open_intents() if entry.number not in self._copies]
        away = self._guard.here() if entries else None
        if away is not None:
            raise RootAway(away)  # where nothing is, nothing can be told of a move
        unfinished: dict[int, Move] = {}
        for entry in entries:
            try:
                self._take_up(entry)
            except MoveUnfinished as problem:
                unfinished[entry.number] = entry
                if entry.number not in self._unfinished:
                    self._tell("move_unfinished", path=entry.steps[0].source, why=str(problem))
        self._unfinished = unfinished
        return {path for entry in unfinished.values() for step in entry.steps for path in (step.source, step.target)}

    def _take_up(self, entry: Move) -> None:
        if entry.crosses:
            self._recover_copy(entry)
        elif (standing := self._stands(entry, entry.steps[0])) is RecoveryState.MOVED:
            self._send_after(entry)
            self._made(entry, entry.steps[0].identity)
        elif standing is RecoveryState.PUT_BACK and not entry.taken_back:
            # It was moved, and the owner put it back before that could be noted: a withdrawal.
            self._complete(entry, None)
        else:
            self._give_up(entry, f"found {standing} when taken up again")

    def _carry(
        self,
        sighting: Sighting,
        folder: PurePath,
        move: MoveTo,
        *,
        name: str | None = None,
        undoes: int | None = None,
    ) -> Move:
        """Plan a move, note the intent, make it, note the outcome; try other names while the planned one is taken."""
        if sighting.fingerprint in {entry.fingerprint for entry in (self._copies | self._unfinished).values()}:
            raise MoveRefused("it is being copied at this moment, or an earlier move of it is not finished")
        away = self._guard.here()
        if away is not None:
            raise MoveRefused(away)
        if self._library.look(sighting.path, sighting) != sighting:
            raise Changed(f"{sighting.path} changed or went after it was judged")
        if undoes is None and not self._store.categories.stands(self._library.folder(move.category)):
            raise FolderRefuses(PurePath(move.category), "it is another folder than at the last look")
        for race in range(RACES):
            companions = self._library.companions(sighting.path) if self._companions else ()
            plan = plan_move(sighting.path, companions, folder=folder, taken=self._mover.taken(folder), name=name)
            identities = {sighting.path: sighting.identity} | {path: self._identity(path) for path in companions}
            began_ns = self._mover.clock(sighting.path)
            with self._store.transaction():
                number = self._store.journal.intend(
                    sighting.fingerprint,
                    plan,
                    move,
                    identities=identities,
                    now=self._wall(),
                    began_ns=began_ns,
                    undoes=undoes,
                )
            try:
                mark = partial(self._store.journal.take_back, number)
                self._mover.move(plan, expected=identities, before_taking_back=mark)
            except Elsewhere:
                return self._order_copy(number, sighting.path)
            except MoveRefused as refused:
                with self._store.transaction():
                    self._store.journal.abandon(number, str(refused))
                if not isinstance(refused, NameTaken) or race == RACES - 1:
                    raise
                sighting = self._unchanged(sighting)  # it may have been moved and taken back, which changes its status
            else:
                return self._made(self._store.journal.entry(number), sighting.identity)
        raise AssertionError("the last race moves or raises")

    def _unchanged(self, sighting: Sighting) -> Sighting:
        """Return the sighting of the same video as it is now. Changed: it is another one by its content, or gone."""
        found = self._library.look(sighting.path, sighting)
        if found is None or found.fingerprint != sighting.fingerprint:
            raise Changed(f"{sighting.path} changed or went after it was judged")
        return found

    def _order_copy(self, number: int, path: PurePath) -> Move:
        why = why_not_taken(self._library.writers(path))
        if why is not None:  # known before gigabytes are copied
            with self._store.transaction():
                self._store.journal.abandon(number, why)
            raise MoveRefused(why)
        with self._store.transaction():
            self._store.journal.cross(number)
        entry = self._store.journal.entry(number)
        self._copies[number] = entry
        self._orders.append(CopyFiles(number, entry.part, entry.steps))
        return entry

    def _publish(self, entry: Move) -> Move:
        """Give verified copies their names and remove their sources; after a kill in between it is done again."""
        try:
            identity = publish(
                self._library.root,
                entry.part,
                entry.steps,
                fingerprint=entry.fingerprint,
                filesystems=self._filesystems,
            )
        except MoveRefused as refused:
            with self._store.transaction():
                self._store.journal.abandon(entry.number, str(refused))
            raise
        return self._made(entry, identity)

    def _give_up(self, entry: Move, why: str) -> None:
        if entry.crosses:
            withdraw(self._library.root, entry.part, entry.steps, filesystems=self._filesystems)
        away = self._guard.here()
        if away is not None:
            raise MoveUnfinished(away)  # on an empty mount point nothing was found, or taken back
        with self._store.transaction():
            self._store.journal.abandon(entry.number, why)

    def _recover_copy(self, entry: Move) -> None:
        if not entry.copied:
            self._give_up(entry, "cut short while it was copied")
        elif was_put_back(
            self._library.root,
            entry.part,
            entry.steps[0],
            fingerprint=entry.fingerprint,
            began_ns=entry.began_ns,
        ):
            self._complete(entry, None)
        else:
            with suppress(MoveRefused):
                self._publish(entry)

    def _made(self, entry: Move, identity: FileIdentity) -> Move:
        """Note and tell that a move was made; `identity` is the video's as far as it is known without a look."""
        source, target = entry.steps[0].source, entry.steps[0].target
        resting = Sighting(target, entry.fingerprint, identity)
        # A move changes a file's status, and somebody may have edited it at that moment: what is noted was read since.
        # One that is not what was moved any more keeps the old status, by which the next scan finds it.
        with suppress(LibraryUnavailable):
            found = self._library.look(target, None)
            if found is not None and found.fingerprint == entry.fingerprint:
                resting = found
        self._complete(entry, resting)
        if entry.undoes is None:
            sure = round(entry.confidence, 4)
            self._tell("moved", path=source, to=target, category=entry.category, confidence=sure)
            if entry.placed_by is Placer.OWNER:
                self._tell("labelled", path=target, category=entry.category)
        else:
            self._tell("undone", path=source, to=target)
        return replace(entry, state=DONE)  # not read again: nothing may fail now that the move is noted

    def _complete(self, entry: Move, resting: Sighting | None) -> None:
        """Note in one transaction that a move was made, where the video stands now, and what it is held to."""
        index = self._store.videos
        with self._store.transaction():
            self._store.journal.complete(entry.number)
            record = index.record(entry.fingerprint)
            if entry.undoes is None and resting is not None:
                record = filed(record, entry.move)
                kept_from = index.kept_from(entry.fingerprint) if entry.asked_for else None
                self._note(
                    VideoPlaced(
                        entry.fingerprint,
                        entry.category,
                        tuple((step.source, step.target) for step in entry.steps[:MOST_NOTED]),
                        entry.confidence,
                        entry.placed_by,
                        kept_from,
                    )
                )
                if entry.asked_for:
                    self._store.track_record.filed(entry.fingerprint, entry.category, kept_from=kept_from)
            else:
                record = self._withdrawn(entry, record)
            index.keep(record)
            if entry.asked_for:
                self._store.count_label_changes(1)
            if resting is not None:
                index.move(entry.steps[0].source, resting)
        if record.home is None:
            self._taken_back.append(entry.fingerprint)

    def _withdrawn(self, entry: Move, record: Record) -> Record:
        unconfirmed = record.placed_by is Placer.SORTD or not entry.asked_for
        self._store.track_record.taken_out(entry.fingerprint, entry.category, unconfirmed=unconfirmed, now=self._wall())
        self._note(MoveUndone(entry.fingerprint, entry.category, entry.placed_by))
        return replace(record, home=None, placed_by=None, vetoes=record.vetoes | {entry.category})

    def _placed(self, entry: Move) -> Sighting:
        """Return where the video of a move stands in that move's category."""
        sightings = self._store.videos.sightings(entry.fingerprint)
        home = [s for s in sightings if self._library.category_of(s.path) == entry.category]
        target = entry.steps[0].target
        if not home:
            raise MoveRefused(f"{target} is not in {entry.category} any more")
        return next((sighting for sighting in home if sighting.path == target), home[0])

    def _send_after(self, entry: Move) -> None:
        """Move the companions that did not follow their video yet, unless something stands in their way now."""
        rest = [step for step in entry.steps[1:] if self._stands(entry, step) is RecoveryState.NOT_MOVED]
        plan = MovePlan(tuple((step.source, step.target) for step in rest))
        try:
            self._mover.move(plan, expected={step.source: step.identity for step in rest})
        except MoveRefused as refused:
            self._tell("companions_stayed", path=entry.steps[0].target, why=str(refused))

    def _stands(self, entry: Move, step: MoveStep) -> RecoveryState:
        return self._mover.recover(
            step.source,
            step.target,
            identity=step.identity,
            fingerprint=entry.fingerprint if step is entry.steps[0] else None,
            began_ns=entry.began_ns,
        )

    def _identity(self, path: PurePath) -> FileIdentity:
        identity = self._library.stat(path)
        if identity is None:
            raise MoveRefused(f"{path} went while the move was planned")
        return identity
