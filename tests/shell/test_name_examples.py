from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sortd.domain.category import CategoryName
from sortd.domain.feature import Vector
from sortd.learn.classifier import Classifier
from sortd.learn.name_examples import name_rows
from sortd.learn.training_data import TrainingSet
from tests.shell.test_train import SPACE, Families, learn, moved

KINDS = ("beach", "cats", "chess", "cooking", "surfing", "trains")
WIDTH = SPACE.parts[0].dim


def read(families: Families, *, clearness: float = 1.0) -> dict[CategoryName, Vector]:
    """Read each kind's name: far from all pictures, and a little nearer to those of its kind."""
    random = np.random.default_rng(5)
    common = 30 * random.normal(size=WIDTH)
    return {
        CategoryName(name): (common + clearness * centre[:WIDTH] + random.normal(size=WIDTH)).astype(np.float32)
        for name, centre in families.centres.items()
    }


def hard(names: Mapping[str, int]) -> tuple[Families, TrainingSet]:
    """Folders of which single videos tell little."""
    families = Families(KINDS, spread=2.0)
    return families, families.filed(**names)


def recognised(classifier: Classifier, families: Families, name: str) -> int:
    return [said.best for said in classifier.predict_all(families.clips(name, 50))].count(CategoryName(name))


def test_a_new_folder_is_known_by_its_name_from_its_first_video_on() -> None:
    families, data = hard(dict.fromkeys(KINDS, 10) | {"cats": 1})
    blind, told = learn(data), learn(replace(data, names=read(families)))
    assert recognised(told, families, "cats") >= recognised(blind, families, "cats") + 15


def test_a_name_is_no_video_and_gives_no_folder_leave_to_move() -> None:
    families = Families(KINDS)
    data = replace(families.filed(**dict.fromkeys(KINDS, 10) | {"cats": 3}), names=read(families))
    classifier = learn(data)
    assert set(classifier.policy.min_confidence) == set(KINDS) - {"cats"}
    assert classifier.examples["cats"] == 3
    assert len(classifier.vectors) == len(data.vectors)
    assert not moved(classifier, families.clips("cats", 20))["cats"]
    assert {clip: name for clip, name in classifier.answers.items() if name}.keys() <= set(data.fingerprints)


def test_with_many_videos_a_name_hardly_matters_even_where_it_misleads() -> None:
    families = Families(KINDS)
    names = read(families)
    crossed = names | {
        CategoryName("cats"): names[CategoryName("chess")],
        CategoryName("chess"): names[CategoryName("cats")],
    }
    classifier = learn(replace(families.filed(**dict.fromkeys(KINDS, 30)), names=crossed))
    assert recognised(classifier, families, "cats") >= 48
    assert moved(classifier, families.clips("cats", 50))["cats"] >= 45


def test_names_that_say_nothing_of_the_videos_are_not_believed() -> None:
    families, data = hard(dict.fromkeys(KINDS, 5))
    meaningless = replace(data, names=read(families, clearness=0.0))
    assert learn(meaningless).predict_all(data.vectors) == learn(data).predict_all(data.vectors)


def test_one_name_alone_and_names_without_pictures_tell_nothing() -> None:
    families, data = hard(dict.fromkeys(KINDS, 5))
    names = read(families)
    owners = np.repeat(np.arange(len(KINDS)), 5)
    one = {CategoryName("cats"): names[CategoryName("cats")]}
    sound_only = data.vectors.copy()
    sound_only[:, :WIDTH] = 0
    for known, vectors in ((one, data.vectors), (names, sound_only), ({}, data.vectors)):
        numbers, rows = name_rows(known, [*map(CategoryName, KINDS)], owners, vectors, space=SPACE)
        assert len(numbers) == len(rows) == 0


def test_a_name_lies_among_the_pictures_and_is_silent() -> None:
    families, data = hard(dict.fromkeys(KINDS, 10))
    owners = np.repeat(np.arange(len(KINDS)), 10)
    numbers, rows = name_rows(read(families), [*map(CategoryName, KINDS)], owners, data.vectors, space=SPACE)
    assert numbers.tolist() == list(range(len(KINDS)))
    assert not rows[:, WIDTH:].any()
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert ((rows @ data.vectors.T).max(axis=1) > 0.3).all()
