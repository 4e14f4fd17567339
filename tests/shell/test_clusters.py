"""Which unsorted videos are of one kind: with the real clustering, on vectors whose kinds are known."""

from __future__ import annotations

import numpy as np
import pytest

from sortd.domain.feature import FeatureSpace, SpacePart
from sortd.learn.clusters import groups_of

PICTURE, SOUND = slice(0, 64), slice(64, 128)
SPACE = FeatureSpace((SpacePart("visual", "1", 64), SpacePart("speech", "1", 64)))
NOTHING = np.zeros((0, 128), np.float32)


def kind(number, count, *, noise=0.6, seed=0):
    """So many videos around one direction of their own, in picture and sound."""
    centre = np.random.default_rng(1000 + number).normal(size=128)
    rows = centre + noise * np.random.default_rng([seed, number]).normal(size=(count, 128))
    return rows.astype(np.float32)


def strays(count):
    return np.concatenate([kind(100 + number, 1) for number in range(count)])


def silent(rows):
    rows = rows.copy()
    rows[:, SOUND] = 0
    return rows


def found(unsorted, filed=NOTHING):
    return [sorted(group.tolist()) for group in groups_of(unsorted, filed, space=SPACE)]


def test_each_kind_is_a_group_and_strays_are_in_none():
    assert found(np.concatenate([kind(1, 9), kind(2, 7), strays(12)])) == [list(range(9)), list(range(9, 16))]


def test_one_kind_that_is_most_of_all_is_found_too():
    assert found(np.concatenate([kind(1, 30), strays(6)])) == [list(range(30))]


def test_four_of_a_kind_are_no_group_yet():
    assert found(np.concatenate([kind(1, 4), strays(20)])) == []
    assert found(np.concatenate([kind(1, 5), strays(20)])) == [list(range(5))]


def test_copies_of_one_video_are_one_video():
    copies = np.repeat(kind(1, 2), 4, axis=0) + 1e-4 * kind(9, 8)
    assert found(np.concatenate([copies, strays(20)])) == []


def test_two_tight_groups_that_are_as_like_each_other_are_none():
    one = kind(1, 6, noise=0.02)
    assert found(np.concatenate([one, one + 0.1 * kind(2, 6, noise=0.02), strays(20)])) == []


@pytest.mark.parametrize("shift", [0, 1])
def test_noise_has_no_groups(shift):
    noise = np.random.default_rng(3).normal(size=(300, 128)).astype(np.float32) + shift
    assert found(noise) == []
    assert found(strays(60)) == []


def test_silent_videos_are_not_alike_for_being_silent():
    assert found(silent(strays(30))) == []
    assert found(np.zeros((30, 128), np.float32)) == []


def test_a_silent_video_belongs_to_those_that_it_looks_like():
    group = kind(1, 10)
    group[:3] = silent(group[:3])
    assert found(np.concatenate([group, kind(2, 8), strays(10)])) == [list(range(10)), list(range(10, 18))]


def test_what_is_like_what_is_filed_is_no_new_kind():
    unsorted = np.concatenate([kind(1, 8), kind(2, 8)])
    assert found(unsorted, kind(2, 6, seed=5)) == [list(range(8))]


def test_the_most_typical_come_first():
    group = kind(1, 8, noise=0.3)
    group[2] = kind(1, 1, noise=0.9)[0]
    (rows,) = groups_of(np.concatenate([group, strays(12)]), NOTHING, space=SPACE)
    assert rows[-1] == 2


def test_a_handful_or_nothing_at_all_is_no_group():
    assert found(NOTHING) == []
    assert found(kind(1, 1)) == []
