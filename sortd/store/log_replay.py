"""The decisions in the log, made again in an index that does not know them: a new one, or one from a backup.

Each line changes what its decision changed, and notes the one place where the video stood then. So the first look at
the folders tells what the owner did since, as if sortd had only been off.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
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
        except _NotUnderstoodError:
            skipped += 1
    return skipped


class _NotUnderstoodError(Exception):
    """A line of a later sortd, or not of sortd at all."""


class _Again:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = store.videos
        self._decisions: Mapping[str, Callable[[float, _Facts], None]] = {
            "placed": self._placed,
            "undone": self._undone,
            "labelled": self._labelled,
            "corrected": self._labelled,
            "withdrawn": self._withdrawn,
            "confirmed": self._confirmed,
            "returned": self._returned,
            "gone": self._gone,
            "forgotten": self._forgotten,
            "changed": self._changed,
            "category": self._category,
            "renamed": self._renamed,
            "paused": self._paused,
        }

    def make(self, line: Line) -> None:
        """Read all of a line before anything is changed by it."""
        decision = self._decisions.get(line.did)
        if decision is None:
            raise _NotUnderstoodError
        decision(line.at, _Facts(line.facts))

    def _placed(self, at: float, facts: _Facts) -> None:
        clip, steps = facts.clip(), facts.steps()
        move = MoveTo(facts.category(), facts.number("confidence"), facts.placer())
        self._stand(move.category)
        self._index.expect(clip, steps[0][1], _UNSEEN, now=at)
        self._index.keep(filed(self._index.record(clip), move))
        if move.placed_by is Placer.OWNER:
            self._store.track_record.filed(clip, move.category, kept_from=facts.category_or_none("kept_from"))
        number = self._store.journal.intend(
            clip,
            MovePlan(steps),
            move,
            identities={source: _UNSEEN for source, _ in steps},
            now=at,
        )
        self._store.journal.complete(number)

    def _undone(self, at: float, facts: _Facts) -> None:
        clip, category = facts.clip(), facts.category()
        record = self._known(clip, category, None, at)
        unconfirmed = (record.placed_by or facts.placer()) is Placer.SORTD
        self._store.track_record.taken_out(clip, category, unconfirmed=unconfirmed, now=at)
        self._index.keep(replace(record, home=None, placed_by=None, vetoes=record.vetoes | {category}))

    def _labelled(self, at: float, facts: _Facts) -> None:
        clip, category, was = facts.clip(), facts.category(), facts.category_or_none("was")
        record = self._known(clip, category, facts.path_or_none(), at)
        if was is not None:
            self._stand(was)
        self._keep(record, Labelled(category, was, record.placed_by), taken_out_of=was, at=at)
        self._store.track_record.filed(clip, category, kept_from=facts.category_or_none("kept_from"))

    def _withdrawn(self, at: float, facts: _Facts) -> None:
        category = facts.category()
        record = self._known(facts.clip(), category, None, at)
        self._keep(record, Withdrawn(category, record.placed_by), taken_out_of=category, at=at)

    def _confirmed(self, at: float, facts: _Facts) -> None:
        clip, category, path = facts.clip(), facts.category(), facts.path_or_none()
        stood = [sighting.path for sighting in self._index.sightings(clip)]
        record = self._known(clip, category, path or (stood[0] if stood else None), at)
        self._store.track_record.confirmed(category)
        self._keep(record, Confirmed(category), taken_out_of=None, at=at)

    def _returned(self, at: float, facts: _Facts) -> None:
        clip = facts.clip()
        self._index.expect(clip, None, _UNSEEN, now=at)
        self._index.keep(apply(self._index.record(clip), Returned()))

    def _gone(self, at: float, facts: _Facts) -> None:
        for clip in facts.clips():
            # Not absent since then: it may have come back to where it was, which is no decision.
            self._index.expect(clip, None, _UNSEEN, now=at)

    def _forgotten(self, _: float, facts: _Facts) -> None:
        record = self._index.record(facts.clip())
        what, category = facts.text("what"), facts.category_or_none("category")
        if what == "labels" and record.placed_by is Placer.OWNER:
            self._index.keep(replace(record, placed_by=Placer.SORTD))
        elif what == "vetoes":
            dropped = record.vetoes if category is None else frozenset({category})
            self._index.keep(replace(record, vetoes=record.vetoes - dropped))

    def _changed(self, at: float, facts: _Facts) -> None:
        was, clip = facts.clip("was"), facts.clip()
        record = self._index.record(was)
        if self._index.record(clip) != Record(clip):
            return
        path = facts.path_or_none()
        stood = [path] if path else [sighting.path for sighting in self._index.sightings(was)]
        self._index.expect(was, None, _UNSEEN, now=at)
        self._index.expect(clip, stood[0] if stood else None, _UNSEEN, now=at)
        self._index.keep(replace(record, fingerprint=clip))
        self._index.keep(replace(record, home=None, placed_by=None))
        self._store.journal.follow(was, clip)

    def _category(self, _: float, facts: _Facts) -> None:
        self._stand(facts.category(), (facts.whole("device"), facts.whole("inode")))

    def _renamed(self, _: float, facts: _Facts) -> None:
        was, name = facts.category("was"), facts.category()
        self._stand(was)
        known = next(known for known in self._store.categories.all() if known.name == was)
        self._store.categories.update(known.number, Folder(name, known.device, known.inode))

    def _paused(self, _: float, facts: _Facts) -> None:
        self._store.database.write_note(PAUSED, "1" if facts.whole("paused") else "0")

    def _stand(self, category: CategoryName, identity: tuple[int, int] | None = None) -> None:
        """There was such a category; the first look at the folders tells whether there still is."""
        known = next((known for known in self._store.categories.all() if known.name == category), None)
        if known is None:
            self._store.categories.add(Folder(category, *(identity or _NOWHERE)))
        elif identity is not None:
            self._store.categories.update(known.number, Folder(category, *identity))

    def _known(self, clip: Fingerprint, category: CategoryName, path: PurePath | None, at: float) -> Record:
        """What a video is held to before a decision that left it at this path."""
        self._stand(category)
        self._index.expect(clip, path, _UNSEEN, now=at)
        return self._index.record(clip)

    def _keep(self, record: Record, fact: Fact, *, taken_out_of: CategoryName | None, at: float) -> None:
        self._index.keep(apply(record, fact))
        if record.placed_by is Placer.SORTD and taken_out_of is not None:
            self._store.track_record.taken_out(record.fingerprint, taken_out_of, unconfirmed=True, now=at)


class _Facts:
    """What a line says, believed only where it can be true: the log lies on the owner's disk, open to anyone there."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def text(self, key: str) -> str:
        value = self._facts.get(key)
        if not isinstance(value, str) or not value:
            raise _NotUnderstoodError
        return value

    def number(self, key: str) -> float:
        value = self._facts.get(key)
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise _NotUnderstoodError
        return float(value)

    def whole(self, key: str) -> int:
        value = self._facts.get(key)
        if not isinstance(value, int) or not -(2**127) <= value < 2**127:  # what the index can keep
            raise _NotUnderstoodError
        return value

    def clip(self, key: str = "video") -> Fingerprint:
        return Fingerprint(str(_inside(self.text(key))))

    def clips(self) -> list[Fingerprint]:
        videos = self._facts.get("videos")
        if not isinstance(videos, list):
            raise _NotUnderstoodError
        return [Fingerprint(str(_inside(video))) for video in videos]

    def category(self, key: str = "category") -> CategoryName:
        return CategoryName(str(_inside(self.text(key))))

    def category_or_none(self, key: str) -> CategoryName | None:
        return None if self._facts.get(key) is None else self.category(key)

    def placer(self) -> Placer:
        """Whose word a move followed; lines from before owners could ask for moves do not say."""
        return Placer.OWNER if self._facts.get("by") == Placer.OWNER else Placer.SORTD

    def path_or_none(self) -> PurePath | None:
        return None if self._facts.get("path") is None else _inside(self.text("path"))

    def steps(self) -> tuple[tuple[PurePath, PurePath], ...]:
        steps = self._facts.get("steps")
        if not isinstance(steps, list) or not steps or not all(isinstance(s, list) and len(s) == 2 for s in steps):  # noqa: PLR2004 - from, to
            raise _NotUnderstoodError
        return tuple((_inside(source), _inside(target)) for source, target in steps)


def _inside(name: Any) -> PurePath:  # noqa: ANN401 - whatever the line holds
    """A path below the root."""
    try:
        path = PurePath(os.fsdecode(os.fsencode(name)))
    except (TypeError, ValueError) as wrong:
        raise _NotUnderstoodError from wrong
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in str(path):
        raise _NotUnderstoodError
    return path
