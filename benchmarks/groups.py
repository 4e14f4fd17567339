"""How pure the groups are that `sortd suggest` shows, and how many kinds it finds, on real embeddings.

    python benchmarks/groups.py FILE.npz... [--draws 8]

FILE.npz is as `sortd evaluate --embeddings` takes it; nothing of it is filed. In each row some categories are many
(they should be found) and the others few (they should not). The last row of a file has as many random vectors of the
same width: there is nothing to find. `pure` is the share of the grouped videos that are of their group's commonest
category, `found` how many of the many are commonest in a group, `grouped` the share of their videos in a group.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sortd.domain.feature import FeatureSpace, Matrix
from sortd.learn.clusters import groups_of
from sortd.learn.embeddings_file import OUTSIDER, Embeddings


class World(NamedTuple):
    """So many categories have so many videos, the rest so few."""

    many: int
    of_many: int
    of_few: int


WORLDS = (World(99, 20, 0), World(8, 20, 2), World(99, 8, 0), World(3, 10, 3), World(2, 20, 0))

RANDOM = 300
"""So many random vectors."""


class Found(NamedTuple):
    """What came of one draw; `pure` is of the grouped videos, NaN where none is."""

    groups: int
    pure: float
    found: int
    grouped: float


def drawn(data: Embeddings, world: World, random: np.random.Generator) -> tuple[Matrix, list[str], list[str]]:
    """Videos [n, dim], the category of each, and the categories that have many."""
    names = random.permutation(np.unique(data.names[data.names != OUTSIDER])).tolist()
    many = names[: world.many]
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(data.names == name))[: world.of_many if name in many else world.of_few]
            for name in names
        ]
    )
    return data.vectors[rows], data.names[rows].tolist(), many


def measured(vectors: Matrix, names: list[str], many: list[str], space: FeatureSpace) -> Found:
    """Group the videos and compare with what they are."""
    nothing_filed = np.zeros((0, space.dim), np.float32)
    groups = [[names[row] for row in rows] for rows in groups_of(vectors, nothing_filed, space=space)]
    commonest = [Counter(group).most_common(1)[0] for group in groups]
    grouped = sum(map(len, groups))
    pure = sum(count for _, count in commonest) / grouped if grouped else float("nan")
    inside = sum(name in many for group in groups for name in group)
    found = len({name for name, _ in commonest} & set(many))
    return Found(len(groups), pure, found, inside / max(1, sum(name in many for name in names)))


def main() -> None:
    """Print one row for each file and world, in the mean over the draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=8)
    options = parser.parse_args()
    print(" | ".join(["file", "many", "of each", "of the others", *Found._fields]))
    for path in options.files:
        data = Embeddings.read(path)
        for world in WORLDS:
            draws = [drawn(data, world, np.random.default_rng(seed)) for seed in range(options.draws)]
            there_are = world._replace(many=len(draws[0][2]))
            tell(path.stem[:12], there_are, [measured(*draw, data.space) for draw in draws])
        noise = [np.random.default_rng(seed).normal(size=(RANDOM, data.space.dim)) for seed in range(options.draws)]
        results = [measured(rows.astype(np.float32), ["random"] * RANDOM, [], data.space) for rows in noise]
        tell("random", World(0, 0, RANDOM), results)


def tell(file: str, world: World, results: list[Found]) -> None:
    """Print one row."""
    groups, pure, found, grouped = np.array(results).T
    mean_pure = f"{np.nanmean(pure):.2f}" if np.isfinite(pure).any() else "-"
    cells = [f"{groups.mean():.1f}", mean_pure, f"{found.mean():.1f}", f"{grouped.mean():.2f}"]
    print(" | ".join([file, *map(str, world), *cells]), flush=True)


if __name__ == "__main__":
    main()
