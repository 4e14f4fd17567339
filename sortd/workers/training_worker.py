"""Train a classifier, in the training child; the service knows this module by name only and never imports it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
from sortd.domain.feature import Matrix
from sortd.domain.messages import Trained
from sortd.domain.tasks import TrainingPayload
from sortd.domain.video import Fingerprint
from sortd.extract.registry import reading_part
from sortd.judgement.decide import decide
from sortd.judgement.model_comparison import compare_models
from sortd.judgement.usable_numbers import usable
from sortd.learn.classifier import Classifier, UnusableClassifier
from sortd.learn.train import OUTSIDERS, UNSORTED, NothingToLearn, train
from sortd.learn.training_data import TrainingSet
from sortd.store.store import Store
from sortd.workers.local_executor import TrainingWorkerSettings

Label = tuple[Fingerprint, int]
"""A video, and the number of the category it was filed in."""


def training(settings: TrainingWorkerSettings) -> Callable[[TrainingPayload], Iterator[Trained]]:
    """A task is a TrainingPayload; it is answered by Trained, whose report names the file beside the index.

    Where the classifier that serves is better, its problem says so and there is no file.
    """

    def learn(payload: TrainingPayload) -> Iterator[Trained]:
        began = time.monotonic()
        store = Store.open(settings.state, payload.space, query_only=True)
        with store.database.snapshot():
            data = training_set(store, except_in=payload.except_in, others=payload.others, names=payload.names)
            serving = store.classifiers.serving()
            unsorted = store.videos.fingerprints(home=None)
            no_numbers = _without_numbers(store, data, except_in=payload.except_in)
        try:
            challenger = train(
                data,
                target_precision=settings.target_precision,
                targets={CategoryName(str(number)): target for number, target in payload.targets.items()},
                candidates=settings.candidates,
                seed=0,
            )
        except NothingToLearn as no:
            told = {"digest": payload.digest, "labels": len(data.categories), "no_numbers": no_numbers}
            yield Trained(told, str(no))
            return
        champion = _load(settings.state / serving.file) if serving else None
        asked = str(
            (settings.target_precision, settings.candidates, sorted(payload.targets.items()), sorted(payload.others))
        )
        same = serving is not None and serving.report.get("asked") == asked
        worse = why_worse(data, champion, challenger) if champion and same else None
        file = f"classifier-{payload.digest[:16]}.npz"
        if worse is None:
            challenger.save(settings.state / file)
        before = _movable(store, champion, unsorted)
        after = _movable(store, challenger, unsorted)
        report = asdict(challenger.report) | {
            "digest": payload.digest,
            "file": file,
            "no_numbers": no_numbers,
            "asked": asked,
            "seconds": round(time.monotonic() - began, 3),
            "would_move_more": len(after - before),
            "would_move_fewer": len(before - after),
        }
        yield Trained(report, worse)

    return learn


def why_worse(data: TrainingSet, champion: Classifier, challenger: Classifier) -> str | None:
    """Why the champion goes on; None: the challenger is no worse, or does what the champion cannot do at all.

    Nor can it be compared where more was held out together than for the champion: a harder test is no worse classifier.
    """
    if (champion.space, champion.categories) != (challenger.space, challenger.categories):
        return None
    if champion.closeness < challenger.closeness:
        return None
    since = [row for row, clip in enumerate(data.fingerprints) if clip not in champion.answers]
    says = champion.predict_all(np.asarray(data.vectors)[since])
    return compare_models(
        dict(zip(data.fingerprints, data.categories, strict=True)),
        champion=champion.answers,
        since={data.fingerprints[row]: said.best for row, said in zip(since, says, strict=True)},
        challenger=challenger.answers,
    ).why_not


def training_set(
    store: Store, *, except_in: frozenset[int], others: frozenset[int], names: Mapping[int, str]
) -> TrainingSet:
    """The owner's labels that have a vector, by category number, and what is known of videos that belong nowhere.

    Those are the ones in folders of `others`, and those that the owner withdrew or passed over. `names` are what
    categories are called, in words; those that were read are among what there is to learn from.
    """
    filed = [(clip, number) for clip, number, _ in store.features.labels(store.space)]
    vectors, labels = _usable(store, [(clip, number) for clip, number in filed if number not in except_in])
    left = store.features.passed_over(store.space, since=store.classifiers.first_adopted())
    passed_over = [*(clip for clip, number in filed if number in others), *left]
    unsorted = set(store.features.unsorted(store.space)) - set(left)
    part = reading_part(store.space)
    read = store.text_embeddings.of(part) if part else {}
    return TrainingSet(
        store.space,
        vectors,
        tuple(CategoryName(str(number)) for _, number in labels),
        tuple(clip for clip, _ in labels),
        passed_over=_vectors(store, _sample(passed_over, OUTSIDERS)),
        unsorted=_vectors(store, _sample(unsorted, UNSORTED)),
        names={CategoryName(str(number)): read[text] for number, text in names.items() if text in read},
    )


def _usable(store: Store, labels: Sequence[Label]) -> tuple[Matrix, list[Label]]:
    """Return vectors of labelled videos, with those of the labels that have one to learn from."""
    vectors = store.features.vectors([clip for clip, _ in labels], store.space)
    there = usable(vectors)
    return vectors[there], [label for label, is_there in zip(labels, there, strict=True) if is_there]


def _vectors(store: Store, clips: Sequence[Fingerprint]) -> Matrix:
    vectors = store.features.vectors(clips, store.space)
    return vectors[usable(vectors)]


def _without_numbers(store: Store, data: TrainingSet, *, except_in: frozenset[int]) -> list[str]:
    """Return paths of labelled videos from which nothing can be learned."""
    learned = set(data.fingerprints)
    labels = store.features.labels(store.space)
    missing = [clip for clip, number, _ in labels if number not in except_in and clip not in learned]
    return sorted(str(sighting.path) for clip in missing for sighting in store.videos.sightings(clip))


def _sample(clips: Iterable[Fingerprint], most: int) -> list[Fingerprint]:
    """Return at most so many, always the same: a fingerprint says nothing about its video."""
    return sorted(clips)[:most]


def _load(file: Path) -> Classifier | None:
    try:
        return Classifier.load(file)
    except UnusableClassifier:
        return None


def _movable(store: Store, classifier: Classifier | None, clips: Sequence[Fingerprint]) -> set[Fingerprint]:
    """Return the videos that this classifier would let move, whatever the vetoes say."""
    if classifier is None:
        return set()
    whole = [clip for clip in clips if store.features.whole(clip, classifier.space)]
    if not whole:
        return set()
    decisions = (
        decide(prediction, classifier.policy, vetoes=(), examples=classifier.examples, trust={})
        for prediction in classifier.predict_all(store.features.vectors(whole, classifier.space))
    )
    return {clip for clip, decision in zip(whole, decisions, strict=True) if isinstance(decision, MoveTo)}
