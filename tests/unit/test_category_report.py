from __future__ import annotations

import numpy as np
import pytest

from sortd.domain.category import CategoryName
from sortd.domain.video import Fingerprint
from sortd.judgement.calibration import CalibrationData, CategoryReport, Suspect, policy_for
from sortd.judgement.category_report import MOST_SUSPECTS, category_reports, suspects
from tests.evidence import CATS, DOGS, on_cats_and_dogs

CLIPS = [Fingerprint(name) for name in ("a", "b", "c", "d")]


def evidence(
    *groups: tuple[CategoryName, CategoryName, int, float], distinct: tuple[int, int] | None = None
) -> CalibrationData:
    """Of each group: where so many videos belong, what they are taken for, and how surely."""
    numbers = {CATS: 0, DOGS: 1}
    truth = np.repeat([numbers[own] for own, *_ in groups], [count for *_, count, _ in groups])
    predicted = np.repeat([numbers[taken] for _, taken, *_ in groups], [count for *_, count, _ in groups])
    confidence = np.repeat([sure for *_, sure in groups], [count for *_, count, _ in groups]).astype(np.float32)
    return on_cats_and_dogs(truth, predicted, confidence, distinct=distinct)


def reports(known: CalibrationData, targets: dict[CategoryName, float] | None = None) -> tuple[CategoryReport, ...]:
    policy = policy_for(known, target_precision=0.95, targets=targets or {}, min_examples=4)
    return category_reports(known, policy, target_precision=0.95, targets=targets or {})


def test_of_a_category_that_moves_nothing_is_said_but_how_it_fared() -> None:
    cats, dogs = reports(evidence((CATS, CATS, 40, 0.9), (DOGS, DOGS, 2, 0.9)))
    assert (cats.why, cats.moved, cats.wrong, cats.like) == ("", 40, 0, None)
    assert (dogs.why, dogs.min_confidence) == ("2 labels, moves begin near 4", None)


def test_six_faultless_labels_in_each_of_two_folders_move_from_ten_on_for_twenty_are_more_than_nineteen() -> None:
    assert [one.why for one in reports(evidence((CATS, CATS, 6, 0.9), (DOGS, DOGS, 6, 0.9)))] == [
        "6 labels, moves begin near 10"
    ] * 2
    enough = reports(evidence((CATS, CATS, 10, 0.9), (DOGS, DOGS, 10, 0.9)))
    assert [one.why for one in enough] == ["", ""]


def test_a_folder_that_asks_for_more_is_told_of_more() -> None:
    # 99 faultless ones would do, and there are 80: the 19 that are missing are shared by two folders.
    cats, dogs = reports(evidence((CATS, CATS, 40, 0.9), (DOGS, DOGS, 40, 0.9)), {CATS: 0.99})
    assert (cats.why, dogs.why) == ("40 labels, moves begin near 50", "")


def test_of_a_folder_whose_examples_are_all_too_unsure_to_move_it_is_said_that_more_help() -> None:
    cats, dogs = reports(evidence((CATS, CATS, 90, 0.9), (DOGS, CATS, 5, 0.7), (DOGS, DOGS, 5, 0.6)))
    assert dogs.min_confidence == cats.min_confidence
    assert (cats.why, dogs.why) == (
        "",
        "none of its examples was surely recognised when it was held out: more of them help",
    )


def test_copies_of_one_video_do_not_count() -> None:
    _, dogs = reports(evidence((CATS, CATS, 40, 0.9), (DOGS, DOGS, 9, 0.9), distinct=(40, 1)))
    assert dogs.why == "its 9 examples are copies of 1 video; moves begin at 4"


def test_where_the_others_move_a_look_alike_is_named() -> None:
    _, dogs = reports(evidence((CATS, CATS, 90, 0.9), (CATS, DOGS, 5, 0.95), (DOGS, DOGS, 5, 0.6)))
    assert dogs.why == "of the 10 known videos taken for it, 5 belong elsewhere"
    assert dogs.like == CATS


def test_no_number_is_told_where_no_number_would_help() -> None:
    cats, dogs = reports(evidence((CATS, DOGS, 3, 0.9), (DOGS, CATS, 5, 0.9)))
    assert cats.why == "3 labels, moves begin at 4 at the earliest"
    assert (dogs.why, dogs.like) == ("of the 3 known videos taken for it, 3 belong elsewhere", CATS)


def test_of_two_folders_a_label_three_times_likelier_in_the_other_is_suspected_the_surest_first() -> None:
    known = evidence((CATS, CATS, 2, 0.9), (DOGS, CATS, 2, 0.98))
    likely = np.array([[0.9, 0.1], [0.24, 0.76], [0.74, 0.26], [0.996, 0.004]], np.float32)
    assert suspects(known, likely, videos=CLIPS, held=np.ones(4, bool)) == (
        Suspect(CLIPS[3], DOGS, CATS, pytest.approx(0.996)),
        Suspect(CLIPS[1], CATS, DOGS, pytest.approx(0.76)),
    )


def test_a_label_that_could_not_be_held_out_is_not_mistaken_for_another() -> None:
    known = evidence((CATS, CATS, 1, 0.9), (DOGS, DOGS, 2, 0.9))
    likely = np.array([[0.9, 0.1], [0.1, 0.9], [0.999, 0.001]], np.float32)
    found = suspects(known, likely, videos=CLIPS, held=np.array([True, False, True, True]))
    assert [(one.fingerprint, one.home, one.like) for one in found] == [(CLIPS[3], DOGS, CATS)]


def test_who_has_too_many_of_them_is_told_of_the_surest() -> None:
    known = evidence((CATS, DOGS, 30, 0.9))
    likely = np.tile(np.array([[0.001, 0.999]], np.float32), (30, 1))
    clips = [Fingerprint(str(number)) for number in range(30)]
    assert len(suspects(known, likely, videos=clips, held=np.ones(30, bool))) == MOST_SUSPECTS
