"""Gather what the verdict on one video depends on; the service, `preview` and `explain` all gather it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Protocol

from sortd.disk.folder_rules import Role
from sortd.disk.library import Library
from sortd.domain.category import CategoryName
from sortd.domain.decision import DecisionInputs, Policy, Prediction, Trust
from sortd.domain.feature import FeatureSpace, Vector
from sortd.domain.video import Fingerprint, Sighting
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


class DecisionInputsReader:
    """Reads what is known of one video, of its likeliest category, and of what the classifier says of it."""

    def __init__(self, store: Store, library: Library, *, probation: Sequence[int], target_precision: float) -> None:
        self._store = store
        self._library = library
        self._probation = probation
        self._target_precision = target_precision
        self.classifier: Predictor | None = None
        self._terms: tuple[Policy, dict[CategoryName, int]] | None = None

    def refresh(self) -> None:
        """Read the rules of the folders anew, before the next few videos are decided by them."""
        self._terms = None

    def read(
        self, fingerprint: Fingerprint, *, now: float, planned: Mapping[CategoryName, int] | None = None
    ) -> DecisionInputs | None:
        """Gather what a verdict on this video needs; None: it does not stand among the unsorted.

        `planned` counts moves that were thought of and not made, so that a preview halts where the service would.
        """
        sighting = self.unsorted(fingerprint)
        if sighting is None:
            return None
        record = self._store.videos.record(fingerprint)
        fault = self._store.backlog.fault_of(fingerprint)
        prediction = None if fault or record.home is not None else self.predict(fingerprint)
        policy, examples = self.policy()
        best = None if prediction is None else prediction.best
        tells_nothing = (
            prediction is None
            and self.classifier is not None
            and self._store.features.whole(fingerprint, self.classifier.space)
        )
        return DecisionInputs(
            path=sighting.path,
            home=record.home,
            vetoes=record.vetoes,
            fault=fault,
            prediction=prediction,
            may_replace=self._store.replacements.waits(fingerprint),
            lacks_features=self._store.backlog.waits(fingerprint),
            tells_nothing=tells_nothing,
            policy=policy,
            examples=examples,
            trust=None if best is None else self.trust_in(best, now=now, planned=(planned or {}).get(best, 0)),
            hands_off=self._library.hands_off(sighting.path),
            takes_moves=best is None or self._takes_moves(best),
        )

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

    def _takes_moves(self, category: CategoryName) -> bool:
        return self._library.rules(category).automatic and not self._library.hands_off(PurePath(category))

    def _names(self) -> dict[CategoryName, CategoryName]:
        """The classifier knows categories by number, so that a renamed folder needs no retraining."""
        return {CategoryName(str(known.number)): known.name for known in self._store.categories.all()}
