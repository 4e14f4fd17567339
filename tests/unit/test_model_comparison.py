from __future__ import annotations

from collections.abc import Iterable

import pytest

from sortd.domain.category import CategoryName
from sortd.domain.video import Fingerprint
from sortd.judgement.model_comparison import Answers, Comparison, compare_models

CATS, DOGS = CategoryName("cats"), CategoryName("dogs")


def clips(first: int, number: int) -> list[Fingerprint]:
    return [Fingerprint(f"{first + i:03}") for i in range(number)]


def all_are(category: CategoryName | None, these: Iterable[Fingerprint]) -> Answers:
    return dict.fromkeys(these, category)


OLD, NEW = clips(0, 20), clips(500, 20)


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (0, 4), (1, 6), (10, 10), (3, 9), (20, 0)])
def test_what_may_be_chance_is_no_worse(won: int, lost: int) -> None:
    assert Comparison(won, lost).why_not is None


@pytest.mark.parametrize(("won", "lost"), [(0, 5), (1, 7), (3, 10), (100, 140)])
def test_what_chance_does_not_explain_is_worse_and_is_told_with_its_numbers(won: int, lost: int) -> None:
    why = Comparison(won, lost).why_not
    assert why is not None
    assert f"{lost} wrong" in why
    assert f"only {won}" in why


def test_only_labels_that_one_of_the_two_has_right_count() -> None:
    labels = dict.fromkeys(OLD, CATS)
    champion = {**all_are(CATS, OLD[:12]), **all_are(DOGS, OLD[12:])}
    challenger = {**all_are(DOGS, OLD[:2]), **all_are(CATS, OLD[2:15]), **all_are(DOGS, OLD[15:])}
    assert compare_models(labels, champion=champion, since={}, challenger=challenger) == Comparison(won=3, lost=2)


def test_a_label_that_either_was_not_asked_for_tells_nothing() -> None:
    labels = dict.fromkeys(OLD, CATS)
    right, wrong, unasked = all_are(CATS, OLD), all_are(DOGS, OLD), all_are(None, OLD)
    assert compare_models(labels, champion=right, since={}, challenger=unasked) == Comparison(0, 0)
    assert compare_models(labels, champion=unasked, since=wrong, challenger=right) == Comparison(0, 0)
    assert compare_models(labels, champion={}, since={}, challenger=right) == Comparison(0, 0)


def test_labels_since_count_where_they_contradict_the_champion_only() -> None:
    labels = dict.fromkeys(NEW, CATS)
    right, wrong = all_are(CATS, NEW), all_are(DOGS, NEW)
    assert compare_models(labels, champion={}, since=right, challenger=wrong) == Comparison(0, 0)
    assert compare_models(labels, champion={}, since=wrong, challenger=right) == Comparison(20, 0)


def test_the_owner_who_changes_their_mind_is_followed() -> None:
    """What was filed as dogs is filed as cats now: the champion's own held-out answers speak against it."""
    labels = dict.fromkeys(OLD, CATS)
    found = compare_models(labels, champion=all_are(DOGS, OLD), since={}, challenger=all_are(CATS, OLD))
    assert found == Comparison(20, 0)
    assert found.why_not is None
