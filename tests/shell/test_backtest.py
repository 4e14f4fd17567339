"""`sortd evaluate --replay` against made-up streams whose outcome can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sortd.cli.evaluate_command import replay_line
from sortd.domain.category import CategoryName
from sortd.domain.feature import FeatureSpace, Matrix, SpacePart
from sortd.learn.backtest import NEVER, Rules, Stream, replayed, trainings
from sortd.learn.classifier import unit_parts

SPACE = FeatureSpace((SpacePart("visual", "1", 64),))
KINDS = ("beach", "cats", "cooking", "surfing")
RULES = Rules(target=0.95, after_labels=40, passed_over_after=5, candidates=("knn", "logreg"))
CENTRES = dict(zip((*KINDS, "trains"), np.random.default_rng(7).normal(size=(5, 64)), strict=True))


def clips(kinds: Sequence[str], *, seed: int = 0, spread: float = 0.2) -> Matrix:
    """One clip of each of these kinds, plainly unlike all others."""
    strays = np.random.default_rng(seed).normal(size=(len(kinds), 64)) * spread
    return unit_parts((np.array([CENTRES[kind] for kind in kinds]) + strays).astype(np.float32), SPACE)


def stream(looks: Sequence[str], homes: Sequence[str | None]) -> Stream:
    """Clips that came one by one; those that have a home were filed at once."""
    came = np.arange(len(looks), dtype=np.float64)
    told = np.where([home is not None for home in homes], came, NEVER)
    return Stream(SPACE, clips(looks), [None if home is None else CategoryName(home) for home in homes], came, told)


def test_nothing_moves_before_the_first_training_and_all_that_is_plain_after_it() -> None:
    looks = KINDS * 15  # the first 40 only teach; of the 20 after them each is as plain as can be
    assert replayed(stream(looks, looks), RULES) == {"filed": 20, "wrongly": 0, "left": 40, "outsiders_moved": 0}


def test_what_the_owner_files_where_it_does_not_look_to_belong_is_filed_wrongly() -> None:
    looks = [*KINDS * 10, "cats", "cats", "beach"]
    homes = [*KINDS * 10, "cats", "surfing", "surfing"]
    assert replayed(stream(looks, homes), RULES) == {"filed": 3, "wrongly": 2, "left": 40, "outsiders_moved": 0}


def test_what_belongs_nowhere_counts_apart_and_is_moved_only_where_it_looks_to_belong() -> None:
    looks = [*KINDS * 10, "cats", "trains", "cooking"]
    homes = [*KINDS * 10, "cats", None, None]
    assert replayed(stream(looks, homes), RULES) == {"filed": 2, "wrongly": 0, "left": 41, "outsiders_moved": 1}


def test_what_waits_unsorted_is_decided_again_by_every_later_classifier() -> None:
    # A cat came first of all and was filed last; an outsider that looks like one has stood there since the beginning.
    looks = ["cats", "cats", *KINDS * 10]
    waiting = stream(looks, ["cats", None, *KINDS * 10])
    waiting.told[0] = 1000.0
    assert replayed(waiting, RULES) == {"filed": 2, "wrongly": 0, "left": 40, "outsiders_moved": 1}


def test_a_label_teaches_only_what_comes_after_it() -> None:
    looks = [*KINDS * 10, *["trains"] * 20]
    for after, filed in ((40, 0), (50, 10)):  # trains met by what never saw one, and by what saw ten
        told = replayed(stream(looks, looks), replace(RULES, after_labels=after))
        assert told == {"filed": filed, "wrongly": 0, "left": 60 - filed, "outsiders_moved": 0}


def test_the_order_of_filing_not_of_the_rows_is_what_counts() -> None:
    looks = KINDS * 15
    forwards = stream(looks, looks)
    backwards = Stream(SPACE, forwards.vectors[::-1], forwards.homes[::-1], forwards.came[::-1], forwards.told[::-1])
    assert replayed(backwards, RULES) == replayed(forwards, RULES)


def test_what_it_filed_itself_does_not_make_others_passed_over() -> None:
    # Trains wait while it files what comes after them; it knows them when five were filed by hand, and files the rest.
    looks = [*KINDS * 10, *["trains"] * 30, *KINDS * 20]
    waiting = stream(looks, looks)
    waiting.told[40:55] += 60.5
    waiting.told[55:70] = 1000.0
    assert replayed(waiting, RULES) == {"filed": 105, "wrongly": 0, "left": 45, "outsiders_moved": 0}


def test_a_library_without_labels_leaves_all() -> None:
    assert replayed(stream(["cats"] * 3, [None] * 3), RULES) == {
        "filed": 0, "wrongly": 0, "left": 3, "outsiders_moved": 0
    }  # fmt: skip


@pytest.mark.parametrize(("labels", "times"), [(4, 0), (5, 1), (30, 4), (5000, 17)])
def test_the_more_labels_there_are_the_more_rarely_it_learns(labels: int, times: int) -> None:
    known = list(trainings(labels, after_labels=5))
    assert len(known) == times
    assert known[:6] == [5, 10, 15, 22, 33, 49][: len(known)]


def test_it_is_told_in_one_line() -> None:
    told = {"filed": 812, "wrongly": 9, "left": 120, "outsiders_moved": 3}
    assert replay_line(told) == ("would have filed 812, 9 wrongly and 3 that belong nowhere; 120 would have been left")
