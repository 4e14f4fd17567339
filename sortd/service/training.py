"""What the training child does; the service knows it by name only and never imports it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sortd.domain import Category, Fingerprint, MoveTo, TrainingSet
from sortd.judgement.decide import decide
from sortd.judgement.rivals import contest
from sortd.learn.classifier import Classifier, UnusableClassifier
from sortd.learn.train import OUTSIDERS, UNSORTED, NothingToLearn, train
from sortd.messages import Lesson, Trained
from sortd.service.children import TrainingSettings
from sortd.service.naming import reading_part
from sortd.store.memory import Memory


def training(settings: TrainingSettings) -> Callable[[Lesson], Iterator[Trained]]:
    """A task is a Lesson; it is answered by Trained, whose report names the file beside the index.

    Where the classifier that serves is better, its problem says so and there is no file.
    """

    def learn(lesson: Lesson) -> Iterator[Trained]:
        began = time.monotonic()
        memory = Memory.open(settings.state, lesson.space, query_only=True)
        with memory.database.snapshot():
            data = training_set(memory, except_in=lesson.except_in, others=lesson.others, names=lesson.names)
            serving = memory.classifiers.serving()
            unsorted = memory.index.fingerprints(home=None)
        try:
            challenger = train(
                data,
                target_precision=settings.target_precision,
                targets={Category(str(number)): target for number, target in lesson.targets.items()},
                candidates=settings.candidates,
                seed=0,
            )
        except NothingToLearn as no:
            yield Trained({"digest": lesson.digest, "labels": len(data.categories)}, str(no))
            return
        champion = _load(settings.state / serving.file) if serving else None
        asked = str(
            (settings.target_precision, settings.candidates, sorted(lesson.targets.items()), sorted(lesson.others))
        )
        same = serving is not None and serving.report.get("asked") == asked
        worse = why_worse(data, champion, challenger) if champion and same else None
        file = f"classifier-{lesson.digest[:16]}.npz"
        if worse is None:
            challenger.save(settings.state / file)
        before = _movable(memory, champion, unsorted)
        after = _movable(memory, challenger, unsorted)
        report = asdict(challenger.report) | {
            "digest": lesson.digest,
            "file": file,
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
    return contest(
        dict(zip(data.fingerprints, data.categories, strict=True)),
        champion=champion.answers,
        since={data.fingerprints[row]: said.best for row, said in zip(since, says, strict=True)},
        challenger=challenger.answers,
    ).why_not


def training_set(
    memory: Memory, *, except_in: frozenset[int], others: frozenset[int], names: Mapping[int, str]
) -> TrainingSet:
    """The owner's labels that have a vector, by category number, and what is known of videos that belong nowhere.

    Those are the ones in folders of `others`, and those that the owner withdrew or passed over. `names` are what
    categories are called, in words; those that were read are among what there is to learn from.
    """
    filed = [(clip, number) for clip, number, _ in memory.features.labels(memory.space)]
    labels = [(clip, number) for clip, number in filed if number not in except_in]
    left = memory.features.passed_over(memory.space, since=memory.classifiers.first_adopted())
    passed_over = [*(clip for clip, number in filed if number in others), *left]
    unsorted = set(memory.features.unsorted(memory.space)) - set(left)
    part = reading_part(memory.space)
    read = memory.words.of(part) if part else {}
    return TrainingSet(
        memory.space,
        memory.features.vectors([clip for clip, _ in labels], memory.space),
        tuple(Category(str(number)) for _, number in labels),
        tuple(clip for clip, _ in labels),
        passed_over=memory.features.vectors(_sample(passed_over, OUTSIDERS), memory.space),
        unsorted=memory.features.vectors(_sample(unsorted, UNSORTED), memory.space),
        names={Category(str(number)): read[text] for number, text in names.items() if text in read},
    )


def _sample(clips: Iterable[Fingerprint], most: int) -> list[Fingerprint]:
    """At most so many, always the same ones: a fingerprint says nothing about its video."""
    return sorted(clips)[:most]


def _load(file: Path) -> Classifier | None:
    try:
        return Classifier.load(file)
    except UnusableClassifier:
        return None


def _movable(memory: Memory, classifier: Classifier | None, clips: Sequence[Fingerprint]) -> set[Fingerprint]:
    """Videos that this classifier would let move, whatever the owner's vetoes say."""
    if classifier is None:
        return set()
    whole = [clip for clip in clips if memory.features.whole(clip, classifier.space)]
    if not whole:
        return set()
    decisions = (
        decide(prediction, classifier.policy, vetoes=(), examples=classifier.examples, trust={})
        for prediction in classifier.predict_all(memory.features.vectors(whole, classifier.space))
    )
    return {clip for clip, decision in zip(whole, decisions, strict=True) if isinstance(decision, MoveTo)}
