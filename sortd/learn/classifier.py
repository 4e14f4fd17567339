"""The trained classifier, as plain numpy arrays: it predicts, and is saved and loaded without pickle.

The daemon imports this file, so it needs no scikit-learn; `train` fits the arrays and a test holds both to the same
probabilities.

Likeness of two videos is the mean of the cosines of the parts (picture, sound) that both have. A part that one of
them lacks says nothing, so two silent clips are not alike for being silent, and a silent one may still be at home
among talking ones. Videos that share no part have likeness 0.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.domain.category import CategoryName
from sortd.domain.decision import Policy, Prediction
from sortd.domain.errors import SortdError
from sortd.domain.feature import FeatureSpace, Matrix, SpacePart, Vector
from sortd.judgement.calibration import CandidateReport, CategoryReport, Suspect, TrainingReport, softmax
from sortd.judgement.model_comparison import Answers
from sortd.judgement.novelty import marks, reckoned_with

SCHEMA = 4
"""4: with its answers and closeness. A file of any other schema is not read; the next training writes a new one."""

NEIGHBOURS = 5

_BLOCK = 256
"""Rows predicted at once: their likenesses to all examples are held in memory."""

_DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile)
"""All that reading arrays and a header out of arbitrary bytes was seen to raise."""

Layer = tuple[Matrix, Vector]
"""Weights [inputs, outputs] and bias [outputs]."""


class UnusableClassifier(SortdError):
    """The file holds no classifier that this version can use: as good as none, until the next training."""


def columns_of(space: FeatureSpace) -> list[slice]:
    """Where in a fused vector each part stands."""
    ends = np.cumsum([part.dim for part in space.parts]).tolist()
    return [slice(end - part.dim, end) for part, end in zip(space.parts, ends, strict=True)]


def unit_parts(vectors: Matrix, space: FeatureSpace) -> Matrix:
    """Scale each part of each row of [n, dim] to length 1; a missing part stays zeros."""
    result = np.array(vectors, dtype=np.float32)
    for columns in columns_of(space):
        lengths = np.linalg.norm(result[:, columns], axis=1, keepdims=True)
        result[:, columns] /= np.where(lengths > 0, lengths, 1)
    return result


def presence(vectors: Matrix, space: FeatureSpace) -> Matrix:
    """Which parts each row has, as 0 and 1: [n, parts]."""
    return np.stack([vectors[:, columns].any(axis=1) for columns in columns_of(space)], axis=1).astype(np.float32)


def likeness(one: Matrix, other: Matrix, space: FeatureSpace) -> Matrix:
    """Mean cosine over the parts that both have: [n, m], for rows [n, dim] and [m, dim] of unit parts."""
    shared = presence(one, space) @ presence(other, space).T
    cosines: Matrix = one @ other.T
    cosines /= np.maximum(shared, 1, out=shared)
    return np.clip(cosines, -1, 1, out=cosines)


def centre(vectors: Matrix, mean: Vector, space: FeatureSpace) -> Matrix:
    """Shift rows of unit parts by the mean; a missing part becomes zeros, that is average, so that it says nothing."""
    widths = [part.dim for part in space.parts]
    return (vectors - mean) * np.repeat(presence(vectors, space), widths, axis=1)


def neighbour_scores(likenesses: Matrix, owners: NDArray[np.integer[Any]], *, n_categories: int) -> Matrix:
    """Logarithms of the vote of the nearest examples, [n, categories], from likenesses [n, examples].

    Each of the five nearest votes with 1 / distance; one more vote is spread over all, so that none is impossible.
    """
    n_neighbours = min(NEIGHBOURS, likenesses.shape[1])
    nearest = np.argpartition(-likenesses, n_neighbours - 1, axis=1)[:, :n_neighbours]
    weights = 1 / np.maximum(1 - np.take_along_axis(likenesses, nearest, axis=1), 1e-6)
    weights /= weights.sum(axis=1, keepdims=True)
    votes = np.zeros((len(likenesses), n_categories), np.float32)
    np.add.at(votes, (np.arange(len(votes))[:, None], owners[nearest]), weights * n_neighbours)
    logarithms: Matrix = np.log((votes + 1 / n_categories) / (n_neighbours + 1))
    return logarithms


def layer_scores(inputs: Matrix, layers: Sequence[Layer]) -> Matrix:
    """Pass rows through the layers, with rectifiers between them: [n, categories]."""
    *hidden, (weights, bias) = layers
    for inner_weights, inner_bias in hidden:
        inputs = np.maximum(inputs @ inner_weights + inner_bias, 0)
    scores: Matrix = inputs @ weights + bias
    return scores


def _privately(path: str, flags: int) -> int:
    """Open a file that its owner alone may read, whatever the umask says."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Answers for vectors of its own feature space only."""

    space: FeatureSpace
    categories: tuple[CategoryName, ...]
    kind: str
    temperature: float
    mean: Vector
    """[dim], over the examples that have the part."""
    layers: tuple[Layer, ...]
    """One for logistic regression, three for the network with two hidden layers, none for nearest neighbours."""
    vectors: NDArray[np.float16]
    """[n, dim], the examples learned from, in the order of their categories. Half precision: they fill the memory."""
    owners: NDArray[np.int32]
    """[n], ascending: the category of each, as a number in `categories`."""
    outsiders: NDArray[np.float16]
    """[m, dim], videos known to belong to none of the categories; where there are any, the layers have an output for
    them after those of the categories."""
    chances: tuple[float, ...]
    """What each of the marks of a video adds to the log-odds of being right, and the constant; none: as the
    probability of the likeliest category says."""
    policy: Policy
    examples: Mapping[CategoryName, int]
    """How many labels each category had; not all of a huge library need be among `vectors`."""
    report: TrainingReport
    answers: Answers = field(default_factory=dict)
    """What each label was taken for while it was held out: by this the next classifier is compared with this one."""
    closeness: float = 0.0
    """How near clips were held out together with it, as a part of the typical distance: with more, it knew less."""

    def predict(self, vector: Vector) -> Prediction:
        """Rank the categories for one fused vector [dim]."""
        return self.predict_all(vector[None, :])[0]

    def predict_all(self, vectors: Matrix) -> list[Prediction]:
        """Rank the categories for each fused vector [n, dim]."""
        blocks = (vectors[first : first + _BLOCK] for first in range(0, len(vectors), _BLOCK))
        return [prediction for block in blocks for prediction in self._predict(unit_parts(block, self.space))]

    def _predict(self, rows: Matrix) -> list[Prediction]:
        scores, nearest = self.outlook(rows)
        among = softmax(scores[:, : len(self.categories)], self.temperature)
        if self.chances:
            among = reckoned_with(among, self.chance(marks(scores, nearest, n_categories=len(self.categories))))
        order = np.argsort(-among, axis=1, kind="stable")
        return [
            Prediction(tuple((self.categories[i], float(p[i])) for i in ranking), 1 - float(near[ranking[0]]))
            for p, near, ranking in zip(among, nearest, order.tolist(), strict=True)
        ]

    def outlook(self, rows: Matrix) -> tuple[Matrix, Matrix]:
        """Score of, and likeness to the nearest example of each output, both [n, outputs], for unit parts [n, dim]."""
        likenesses = likeness(rows, np.concatenate([self.vectors, self.outsiders]).astype(np.float32), self.space)
        owners = np.append(self.owners, np.full(len(self.outsiders), len(self.categories)))
        if self.layers:
            scores = layer_scores(centre(rows, self.mean, self.space), self.layers)
        else:
            scores = neighbour_scores(likenesses, owners, n_categories=int(owners[-1]) + 1)
        starts = np.searchsorted(owners, np.arange(int(owners[-1]) + 1))
        return scores, np.maximum.reduceat(likenesses, starts, axis=1)

    def marks_of(self, rows: Matrix) -> Matrix:
        """What tells whether each belongs where it seems to, [n, marks], for unit parts [n, dim]."""
        blocks = [rows[first : first + _BLOCK] for first in range(0, len(rows), _BLOCK)]
        return np.concatenate([marks(*self.outlook(block), n_categories=len(self.categories)) for block in blocks])

    def chance(self, seen: Matrix) -> Vector:
        """Chance of being right, [n], of videos with these marks."""
        *slopes, constant = self.chances
        result: Vector = (1 / (1 + np.exp(-(seen @ np.array(slopes) + constant)))).astype(np.float32)
        return result

    def save(self, path: Path) -> None:
        """Write one .npz beside the path and rename it into place: after a crash the old file or the new one is whole.

        Raises OSError.
        """
        header = {
            "schema": SCHEMA,
            "space": [asdict(part) for part in self.space.parts],
            "categories": self.categories,
            "kind": self.kind,
            "temperature": self.temperature,
            "layers": len(self.layers),
            "chances": self.chances,
            "policy": asdict(self.policy),
            "examples": dict(self.examples),
            "report": asdict(self.report),
            "answers": dict(self.answers),
            "closeness": self.closeness,
        }
        arrays: dict[str, Any] = {"mean": self.mean, "vectors": self.vectors, "owners": self.owners}
        arrays["outsiders"] = self.outsiders
        for i, (weights, bias) in enumerate(self.layers):
            arrays |= {f"weights{i}": weights, f"bias{i}": bias}
        unfinished = path.with_name(path.name + ".part")
        unfinished.unlink(missing_ok=True)  # what a kill left
        with open(unfinished, "xb", opener=_privately) as file:
            # ASCII escapes carry the surrogates of names that are not UTF-8.
            np.savez(file, header=np.frombuffer(json.dumps(header).encode("ascii"), np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @classmethod
    def load(cls, path: Path) -> Classifier | None:
        """Read what `save` wrote; None: there is no file. Never runs code found in it.

        Raises UnusableClassifier for a damaged file, another program's, or one of another schema.
        """
        try:
            # Opened here, for numpy leaves its own handle open when it finds no archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                header = json.loads(archive["header"].tobytes())
                if header["schema"] != SCHEMA:
                    raise UnusableClassifier(f"{path} has schema {header['schema']}, this version reads {SCHEMA}")
                classifier = cls._restored(header, archive)
        except FileNotFoundError:
            return None
        except _DAMAGE as error:
            raise UnusableClassifier(f"{path} is not a classifier, or is damaged: {error}") from error
        return classifier

    @classmethod
    def _restored(cls, header: Mapping[str, Any], archive: Mapping[str, NDArray[Any]]) -> Classifier:
        report = header["report"]
        classifier = cls(
            space=FeatureSpace(tuple(SpacePart(**part) for part in header["space"])),
            categories=tuple(header["categories"]),
            kind=header["kind"],
            temperature=header["temperature"],
            mean=archive["mean"],
            layers=tuple((archive[f"weights{i}"], archive[f"bias{i}"]) for i in range(header["layers"])),
            vectors=archive["vectors"],
            owners=archive["owners"],
            outsiders=archive["outsiders"],
            chances=tuple(map(float, header["chances"])),
            policy=Policy(**header["policy"]),
            examples=header["examples"],
            report=TrainingReport(
                **report
                | {
                    "categories": tuple(CategoryReport(**category) for category in report["categories"]),
                    "candidates": tuple(CandidateReport(**candidate) for candidate in report["candidates"]),
                    "suspects": tuple(Suspect(**suspect) for suspect in report.get("suspects", ())),
                }
            ),
            answers=dict(header["answers"]),
            closeness=float(header["closeness"]),
        )
        classifier._check()
        return classifier

    def _check(self) -> None:
        """Raise ValueError unless the arrays fit together and hold numbers."""
        widths = [self.space.dim, *(len(bias) for _, bias in self.layers)]
        shapes = [weights.shape for weights, _ in self.layers]
        fits = (
            shapes == list(pairwise(widths))
            and self.mean.shape == (self.space.dim,)
            and self.vectors.shape == (len(self.owners), self.space.dim)
            and set(self.owners.tolist()) == set(range(len(self.categories)))
            and (np.diff(self.owners) >= 0).all()
            and self.outsiders.shape[1:] == (self.space.dim,)
            and (not self.layers or widths[-1] == len(self.categories) + bool(len(self.outsiders)))
            and len(self.chances) in {0, 3 + bool(len(self.outsiders))}
            and all(np.isfinite(array).all() for layer in self.layers for array in layer)
            and np.isfinite(self.mean).all()
            and np.isfinite(self.vectors).all()
            and np.isfinite(self.outsiders).all()
            and np.isfinite(self.chances).all()
            and self.temperature > 0
        )
        if not fits:
            raise ValueError("its arrays do not fit together")
