"""What is known of videos and moves, as plain JSON values with the contract's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from sortd.config import Config
from sortd.disk.guard import Found, find
from sortd.disk.library import Library
from sortd.disk.marker import MARKER, RootAway, marker_of
from sortd.disk.patience import Patience
from sortd.domain import Category, Fault, FeatureSpace, Fingerprint, Leave, MoveTo, Placer, Reason, Vector
from sortd.errors import LibraryUnavailable, SortdError
from sortd.extract import encoder
from sortd.judgement.fuse import fuse
from sortd.learn.classifier import Classifier, UnusableClassifier, columns_of, likeness, unit_parts
from sortd.service.judge import Judge, Verdict
from sortd.service.opening import extract_settings, feature_space, library_at, state_wished
from sortd.store import backup
from sortd.store.journal import Entry
from sortd.store.memory import INDEX_NAME, Memory

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """One library, opened for reading alone."""

    root: Path
    state: Path
    memory: Memory
    library: Library
    judge: Judge


@contextmanager
def reading(config: Config) -> Iterator[Reading | None]:
    """Open what is known of the configured root; None where nothing is known yet.

    LibraryUnavailable: the root is away, or its state cannot be read.
    """
    found = find(config.library.root, state=state_wished(config))
    if away := away_because(config.library.root, found):
        raise LibraryUnavailable(away)
    with opened(config, found) as read:
        yield read


@contextmanager
def opened(config: Config, found: Found | None) -> Iterator[Reading | None]:
    """Open what is known, whether the root is here or away; None where there is no index yet."""
    if found is None or not (found.state / INDEX_NAME).exists():
        yield None
        return
    memory = Memory.open(found.state, feature_space(config), query_only=True)
    try:
        root = config.library.root
        library = library_at(root, config)
        library.exempt(memory.index.holds_labels)
        judge = Judge(memory, library, probation=config.move.probation, target_precision=config.move.target_precision)
        with memory.database.snapshot():
            judge.classifier = _serving(memory, found.state)
            yield Reading(root, found.state, memory, library, judge)
    except SortdError:
        raise
    except Exception:
        # What makes no sense may be what damage left; then that is what there is to say.
        backup.check(found.state / INDEX_NAME)
        raise
    finally:
        memory.database.close()


def away_because(root: Path, found: Found | None) -> str:
    """Why the root is away; empty where it is here."""
    try:
        return Patience().ask(lambda: _away_because(root, found))
    except RootAway as away:
        return str(away)


def _away_because(root: Path, found: Found | None) -> str:
    if not root.is_dir():
        return f"{root} is not there"
    marker = marker_of(root)
    if found is None or (marker and marker.library == found.library):
        return ""
    return f"{root} is {'another library now' if marker else f'without its marker {MARKER}'}"


def preview(read: Reading, *, now: float) -> list[dict[str, Any]]:
    """What would be moved now and what left, with its reason."""
    return [decision(verdict) for _, verdict in verdicts(read, now=now)]


def verdicts(read: Reading, *, now: float) -> Iterator[tuple[Fingerprint, Verdict]]:
    """What would become of each video that stands in the root, by path."""
    planned: Counter[Category] = Counter()
    for clip in unsorted(read):
        verdict = read.judge.judge(clip, now=now, planned=planned)
        if verdict is None:
            continue
        verdict = _as_tried(read, clip, verdict)
        if isinstance(verdict.decision, MoveTo):
            planned[verdict.decision.category] += 1
        yield clip, verdict


def unsorted(read: Reading) -> list[Fingerprint]:
    """Everything that stands in the root, by path."""
    paths = read.memory.index.identities()
    clips = [paths[path].fingerprint for path in sorted(paths) if read.library.category_of(path) is None]
    return list(dict.fromkeys(clips))


def explain(read: Reading, path: PurePath, *, now: float) -> dict[str, Any]:
    """All that is known of one video."""
    memory = read.memory
    sighting = memory.index.known(path)
    if sighting is None:
        raise LibraryUnavailable(f"{path} is no video that sortd knows in {read.root}")
    clip = sighting.fingerprint
    record = memory.index.record(clip)
    features = memory.features.of(clip, memory.space)
    verdict = read.judge.judge(clip, now=now)
    if verdict is None or read.library.category_of(path) is not None:
        prediction = read.judge.predict(clip)
        told = decision(Verdict(path, MoveTo(record.home or Category(""), 0.0), prediction)) | {
            "decision": "filed",
            "category": record.home,
        }
    else:
        told = decision(_as_tried(read, clip, verdict)) | {"path": str(path)}
    return told | {
        "fingerprint": clip,
        "features": {
            part.extractor: {
                "present": part.extractor in features and features[part.extractor].vector is not None,
                "dim": part.dim,
                "text": features[part.extractor].text if part.extractor in features else None,
            }
            for part in memory.space.parts
        },
        "neighbours": _neighbours(read, clip),
        "label": record.home if record.placed_by is Placer.OWNER else None,
        "vetoes": sorted(record.vetoes),
        "suspect": next((suspect for other, suspect in _suspects(read) if other == clip), None),
    }


def spoken_names(config: Config) -> Mapping[str, str]:
    """What people call a feature, where its name says too much: the built-in encoder hears sound, and no words."""
    return {"speech": "sound"} if encoder(extract_settings(config)) == "builtin" else {}


def suspects(read: Reading) -> list[dict[str, Any]]:
    """The owner's labels that may be slips of the hand, the surest first."""
    return [
        {"path": str(sightings[0].path), **suspect}
        for clip, suspect in _suspects(read)
        if (sightings := read.memory.index.sightings(clip))
    ]


def _suspects(read: Reading) -> Iterator[tuple[Fingerprint, dict[str, Any]]]:
    """What the last training suspected, where the owner has not filed it anew since."""
    serving = read.memory.classifiers.serving()
    names = {str(known.number): known.name for known in read.memory.categories.all() if known.present}
    for suspect in serving.report.get("suspects", ()) if serving else ():
        clip, home, like = Fingerprint(suspect["fingerprint"]), names.get(suspect["home"]), names.get(suspect["like"])
        record = read.memory.index.record(clip)
        if like and record.home == home and record.placed_by is Placer.OWNER:
            yield clip, {"category": home, "like": like, "confidence": round(suspect["confidence"], 4)}


def history(moves: Iterable[Entry]) -> list[dict[str, Any]]:
    """What is told of moves, in their order."""
    return [
        {
            "id": entry.number,
            "at": iso(entry.at),
            "from": str(entry.steps[0].source),
            "to": str(entry.steps[0].target),
            "category": entry.category,
            "confidence": round(entry.confidence, 4),
            "state": entry.state,
        }
        for entry in moves
    ]


def decision(verdict: Verdict) -> dict[str, Any]:
    """What becomes of one video, and why."""
    prediction, decided = verdict.prediction, verdict.decision
    moves = isinstance(decided, MoveTo)
    reason: str | Fault | None = None if isinstance(decided, MoveTo) else verdict.fault or decided.reason
    return {
        "path": str(verdict.path),
        "decision": "move" if moves else "leave",
        "category": None if verdict.fault else prediction.best if prediction else decided.category,
        "confidence": round(prediction.confidence, 4) if prediction else None,
        "margin": round(prediction.margin, 4) if prediction else None,
        "reason": reason,
        "ranking": [[category, round(p, 4)] for category, p in prediction.ranking] if prediction else [],
    }


def _as_tried(read: Reading, clip: Fingerprint, verdict: Verdict) -> Verdict:
    """A move that was refused when it was tried is not promised again."""
    decided = verdict.decision
    if isinstance(decided, MoveTo) and read.memory.index.left(clip) == (Reason.MOVE_REFUSED, decided.category):
        return replace(verdict, decision=Leave(Reason.MOVE_REFUSED, decided.category))
    return verdict


def _neighbours(read: Reading, clip: Fingerprint) -> list[dict[str, Any]]:
    """The labelled videos most like this one, itself left out, and how like each part of both is; None: not in both."""
    memory, space = read.memory, read.memory.space
    features = memory.features.of(clip, memory.space)
    labels = [(other, name) for other, _, name in memory.features.labels(space) if other != clip]
    if not features or not labels:
        return []
    rows = unit_parts(memory.features.vectors([other for other, _ in labels], space), space)
    own = unit_parts(fuse(features, space)[None, :], space)
    likenesses = likeness(own, rows, space)[0]
    nearest = []
    for row in np.argsort(-likenesses, kind="stable")[:NEIGHBOURS].tolist():
        other, name = labels[row]
        sightings = memory.index.sightings(other)
        path = str(sightings[0].path) if sightings else None
        similar = round(float(likenesses[row]), 4)
        nearest.append(
            {"path": path, "category": name, "similarity": similar, "by": _by_part(own[0], rows[row], space)}
        )
    return nearest


def _by_part(one: Vector, other: Vector, space: FeatureSpace) -> dict[str, float | None]:
    both = [columns if one[columns].any() and other[columns].any() else None for columns in columns_of(space)]
    return {
        part.extractor: None if columns is None else round(float(one[columns] @ other[columns]), 4)
        for part, columns in zip(space.parts, both, strict=True)
    }


def _serving(memory: Memory, state: Path) -> Classifier | None:
    serving = memory.classifiers.serving()
    try:
        return None if serving is None else Classifier.load(state / serving.file)
    except UnusableClassifier:
        return None


def iso(seconds: float | None) -> str | None:
    """A moment in ISO 8601, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
