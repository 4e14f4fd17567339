"""Gather from the index what `sortd export` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from numpy.typing import NDArray

from sortd.config.settings import Settings
from sortd.domain.category import CategoryName
from sortd.domain.decision import Prediction
from sortd.domain.feature import Matrix
from sortd.domain.video import Fingerprint, Placer
from sortd.extract.registry import encoder, extract_settings
from sortd.judgement.calibration import CandidateReport
from sortd.learn.classifier import NEIGHBOURS, Classifier
from sortd.views.library_reader import LibraryReader


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A classifier in plain values; `candidates` are the kinds that were compared."""

    kind: str
    categories: Sequence[CategoryName]
    labels: int
    """The number of labels that it was learned from."""
    hyperparameters: Mapping[str, Any]
    candidates: Sequence[CandidateReport]
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """All that is exported; paths are relative to `root`, which is absolute."""

    root: Path
    labelled: Matrix
    """[n, dim], the vectors of the owner's labels; n or m may be 0, dim is the space's all the same."""
    labelled_paths: Sequence[PurePath]
    categories: Sequence[CategoryName]
    """The category of each row of `labelled`."""
    unlabelled: Matrix
    """[m, dim], the vectors of all other videos."""
    unlabelled_paths: Sequence[PurePath]
    transcripts: Mapping[PurePath, str]
    predictions: Mapping[PurePath, Prediction]
    learned: Learned | None
    """None: no classifier yet."""
    clip_model: str | None
    """None, as `whisper_model`: the built-in encoder serves."""
    whisper_model: str | None
    n_frames: int


def dataset(reader: LibraryReader, config: Settings) -> Dataset:
    """Gather all present videos that have their vector in the present space."""
    settings = extract_settings(config)
    clip = encoder(settings) == "clip"
    paths, labels = _standing(reader)
    labelled, unlabelled = [*labels], [video for video in paths if video not in labels]
    return Dataset(
        root=reader.root,
        labelled=reader.store.features.vectors(labelled, reader.store.space),
        labelled_paths=[paths[video] for video in labelled],
        categories=[*labels.values()],
        unlabelled=reader.store.features.vectors(unlabelled, reader.store.space),
        unlabelled_paths=[paths[video] for video in unlabelled],
        transcripts=_transcripts(reader, {video: paths[video] for video in [*labelled, *unlabelled]}),
        predictions=_predictions(reader, {video: paths[video] for video in unlabelled}),
        learned=_learned(reader),
        clip_model=settings.clip_model if clip else None,
        whisper_model=settings.whisper_model if clip else None,
        n_frames=settings.frames,
    )


def _standing(reader: LibraryReader) -> tuple[dict[Fingerprint, PurePath], dict[Fingerprint, CategoryName]]:
    """Return all present videos with a whole vector and the first path of each, and the labels among them."""
    store = reader.store
    sightings = store.videos.identities()
    paths: dict[Fingerprint, PurePath] = {}
    for path in sorted(sightings):
        paths.setdefault(sightings[path].fingerprint, path)
    paths = {video: path for video, path in paths.items() if store.features.whole(video, store.space)}
    records = [store.videos.record(video) for video in paths]
    labels = {one.fingerprint: one.home for one in records if one.placed_by is Placer.OWNER and one.home is not None}
    return paths, labels


def _transcripts(reader: LibraryReader, paths: Mapping[Fingerprint, PurePath]) -> dict[PurePath, str]:
    said = {path: reader.store.features.of(video, reader.store.space).get("speech") for video, path in paths.items()}
    return {path: feature.text for path, feature in said.items() if feature and feature.text}


def _predictions(reader: LibraryReader, paths: Mapping[Fingerprint, PurePath]) -> dict[PurePath, Prediction]:
    predicted = {path: reader.decision_inputs.predict(video) for video, path in paths.items()}
    return {path: prediction for path, prediction in predicted.items() if prediction is not None}


def _learned(reader: LibraryReader) -> Learned | None:
    classifier = reader.decision_inputs.classifier
    if not isinstance(classifier, Classifier):
        return None
    names = {str(known.number): known.name for known in reader.store.categories.all()}
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
