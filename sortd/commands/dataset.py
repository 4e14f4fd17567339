"""From the index to what `sortd export` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from numpy.typing import NDArray

from sortd.commands.export import Dataset, Learned
from sortd.commands.facts import Reading
from sortd.config import Config
from sortd.domain import Category, Fingerprint, Placer, Prediction
from sortd.extract import encoder
from sortd.learn.classifier import NEIGHBOURS, Classifier
from sortd.service.opening import extract_settings


def dataset(read: Reading, config: Config) -> Dataset:
    """All that stands in the library and has its vector in the present space."""
    settings = extract_settings(config)
    clip = encoder(settings) == "clip"
    labelled: list[Fingerprint] = []
    categories: list[Category] = []
    unlabelled: list[Fingerprint] = []
    for clip_id, home in _standing(read):
        if home is None:
            unlabelled.append(clip_id)
        else:
            labelled.append(clip_id)
            categories.append(home)
    return Dataset(
        root=read.root,
        labelled=read.memory.features.vectors(labelled, read.memory.space),
        labelled_paths=[_path(read, one) for one in labelled],
        categories=categories,
        unlabelled=read.memory.features.vectors(unlabelled, read.memory.space),
        unlabelled_paths=[_path(read, one) for one in unlabelled],
        transcripts=_transcripts(read, [*labelled, *unlabelled]),
        predictions=_predictions(read, unlabelled),
        learned=_learned(read),
        clip_model=settings.clip_model if clip else None,
        whisper_model=settings.whisper_model if clip else None,
        n_frames=settings.frames,
    )


def _standing(read: Reading) -> list[tuple[Fingerprint, Category | None]]:
    """Every present video with a whole vector, by path, and the owner's label of it."""
    memory = read.memory
    sightings = memory.index.identities()
    clips = dict.fromkeys(sightings[path].fingerprint for path in sorted(sightings))
    found = []
    for clip in clips:
        if memory.features.whole(clip, memory.space):
            record = memory.index.record(clip)
            found.append((clip, record.home if record.placed_by is Placer.OWNER else None))
    return found


def _path(read: Reading, clip: Fingerprint) -> PurePath:
    return read.memory.index.sightings(clip)[0].path


def _transcripts(read: Reading, clips: Sequence[Fingerprint]) -> dict[PurePath, str]:
    texts = {clip: read.memory.features.of(clip, read.memory.space).get("speech") for clip in clips}
    return {_path(read, clip): feature.text for clip, feature in texts.items() if feature and feature.text}


def _predictions(read: Reading, clips: Sequence[Fingerprint]) -> dict[PurePath, Prediction]:
    predicted = {clip: read.judge.predict(clip) for clip in clips}
    return {_path(read, clip): prediction for clip, prediction in predicted.items() if prediction is not None}


def _learned(read: Reading) -> Learned | None:
    classifier = read.judge.classifier
    if not isinstance(classifier, Classifier):
        return None
    names = {str(known.number): known.name for known in read.memory.categories.all()}
    arrays: dict[str, NDArray[Any]] = {
        "mean": classifier.mean,
        "vectors": classifier.vectors,
        "owners": classifier.owners,
    }
    for number, (weights, bias) in enumerate(classifier.layers):
        arrays |= {f"weights{number}": weights, f"bias{number}": bias}
    return Learned(
        kind=classifier.kind,
        categories=[names.get(number, number) for number in classifier.categories],
        labels=classifier.report.labels,
        hyperparameters={
            "temperature": classifier.temperature,
            "neighbours": NEIGHBOURS,
            "layers": [len(bias) for _, bias in classifier.layers],
        },
        candidates=classifier.report.candidates,
        arrays=arrays,
    )
