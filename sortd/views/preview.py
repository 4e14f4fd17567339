"""Tell what would be done with each undecided video now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sortd.domain.category import CategoryName
from sortd.domain.decision import Leave, MoveTo, Reason, Verdict
from sortd.domain.feature import Fault
from sortd.domain.video import Fingerprint
from sortd.judgement.decide import verdict
from sortd.views.library_reader import LibraryReader


def preview(reader: LibraryReader, *, now: float) -> list[dict[str, Any]]:
    """Return what would be moved now and what left, each with its reason."""
    return [decision(verdict) for _, verdict in verdicts(reader, now=now)]


def verdicts(reader: LibraryReader, *, now: float) -> Iterator[tuple[Fingerprint, Verdict]]:
    """Yield the verdict on each unsorted video, by path."""
    planned: Counter[CategoryName] = Counter()
    for video in unsorted(reader):
        inputs = reader.decision_inputs.read(video, now=now, planned=planned)
        if inputs is None:
            continue
        decided = as_tried(reader, video, verdict(inputs))
        if isinstance(decided.decision, MoveTo):
            planned[decided.decision.category] += 1
        yield video, decided


def unsorted(reader: LibraryReader) -> list[Fingerprint]:
    """Return all unsorted videos, by path."""
    paths = reader.store.videos.identities()
    videos = [paths[path].fingerprint for path in sorted(paths) if reader.library.category_of(path) is None]
    return list(dict.fromkeys(videos))


def decision(of: Verdict) -> dict[str, Any]:
    """Describe the verdict on one video."""
    prediction, decided = of.prediction, of.decision
    moves = isinstance(decided, MoveTo)
    reason: str | Fault | None = None if isinstance(decided, MoveTo) else of.fault or decided.reason
    return {
        "path": str(of.path),
        "decision": "move" if moves else "leave",
        "category": None if of.fault else prediction.best if prediction else decided.category,
        "confidence": round(prediction.confidence, 4) if prediction else None,
        "margin": round(prediction.margin, 4) if prediction else None,
        "reason": reason,
        "ranking": [[category, round(p, 4)] for category, p in prediction.ranking] if prediction else [],
    }


def as_tried(reader: LibraryReader, video: Fingerprint, planned: Verdict) -> Verdict:
    """Return the verdict, but no move that was refused when it was tried."""
    decided = planned.decision
    if isinstance(decided, MoveTo) and reader.store.videos.left(video) == (Reason.MOVE_REFUSED, decided.category):
        return replace(planned, decision=Leave(Reason.MOVE_REFUSED, decided.category))
    return planned
