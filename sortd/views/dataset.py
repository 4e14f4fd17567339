"""From the index to what `sortd export` writes."""

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
    """The classifier in plain values; `candidates` are the kinds that were compared."""

    kind: str
    categories: Sequence[CategoryName]
    labels: int
    """How many it was learned from."""
    hyperparameters: Mapping[str, Any]
    candidates: Sequence[CandidateReport]
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """What there is to export; paths are relative to `root`, which is absolute."""

    root: Path
    labelled: Matrix
    """[n, dim], the owner's labels; n or m may be 0, dim is the space's all the same."""
    labelled_paths: Sequence[PurePath]
    categories: Sequence[CategoryName]
    """Of each row of `labelled`."""
    unlabelled: Matrix
    """[m, dim], the rest."""
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
    """All that stands in the library and has its vector in the present space."""
    settings = extract_settings(config)
    clip = encoder(settings) == "clip"
    labelled: list[Fingerprint] = []
    categories: list[CategoryName] = []
    unlabelled: list[Fingerprint] = []
    for clip_id, home in _standing(reader):
        if home is None:
            unlabelled.append(clip_id)
        else:
            labelled.append(clip_id)
            categories.append(home)
    return Dataset(
        root=reader.root,
        labelled=reader.store.features.vectors(labelled, reader.store.space),
        labelled_paths=[_path(reader, one) for one in labelled],
        categories=categories,
        unlabelled=reader.store.features.vectors(unlabelled, reader.store.space),
        unlabelled_paths=[_path(reader, one) for one in unlabelled],
        transcripts=_transcripts(reader, [*labelled, *unlabelled]),
        predictions=_predictions(reader, unlabelled),
        learned=_learned(reader),
        clip_model=settings.clip_model if clip else None,
        whisper_model=settings.whisper_model if clip else None,
        n_frames=settings.frames,
    )


def _standing(reader: LibraryReader) -> list[tuple[Fingerprint, CategoryName | None]]:
    """Every present video with a whole vector, by path, and the owner's label of it."""
    store = reader.store
    sightings = store.videos.identities()
    clips = dict.fromkeys(sightings[path].fingerprint for path in sorted(sightings))
    found = []
    for clip in clips:
        if store.features.whole(clip, store.space):
            record = store.videos.record(clip)
            found.append((clip, record.home if record.placed_by is Placer.OWNER else None))
    return found


def _path(reader: LibraryReader, clip: Fingerprint) -> PurePath:
    return reader.store.videos.sightings(clip)[0].path


def _transcripts(reader: LibraryReader, clips: Sequence[Fingerprint]) -> dict[PurePath, str]:
    texts = {clip: reader.store.features.of(clip, reader.store.space).get("speech") for clip in clips}
    return {_path(reader, clip): feature.text for clip, feature in texts.items() if feature and feature.text}


def _predictions(reader: LibraryReader, clips: Sequence[Fingerprint]) -> dict[PurePath, Prediction]:
    predicted = {clip: reader.decision_inputs.predict(clip) for clip in clips}
    return {_path(reader, clip): prediction for clip, prediction in predicted.items() if prediction is not None}


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
