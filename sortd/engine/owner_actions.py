"""Note and tell what the owner did with a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath

from sortd.disk.library import Library
from sortd.domain.category import CategoryName, Locations
from sortd.domain.decision_facts import PlacementConfirmed, VideoCorrected, VideoLabelled, VideoReturned, VideoWithdrawn
from sortd.domain.video import Fingerprint, Placer, Sighting
from sortd.engine.event_log import Note, Tell
from sortd.judgement.reconcile import Confirmed, Fact, Labelled, Returned, Withdrawn, apply, reconcile
from sortd.store.store import Store


class OwnerActions:
    """Compares where the index holds a video to be with where it stands; the caller opens the transactions."""

    def __init__(self, store: Store, library: Library, *, note: Note, tell: Tell, wall: Callable[[], float]) -> None:
        self._store = store
        self._library = library
        self._note = note
        self._tell = tell
        self._wall = wall

    def standing(self, sightings: Iterable[Sighting]) -> Locations:
        """Return the locations of these sightings."""
        return frozenset(self._library.place(sighting.path) for sighting in sightings)

    def record(self, video: Fingerprint, before: Locations) -> bool:
        """Note what the owner did with a video that stood there before; return whether a label changed."""
        index = self._store.videos
        sightings = index.sightings(video, resting=True)
        record = index.record(video)
        fact = reconcile(record, before, self.standing(sightings))
        if fact is None:
            return False
        kept_from = index.kept_from(video)
        index.keep(apply(record, fact))
        self._tell_fact(fact, video, sightings, kept_from)
        return record.placed_by is Placer.OWNER or not isinstance(fact, Withdrawn | Returned)

    def _tell_fact(
        self, fact: Fact, video: Fingerprint, sightings: tuple[Sighting, ...], kept_from: CategoryName | None
    ) -> None:
        match fact:
            case Labelled(category, None):
                path = self._path_in(sightings, category)
                self._tell("labelled", path=path, category=category)
                self._note(VideoLabelled(video, category, path, kept_from))
                self._store.track_record.filed(video, category, kept_from=kept_from)
            case Labelled(category, was, placer):
                path = self._path_in(sightings, category)
                self._tell("corrected", path=path, was=was, category=category)
                self._note(VideoCorrected(video, was, category, path))
                self._taken_out(video, was, placer)
                self._store.track_record.filed(video, category, kept_from=None)
            case Withdrawn(category, placer):
                self._tell("withdrawn", path=self._path_in(sightings, None), category=category)
                self._note(VideoWithdrawn(video, category))
                self._taken_out(video, category, placer)
            case Confirmed(category):
                path = self._path_in(sightings, category)
                self._tell("confirmed", path=path, category=category)
                self._note(PlacementConfirmed(video, category, path))
                self._store.track_record.confirmed(category)
            case Returned():
                self._note(VideoReturned(video))

    def _taken_out(self, video: Fingerprint, category: CategoryName | None, placer: Placer | None) -> None:
        if placer is Placer.SORTD and category is not None:
            self._store.track_record.taken_out(video, category, unconfirmed=True, now=self._wall())

    def _path_in(self, sightings: tuple[Sighting, ...], category: CategoryName | None) -> PurePath:
        return next(s.path for s in sightings if self._library.category_of(s.path) == category)
