"""Tell what is known of one video, and which labels may be misfiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from sortd.config.settings import Settings
from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo, Verdict
from sortd.domain.errors import LibraryUnavailable
from sortd.domain.feature import FeatureSpace, Vector
from sortd.domain.video import Fingerprint, Placer
from sortd.extract.registry import encoder, extract_settings
from sortd.judgement.decide import verdict
from sortd.judgement.late_fusion import fuse
from sortd.learn.classifier import columns_of, likeness, unit_parts
from sortd.views.library_reader import LibraryReader
from sortd.views.preview import as_tried, decision

NEIGHBOURS = 5


def explain(reader: LibraryReader, path: PurePath, *, now: float) -> dict[str, Any]:
    """Return all that is known of one video."""
    store = reader.store
    sighting = store.videos.known(path)
    if sighting is None:
        raise LibraryUnavailable(f"{path} is no video that sortd knows in {reader.root}")
    video = sighting.fingerprint
    record = store.videos.record(video)
    features = store.features.of(video, store.space)
    inputs = reader.decision_inputs.read(video, now=now)
    if inputs is None or reader.library.category_of(path) is not None:
        prediction = reader.decision_inputs.predict(video)
        told = decision(Verdict(path, MoveTo(record.home or CategoryName(""), 0.0), prediction)) | {
            "decision": "filed",
            "category": record.home,
        }
    else:
        told = decision(as_tried(reader, video, verdict(inputs))) | {"path": str(path)}
    return told | {
        "fingerprint": video,
        "features": {
            part.extractor: {
                "present": part.extractor in features and features[part.extractor].vector is not None,
                "dim": part.dim,
                "text": features[part.extractor].text if part.extractor in features else None,
            }
            for part in store.space.parts
        },
        "neighbours": _neighbours(reader, video),
        "label": record.home if record.placed_by is Placer.OWNER else None,
        "vetoes": sorted(record.vetoes),
        "suspect": next((suspect for other, suspect in _suspects(reader) if other == video), None),
    }


def spoken_names(config: Settings) -> Mapping[str, str]:
    """Return what people call a feature whose name says too much: the built-in encoder hears sound, and no words."""
    return {"speech": "sound"} if encoder(extract_settings(config)) == "builtin" else {}


def suspects(reader: LibraryReader) -> list[dict[str, Any]]:
    """Return the labels that may be slips of the hand, the surest first."""
    return [
        {"path": str(sightings[0].path), **suspect}
        for video, suspect in _suspects(reader)
        if (sightings := reader.store.videos.sightings(video))
    ]


def _suspects(reader: LibraryReader) -> Iterator[tuple[Fingerprint, dict[str, Any]]]:
    """Yield what the last training suspected and the owner has not filed anew since."""
    serving = reader.store.classifiers.serving()
    names = {str(known.number): known.name for known in reader.store.categories.all() if known.present}
    for suspect in serving.report.get("suspects", ()) if serving else ():
        video, home, like = Fingerprint(suspect["fingerprint"]), names.get(suspect["home"]), names.get(suspect["like"])
        record = reader.store.videos.record(video)
        if like and record.home == home and record.placed_by is Placer.OWNER:
            yield video, {"category": home, "like": like, "confidence": round(suspect["confidence"], 4)}


def _neighbours(reader: LibraryReader, video: Fingerprint) -> list[dict[str, Any]]:
    """Return the labelled videos most like this one, and how alike each part is; None: a part is not in both."""
    store, space = reader.store, reader.store.space
    features = store.features.of(video, store.space)
    labels = [(other, name) for other, _, name in store.features.labels(space) if other != video]
    if not features or not labels:
        return []
    rows = unit_parts(store.features.vectors([other for other, _ in labels], space), space)
    own = unit_parts(fuse(features, space)[None, :], space)
    likenesses = likeness(own, rows, space)[0]
    nearest = []
    for row in np.argsort(-likenesses, kind="stable")[:NEIGHBOURS].tolist():
        other, name = labels[row]
        sightings = store.videos.sightings(other)
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
