"""What is learned anew takes the place of what serves only if it is no worse, by the owner's labels of today."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pytest

from sortd.learn.classifier import Classifier, UnusableClassifier
from tests.fakes import FakeExtractor
from tests.stories.conftest import FAMILIES, taught


def rot(home, folders=FAMILIES, number=10):
    """Let the vectors of the labels decay in the index, each into that of something else."""
    for folder in folders:
        for n in range(number):
            sighting = home.store.videos.known(PurePath(f"{folder}/{n}.mp4"))
            for feature in FakeExtractor().extract(home.space.parts, f"rotten{folder}{n}".encode()):
                home.store.features.store(sighting.fingerprint, feature)


def more(family, number=5, first=200):
    return {family: {f"more {n}.mp4": f"{family} {first + n}".encode() for n in range(number)}}


def files_of(home):
    return sorted(path.name for path in home.guard.state.glob("classifier-*"))


def fails_once(load):
    failures = [UnusableClassifier("the disk does not answer")]

    def attempt(path):
        if failures:
            raise failures.pop()
        return load(path)

    return attempt


def test_what_is_learned_from_rotten_vectors_does_not_take_the_place_of_what_serves(household):
    home = household(taught())
    serving, files = home.store.classifiers.serving(), files_of(home)
    rot(home)
    home.files(more("cats"))
    refused = home.events("trained")[-1]
    assert (refused["adopted"], refused["labels"]) == (False, 45)
    assert "that the classifier before has right" in refused["why"]
    assert home.store.classifiers.serving() == serving
    assert files_of(home) == files
    home.files({"new.mp4": b"cats 100"})
    assert "new.mp4" in home.tree["cats"]


def test_what_was_refused_is_not_tried_again_until_labels_change(household):
    home = household(taught())
    rot(home)
    home.files(more("cats"))
    home.restart()
    home.engine.retraining.ask("again")
    home.settle()
    assert [line["adopted"] for line in home.events("trained")] == [True, False]
    home.files(more("dogs"))
    assert len(home.events("trained")) == 3


def test_what_could_not_be_read_for_a_moment_goes_on_where_nothing_better_is_learned(household, monkeypatch):
    home = household(taught())
    rot(home)
    home.kill()
    monkeypatch.setattr(Classifier, "load", fails_once(Classifier.load))
    home.start()
    home.settle()
    assert [line["adopted"] for line in home.events("trained")] == [True, False]
    assert len(home.events("classifier_unusable")) == 1
    home.files({"new.mp4": b"cats 100"})
    assert "new.mp4" in home.tree["cats"]


@pytest.mark.parametrize("rules", [b"target_precision = 0.9", b'role = "ignore"'])
def test_who_asks_for_something_else_gets_it(household, rules):
    home = household(taught())
    rot(home)
    home.files({"sea": {".sortd.toml": rules}})
    assert [line["adopted"] for line in home.events("trained")] == [True, True]


def test_a_new_folder_is_learned_whatever_becomes_of_the_others(household):
    home = household(taught())
    rot(home)
    home.files(more("weddings", number=10))
    assert [line["adopted"] for line in home.events("trained")] == [True, True]


def test_the_owner_who_gives_two_folders_each_others_meaning_is_followed(household):
    home = household(taught())
    for n in range(10):
        for here, there in (("cats", "dogs"), ("dogs", "cats")):
            (home.root / here / f"{n}.mp4").rename(home.root / there / f"was {here} {n}.mp4")
    home.settle()
    assert home.events("trained")[-1]["adopted"]
    home.files({"new.mp4": b"cats 100"})
    assert "new.mp4" in home.tree["dogs"]


def test_a_cat_on_the_keyboard_is_believed_but_moves_nothing_and_can_be_taken_back(household):
    home = household(taught())
    cat = np.random.default_rng(0)
    for family in FAMILIES:
        for n in range(10):
            (home.root / family / f"{n}.mp4").rename(home.root / cat.choice(FAMILIES) / f"{family} {n}.mp4")
    home.settle()
    assert home.events("trained")[-1]["adopted"]
    home.files({"new.mp4": b"cats 100"})
    assert home.tree["new.mp4"] == b"cats 100"
    home.ask(do="rollback")
    assert "new.mp4" in home.tree["cats"]


def test_what_was_filed_stays_whatever_is_learned_later(household):
    home = household(taught(), train={"candidates": ["knn", "logreg", "mlp"]})  # dogs become two kinds of videos
    home.files({f"new {n}.mp4": f"cats {100 + n}".encode() for n in range(3)})
    placed = {name for name in home.tree["cats"] if name.startswith("new")}
    assert len(placed) == 3
    for n in range(10):
        (home.root / "cats" / f"{n}.mp4").rename(home.root / "dogs" / f"cat {n}.mp4")
    home.files(more("sea", number=10) | {"cats": {f"wedding {n}.mp4": f"weddings {n}".encode() for n in range(10)}})
    assert home.events("trained")[-1]["adopted"]
    home.files({"late.mp4": b"cats 300"})
    assert "late.mp4" in home.tree["dogs"]
    assert placed <= home.tree["cats"].keys()
