"""Read a file of embeddings: rows of numbers with the names of their categories."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain.errors import SortdError
from sortd.domain.feature import FeatureSpace, Matrix, SpacePart
from sortd.judgement.thresholds import BoolVector

OUTSIDER = ""
"""The name of a row that belongs to no category."""

TRAIN, TEST = 1, 2
"""What `split` says of a row."""

_LARGEST = 1e15
"""Beyond it the square of a number's length may be none any more, in float32."""

Names = NDArray[np.str_]


class UnusableEmbeddings(SortdError):
    """The file does not hold what is asked for; the message says what."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Rows of numbers [n, dim] with the names of their categories; `split`: which are for testing, None: drawn."""

    vectors: Matrix
    names: Names
    split: BoolVector | None
    space: FeatureSpace
    titles: Mapping[str, str] = field(default_factory=dict)
    """What else the file calls its categories."""

    def called(self, names: Iterable[str]) -> tuple[str, ...]:
        """Find categories by name or title. Raises UnusableEmbeddings."""
        found = [self.titles.get(name, name) for name in names]
        unknown = sorted(set(found) - set(self.names.tolist()))
        if unknown:
            raise UnusableEmbeddings(f"there is no category named {', '.join(unknown)}")
        return tuple(found)

    @classmethod
    def read(cls, path: Path) -> Embeddings:
        """Read X and y, and split (1 train, 2 test) if there is one; or X_train, y_train, X_test and y_test.

        A y of -1 is an outsider. Raises UnusableEmbeddings.
        """
        arrays = _arrays(path)
        if {"X_train", "y_train", "X_test", "y_test"} <= set(arrays):
            try:
                vectors = np.concatenate([arrays["X_train"], arrays["X_test"]])
                classes = np.concatenate([arrays["y_train"], arrays["y_test"]])
            except ValueError as error:
                raise UnusableEmbeddings(f"{path}: what is for training and for testing differs in shape") from error
            split: NDArray[Any] | None = np.where(np.arange(len(vectors)) < len(arrays["X_train"]), TRAIN, TEST)
        elif {"X", "y"} <= set(arrays):
            vectors, classes, split = arrays["X"], arrays["y"], arrays.get("split")
        else:
            raise UnusableEmbeddings(f"{path} has neither X and y nor X_train, y_train, X_test and y_test")
        if problem := _problem(vectors, classes, split):
            raise UnusableEmbeddings(f"{path}: {problem}")
        space = FeatureSpace((SpacePart("embedding", "1", vectors.shape[1]),))
        names = classes.astype(np.str_)
        titles = {str(title): str(number) for number, title in enumerate(arrays.get("class_names", ()))}
        testing = None if split is None else np.equal(split, TEST)
        return cls(vectors.astype(np.float32), np.where(names == "-1", OUTSIDER, names), testing, space, titles)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """What the file holds, by name. Raises UnusableEmbeddings."""
    try:
        with path.open("rb") as opened:
            if not zipfile.is_zipfile(opened):  # what is none, numpy takes for a pickle
                raise UnusableEmbeddings(f"{path} is no .npz file")
            with np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UnusableEmbeddings(f"{path} cannot be read as .npz: {error}") from error


def _problem(vectors: NDArray[Any], classes: NDArray[Any], split: NDArray[Any] | None) -> str:
    """Why these are no embeddings; empty: they are."""
    numbers = vectors.ndim == 2 and vectors.dtype.kind in "biuf"  # noqa: PLR2004
    if not numbers or not float(abs(vectors).max(initial=0)) < _LARGEST or classes.shape != vectors.shape[:1]:
        return "X must be one row of finite numbers for each y"
    if not vectors.size:
        return "it holds no numbers: X is empty"
    if classes.dtype.kind not in "iuUS":
        return "y must be integers or strings"
    if split is not None and (split.shape != classes.shape or not np.isin(split, (TRAIN, TEST)).all()):
        return f"split must be {TRAIN} (for training) or {TEST} (for testing) for each y"
    if split is not None and len(np.unique(split)) == 1:
        return "some rows must be for training and some for testing"
    return ""
