"""A new file in the place of a known video: it waits until it was looked at, and is that video still or a new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from sortd.domain import Fingerprint, Placer, Record, Sighting
from sortd.judgement.succession import Look, is_same_video
from sortd.service.telling import Note
from sortd.store.memory import Memory
from sortd.store.succession import Candidate


class Heirs:
    """Finds and decides candidates; the caller opens the transactions."""

    def __init__(self, memory: Memory, *, note: Note) -> None:
        self._memory = memory
        self._note = note

    def find(self, path: PurePath, was: Sighting | None, sighting: Sighting) -> None:
        """Hold a new video back that stands where a known one stood, or beside it under its stem."""
        index = self._memory.index
        new = sighting.fingerprint
        if index.record(new) != Record(new) or (was is not None and was.fingerprint == new):
            return
        olds = self._memory.succession.namesakes(path)
        if was is not None:
            olds.append((was.fingerprint, path))
        for old, old_path in olds:
            if old != new and index.record(old) != Record(old) and not self._stands_apart(old, path):
                self._memory.succession.wait(Candidate(new, path, old, old_path))

    def settle(self) -> dict[Fingerprint, bool]:
        """Decide those of which enough is known: whether each is a known video still."""
        settled: dict[Fingerprint, bool] = {}
        for candidate in self._memory.succession.candidates():
            is_heir = self._decide(candidate)
            if is_heir is None:
                continue
            self._memory.succession.end(candidate)
            if is_heir:
                self._hand_on(candidate)
            settled[candidate.video] = settled.get(candidate.video, False) or is_heir
        return {video: heir for video, heir in settled.items() if not self._memory.succession.waits(video)}

    def _decide(self, candidate: Candidate) -> bool | None:
        """Whether the new one is the old one; None: not known yet, or the old one stands beside it still."""
        index, new = self._memory.index, candidate.video
        stands = {sighting.path for sighting in index.sightings(new, resting=True)}
        if candidate.path not in stands or index.record(new) != Record(new):
            return False
        if self._stands_apart(candidate.old, candidate.path):
            return False
        if self._memory.backlog.waits(new):
            return None
        same_path = candidate.path == candidate.old_path
        if not is_same_video(self._look(candidate.old), self._look(new), same_path=same_path):
            return False
        return None if index.sightings(candidate.old, resting=True) else True

    def _stands_apart(self, old: Fingerprint, path: PurePath) -> bool:
        """Whether a known video stands elsewhere: it was moved or copied, not replaced."""
        places = [sighting.path for sighting in self._memory.index.sightings(old, resting=True)]
        return any(place.with_suffix("") != path.with_suffix("") for place in places)

    def _look(self, video: Fingerprint) -> Look:
        visual = self._memory.features.of(video, self._memory.space).get("visual")
        if visual is None:
            return Look(None, None)
        seconds = visual.details.get("seconds")
        return Look(visual.vector, float(seconds) if isinstance(seconds, int | float) else None)

    def _hand_on(self, candidate: Candidate) -> None:
        """What the old one was held to, and its moves, are the new one's: no placement becomes a label by it.

        The old one keeps its vetoes, and where sortd placed it that too: it may come back.
        """
        index, old, new = self._memory.index, candidate.old, candidate.video
        record = index.record(old)
        index.keep(replace(record, fingerprint=new))
        if record.placed_by is not Placer.SORTD:
            index.keep(replace(record, home=None, placed_by=None))
        self._memory.journal.follow(old, new)
        self._note("changed", was=old, video=new, path=str(candidate.path))
