"""Tell what `sortd preview --closest` shows: the undecided videos whose filing would teach most."""

from __future__ import annotations

from typing import Any

import numpy as np

from sortd.domain.decision import Leave, Reason
from sortd.judgement.active_learning import doubt, most_instructive
from sortd.judgement.decide import LEFT_TO_THE_OWNER
from sortd.learn.classifier import likeness, unit_parts
from sortd.views.library_reader import LibraryReader
from sortd.views.preview import decision, verdicts

UNDECIDED = (LEFT_TO_THE_OWNER | {Reason.NO_CLASSIFIER}) - {Reason.VETOED}
"""Reasons that the owner's word would help against; the others are of something else than doubt."""

LOOKED_AT = 10
"""So many times as many as asked for, so that near-duplicates can be told among those in doubt."""

COMPARED = 3000
"""Each with each, at most: beyond it a table of all pairs would take the memory. What is left comes after, by doubt."""


def closest(reader: LibraryReader, number: int, *, now: float) -> list[dict[str, Any]]:
    """Return so many of the undecided videos at most, those first whose filing would teach most."""
    features, space = reader.store.features, reader.store.space
    undecided = [
        (video, verdict)
        for video, verdict in verdicts(reader, now=now)
        if isinstance(verdict.decision, Leave)
        and verdict.decision.reason in UNDECIDED
        and any(feature.vector is not None for feature in features.of(video, space).values())
    ]
    undecided.sort(key=lambda one: -doubt(one[1].prediction))
    undecided = undecided[: LOOKED_AT * number]
    if not undecided:
        return []
    compared = undecided[:COMPARED]
    rows = unit_parts(features.vectors([video for video, _ in compared], space), space)
    doubts = np.array([doubt(verdict.prediction) for _, verdict in compared], np.float32)
    order = [*most_instructive(doubts, likeness(rows, rows, space)), *range(len(compared), len(undecided))]
    return [decision(undecided[row][1]) for row in order[:number]]
