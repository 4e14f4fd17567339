"""Decide when to train a classifier and on which labels, and let the one that comes out of it serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sortd.config.settings import Settings
from sortd.disk.folder_rules import Role
from sortd.disk.library import Library
from sortd.domain.errors import IndexUnavailable, SortdError
from sortd.domain.tasks import TrainingPayload
from sortd.engine.decision_inputs import DecisionInputsReader
from sortd.engine.event_log import Tell
from sortd.engine.zero_shot_prompts import names_of
from sortd.learn.classifier import Classifier, UnusableClassifier
from sortd.store.classifier_table import AdoptedClassifier
from sortd.store.store import Store

_TRIED = "labels_tried"
_RULES = "rules_seen"
_ASKED = "training_asked"
AGAIN_SECONDS = 600.0
"""Wait so long after a training whose child died or hung."""

PROBLEM = "training_problem"
"""The note of why the last training gave no classifier; it is empty when it gave one."""


class NoneBefore(SortdError):
    """There is no earlier classifier to go back to."""


class Retraining:
    """Says when a training is due. What was asked for and what changed is kept over restarts.

    `now` is seconds on the monotonic clock.
    """

    def __init__(
        self,
        store: Store,
        library: Library,
        *,
        state: Path,
        decision_inputs: DecisionInputsReader,
        config: Settings,
        tell: Tell,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._library = library
        self._state = state
        self._decision_inputs = decision_inputs
        self._after_labels = config.train.after_labels
        self._quiet_seconds = config.train.quiet_seconds
        self._settings = f"{config.move.target_precision} {config.train.candidates}"
        self._tell = tell
        self._wall = wall
        self._changes: int | None = None
        self._changed_at = 0.0
        self._asked_meanwhile = False
        self._trying: tuple[str, int] | None = None
        self._not_before = 0.0
        self._unusable: str | None = None

    @property
    def training(self) -> bool:
        """Tell whether a training runs now."""
        return self._trying is not None

    def notice(self, now: float) -> None:
        """See whether labels changed since the last look: a training waits until they have not for a while."""
        changes = self._store.label_changes()
        if self._changes not in {None, changes}:
            self._changed_at = now
        self._changes = changes

    def ask(self, why: str) -> None:
        """Train as soon as every labelled video has its features, without waiting for quiet; kept over restarts."""
        self._asked_meanwhile = self.training
        self._write(_ASKED, why)

    def due(self, now: float) -> str | None:
        """Return why a training is due now; None: none is."""
        if self.training or now < self._not_before or self._store.backlog.labels_wait():
            return None
        if asked := self._store.database.note(_ASKED):
            return asked
        changes = self._store.label_changes()
        if changes and self._store.database.note(_TRIED) is None:
            return "the first labels"
        if changes >= self._after_labels and now - self._changed_at >= self._quiet_seconds:
            return f"{changes} label changes"
        return None

    def wakes_at(self) -> float | None:
        """Return when labels will not have changed for long enough; None: no training waits for that."""
        if self.training or self._store.label_changes() < self._after_labels or self._store.backlog.labels_wait():
            return None
        return max(self._changed_at + self._quiet_seconds, self._not_before)

    def see_rules(self) -> None:
        """Ask for a training if a folder became a category, is none any more, or wants another precision."""
        rules = str(self._rules())
        seen = self._store.database.note(_RULES)
        if rules != seen:
            with self._store.transaction():
                self._write(_RULES, rules)
                if seen is not None:
                    self.ask("what a folder says of itself changed")

    def payload(self, why: str) -> TrainingPayload | None:
        """Return what a training needs to know; None: the last one learned from the same."""
        except_in, targets, others = self._rules()
        digest = self._digest(except_in - others, targets, others)
        names = names_of(self._store, self._library)
        payload = TrainingPayload(digest, self._store.space, except_in, targets, others, names)
        # It counts as tried once its result is noted: a training that a kill cuts short is begun again.
        trying = (payload.digest, self._store.label_changes())
        if self._store.database.note(_TRIED) == payload.digest:
            with self._store.transaction():
                self._note_tried(*trying)
            return None
        self._trying = trying
        self._tell("retrain_due", why=why)
        return payload

    def learned(self, report: Mapping[str, Any], problem: str | None, *, now: float) -> bool:
        """Note the result of a training; return whether another classifier is to serve, which `load` lets it.

        IndexUnavailable: the same result is to be noted again.
        """
        told = {key: report.get(key) for key in ("kind", "labels", "accuracy", "coverage", "seconds")}
        told |= {key: report.get(key, 0) for key in ("would_move_more", "would_move_fewer")}
        try:
            with self._store.transaction():
                unused = self._note_result(report, problem, told)
        except IndexUnavailable:
            raise
        except Exception as nonsense:
            self.lose(f"its result cannot be used: {type(nonsense).__name__}: {nonsense}", now=now)
            raise
        self._trying, self._asked_meanwhile = None, False
        self._remove(unused)
        if problem is not None and self._decision_inputs.classifier is not None:
            return False
        # Without one, what served before may have been out of reach for a moment only.
        return problem is None or (self._read() is None and self._decision_inputs.classifier is not None)

    def _note_result(self, report: Mapping[str, Any], problem: str | None, told: Mapping[str, Any]) -> Sequence[str]:
        """Note the result of a training, inside the caller's transaction; return files that are needed no more."""
        if self._trying is not None:
            self._note_tried(*self._trying)
        if report.get("no_numbers"):
            self._tell("left_out_of_training", paths=report["no_numbers"], why="their features hold no numbers")
        self._write(PROBLEM, problem or "")
        if problem is not None:
            self._tell("trained", **told, adopted=False, why=problem)
            return ()
        adopted = AdoptedClassifier(report["digest"], self._wall(), report, report["file"])
        unused = self._store.classifiers.adopt(adopted, self._store.space)
        self._tell("trained", **told, adopted=True)
        return tuple(unused)

    def roll_back(self) -> None:
        """Go back to the classifier before this one, which `load` lets serve; the same labels are not learned again.

        Raises NoneBefore.
        """
        with self._store.transaction():
            unused = self._store.classifiers.drop()
            if unused is None:
                raise NoneBefore("there is no classifier before this one")
        self._remove(unused)

    def lose(self, why: str, *, now: float) -> None:
        """Note that the training child was lost: the same labels are learned from after a while."""
        self._trying, self._asked_meanwhile = None, False
        self._not_before = now + AGAIN_SECONDS
        self._tell("training_lost", why=why)

    def load(self) -> None:
        """Let the adopted classifier serve; where its file is missing or damaged, ask for a training instead."""
        problem = self._read()
        if problem is not None and problem != self._unusable:
            with self._store.transaction():
                self._tell("classifier_unusable", why=problem)
                self._write(_TRIED, "")
                self.ask("the classifier's file could not be used")
        self._unusable = problem

    def _remove(self, unused: Iterable[str]) -> None:
        for file in unused:
            (self._state / Path(file).name).unlink(missing_ok=True)

    def _read(self) -> str | None:
        """Load the classifier that serves, if there is one; return why its file cannot be used, else None."""
        problem = self._decision_inputs.classifier = None
        serving = self._store.classifiers.serving()
        if serving is not None:
            try:
                self._decision_inputs.classifier = Classifier.load(self._state / serving.file)
                problem = None if self._decision_inputs.classifier else "its file is missing"
            except UnusableClassifier as damage:
                problem = str(damage)
        self._decision_inputs.refresh()
        return problem

    def _rules(self) -> tuple[frozenset[int], dict[int, float], frozenset[int]]:
        """Return, by number: folders that are no categories, precisions that folders ask for, folders of outsiders."""
        standing = {known.number: known.name for known in self._store.categories.all() if known.present}
        rules = {number: self._library.rules(name) for number, name in standing.items()}
        return (
            frozenset(number for number, rule in rules.items() if rule.role is not Role.CATEGORY),
            {number: rule.target_precision for number, rule in rules.items() if rule.target_precision is not None},
            frozenset(number for number, rule in rules.items() if rule.role is Role.OTHER),
        )

    def _digest(self, except_in: frozenset[int], targets: Mapping[int, float], others: frozenset[int]) -> str:
        """Hash all that a training depends on: labels that have a vector, the settings, the rules of folders."""
        said = f"{self._store.space.key}\n{self._settings}\n{sorted(targets.items())}\n{sorted(others)}\n"
        state = blake2b(said.encode(), digest_size=16)
        for fingerprint, number, _ in self._store.features.labels(self._store.space):
            if number not in except_in:
                state.update(f"{fingerprint} {number}\n".encode())
        return state.hexdigest()

    def _note_tried(self, digest: str, changes: int) -> None:
        """Note that these labels were learned from; what changed or was asked for meanwhile still counts."""
        self._write(_TRIED, digest)
        self._store.count_label_changes(-changes)
        if not self._asked_meanwhile:
            self._write(_ASKED, "")

    def _write(self, key: str, value: str) -> None:
        self._store.database.write_note(key, value)
