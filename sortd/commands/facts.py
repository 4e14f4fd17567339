"""What the printing commands tell, as plain JSON values with the contract's names."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from sortd.config import Config
from sortd.disk.guard import find
from sortd.disk.library import Library
from sortd.domain import Category, Fault, Fingerprint, MoveTo, Placer, Trust
from sortd.errors import LibraryUnavailable
from sortd.judgement.fuse import fuse
from sortd.learn.classifier import Classifier, UnusableClassifier, likeness, unit_parts
from sortd.service.control import ask
from sortd.service.judge import Judge, Verdict
from sortd.service.learner import PROBLEM
from sortd.service.opening import feature_space, library_at, state_wished
from sortd.store.database import VERSION as SQLITE
from sortd.store.memory import INDEX_NAME, Memory

NEIGHBOURS = 5
RANKED = 3
PACKAGES = ("sortd", "av", "opencv-python-headless", "scikit-learn", "watchdog")


@dataclass(frozen=True, slots=True)
class Reading:
    """One library, opened for reading alone."""

    root: Path
    memory: Memory
    library: Library
    judge: Judge
    live: Mapping[str, Any] | None
    """What the running service says of itself; None where none runs."""


@contextmanager
def reading(config: Config) -> Iterator[Reading | None]:
    """Open what is known of the configured root; None where nothing is known yet."""
    root = config.library.root
    found = find(root, state=state_wished(config))
    if found is None or not (found.state / INDEX_NAME).exists():
        yield None
        return
    live = ask(found.state, {"do": "status"})
    memory = Memory.open(found.state, feature_space(config), query_only=True)
    try:
        library = library_at(root, config)
        judge = Judge(memory, library, probation=config.move.probation)
        judge.classifier = _serving(memory, found.state)
        with memory.database.snapshot():
            yield Reading(root, memory, library, judge, live)
    finally:
        memory.database.close()


def status(config: Config, read: Reading | None) -> dict[str, Any]:
    """The whole of `sortd status`."""
    root = config.library.root
    there = root.is_dir()
    live: Mapping[str, Any] = (read.live if read else None) or {
        "state": "stopped" if there else "away",
        "why": "no service runs" if there else f"{root} is not there",
        "watcher": {"mode": config.watch.mode, "why": "no service runs"},
        "rate": None,
        "ends_at": None,
    }
    told: dict[str, Any] = {
        "root": str(root),
        "state": live["state"],
        "why": live["why"],
        "watcher": dict(live["watcher"]),
        "videos": dict.fromkeys(("total", "unsorted", "labelled", "placed", "set_aside", "pending"), 0),
        "backlog": {"rate": live["rate"], "ends_at": _time(live["ends_at"])},
        "categories": [],
        "classifier": None,
        "set_aside": [],
        "open_moves": 0,
        "encoder": encoder(extract_settings(config)),
        "device": "cpu",
        "versions": _versions(),
    }
    if read is not None:
        memory = read.memory
        told["videos"] = {name: getattr(memory.index.tally(), name) for name in told["videos"]}
        told["categories"] = [_category(read, known.name) for known in memory.categories.all() if known.present]
        told["classifier"] = _classifier(memory)
        told["set_aside"] = [
            {"path": str(aside.path), "reason": aside.fault, "attempts": aside.attempts, "message": aside.message}
            for aside in memory.backlog.set_aside()
        ]
        told["open_moves"] = memory.journal.open_count()
    return told


def preview(read: Reading, *, now: float) -> list[dict[str, Any]]:
    """What would be moved now and what left, with its reason."""
    planned: Counter[Category] = Counter()
    told = []
    for clip in unsorted(read):
        verdict = read.judge.judge(clip, now=now, planned=planned)
        if verdict is None:
            continue
        if isinstance(verdict.decision, MoveTo):
            planned[verdict.decision.category] += 1
        told.append(_decision(verdict))
    return told


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
        told = _decision(Verdict(path, MoveTo(record.home or Category(""), 0.0), prediction)) | {
            "decision": "filed",
            "category": record.home,
        }
    else:
        told = _decision(verdict) | {"path": str(path)}
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
    }


def history(read: Reading) -> list[dict[str, Any]]:
    """The moves made, the latest first."""
    return [
        {
            "id": entry.number,
            "at": _time(entry.at),
            "from": str(entry.steps[0].source),
            "to": str(entry.steps[0].target),
            "category": entry.category,
            "confidence": round(entry.confidence, 4),
            "state": entry.state,
        }
        for entry in read.memory.journal.recent()
    ]


def _decision(verdict: Verdict) -> dict[str, Any]:
    prediction, decision = verdict.prediction, verdict.decision
    moves = isinstance(decision, MoveTo)
    reason: str | Fault | None = None if isinstance(decision, MoveTo) else verdict.fault or decision.reason
    return {
        "path": str(verdict.path),
        "decision": "move" if moves else "leave",
        "category": None if verdict.fault else prediction.best if prediction else decision.category,
        "confidence": round(prediction.confidence, 4) if prediction else None,
        "margin": round(prediction.margin, 4) if prediction else None,
        "reason": reason,
        "ranking": [[category, round(p, 4)] for category, p in prediction.ranking] if prediction else [],
    }


def _neighbours(read: Reading, clip: Fingerprint) -> list[dict[str, Any]]:
    """The labelled videos most like this one, itself left out."""
    memory, space = read.memory, read.memory.space
    features = memory.features.of(clip, memory.space)
    labels = [(other, name) for other, _, name in memory.features.labels(space) if other != clip]
    if not features or not labels:
        return []
    rows = unit_parts(np.stack([fuse(memory.features.of(other, space), space) for other, _ in labels]), space)
    own = unit_parts(fuse(features, space)[None, :], space)
    likenesses = likeness(own, rows, space)[0]
    nearest = []
    for row in np.argsort(-likenesses, kind="stable")[:NEIGHBOURS].tolist():
        other, name = labels[row]
        sightings = memory.index.sightings(other)
        path = str(sightings[0].path) if sightings else None
        nearest.append({"path": path, "category": name, "similarity": round(float(likenesses[row]), 4)})
    return nearest


def _category(read: Reading, name: Category) -> dict[str, Any]:
    memory = read.memory
    serving = memory.classifiers.serving()
    numbers = {known.name: str(known.number) for known in memory.categories.all()}
    learned = {entry["name"]: entry for entry in serving.report["categories"]} if serving else {}
    entry = learned.get(numbers[name])
    policy, _ = read.judge.policy()
    confirmed, corrected, _ = memory.categories.live(name)
    limit = policy.min_confidence.get(name)
    return {
        "name": name,
        "labels": len(memory.index.fingerprints(home=name, placed_by=Placer.OWNER)),
        "placed": len(memory.index.fingerprints(home=name, placed_by=Placer.SORTD)),
        "min_confidence": None if limit is None else round(limit, 4),
        "precision": round(1 - entry["wrong"] / entry["moved"], 4) if entry and entry["moved"] else None,
        "live": {"confirmed": confirmed, "corrected": corrected},
        "why": _why(read, name, entry, moves=limit is not None),
    }


def _why(read: Reading, name: Category, entry: Mapping[str, Any] | None, *, moves: bool) -> str:
    if not moves:
        if entry is not None and entry["why"]:
            return str(entry["why"])
        problem = read.memory.database.note(PROBLEM)
        return problem or ("nothing was learned yet" if entry is None else "it takes no automatic moves")
    if read.judge.trust_in(name, now=datetime.now(UTC).timestamp()) is Trust.ON_PROBATION:
        return "on probation: confirm the moves so far, or leave them uncorrected for a day"
    return "moves what it is sure of"


def _classifier(memory: Memory) -> dict[str, Any] | None:
    serving = memory.classifiers.serving()
    if serving is None:
        return None
    told = {key: serving.report[key] for key in ("kind", "labels", "accuracy", "coverage")}
    return {"kind": told.pop("kind"), "trained_at": _time(serving.trained_at), **told}


def _serving(memory: Memory, state: Path) -> Classifier | None:
    serving = memory.classifiers.serving()
    try:
        return None if serving is None else Classifier.load(state / serving.file)
    except UnusableClassifier:
        return None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "sqlite": SQLITE}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
