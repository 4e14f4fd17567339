"""What a training tells of each category: how it fared, and why it gets no automatic moves."""

from __future__ import annotations

from sortd.domain import Policy
from sortd.judgement.calibrate import CategoryReport, Evidence, precision_bound


def category_reports(evidence: Evidence, policy: Policy) -> tuple[CategoryReport, ...]:
    """Tell how each category fared under the policy."""
    moved = evidence.moved(policy) & evidence.inside
    reports = []
    for number, name in enumerate(evidence.categories):
        own = evidence.truth == number
        here = moved & (evidence.predicted == number)
        n_moved, n_wrong = int(here.sum()), int((here & ~evidence.correct).sum())
        reports.append(
            CategoryReport(
                name=name,
                labels=int(evidence.labels[number]),
                accuracy=float(evidence.correct[own].mean()) if own.any() else None,
                moved=n_moved,
                wrong=n_wrong,
                precision_bound=precision_bound(n_moved, n_wrong),
                min_confidence=policy.min_confidence.get(name),
                why="" if name in policy.min_confidence else _why_not(evidence, policy, number),
            )
        )
    return tuple(reports)


def _why_not(evidence: Evidence, policy: Policy, number: int) -> str:
    labels, distinct = int(evidence.labels[number]), int(evidence.distinct[number])
    if labels < policy.min_examples:
        return f"it has {_count(labels, 'example')}; automatic moves begin at {policy.min_examples}"
    if distinct < policy.min_examples:
        return f"its {labels} examples are copies of {_count(distinct, 'video')}; moves begin at {policy.min_examples}"
    here = (evidence.predicted == number) & evidence.inside
    wrong = int((here & ~evidence.correct).sum())
    if wrong:
        return f"of the {_count(int(here.sum()), 'known video')} taken for it, {wrong} belong elsewhere"
    tested = int(evidence.inside.sum())
    least = min(policy.min_confidence.values(), default=1.0)
    strangers = (evidence.predicted == number) & ~evidence.inside & (evidence.confidence >= least)
    if strangers.any():
        return "videos that do not belong there would look too much like it"
    return f"only {tested} known videos could be used to test the sorter: too few to promise its precision"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
