"""Replay the owner's own filing order: each video is predicted before it is learned from.

Time runs from the first video to the last. The classifier of each moment decides whatever stands unsorted then, as in
life: a video from when it came until the owner filed it, one that belongs nowhere for ever. Its first move counts. What
was moved wrongly is thought to be put right at once, what was moved rightly to be confirmed when the owner filed it.

The service trains after every few labels. Here so few are waited for at first only, then for half as many as are
known: some twenty trainings for some thousands of labels, so that a minute or two is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
from sortd.domain.feature import FeatureSpace, Matrix
from sortd.domain.video import Fingerprint
from sortd.judgement.decide import decide
from sortd.judgement.thresholds import BoolVector
from sortd.learn.classifier import Classifier
from sortd.learn.classifier_candidates import CANDIDATES
from sortd.learn.train import NothingToLearn, train
from sortd.learn.training_data import TrainingSet

GROWTH = 1.5
"""So many times as many labels as last time, at least, before it learns again."""

NEVER = float("inf")

Times = NDArray[np.float64]
Ranks = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Videos as they came, n of them, and what the owner made of each. Times are seconds on one clock."""

    space: FeatureSpace
    vectors: Matrix
    """[n, dim]"""
    homes: Sequence[CategoryName | None]
    """The category in which each belongs; None: in none."""
    came: Times
    """[n]"""
    told: Times
    """[n], when the owner filed it, or showed that it belongs nowhere; NEVER: the owner did neither."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the owner asks for, and how the service goes about it."""

    target: float
    after_labels: int
    passed_over_after: int
    """So many that came later must be filed by hand until one that still stands there counts as passed over."""
    targets: Mapping[CategoryName, float] = field(default_factory=dict)
    candidates: Sequence[str] = tuple(CANDIDATES)


def replayed(stream: Stream, rules: Rules) -> dict[str, int]:
    """Walk through the stream; plain values, as `sortd evaluate --replay --json` prints them.

    `filed` would have been moved: of these `wrongly` are the ones whose home is another, `outsiders_moved` those that
    belong nowhere. `left` is the rest.
    """
    walk = _Walk(stream, rules)
    for now, until in _spans(walk.told[walk.inside], rules.after_labels):
        walk.learn(now)
        walk.decide(now, until)
    moved = [(home, to) for home, to in zip(stream.homes, walk.moved_to, strict=True) if to is not None]
    return {
        "filed": len(moved),
        "wrongly": sum(home is not None and home != to for home, to in moved),
        "left": len(stream.homes) - len(moved),
        "outsiders_moved": sum(home is None for home, _ in moved),
    }


def trainings(labels: int, *, after_labels: int) -> Iterator[int]:
    """After how many of the labels it learns."""
    known = after_labels
    while known <= labels:
        yield known
        known = max(known + after_labels, int(known * GROWTH))


def _spans(told: Ranks, after_labels: int) -> Iterator[tuple[int, int]]:
    """From one training to the next, in ranks; `told` are those at which a label came."""
    moments = np.sort(told)
    starts = [int(moments[known - 1]) for known in trainings(len(moments), after_labels=after_labels)]
    return pairwise([*starts, np.iinfo(np.intp).max])


class _Walk:
    """What stands where at a moment. Moments are ranks, so that no two things happen at once."""

    def __init__(self, stream: Stream, rules: Rules) -> None:
        self._stream = stream
        self._rules = rules
        self._classifier: Classifier | None = None
        self._first_at: int | None = None
        self.moved_to: list[CategoryName | None] = [None] * len(stream.homes)
        self.inside: BoolVector = np.array([home is not None for home in stream.homes], np.bool_)
        self.came, self.told = _ranked(stream.came, stream.told)

    def learn(self, now: int) -> None:
        """Train on what is known by now, as the service does; where that gives nothing, the one before stays."""
        stream, rules = self._stream, self._rules
        known = self.told <= now
        filed = np.flatnonzero(known & self.inside)
        waiting = self._waiting(now) & (self.came < now)
        left = waiting & self._passed_over(filed)
        try:
            self._classifier = train(
                TrainingSet(
                    stream.space,
                    stream.vectors[filed],
                    [home for row in filed.tolist() if (home := stream.homes[row]) is not None],
                    [Fingerprint(str(row)) for row in filed],
                    passed_over=stream.vectors[(known & ~self.inside) | left],
                    unsorted=stream.vectors[waiting & ~left],
                ),
                target_precision=rules.target,
                targets=rules.targets,
                candidates=rules.candidates,
                seed=0,
            )
        except NothingToLearn:
            return
        self._first_at = now if self._first_at is None else self._first_at

    def decide(self, now: int, until: int) -> None:
        """Move what the classifier is sure of, of all that stand unsorted at some time before `until`."""
        classifier = self._classifier
        rows = np.flatnonzero(self._waiting(now) & (self.came < until))
        if classifier is None or not len(rows):
            return
        predictions = classifier.predict_all(self._stream.vectors[rows])
        for row, prediction in zip(rows.tolist(), predictions, strict=True):
            decision = decide(prediction, classifier.policy, vetoes=(), examples=classifier.examples, trust={})
            if isinstance(decision, MoveTo):
                self.moved_to[row] = decision.category
                if not self.inside[row]:
                    self.told[row] = max(now, int(self.came[row]))  # the owner takes it out again, and it is known

    def _waiting(self, now: int) -> BoolVector:
        """Which have not left the root by then, [n]; they need not have come."""
        moved = np.array([to is not None for to in self.moved_to], np.bool_)
        waiting: BoolVector = (self.told > now) & ~moved
        return waiting

    def _passed_over(self, filed: Ranks) -> BoolVector:
        """Which came after the first classifier, and before enough others that are filed by hand, [n]."""
        by_hand = [row for row in filed.tolist() if self.moved_to[row] != self._stream.homes[row]]
        later = np.sort(self.came[by_hand])[-self._rules.passed_over_after :]
        if self._first_at is None or len(later) < self._rules.passed_over_after:
            return np.zeros(len(self.came), np.bool_)
        left: BoolVector = (self.came > self._first_at) & (self.came < later[0])
        return left


def _ranked(came: Times, told: Times) -> tuple[Ranks, Ranks]:
    """The times as ranks, [n] and [n]: what comes at the same time comes one by one, each before it is told of."""
    n = len(came)
    order = np.lexsort((np.repeat([0, 1], n), np.tile(np.arange(n), 2), np.concatenate([came, told])))
    ranks = np.empty(2 * n, np.intp)
    ranks[order] = np.arange(2 * n)
    return ranks[:n], ranks[n:]
