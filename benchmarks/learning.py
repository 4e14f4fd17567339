"""How well it learns from real embeddings: one table over files, worlds, examples a category and methods.

    python benchmarks/learning.py FILE.npz... [--draws 20] [--examples 3 5 15 50] [--target 0.95] [--plot FILE.svg]

FILE.npz is as `sortd evaluate --embeddings` takes it, and each row is what that command tells, in the mean. The
worlds: `closed` (every video belongs to a category), `known` (three categories are never filed and, with the file's
own rows of -1, are outsiders; 50 of them are known as passed over), `unknown` (none of them is), `alike` (the two
categories that are most often confused, alone), `uneven` (every second category has a tenth of the examples). The
method `p >= 0.8` is a plain rule: logistic regression (C = 10) on unit vectors, moved from a softmax of 0.8 on;
`class means` and `shared covariance` are other classifiers under the same rule, of which the oracle's coverage is
what to look at. The plot shows for every row the precision over all moves that each coverage would have had, in the
mean, and a dot for what was moved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sortd.domain.feature import Matrix
from sortd.learn.classifier import unit_parts
from sortd.learn.embeddings_file import OUTSIDER, Embeddings
from sortd.learn.evaluation import Decided, Drawn, Plan, Sorter, draw, learned_sorter, told
from sortd.learn.training_data import TrainingSet

NEVER_FILED = 3
PASSED_OVER = 50
PLAIN_LIMIT = 0.8
COLUMNS = ("accuracy", "coverage", "precision", "oracle_coverage", "outsiders_moved", "precision_over_all")


def plain(make: Callable[[], Any]) -> Sorter:
    """Learn with one classifier of scikit-learn, and move where it says 0.8."""

    def engine(labels: TrainingSet, stream: Matrix, _plan: Plan, _seed: int) -> Decided:
        fitted = make().fit(unit_parts(labels.vectors, labels.space), np.array(labels.categories, np.str_))
        probabilities = fitted.predict_proba(unit_parts(stream, labels.space))
        confidence = probabilities.max(axis=1)
        return fitted.classes_[probabilities.argmax(axis=1)], confidence, confidence >= PLAIN_LIMIT

    return engine


def gaussian(shrinkage: float) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Classes of one covariance; where that is shrunk wholly, the nearest mean wins."""
    return make_pipeline(PCA(0.999), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage))


METHODS: dict[str, Sorter] = {
    "sortd": learned_sorter,
    "p >= 0.8": plain(lambda: LogisticRegression(C=10, max_iter=1000)),
    "class means": plain(lambda: gaussian(1.0)),
    "shared covariance": plain(lambda: gaussian(0.5)),
}


def without(data: Embeddings, names: list[str]) -> Embeddings:
    """Leave these categories out."""
    stays = ~np.isin(data.names, names)
    split = None if data.split is None else data.split[stays]
    return replace(data, vectors=data.vectors[stays], names=data.names[stays], split=split)


def alike(data: Embeddings) -> Embeddings:
    """Only the two categories whose means are nearest."""
    names = np.unique(data.names[data.names != OUTSIDER])
    units = unit_parts(data.vectors, data.space)
    means = np.stack([units[data.names == name].mean(axis=0) for name in names])
    means -= means.mean(axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = means @ means.T - 2 * np.eye(len(names))
    pair = names[list(np.unravel_index(cosines.argmax(), cosines.shape))]
    return without(data, [name for name in [OUTSIDER, *names.tolist()] if name not in pair])


def uneven(data: Embeddings, examples: int, *, seed: int) -> Embeddings:
    """Of every second category only a tenth of the examples to learn from."""
    random = np.random.default_rng(seed)
    names = np.unique(data.names[data.names != OUTSIDER])
    learned = ~data.split if data.split is not None else np.ones(len(data.names), np.bool_)
    gone = [
        random.permutation(np.flatnonzero((data.names == name) & learned))[max(2, examples // 10) :]
        for name in names[1::2]
    ]
    stays = np.ones(len(data.names), np.bool_)
    stays[np.concatenate(gone)] = False
    split = None if data.split is None else data.split[stays]
    return replace(data, vectors=data.vectors[stays], names=data.names[stays], split=split)


def world(data: Embeddings, kind: str, examples: int, *, seed: int, target: float) -> tuple[Embeddings, Plan]:
    """What one draw of this kind of world is made of."""
    plan = Plan(per_category=examples, target=target)
    if kind in {"known", "unknown"}:
        names = np.random.default_rng(seed).permutation(np.unique(data.names[data.names != OUTSIDER]))
        never = () if (data.names == OUTSIDER).any() else tuple(names[:NEVER_FILED].tolist())
        return data, replace(plan, outsiders=never, passed_over=PASSED_OVER if kind == "known" else 0)
    if kind == "alike":
        return alike(data), plan
    closed = without(data, [OUTSIDER])
    return (uneven(closed, examples, seed=seed) if kind == "uneven" else closed), plan


def curve(drawn: Sequence[Drawn]) -> tuple[Matrix, Matrix]:
    """Coverage [points] of ever lower cuts, and the precision over all [points] that each has in the mean."""
    coverage = np.linspace(0.02, 1, 99)
    precision = []
    for one in drawn:
        order = np.argsort(-one.confidence, kind="stable")
        weights, inside = one.weights[order], one.inside[order]
        right = np.cumsum(weights * (one.right[order] & inside)) / np.cumsum(weights)
        precision.append(np.interp(coverage, np.cumsum(inside) / inside.sum(), right))
    return coverage, np.mean(precision, axis=0)


def plot(rows: Mapping[tuple[str, str, int, str], Sequence[Drawn]], target: float, file: Path) -> None:
    """Draw one picture for each file of embeddings (the rows) and each world (the columns)."""
    files, worlds = (list(dict.fromkeys(key[place] for key in rows)) for place in (0, 1))
    panels = list(product(files, worlds))
    figure = Figure(figsize=(3.5 * len(worlds), 3.2 * len(files)), layout="constrained")
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(len(files), len(worlds), place, title=" - ".join(panel), ylim=(0.7, 1.01))
        axes.set(xlabel="coverage", ylabel="precision over all moves")
        axes.axhline(target, color="grey", linewidth=0.8)
        for (*of, examples, method), drawn in rows.items():
            if tuple(of) == panel:
                (line,) = axes.plot(*curve(drawn), label=f"{method}, {examples} each", linewidth=1)
                done = [one.measure(target) for one in drawn]
                right = [one.precision_over_all for one in done if one.precision_over_all is not None]
                if right:
                    axes.plot(np.mean([one.coverage for one in done]), np.mean(right), "o", color=line.get_color())
        axes.legend(loc="lower left", fontsize="small")
    figure.savefig(file, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))


def main() -> None:
    """Print one row of the table for each file, world, number of examples and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--examples", type=int, nargs="+", default=[3, 5, 15, 50])
    parser.add_argument("--worlds", nargs="+", default=["closed", "known", "unknown", "alike", "uneven"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rows = {}
    print(" | ".join(["file", "world", "examples", "method", *COLUMNS, "kept", "seconds a draw"]))
    for path in options.files:
        data = Embeddings.read(path)
        for kind, examples in [(kind, n) for kind in options.worlds for n in options.examples]:
            for method in options.methods:
                began = time.process_time()
                drawn = []
                for seed in range(options.draws):
                    stream, plan = world(data, kind, examples, seed=seed, target=options.target)
                    drawn.append(draw(stream, plan, seed=seed, engine=METHODS[method]))
                rows[path.stem[:12], kind, examples, method] = drawn
                summary = told(drawn, plan)
                cells = ["-" if (mean := summary["mean"][name]) is None else f"{mean:.3f}" for name in COLUMNS]
                seconds = (time.process_time() - began) / options.draws
                row = [path.stem[:12], kind, str(examples), method, *cells, f"{summary['kept']:.2f}", f"{seconds:.1f}"]
                print(" | ".join(row), flush=True)
    if options.plot is not None:
        plot(rows, options.target, options.plot)


if __name__ == "__main__":
    main()
