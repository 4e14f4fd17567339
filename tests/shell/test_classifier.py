from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sortd.domain.category import CategoryName
from sortd.domain.feature import FeatureSpace, Matrix, SpacePart
from sortd.domain.video import Fingerprint
from sortd.learn.classifier import Classifier, UnusableClassifier, likeness, unit_parts
from sortd.learn.train import train
from sortd.learn.training_data import TrainingSet

SPACE = FeatureSpace((SpacePart("visual", "v1", 16), SpacePart("speech", "s1", 8)))
UNDECODABLE = CategoryName("caf\udce9")


def some_vectors(number: int, *, seed: int = 0) -> Matrix:
    return unit_parts(np.random.default_rng(seed).normal(size=(number, SPACE.dim)).astype(np.float32), SPACE)


def trained(kind: str = "logreg", *, names: tuple[str, ...] = ("cats", "dogs", UNDECODABLE)) -> Classifier:
    vectors = some_vectors(30)
    owners = np.arange(30) % len(names)
    vectors[np.arange(30), owners] += 3
    data = TrainingSet(
        SPACE,
        unit_parts(vectors, SPACE),
        [CategoryName(names[i]) for i in owners],
        [Fingerprint(f"{i:02}") for i in range(30)],
    )
    return train(data, target_precision=0.9, targets={}, candidates=[kind], seed=0)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return trained()


@pytest.mark.parametrize("kind", ["knn", "logreg", "mlp"])
def test_what_was_learned_survives_a_restart(tmp_path: Path, kind: str) -> None:
    classifier = trained(kind)
    classifier.save(tmp_path / "classifier.npz")
    again = Classifier.load(tmp_path / "classifier.npz")
    assert again is not None
    assert again.predict_all(some_vectors(5, seed=1)) == classifier.predict_all(some_vectors(5, seed=1))
    for name in ("space", "categories", "kind", "temperature", "policy", "examples", "report", "answers", "closeness"):
        assert getattr(again, name) == getattr(classifier, name)
    assert UNDECODABLE in again.categories
    assert UNDECODABLE in again.policy.min_confidence


def test_saving_leaves_one_file_and_replaces_the_last(tmp_path: Path, classifier: Classifier) -> None:
    path = tmp_path / "classifier.npz"
    path.write_bytes(b"the last one")
    classifier.save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert Classifier.load(path) is not None


def test_before_the_first_training_there_is_none(tmp_path: Path) -> None:
    assert Classifier.load(tmp_path / "classifier.npz") is None


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again: by touching the file."""
        return Path.touch, (self.path,)


def test_a_planted_pickle_does_not_run(tmp_path: Path) -> None:
    path, harm = tmp_path / "classifier.npz", tmp_path / "harm"
    path.write_bytes(pickle.dumps(Planted(harm)))
    with pytest.raises(UnusableClassifier):
        Classifier.load(path)
    with path.open("wb") as file:
        np.savez(file, header=np.array([Planted(harm)], dtype=object))
    with pytest.raises(UnusableClassifier):
        Classifier.load(path)
    assert not harm.exists()


def test_a_file_cut_short_anywhere_is_no_classifier(tmp_path: Path, classifier: Classifier) -> None:
    path = tmp_path / "classifier.npz"
    classifier.save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(UnusableClassifier):
            Classifier.load(path)


def test_a_flipped_byte_never_passes_for_another_classifier(tmp_path: Path, classifier: Classifier) -> None:
    path = tmp_path / "classifier.npz"
    classifier.save(path)
    whole, question = path.read_bytes(), some_vectors(3, seed=1)
    unusable = 0
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            again = Classifier.load(path)
        except UnusableClassifier:
            unusable += 1
        else:
            assert again is not None
            assert again.predict_all(question) == classifier.predict_all(question)
    assert unusable


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"just some text", b"\x93NUMPY\x01\x00"])
def test_another_programs_file_is_no_classifier(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "classifier.npz"
    path.write_bytes(content)
    with pytest.raises(UnusableClassifier):
        Classifier.load(path)


def rewritten(path: Path, **changes: Any) -> None:
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes()) | changes.pop("header", {})
    arrays |= {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)} | changes
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"schema": 3}},
        {"header": {"schema": 5}},
        {"header": {"answers": 5}},
        {"header": {"chances": [1.0]}},
        {"header": {"categories": ["cats"]}},
        {"header": {"temperature": "hot"}},
        {"mean": np.zeros(3, np.float32)},
        {"owners": np.zeros(30, np.int32)},
        {"weights0": np.zeros((24, 2), np.float32)},
        {"bias0": np.full(3, np.nan, np.float32)},
    ],
)
def test_a_file_from_the_future_or_one_that_does_not_fit_together_is_no_classifier(
    tmp_path: Path, classifier: Classifier, changes: dict[str, Any]
) -> None:
    path = tmp_path / "classifier.npz"
    classifier.save(path)
    rewritten(path, **changes)
    with pytest.raises(UnusableClassifier):
        Classifier.load(path)


def test_the_nearest_examples_come_with_their_category(classifier: Classifier) -> None:
    own = classifier.vectors[7].astype(np.float32)
    prediction = classifier.predict(own)
    assert prediction.best == classifier.categories[classifier.owners[7]]
    assert prediction.distance == pytest.approx(0, abs=1e-3)


def test_a_video_with_neither_picture_nor_sound_is_like_nothing(classifier: Classifier) -> None:
    prediction = classifier.predict(np.zeros(SPACE.dim, np.float32))
    assert prediction.distance == 1
    assert sum(p for _, p in prediction.ranking) <= 1 + 1e-6


def test_two_silent_videos_are_not_alike_for_being_silent() -> None:
    one, other = some_vectors(2)
    quiet_one, quiet_other = one.copy(), other.copy()
    quiet_one[16:], quiet_other[16:] = 0, 0
    likenesses = likeness(np.stack([one, quiet_one]), np.stack([other, quiet_other]), SPACE)
    pictures, sounds = one[:16] @ other[:16], one[16:] @ other[16:]
    expected = [[(pictures + sounds) / 2, pictures], [pictures, pictures]]
    np.testing.assert_allclose(likenesses, expected, atol=1e-6)


def test_videos_that_share_no_part_have_nothing_in_common() -> None:
    picture, sound = some_vectors(2)
    picture[16:], sound[:16] = 0, 0
    assert likeness(picture[None], sound[None], SPACE) == 0
