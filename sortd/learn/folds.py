"""Choose which examples are held out together, so that none is predicted by what has seen it or its like.

Near-duplicates always are. Clips of one afternoon (a *series*) are too, where new videos are not: how near they must
be to each other to count as one is set so that held-out examples look as new as the unsorted videos do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sortd.domain.feature import FeatureSpace, Matrix, Vector
from sortd.judgement.thresholds import BoolVector
from sortd.learn.classifier import columns_of, presence

Numbers = NDArray[np.intp]

_FEW = 500
_SOME = 200
_CLOSENESS = (0.2, 0.3, 0.4)
"""What distance counts as a series, as parts of the typical one within a category."""
_NEAREST = (0.8, 0.9)
_AS_NEW = 0.88


def twins_of(vectors: Matrix, owners: Numbers, likenesses: Matrix, *, space: FeatureSpace) -> Numbers:
    """Give near-duplicates one number: [n]. They have the same parts, and each part is all but equal.

    All but equal is measured by how alike the examples of that category are anyway: where an encoder sees a family of
    clips as nearly the same, they are still many clips.
    """
    typical = [_typical_distance(likenesses, owners == number) for number in range(owners.max() + 1)]
    closest = np.array([1 - min(0.02, max(0.1 * distance, 0.0001)) for distance in typical])
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


def _typical_distance(likenesses: Matrix, members: BoolVector) -> float:
    some = np.flatnonzero(members)[:_SOME]
    among = 1 - likenesses[np.ix_(some, some)][np.triu_indices(len(some), k=1)]
    return float(np.median(among)) if len(among) else 1.0


def series_of(
    owners: Numbers, twins: Numbers, likenesses: Matrix, *, n_categories: int, unsorted_nearest: Vector | None
) -> tuple[Numbers, float]:
    """Give examples to be held out together one number: [n]; their likenesses to each other become -1.

    Also how near clips are that count as a series, as a part of the typical distance: the more, the harder the test.

    `unsorted_nearest` holds the likeness of each unsorted video to its nearest example; None: nobody knows how new
    the new videos are, and a middling closeness is taken.
    """
    typical = np.array([_typical_distance(likenesses, owners == number) for number in range(owners.max() + 1)])
    # Outsiders have nothing typical about them.
    typical[n_categories:] = np.median(typical[:n_categories])
    labelled = owners < n_categories
    pristine = likenesses.copy()
    series, closeness = twins, 0.0
    for closeness in (0.0, *_CLOSENESS) if unsorted_nearest is not None else _CLOSENESS[:1]:
        if closeness:
            series = _linked(series, owners, pristine, (1 - closeness * typical).astype(np.float32))
        for number in range(len(typical)):
            members = np.flatnonzero(owners == number)
            block = np.ix_(members, members)
            likenesses[block] = np.where(series[members][:, None] == series[members], -1, pristine[block])
        likenesses[series[:, None] == series] = -1
        if unsorted_nearest is not None:
            nearest = likenesses[np.ix_(labelled, labelled)].max(axis=1)
            # The nearest ones tell: outsiders among the unsorted are seldom there, series always.
            held, new = 1 - np.quantile(nearest, _NEAREST), 1 - np.quantile(unsorted_nearest, _NEAREST)
            if (held >= _AS_NEW * new).all():
                break
    return series, closeness


def _linked(series: Numbers, owners: Numbers, likenesses: Matrix, closest: Vector) -> Numbers:
    """Join series of one category that come as near to each other as this."""
    joined = series.copy()
    for number, least in enumerate(closest):
        members = np.flatnonzero(owners == number)
        near = likenesses[np.ix_(members, members)] >= least
        near |= joined[members][:, None] == joined[members]
        names = joined[members]
        while True:
            spread = np.where(near, names, np.iinfo(names.dtype).max).min(axis=1, initial=np.iinfo(names.dtype).max)
            if (spread == names).all():
                break
            names = spread
        for before, after in set(zip(joined[members].tolist(), names.tolist(), strict=True)):
            joined[joined == before] = after  # everywhere: a near-duplicate may be filed in another category
    return joined


def folds_for(owners: Numbers, groups: Numbers, *, seed: int) -> Numbers:
    """Deal each category's distinct examples out evenly, those of one group together."""
    random = np.random.default_rng(seed)
    n_folds = 10 if len(owners) <= _FEW else 5
    folds = np.full(len(owners), -1)
    position = 0
    for number in range(owners.max() + 1):
        own = random.permutation(np.unique(groups[owners == number]))
        for group in own if len(own) > 1 else ():
            members = groups == group
            if (folds[members] < 0).all():
                folds[members] = position % n_folds
                position += 1
    return folds
