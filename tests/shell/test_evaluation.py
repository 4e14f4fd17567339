"""What `sortd evaluate` tells, against files of made-up vectors whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sortd.cli.evaluate_command import lines
from sortd.learn.embeddings_file import Embeddings, UnusableEmbeddings
from sortd.learn.evaluation import Drawn, Plan, measured, told

KINDS = ("beach", "cats", "cooking", "surfing", "trains")
CANDIDATES = ("knn", "logreg")


def rows(*, each: int = 20, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Make so many rows of each kind around its centre."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(KINDS), 48))
    numbers = np.repeat(np.arange(len(KINDS)), each)
    return (centres[numbers] + 0.4 * random.normal(size=(len(numbers), 48))).astype(np.float32), numbers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    vectors, numbers = rows(each=40)
    split = np.tile([1, 1, 1, 2], len(numbers) // 4)
    np.savez(tmp_path / "file.npz", X=vectors, y=np.array(KINDS)[numbers], split=split)
    return tmp_path / "file.npz"


def test_plain_kinds_are_moved_rightly(file: Path) -> None:
    told = measured(Embeddings.read(file), Plan(per_category=12, draws=2, candidates=CANDIDATES))
    assert len(told["draws"]) == 2
    assert told["kept"] == 1
    assert told["mean"]["accuracy"] == told["mean"]["precision"] == 1
    assert told["mean"]["coverage"] > 0.8
    assert told["mean"]["oracle_coverage"] == 1
    assert told["mean"]["outsiders_moved"] is None
    assert [category["name"] for category in told["categories"]] == list(KINDS)


def test_a_category_that_is_never_filed_is_an_outsider(file: Path) -> None:
    plan = Plan(per_category=12, draws=1, outsiders=("trains",), passed_over=5, candidates=CANDIDATES)
    told = measured(Embeddings.read(file), plan)
    assert "trains" not in [category["name"] for category in told["categories"]]
    assert told["mean"]["outsiders_moved"] is not None


def test_both_layouts_and_numbers_for_names_say_the_same(file: Path, tmp_path: Path) -> None:
    vectors, numbers = rows(each=40)
    train = np.tile([True, True, True, False], len(numbers) // 4)
    parts = {"X_train": vectors[train], "y_train": numbers[train], "X_test": vectors[~train], "y_test": numbers[~train]}
    np.savez(tmp_path / "other.npz", class_names=np.array(KINDS), **parts)
    other = Embeddings.read(tmp_path / "other.npz")
    assert other.called(["trains", "2"]) == ("4", "2")
    plan = Plan(per_category=8, draws=1, candidates=("knn",))
    assert measured(other, plan)["mean"]["accuracy"] == measured(Embeddings.read(file), plan)["mean"]["accuracy"]


def test_minus_one_is_an_outsider_and_the_split_is_drawn_where_there_is_none(tmp_path: Path) -> None:
    vectors, numbers = rows()
    np.savez(tmp_path / "file.npz", X=vectors, y=np.where(numbers == 4, -1, numbers))
    told = measured(Embeddings.read(tmp_path / "file.npz"), Plan(draws=1, candidates=CANDIDATES))
    assert [category["name"] for category in told["categories"]] == ["0", "1", "2", "3"]
    assert told["draws"][0]["outsiders_moved"] is not None


def test_the_report_is_told_in_lines(file: Path) -> None:
    told = measured(Embeddings.read(file), Plan(per_category=8, draws=2, candidates=("knn",)))
    text = list(lines(told))
    assert text[0].split()[:3] == ["draw", "accuracy", "coverage"]
    assert text[3].split()[0] == "mean"


def test_a_category_that_is_called_by_a_number_is_told_from_a_count() -> None:
    moved = np.array([True, True, True, False])
    one = Drawn(np.array(["7", "7", "8", "8"]), np.array(["7", "7", "7", "8"]), np.ones(4), moved, ("7", "8"))
    assert list(lines(told([one], Plan())))[-1] == '1.000 of category "7" moved; 3 moves, 1 of them wrong'


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"X": np.zeros((3, 2))},
        {"X": np.zeros((3, 2)), "y": [1, 2]},
        {"X": [[np.nan]], "y": [1]},
        {"X": np.zeros((0, 8)), "y": np.zeros(0)},
        {"X": np.zeros((3, 0)), "y": [1, 2, 3]},
        {"X": [["one"]], "y": [1]},
        {"X": np.zeros((2, 3)), "y": np.zeros((2, 2))},
        {"X": np.full((3, 2), 1e200), "y": [1, 2, 3]},
        {"X": np.zeros((3, 2)), "y": [1.0, -1.0, 2.0]},
        {"X": np.zeros((3, 2)), "y": [1, 2, 3], "split": [1, 2]},
        {"X": np.zeros((3, 2)), "y": [1, 2, 3], "split": [1, 1, 1]},
        {"X": np.zeros((3, 2)), "y": [1, 2, 3], "split": [2, 2, 2]},
        {"X": np.zeros((3, 2)), "y": [1, 2, 3], "split": [0, 1, 2]},
        {"X": np.zeros((3, 2)), "y": [1, 2, 3], "split": ["train", "train", "test"]},
        {"X_train": np.zeros((2, 2)), "y_train": [1, 2], "X_test": np.zeros((0, 2)), "y_test": np.zeros(0, int)},
        {"X_train": np.zeros((1, 2)), "y_train": [1], "X_test": np.zeros((1, 3)), "y_test": [1]},
    ],
)
def test_a_file_that_holds_something_else_is_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", **arrays)
    with pytest.raises(UnusableEmbeddings, match=r"file\.npz"):
        Embeddings.read(tmp_path / "file.npz")


@pytest.mark.parametrize("content", [b"cats,1.0,2.0", b"", b"PK not really", None])
def test_what_is_no_npz_is_said_to_be_none(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    if content is None:
        np.save(tmp_path / "file", np.zeros((3, 2)))
        (tmp_path / "file.npy").rename(path)
    else:
        path.write_bytes(content)
    with pytest.raises(UnusableEmbeddings, match=r"file\.npz is no \.npz file$"):
        Embeddings.read(path)


def test_where_nothing_is_filed_there_is_nothing_to_measure(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", X=np.ones((20, 8)), y=np.full(20, -1))
    with pytest.raises(UnusableEmbeddings, match="nothing is filed"):
        measured(Embeddings.read(tmp_path / "file.npz"), Plan(draws=1))


def test_where_none_can_be_held_out_there_is_nothing_to_measure(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", X=np.eye(3, 8), y=["cats", "dogs", "birds"])
    with pytest.raises(UnusableEmbeddings, match="too few examples to hold any out"):
        measured(Embeddings.read(tmp_path / "file.npz"), Plan(draws=1))


def test_an_unknown_outsider_is_refused(file: Path) -> None:
    with pytest.raises(UnusableEmbeddings, match="planes"):
        Embeddings.read(file).called(["planes"])


def drawn(truth: str, best: str, moved: str, confidence: list[float]) -> Drawn:
    """One letter for each row: of categories a and b, or of x, an outsider."""
    flags = np.array([letter == "+" for letter in moved])
    return Drawn(np.array(list(truth)), np.array(list(best)), np.array(confidence), flags, ("a", "b"))


def test_outsiders_count_as_half_of_the_stream_whatever_their_share() -> None:
    one = drawn("aabbx", "aabba", "+++++", [0.9, 0.8, 0.7, 0.6, 0.5])
    result = one.measure(0.95)
    assert result.precision == 1
    assert result.precision_over_all == 0.5
    assert result.outsiders_moved == 1
    assert result.oracle_coverage == 1


def test_the_oracle_moves_as_many_as_keep_the_target() -> None:
    one = drawn("aaab", "aaaa", "----", [0.9, 0.8, 0.7, 0.75])
    assert one.measure(0.95).oracle_coverage == 0.5
    assert one.measure(0.75).oracle_coverage == 1
    assert one.measure(0.95).precision is None


def test_the_promise_holds_unless_chance_does_not_explain_the_mistakes() -> None:
    fine = drawn("a" * 20, "a" * 18 + "b" * 2, "+" * 20, [0.9] * 20)
    broken = drawn("a" * 20, "a" * 16 + "b" * 4, "+" * 20, [0.9] * 20)
    assert fine.keeps(0.95)
    assert not broken.keeps(0.95)
