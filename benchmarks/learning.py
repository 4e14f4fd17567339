"""How well it learns from real embeddings: draws of a few examples a category, judged by the code that files videos.

    python benchmarks/learning.py FILE.npz... [--draws 20] [--examples 3 5 15 50] [--target 0.95]

FILE.npz holds X, y and split (1 train, 2 test), or X_train, y_train, X_test and y_test; a y of -1 among the test rows
is a video of no category. In each draw three categories are never filed: they and the -1 rows are the outsiders.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sortd.domain import Category, FeatureSpace, Fingerprint, Matrix, MoveTo, Part, TrainingSet
from sortd.judgement.decide import decide
from sortd.learn.train import CANDIDATES, train

NEVER_FILED = 3
Classes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Training and test rows of one file."""

    train: Matrix
    train_classes: Classes
    test: Matrix
    test_classes: Classes


def read(path: Path) -> Embeddings:
    """Read a file in either layout."""
    with np.load(path, allow_pickle=False) as file:
        if "X_train" in file:
            return Embeddings(file["X_train"], file["y_train"], file["X_test"], file["y_test"])
        vectors, classes, first = file["X"].astype(np.float32), file["y"], file["split"] == 1
        return Embeddings(vectors[first], classes[first], vectors[~first], classes[~first])


def draw(data: Embeddings, examples: int, *, target: float, seed: int) -> dict[str, float]:
    """Learn from so many examples of each filed category and judge every test row."""
    random = np.random.default_rng(seed)
    classes = random.permutation(np.unique(data.train_classes[data.train_classes >= 0]))
    filed = classes[NEVER_FILED:]
    rows = np.concatenate([random.permutation(np.flatnonzero(data.train_classes == c))[:examples] for c in filed])
    space = FeatureSpace((Part("embedding", "1", data.train.shape[1]),))
    names = [Category(str(c)) for c in data.train_classes[rows]]
    labels = TrainingSet(space, data.train[rows], names, [Fingerprint(str(row)) for row in rows])
    began = time.process_time()
    classifier = train(labels, target_precision=target, targets={}, candidates=list(CANDIDATES), seed=0)
    seconds = time.process_time() - began

    predictions = classifier.predict_all(data.test)
    moved = np.array(
        [
            isinstance(decide(p, classifier.policy, vetoes=(), examples=classifier.examples, trust={}), MoveTo)
            for p in predictions
        ]
    )
    inside = np.isin(data.test_classes, filed)
    right = np.array([p.best == str(c) for p, c in zip(predictions, data.test_classes, strict=True)])
    confidence = np.array([p.confidence for p in predictions])
    best_first = right[inside][np.argsort(-confidence[inside], kind="stable")]
    precision_at = np.cumsum(best_first) / np.arange(1, len(best_first) + 1)
    oracle = np.flatnonzero(precision_at >= target)
    return {
        "accuracy": right[inside].mean(),
        "coverage": moved[inside].mean(),
        "precision": right[moved & inside].mean() if (moved & inside).any() else np.nan,
        "oracle coverage": (oracle[-1] + 1) / len(best_first) if len(oracle) else 0.0,
        "outsiders moved": moved[~inside].mean(),
        "seconds": seconds,
    }


def main() -> None:
    """Print one row of the table for each file and number of examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--examples", type=int, nargs="+", default=[3, 5, 15, 50])
    parser.add_argument("--target", type=float, default=0.95)
    options = parser.parse_args()
    for path in options.files:
        data = read(path)
        for examples in options.examples:
            draws = [draw(data, examples, target=options.target, seed=seed) for seed in range(options.draws)]
            moving = [d for d in draws if d["coverage"] > 0]
            means = {name: np.mean([d[name] for d in draws]) for name in draws[0] if name != "precision"}
            means["precision"] = np.mean([d["precision"] for d in moving]) if moving else np.nan
            kept = np.mean([np.isnan(d["precision"]) or d["precision"] >= options.target for d in draws])
            cells = " | ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(f"{path.stem} | {examples} a category | {cells} | draws that move {len(moving)} | kept {kept:.2f}")


if __name__ == "__main__":
    main()
