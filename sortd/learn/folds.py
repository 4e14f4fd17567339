"""Which examples are held out together, so that none is predicted by what has seen it or a near-duplicate of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sortd.domain import FeatureSpace, Matrix
from sortd.judgement.calibrate import BoolVector
from sortd.learn.classifier import columns_of, presence

Numbers = NDArray[np.intp]

_FEW = 500
_SOME = 200


def twins_of(vectors: Matrix, owners: Numbers, likenesses: Matrix, *, space: FeatureSpace) -> Numbers:
    """Give near-duplicates one number: [n]. They have the same parts, and each part is all but equal.

    All but equal is measured by how alike the examples of that category are anyway: where an encoder sees a family of
    clips as nearly the same, they are still many clips.
    """
    closest = np.array([_twin_likeness(likenesses, owners == number) for number in range(owners.max() + 1)])
    present = presence(vectors, space)
    twins = np.arange(len(owners))
    for row in range(len(owners)):
        near = row + 1 + np.flatnonzero(likenesses[row, row + 1 :] >= closest[owners[row]])
        near = near[(present[near] == present[row]).all(axis=1)]
        for columns in columns_of(space):
            if vectors[row, columns].any():
                near = near[vectors[near, columns] @ vectors[row, columns] >= closest[owners[row]]]
        if len(near):
            together = np.unique(twins[np.append(near, row)])
            twins[np.isin(twins, together)] = together[0]
    return twins


def _twin_likeness(likenesses: Matrix, members: BoolVector) -> float:
    """From which likeness on two members of one category are near-duplicates."""
    some = np.flatnonzero(members)[:_SOME]
    among = 1 - likenesses[np.ix_(some, some)][np.triu_indices(len(some), k=1)]
    typical = float(np.median(among)) if len(among) else 1.0
    return 1 - min(0.02, max(0.1 * typical, 0.0001))


def folds_for(owners: Numbers, twins: Numbers, *, seed: int) -> Numbers:
    """Deal each category's distinct examples out evenly, near-duplicates together."""
    random = np.random.default_rng(seed)
    n_folds = 10 if len(owners) <= _FEW else 5
    folds = np.full(len(owners), -1)
    position = 0
    for number in range(owners.max() + 1):
        groups = random.permutation(np.unique(twins[owners == number]))
        for group in groups if len(groups) > 1 else ():
            members = twins == group
            if (folds[members] < 0).all():
                folds[members] = position % n_folds
                position += 1
    return folds
