"""Use a folder's name as one more example of it, where the encoder has words and pictures in one space.

Pictures and words lie apart there, each in a cone of their own (Liang, Zhang, Kwon, Yeung and Zou, "Mind the gap",
2022), so the names are shifted to where the pictures are: what a name differs by from the other names is added to the
mean picture, at the length by which pictures differ. As one example among n a name counts much at first and then
fades, as in Snell, Swersky and Zemel, "Prototypical networks" (2017), and Gao et al., "CLIP-Adapter" (2021).

A name only helps to fit: no video is like it, it is never held out, and it proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sortd.domain.category import CategoryName
from sortd.domain.feature import PICTURES, FeatureSpace, Matrix, Vector
from sortd.learn.classifier import columns_of
from sortd.learn.folds import Numbers

_PLAINLY = 2.0
"""By so many standard deviations names must be better than drawn lots to be believed."""


def name_rows(
    names: Mapping[CategoryName, Vector],
    categories: Sequence[CategoryName],
    owners: Numbers,
    vectors: Matrix,
    *,
    space: FeatureSpace,
) -> tuple[Numbers, Matrix]:
    """Numbers [m] and rows [m, dim] of the categories with names, to learn from beside their `vectors` [n, dim].

    None where the names tell nothing of the videos: a folder may be called anything.
    """
    named = np.array([number for number, name in enumerate(categories) if name in names], dtype=np.intp)
    columns = dict(zip([part.extractor for part in space.parts], columns_of(space), strict=True)).get(PICTURES)
    nothing = np.empty(0, np.intp), np.zeros((0, space.dim), np.float32)
    if columns is None or len(named) < 2:  # noqa: PLR2004 - what one name differs by from the others is not known
        return nothing
    seen = vectors[:, columns].any(axis=1) & np.isin(owners, named)
    pictures, truth = vectors[seen][:, columns], owners[seen]
    if not len(pictures):
        return nothing
    words = _directions(np.stack([_unit(names[categories[number]]) for number in named]))
    mean = np.mean([pictures[truth == number].mean(axis=0) for number in np.unique(truth)], axis=0)
    right = int((named[((pictures - mean) @ words.T).argmax(axis=1)] == truth).sum())
    by_chance = len(truth) / len(named)
    if right <= by_chance + _PLAINLY * np.sqrt(by_chance * (1 - 1 / len(named))):
        return nothing
    rows = np.zeros((len(named), space.dim), np.float32)
    rows[:, columns] = _unit(mean + np.linalg.norm(pictures - mean, axis=1).mean() * words)
    return named, rows


def _directions(words: Matrix) -> Matrix:
    """By what each differs from all: [m, dim], of length 1."""
    return _unit(words - words.mean(axis=0))


def _unit(rows: Matrix) -> Matrix:
    result: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-8)
    return result
