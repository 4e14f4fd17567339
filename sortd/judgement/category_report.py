"""Report on each category after a training: how it fared, why it gets no automatic moves, what may be misfiled.

Slips: Brodley and Friedl, "Identifying mislabeled training data" (1999).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sortd.domain.category import CategoryName
from sortd.domain.decision import Policy
from sortd.domain.feature import Matrix
from sortd.domain.video import Fingerprint
from sortd.judgement.calibration import CalibrationData, CategoryReport, Suspect
from sortd.judgement.forecast import growth_until_moves, labels_until_moves
from sortd.judgement.thresholds import BoolVector, precision_bound

WIDE = 3
"""So many times likelier elsewhere, for each other category, is a label that may be a slip of the hand.

What mistakes elsewhere leave of certainty is shared by all categories, so the more there are the less is its own
one's. Measured: docs/how-it-decides.md.
"""

MOST_SUSPECTS = 20

_LEAST = 1e-9

MOVES = "moves what it is sure of"
"""`why` of a category that nothing holds back."""


def category_reports(
    evidence: CalibrationData, policy: Policy, *, target_precision: float, targets: Mapping[CategoryName, float]
) -> tuple[CategoryReport, ...]:
    """Tell how each category fared under the policy."""
    moved = evidence.moved(policy) & evidence.inside
    reports = []
    for number, name in enumerate(evidence.categories):
        own = evidence.truth == number
        here = moved & (evidence.predicted == number)
        n_moved, n_wrong = int(here.sum()), int((here & ~evidence.correct).sum())
        target = targets.get(name, target_precision)
        why, like = ("", None) if n_moved else _why_not(evidence, policy, number, target)
        reports.append(
            CategoryReport(
                name=name,
                labels=int(evidence.labels[number]),
                accuracy=float(evidence.correct[own].mean()) if own.any() else None,
                moved=n_moved,
                wrong=n_wrong,
                precision_bound=precision_bound(n_moved, n_wrong),
                min_confidence=policy.min_confidence.get(name),
                why=why,
                like=like,
            )
        )
    return tuple(reports)


def suspects(
    evidence: CalibrationData, probabilities: Matrix, *, videos: Sequence[Fingerprint], held: BoolVector
) -> tuple[Suspect, ...]:
    """Labels that may be slips of the hand, the surest first.

    `probabilities` [n, categories] are of the same n; `videos` are all labels, `held` tells which of them could be held
    out.
    """
    tested = [video for video, was_held in zip(videos, held[: len(videos)], strict=True) if was_held]
    truth, others = evidence.truth[evidence.inside], probabilities[evidence.inside]
    rows = np.arange(len(truth))
    own = others[rows, truth]
    others[rows, truth] = 0
    like, most = others.argmax(axis=1), others.max(axis=1)
    odds = most / np.maximum(own, _LEAST)
    return tuple(
        Suspect(tested[row], evidence.categories[truth[row]], evidence.categories[like[row]], float(most[row]))
        for row in np.argsort(-odds, kind="stable")[:MOST_SUSPECTS].tolist()
        if odds[row] >= WIDE * (len(evidence.categories) - 1)
    )


def _why_not(evidence: CalibrationData, policy: Policy, number: int, target: float) -> tuple[str, CategoryName | None]:
    """Why a category gets no moves and what would help, and the category it is mixed up with, if that is why."""
    if evidence.categories[number] in policy.min_confidence:
        return "none of its examples was surely recognised when it was held out: more of them help", None
    labels, distinct, least = int(evidence.labels[number]), int(evidence.distinct[number]), policy.min_examples
    if distinct < least <= labels:
        return f"its {labels} examples are copies of {_count(distinct, 'video')}; moves begin at {least}", None
    taken = (evidence.predicted == number) & evidence.inside
    wrong = taken & ~evidence.correct
    told = f"of the {_count(int(taken.sum()), 'known video')} taken for it, {int(wrong.sum())} belong elsewhere"
    if wrong.any() and policy.min_confidence and labels >= least:
        return told, _most_of(evidence, wrong)
    enough = _enough(evidence, policy, number, target)
    if enough is not None and enough > labels:
        return f"{_count(labels, 'label')}, moves begin near {enough}", None
    if labels < least:
        return f"{_count(labels, 'label')}, moves begin at {least} at the earliest", None
    if wrong.any():
        return told, _most_of(evidence, wrong)
    strangers = (evidence.predicted == number) & ~evidence.inside
    if strangers.any():
        return "videos that do not belong there would look too much like it", None
    return "too many known videos are taken for those of other categories to promise its precision", None


def _enough(evidence: CalibrationData, policy: Policy, number: int, target: float) -> int | None:
    """With how many labels its moves may begin, were those of all that pool with it to grow alike; None: no telling."""
    pooled = np.array([not policy.min_confidence or name in policy.min_confidence for name in evidence.categories])
    pooled[number] = True
    pool = pooled[evidence.predicted]
    growth = growth_until_moves(evidence.confidence[pool], evidence.correct[pool], evidence.weights[pool], target)
    total = int(evidence.labels[pooled].sum())
    enough = labels_until_moves(int(evidence.labels[number]), total, int(pooled.sum()), growth)
    return None if enough is None else max(enough, policy.min_examples)


def _most_of(evidence: CalibrationData, which: BoolVector) -> CategoryName:
    """The category in which most of these belong."""
    return evidence.categories[int(np.bincount(evidence.truth[which]).argmax())]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
