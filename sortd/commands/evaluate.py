"""What `sortd evaluate` measures on, and how it is told to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sortd.commands.dataset import dataset
from sortd.commands.facts import Reading
from sortd.config import Config
from sortd.learn.evaluate import Embeddings

Told = Mapping[str, Any]

COLUMNS = {
    "accuracy": "accuracy",
    "coverage": "coverage",
    "precision": "precision",
    "oracle_coverage": "oracle",
    "outsiders_moved": "outsiders moved",
    "precision_over_all": "precision over all",
}


def embeddings_of(read: Reading, config: Config) -> Embeddings:
    """The owner's labels in this library; which are held out is drawn."""
    gathered = dataset(read, config)
    names = np.array([str(name) for name in gathered.categories], np.str_)
    return Embeddings(gathered.labelled, names, None, read.memory.space)


def lines(told: Told) -> Iterator[str]:
    """The report as lines of text."""
    rows = [list(COLUMNS.values())]
    rows += [[_share(draw[key]) for key in COLUMNS] for draw in told["draws"]]
    rows += [[_share(told["mean"][key]) for key in COLUMNS]]
    marks = ["draw", *(str(number) for number in range(1, len(told["draws"]) + 1)), "mean"]
    widths = [max(6, len(title)) for title in COLUMNS.values()]
    for mark, row in zip(marks, rows, strict=True):
        yield "  ".join([f"{mark:>4}", *(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))])
    yield f"the promise was kept in {told['kept']:.0%} of the draws"
    for category in sorted(told["categories"], key=lambda one: one["coverage"] or 0):
        wrongly = f"{category['moved']} moves, {category['wrongly']} of them wrong"
        yield f"{_share(category['coverage'])} of {ascii(category['name'])[1:-1]} moved; {wrongly}"


def _share(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"
