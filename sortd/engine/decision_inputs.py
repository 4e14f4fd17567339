"""Predict and decide for one video with what is known now; the service, `preview` and `explain` all ask here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Protocol

from sortd.disk.folder_rules import Role
from sortd.disk.library import Library
from sortd.domain.category import CategoryName
from sortd.domain.decision import Decision, Leave, MoveTo, Policy, Prediction, Reason, Trust
from sortd.domain.feature import Fault, FeatureSpace, Vector
from sortd.domain.video import Fingerprint, Sighting
from sortd.judgement.decide import decide
from sortd.judgement.late_fusion import fuse
from sortd.judgement.trust import stopped, trust, until_free
from sortd.store.store import Store


class Predictor(Protocol):
    """What was learned: answers only for its own feature space."""

    @property
    def space(self) -> FeatureSpace: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def examples(self) -> Mapping[CategoryName, int]: ...
    def predict(self, vector: Vector) -> Prediction: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What sortd makes of one video; `fault` where it was set aside, `prediction` where there could be one."""

    path: PurePath
    decision: Decision
    prediction: Prediction | None = None
    fault: Fault | None = None


class DecisionInputsReader:
    """Judges videos that stand in the root. It knows no mode: whether a move may be made now is the sorter's word."""

    def __init__(self, store: Store, library: Library, *, probation: Sequence[int], target_precision: float) -> None:
        self._store = store
        self._library = library
        self._probation = probation
        self._target_precision = target_precision
        self.classifier: Predictor | None = None
        self._terms: tuple[Policy, dict[CategoryName, int]] | None = None

    def refresh(self) -> None:
        """Read what the folders say of themselves anew, before a few videos are judged by it."""
        self._terms = None

    def verdict(
        self, fingerprint: Fingerprint, *, now: float, planned: Mapping[CategoryName, int] | None = None
    ) -> Verdict | None:
        """Decide for a video; None: it does not stand in the root.

        `planned` counts moves thought of but not made, so that a preview halts where the service would.
        """
        sighting = self.unsorted(fingerprint)
        if sighting is None:
            return None
        path = sighting.path
        record = self._store.videos.record(fingerprint)
        if record.home is not None:
            return Verdict(path, Leave(Reason.ALREADY_FILED, record.home))
        fault = self._store.backlog.fault_of(fingerprint)
        prediction = None if fault else self.predict(fingerprint)
        if self._store.replacements.waits(fingerprint):
            return Verdict(path, Leave(Reason.PENDING), prediction, fault)
        if fault is not None or (prediction is None and self._store.backlog.waits(fingerprint)):
            return Verdict(path, Leave(Reason.PENDING), fault=fault)
        decision = self._decide(prediction, record.vetoes, now, planned or Counter())
        if prediction is None and self.classifier and self._store.features.whole(fingerprint, self.classifier.space):
            decision = Leave(Reason.NOTHING_TO_TELL)
        held = self._library.hands_off(path) or (
            isinstance(decision, MoveTo) and not self._takes_videos(decision.category)
        )
        if held:
            decision = Leave(Reason.HANDS_OFF, decision.category)
        return Verdict(path, decision, prediction)

    def unsorted(self, fingerprint: Fingerprint) -> Sighting | None:
        """The video's copy among the unsorted, the first by name."""
        for sighting in self._store.videos.sightings(fingerprint):
            if self._library.category_of(sighting.path) is None:
                return sighting
        return None

    def predict(self, fingerprint: Fingerprint) -> Prediction | None:
        """What the classifier says, under the categories' names of today; None without a classifier or a vector."""
        if self.classifier is None:
            return None
        features = self._store.features.of(fingerprint, self.classifier.space)
        if len(features) < len(self.classifier.space.parts):
            return None
        if not any(feature.vector is not None for feature in features.values()):
            return None
        prediction = self.classifier.predict(fuse(features, self.classifier.space))
        names = self._names()
        return replace(prediction, ranking=tuple((names.get(number, number), p) for number, p in prediction.ranking))

    def policy(self) -> tuple[Policy, dict[CategoryName, int]]:
        """The limits, and the number of examples of each category, under the names of today.

        A category without a folder, or whose folder is no category any more, takes no moves.
        """
        if self._terms is None:
            self._terms = self._read_terms()
        return self._terms

    def _read_terms(self) -> tuple[Policy, dict[CategoryName, int]]:
        if self.classifier is None:
            return Policy({}), {}
        names = self._names()
        standing = self.standing()
        policy = self.classifier.policy
        limits = {names[n]: p for n, p in policy.min_confidence.items() if names.get(n) in standing}
        examples = {names[n]: count for n, count in self.classifier.examples.items() if names.get(n) in standing}
        return Policy(limits, policy.min_margin, policy.max_distance, policy.min_examples), examples

    def standing(self) -> set[CategoryName]:
        """Categories that have a folder now and are meant as categories."""
        return {
            known.name
            for known in self._store.categories.all()
            if known.present and self._library.rules(known.name).role is Role.CATEGORY
        }

    def trust_in(self, category: CategoryName, *, now: float, planned: int = 0) -> Trust:
        """What the category's past moves entitle the next one to."""
        word = self._store.track_record.of(category)
        if stopped(word, target_precision=self._target(category)):
            return Trust.STOPPED
        moves = [*self._store.journal.moved_at(category), *[now] * planned]
        return trust(moves, word, probation=self._probation, now=now)

    def until_free(self, category: CategoryName) -> int:
        """How many videos filed rightly let a stopped category move again."""
        return until_free(self._store.track_record.of(category), target_precision=self._target(category))

    def _target(self, category: CategoryName) -> float:
        return self._library.rules(category).target_precision or self._target_precision

    def _decide(
        self,
        prediction: Prediction | None,
        vetoes: frozenset[CategoryName],
        now: float,
        planned: Mapping[CategoryName, int],
    ) -> Decision:
        policy, examples = self.policy()
        trusted: dict[CategoryName, Trust] = {}
        if prediction is not None:
            best = prediction.best
            trusted[best] = self.trust_in(best, now=now, planned=planned.get(best, 0))
        return decide(prediction, policy, vetoes=vetoes, examples=examples, trust=trusted)

    def _takes_videos(self, category: CategoryName) -> bool:
        return self._library.rules(category).automatic and not self._library.hands_off(PurePath(category))

    def _names(self) -> dict[CategoryName, CategoryName]:
        """The classifier knows categories by number, so that a renamed folder needs no retraining."""
        return {CategoryName(str(known.number)): known.name for known in self._store.categories.all()}
