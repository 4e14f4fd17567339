"""The decisions in the log, made again in an index that does not know them: a new one, or one from a backup.

Each line changes what its decision changed, and notes the one place where the video stood then. So the first look at
the folders tells what the owner did since, as if sortd had only been off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePath

from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
from sortd.domain.decision_facts import (
    CategoryRenamed,
    CategorySeen,
    MoveUndone,
    NotUnderstood,
    PauseChanged,
    PlacementConfirmed,
    VideoCorrected,
    VideoForgotten,
    VideoLabelled,
    VideoPlaced,
    VideoReplaced,
    VideoReturned,
    VideosGone,
    VideoWithdrawn,
    decode,
)
from sortd.domain.move_plan import MovePlan
from sortd.domain.video import FileIdentity, Fingerprint, Placer, Record
from sortd.judgement.category_diff import Folder
from sortd.judgement.reconcile import Confirmed, Fact, Labelled, Returned, Withdrawn, apply, filed
from sortd.store.decision_log import Line
from sortd.store.store import PAUSED, Store

_UNSEEN = FileIdentity(0, 0, 0)
"""Of a file that a line names: what stands there is looked at, whatever it is."""

_NOWHERE = (-1, -1)
"""Device and inode of a folder that no line gave them for."""


def replay(store: Store, lines: Iterable[Line]) -> int:
    """Make these decisions again; how many could not be. The caller opens the transaction."""
    again = _Again(store)
    skipped = 0
    for line in lines:
        try:
            again.make(line)
        except NotUnderstood:
            skipped += 1
    return skipped


class _Again:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = store.videos

    def make(self, line: Line) -> None:  # noqa: C901, PLR0912 - one case for each kind of line
        """Make one decision again. NotUnderstood: nothing is changed by this line."""
        at = line.at
        match decode(line.did, line.facts):
            case VideoPlaced() as placed:
                self._placed(placed, at)
            case MoveUndone() as undone:
                self._undone(undone, at)
            case VideoLabelled(video, category, path, kept_from):
                self._labelled(video, Labelled(category), path, kept_from=kept_from, at=at)
            case VideoCorrected(video, was, category, path):
                self._labelled(video, Labelled(category, was), path, kept_from=None, at=at)
            case VideoWithdrawn(video, category):
                record = self._known(video, category, None, at)
                self._keep(record, Withdrawn(category, record.placed_by), taken_out_of=category, at=at)
            case PlacementConfirmed() as confirmed:
                self._confirmed(confirmed, at)
            case VideoReturned(video):
                self._index.expect(video, None, _UNSEEN, now=at)
                self._index.keep(apply(self._index.record(video), Returned()))
            case VideosGone(videos):
                for video in videos:
                    # Not absent since then: it may have come back to where it was, which is no decision.
                    self._index.expect(video, None, _UNSEEN, now=at)
            case VideoForgotten() as forgotten:
                self._forgotten(forgotten)
            case VideoReplaced() as replaced:
                self._replaced(replaced, at)
            case CategorySeen(category, device, inode):
                self._stand(category, (device, inode))
            case CategoryRenamed(was, category):
                self._renamed(was, category)
            case PauseChanged(paused):
                self._store.database.write_note(PAUSED, "1" if paused else "0")

    def _placed(self, placed: VideoPlaced, at: float) -> None:
        video = placed.video
        move = MoveTo(placed.category, placed.confidence, placed.by)
        self._stand(move.category)
        self._index.expect(video, placed.steps[0][1], _UNSEEN, now=at)
        self._index.keep(filed(self._index.record(video), move))
        if move.placed_by is Placer.OWNER:
            self._store.track_record.filed(video, move.category, kept_from=placed.kept_from)
        number = self._store.journal.intend(
            video,
            MovePlan(placed.steps),
            move,
            identities={source: _UNSEEN for source, _ in placed.steps},
            now=at,
        )
        self._store.journal.complete(number)

    def _undone(self, undone: MoveUndone, at: float) -> None:
        record = self._known(undone.video, undone.category, None, at)
        unconfirmed = (record.placed_by or undone.by) is Placer.SORTD
        self._store.track_record.taken_out(undone.video, undone.category, unconfirmed=unconfirmed, now=at)
        vetoes = record.vetoes | {undone.category}
        self._index.keep(replace(record, home=None, placed_by=None, vetoes=vetoes))

    def _labelled(
        self, video: Fingerprint, label: Labelled, path: PurePath | None, *, kept_from: CategoryName | None, at: float
    ) -> None:
        record = self._known(video, label.category, path, at)
        if label.was is not None:
            self._stand(label.was)
        self._keep(record, replace(label, was_placed_by=record.placed_by), taken_out_of=label.was, at=at)
        self._store.track_record.filed(video, label.category, kept_from=kept_from)

    def _confirmed(self, confirmed: PlacementConfirmed, at: float) -> None:
        stood = [sighting.path for sighting in self._index.sightings(confirmed.video)]
        path = confirmed.path or (stood[0] if stood else None)
        record = self._known(confirmed.video, confirmed.category, path, at)
        self._store.track_record.confirmed(confirmed.category)
        self._keep(record, Confirmed(confirmed.category), taken_out_of=None, at=at)

    def _forgotten(self, forgotten: VideoForgotten) -> None:
        record = self._index.record(forgotten.video)
        if forgotten.what == "labels" and record.placed_by is Placer.OWNER:
            self._index.keep(replace(record, placed_by=Placer.SORTD))
        elif forgotten.what == "vetoes":
            dropped = record.vetoes if forgotten.category is None else frozenset({forgotten.category})
            self._index.keep(replace(record, vetoes=record.vetoes - dropped))

    def _replaced(self, replaced: VideoReplaced, at: float) -> None:
        was, video = replaced.was, replaced.video
        record = self._index.record(was)
        if self._index.record(video) != Record(video):
            return
        stood = [replaced.path] if replaced.path else [sighting.path for sighting in self._index.sightings(was)]
        self._index.expect(was, None, _UNSEEN, now=at)
        self._index.expect(video, stood[0] if stood else None, _UNSEEN, now=at)
        self._index.keep(replace(record, fingerprint=video))
        self._index.keep(replace(record, home=None, placed_by=None))
        self._store.journal.follow(was, video)

    def _renamed(self, was: CategoryName, name: CategoryName) -> None:
        self._stand(was)
        known = next(known for known in self._store.categories.all() if known.name == was)
        self._store.categories.update(known.number, Folder(name, known.device, known.inode))

    def _stand(self, category: CategoryName, identity: tuple[int, int] | None = None) -> None:
        """There was such a category; the first look at the folders tells whether there still is."""
        known = next((known for known in self._store.categories.all() if known.name == category), None)
        if known is None:
            self._store.categories.add(Folder(category, *(identity or _NOWHERE)))
        elif identity is not None:
            self._store.categories.update(known.number, Folder(category, *identity))

    def _known(self, video: Fingerprint, category: CategoryName, path: PurePath | None, at: float) -> Record:
        """What a video is held to before a decision that left it at this path."""
        self._stand(category)
        self._index.expect(video, path, _UNSEEN, now=at)
        return self._index.record(video)

    def _keep(self, record: Record, fact: Fact, *, taken_out_of: CategoryName | None, at: float) -> None:
        self._index.keep(apply(record, fact))
        if record.placed_by is Placer.SORTD and taken_out_of is not None:
            self._store.track_record.taken_out(record.fingerprint, taken_out_of, unconfirmed=True, now=at)
