"""Find unsorted videos that are plainly of one kind of which nobody has filed any yet.

Average linkage (Sokal and Michener, 1958) on what sets videos apart: their likeness after the middle of all of them is
taken away. What no family stands out in has none: random vectors are alike by nothing then.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from sortd.domain.feature import FeatureSpace, Matrix, Vector
from sortd.learn.classifier import centre, likeness, presence, unit_parts
from sortd.learn.folds import Numbers, twins_of

FEWEST = 5
"""Distinct videos of a group."""

DULL = ENGLISH_STOP_WORDS
"""Words that say nothing of what a video is about."""

_ALIKE = 0.35
"""The mean likeness within a group. Lower finds more groups, and more that are two kinds in one."""
_CLOSER = 2.5
"""So many times as far apart as either is wide, two groups stay two."""
_APART = 0.1
"""By so much more a video must be like its own group than like any other."""
_UNLIKE = 0.9
"""The quantile of all distances at which two videos are surely of two kinds, if there are two."""
_CROWDED = 0.45
"""What distance counts as near when the middle is looked for, as a part of that one."""
_FILED = 0.2
"""The part of a group that may be filed already: it is no new kind with more."""


def groups_of(unsorted: Matrix, filed: Matrix, *, space: FeatureSpace) -> list[Numbers]:
    """Rows of `unsorted` [n, dim] that belong together, the largest group first, in each the most typical first.

    `filed` [m, dim] are the examples of the categories that there are.
    """
    if len(unsorted) < FEWEST:
        return []
    rows = unit_parts(np.concatenate([unsorted, filed]), space)
    raw = likeness(rows, rows, space)
    rows = unit_parts(centre(rows, _middle(rows, raw, space), space), space)
    likenesses = likeness(rows, rows, space)
    clusters = _clusters(likenesses)
    twins = twins_of(rows, clusters, likenesses, space=space)
    found = [
        group[group < len(unsorted)]
        for group in _apart(clusters, likenesses)
        if (group >= len(unsorted)).sum() <= _FILED * len(group)
    ]
    return sorted((group for group in found if len(np.unique(twins[group])) >= FEWEST), key=len, reverse=True)


def _middle(rows: Matrix, likenesses: Matrix, space: FeatureSpace) -> Vector:
    """Mean of each part, [dim]; a crowd counts as one, or else the largest family would be the middle itself."""
    far = np.quantile(1 - likenesses[np.triu_indices(len(rows), k=1)], _UNLIKE)
    weights = 1 / (likenesses > 1 - _CROWDED * far).sum(axis=1, initial=1)
    widths = [part.dim for part in space.parts]
    having = np.repeat(np.maximum(weights @ presence(rows, space), np.finfo(np.float32).tiny), widths)
    middle: Vector = (weights @ rows / having).astype(np.float32)
    return middle


def _clusters(likenesses: Matrix) -> Numbers:
    """Give what is joined one number: [n]. Two that are groups each, and much closer ones, are not joined."""
    n = len(likenesses)
    joining = AgglomerativeClustering(
        n_clusters=None, distance_threshold=1 - _ALIKE, metric="precomputed", linkage="average"
    ).fit(1 - likenesses)
    members = [[row] for row in range(n)]
    heights = [0.0] * n
    whole = [True] * n
    for (one, other), height in zip(joining.children_.tolist(), joining.distances_.tolist(), strict=True):
        larger = min(len(members[one]), len(members[other])) >= FEWEST
        closer = height > _CLOSER * max(heights[one], heights[other])
        whole.append(whole[one] and whole[other] and height < 1 - _ALIKE and not (larger and closer))
        members.append([*members[one], *members[other]] if whole[-1] else [])
        heights.append(height)
    clusters = np.arange(n)
    for node, (rows, is_whole) in enumerate(zip(members, whole, strict=True)):
        if is_whole:
            clusters[rows] = node
    return clusters


def _apart(clusters: Numbers, likenesses: Matrix) -> Iterator[Numbers]:
    """The clusters that are large enough, without what is about as like another of them."""
    numbers, sizes = np.unique(clusters, return_counts=True)
    members = [np.flatnonzero(clusters == number) for number in numbers[sizes >= FEWEST]]
    if not members:
        return
    near = np.stack([likenesses[:, group].mean(axis=1) for group in members], axis=1)
    for number, group in enumerate(members):
        own = (likenesses[np.ix_(group, group)].sum(axis=1) - 1) / (len(group) - 1)
        other = np.delete(near[group], number, axis=1).max(axis=1, initial=-1)
        typical = np.argsort(-own, kind="stable")
        yield group[typical][(own - other >= _APART)[typical]]
