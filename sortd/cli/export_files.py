"""Write what is known of a library as seven files for notebooks and scripts: the only home of matplotlib.

The files are made in a folder of their own beside their places and renamed when all of them are whole, so that an
export that fails leaves an earlier one as it was.
"""

from __future__ import annotations

import csv
import json
import os
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from sortd.config.python_interpreter import ANYWHERE
from sortd.domain.category import CategoryName
from sortd.domain.errors import SortdError
from sortd.domain.feature import Matrix
from sortd.views.dataset import Dataset, Learned

Format = Literal["pt", "npz", "csv"]
Content = Mapping[str, Any]
"""Key -> array, or list of text."""

FEWEST_DRAWN = 3
MOST_DRAWN = 5000
"""Drawing takes minutes beyond, and further dots say nothing more."""


def write(
    dataset: Dataset,
    folder: Path,
    *,
    format: Format,  # noqa: A002 - the option's
    relative: bool,
    published: Callable[[Sequence[str]], None] = lambda _: None,
) -> list[str]:
    """Write the files into `folder`, over an earlier export's; return a sentence for each that is left out.

    Paths in them are absolute, or `relative` to the root. `published` is told the names. Raises SortdError: they cannot
    be written there.
    """
    root = PurePath() if relative else dataset.root
    save = {"pt": _save_tensors, "npz": _save_arrays, "csv": _save_table}[format]
    omitted = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".sortd-export-") as beside:
            made = Path(beside)
            save(made / "labeled_embeddings", _labelled(dataset, root))
            save(made / "unlabeled_embeddings", _unlabelled(dataset, root))
            _save_json(
                made / "transcripts.json", {str(root / path): text for path, text in dataset.transcripts.items()}
            )
            _save_json(made / "predictions.json", _predictions(dataset, root))
            if dataset.learned is None:
                omitted.append("model and model_config.json are left out: there is no classifier yet")
            else:
                # Arrays of many shapes make no table.
                (_save_arrays if format == "csv" else save)(made / "model", dataset.learned.arrays)
                _save_json(made / "model_config.json", _configuration(dataset, dataset.learned))
            if not _draw(made / "embeddings_tsne.png", dataset.labelled, dataset.categories):
                omitted.append(f"embeddings_tsne.png is left out: it takes {FEWEST_DRAWN} labelled videos that differ")
            names = sorted(file.name for file in made.iterdir())
            _publish(made, folder)
            published(names)
    except OSError as error:
        raise SortdError(f"{folder} cannot be written: {error.strerror or error}") from error
    return omitted


def _labelled(dataset: Dataset, root: PurePath) -> Content:
    names = sorted(set(dataset.categories))
    numbers = {name: number for number, name in enumerate(names)}
    return {
        "features": dataset.labelled.astype(np.float32, copy=False),
        "labels": np.array([numbers[name] for name in dataset.categories], np.int64),
        "label_names": [str(name) for name in names],
        "video_paths": [str(root / path) for path in dataset.labelled_paths],
    }


def _unlabelled(dataset: Dataset, root: PurePath) -> Content:
    return {
        "features": dataset.unlabelled.astype(np.float32, copy=False),
        "video_paths": [str(root / path) for path in dataset.unlabelled_paths],
    }


def _predictions(dataset: Dataset, root: PurePath) -> list[dict[str, Any]]:
    return [
        {
            "video_path": str(root / path),
            "predicted": prediction.best,
            "confidence": prediction.confidence,
            "ranking": prediction.ranking,
        }
        for path, prediction in dataset.predictions.items()
    ]


def _configuration(dataset: Dataset, learned: Learned) -> dict[str, Any]:
    return {
        "kind": learned.kind,
        "label_names": list(learned.categories),
        "dim": dataset.labelled.shape[1],
        "clip_model": dataset.clip_model,
        "whisper_model": dataset.whisper_model,
        "n_frames": dataset.n_frames,
        "hyperparameters": dict(learned.hyperparameters),
        "candidates": [asdict(candidate) for candidate in learned.candidates],
        "labels": learned.labels,
    }


def _save_tensors(stem: Path, content: Content) -> None:
    """Write a dict that today's `torch.load` takes as it is: tensors, lists and text, nothing else."""
    import torch  # noqa: PLC0415 - takes seconds, and only this format needs it

    plain = {
        key: value if isinstance(value, list) else torch.from_numpy(np.require(value, requirements=["C", "W"]))
        for key, value in content.items()
    }
    with stem.with_suffix(".pt").open("wb") as file:
        torch.save(plain, file)


def _save_arrays(stem: Path, content: Content) -> None:
    arrays = {key: np.array(value, np.str_) if isinstance(value, list) else value for key, value in content.items()}
    with stem.with_suffix(".npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # no key is called allow_pickle


def _save_table(stem: Path, content: Content) -> None:
    """Write a row per video: path, label if any, features; nine digits bring each float32 back exactly."""
    columns = {"video_path": content["video_paths"]}
    if "labels" in content:
        columns["label"] = [content["label_names"][number] for number in content["labels"]]
    features = content["features"]
    with stem.with_suffix(".csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, *(f"f{i}" for i in range(features.shape[1]))])
        for *named, row in zip(*columns.values(), features, strict=True):
            table.writerow([*named, *(f"{number:.9g}" for number in row)])


def _save_json(path: Path, content: object) -> None:
    """Write ASCII: bytes of names that are not UTF-8 stand in it as escaped surrogates."""
    path.write_text(json.dumps(content, indent=2) + "\n", "ascii")


def _draw(path: Path, vectors: Matrix, categories: Sequence[CategoryName]) -> bool:
    """Draw videos that are alike near each other, by t-SNE; False where there is nothing to draw.

    Method: van der Maaten and Hinton, Visualizing Data using t-SNE, 2008.
    """
    chosen = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), MOST_DRAWN)).astype(int))
    vectors = vectors[chosen]
    if len(np.unique(vectors, axis=0)) < FEWEST_DRAWN:
        return False
    with chdir(ANYWHERE):  # a matplotlibrc in the current folder would be read, and can name code to run
        import matplotlib as mpl  # noqa: PLC0415 - heavy, and only a picture needs it
        from matplotlib.figure import Figure  # noqa: PLC0415 - likewise
    from sklearn.manifold import TSNE  # noqa: PLC0415 - likewise

    # Its own default perplexity, 30, is refused for few videos.
    tsne = TSNE(perplexity=min(30, (len(vectors) - 1) / 3), random_state=42)
    places = tsne.fit_transform(vectors)
    owners = np.array([categories[row] for row in chosen])
    names = np.unique(owners)
    colours = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, len(names)))
    figure = Figure(figsize=(10, 8))
    axes = figure.add_subplot()
    for name, colour in zip(names, colours, strict=True):
        x, y = places[owners == name].T
        axes.scatter(x, y, color=[colour], label=_legible(name), alpha=0.6)
    axes.set(xticks=[], yticks=[])  # only nearness has a meaning
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title(f"{len(vectors)} labelled videos, those alike near each other (t-SNE)")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a script without a font shows as boxes
        figure.savefig(path, dpi=150, bbox_inches="tight")
    return True


def _legible(name: str) -> str:
    """Give a name as the legend shows it: "$" would begin a formula, and "_" hide it."""
    text = name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _publish(made: Path, folder: Path) -> None:
    """Rename the files into their places, unless something that is no plain file stands in one."""
    files = sorted(made.iterdir())
    for file in files:
        target = folder / file.name
        if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
            raise SortdError(f"{target} is in the way: it is no plain file")
        with file.open("rb") as whole:
            os.fsync(whole.fileno())
    for file in files:
        file.replace(folder / file.name)
