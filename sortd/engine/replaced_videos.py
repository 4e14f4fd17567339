"""Find out whether a new file in the place of a known video is that video in another form, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from sortd.domain.decision_facts import VideoReplaced, VideoWithdrawn
from sortd.domain.video import Fingerprint, Placer, Record, Sighting
from sortd.engine.event_log import Note
from sortd.judgement.replacement import Look, is_same_video
from sortd.store.replacement_table import ReplacementCandidate
from sortd.store.store import Store


class ReplacedVideos:
    """Finds candidates, and decides them once their features are known; the caller opens the transactions."""

    def __init__(self, store: Store, *, note: Note) -> None:
        self._store = store
        self._note = note

    def find(self, sighting: Sighting, namesakes: Sequence[tuple[Fingerprint, PurePath]]) -> None:
        """Hold back a new video that stands where a known one stood, or beside it under the same stem."""
        index = self._store.videos
        new, path = sighting.fingerprint, sighting.path
        if index.record(new) != Record(new) or (new, path) in namesakes:
            return
        for old, old_path in namesakes:
            if old != new and index.record(old) != Record(old):
                self._store.replacements.wait(ReplacementCandidate(new, path, old, old_path))

    def settle(self) -> dict[Fingerprint, bool]:
        """Decide the candidates of which enough is known; return for each whether it is a known video."""
        settled: dict[Fingerprint, bool] = {}
        for candidate in self._store.replacements.candidates():
            is_heir = self._decide(candidate)
            if is_heir is None:
                continue
            self._store.replacements.end(candidate)
            if is_heir and self._stands_apart(candidate):
                self._share_vetoes(candidate)
            elif is_heir:
                self._hand_on(candidate)
            settled[candidate.video] = settled.get(candidate.video, False) or is_heir
        return {video: heir for video, heir in settled.items() if not self._store.replacements.waits(video)}

    def _decide(self, candidate: ReplacementCandidate) -> bool | None:
        """Tell whether the new video is the old one; None: not known yet, or the old one still stands beside it."""
        index, new = self._store.videos, candidate.video
        stands = {sighting.path for sighting in index.sightings(new, resting=True)}
        if candidate.path not in stands or index.record(new) != Record(new):
            return False
        if self._store.backlog.waits(new):
            return None
        same_path = candidate.path == candidate.old_path
        if not is_same_video(self._look(candidate.old), self._look(new), same_path=same_path):
            return False
        if self._stands_apart(candidate):
            return True
        return None if index.sightings(candidate.old, resting=True) else True

    def _stands_apart(self, candidate: ReplacementCandidate) -> bool:
        """Tell whether the known video still stands under another stem: moved, copied, or kept as it was."""
        places = [sighting.path for sighting in self._store.videos.sightings(candidate.old, resting=True)]
        return any(place.with_suffix("") != candidate.path.with_suffix("") for place in places)

    def _look(self, video: Fingerprint) -> Look:
        visual = self._store.features.of(video, self._store.space).get("visual")
        if visual is None:
            return Look(None, None)
        seconds = visual.details.get("seconds")
        return Look(visual.vector, float(seconds) if isinstance(seconds, int | float) else None)

    def _share_vetoes(self, candidate: ReplacementCandidate) -> None:
        """Give the new video the vetoes of the old one, which keeps what it is held to."""
        index, new = self._store.videos, candidate.video
        vetoes = index.record(candidate.old).vetoes
        index.keep(replace(index.record(new), vetoes=vetoes))
        for category in sorted(vetoes):
            self._note(VideoWithdrawn(new, category))

    def _hand_on(self, candidate: ReplacementCandidate) -> None:
        """Give the new video what the old one was held to, and its moves, so that no placement becomes a label.

        The old one keeps its vetoes, and where sortd placed it that too: it may come back.
        """
        index, old, new = self._store.videos, candidate.old, candidate.video
        record = index.record(old)
        index.keep(replace(record, fingerprint=new))
        if record.placed_by is not Placer.SORTD:
            index.keep(replace(record, home=None, placed_by=None))
        self._store.journal.follow(old, new)
        self._note(VideoReplaced(old, new, candidate.path))
