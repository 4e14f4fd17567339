from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
import pytest

from sortd.cli.export_files import Dataset, Learned, write
from sortd.domain.category import CategoryName
from sortd.domain.decision import Prediction
from sortd.domain.errors import SortdError
from sortd.judgement.calibration import CandidateReport

ROOT = Path("/videos")
DIM = 16

SNIPPETS = """
import torch
data = torch.load("artifacts/labeled_embeddings.pt")

print(f"Num videos: {data['features'].shape[0]}")
print(f"Feature dim: {data['features'].shape[1]}")
print(f"Categories: {data['label_names']}")
print(f"Class distribution: {torch.bincount(data['labels'])}")

import torch
import numpy as np
from sklearn.manifold import TSNE
import matplotlib.pyplot as plt

# Load embeddings
data = torch.load("artifacts/labeled_embeddings.pt")
X = data["features"].numpy()
y = data["labels"].numpy()
labels = data["label_names"]

# Dimensionality reduction
tsne = TSNE(n_components=2, random_state=42)
X_2d = tsne.fit_transform(X)

# Plot
plt.figure(figsize=(10, 8))
for i, label in enumerate(labels):
    mask = y == i
    plt.scatter(X_2d[mask, 0], X_2d[mask, 1], label=label, alpha=0.6)
plt.legend()
plt.title("t-SNE Visualization of Video Embeddings")
plt.savefig("embeddings_tsne.png", dpi=150)
"""
"""What people run on these files, word for word."""


def library(names=("cooking", "soccer"), each=1, unsorted=3, dim=DIM) -> Dataset:
    """A library with so many videos in each category, and a classifier of it. Three videos and more take a picture."""
    rng = np.random.default_rng(7)
    categories = [CategoryName(names[i % len(names)]) for i in range(each * len(names))]
    paths = [PurePath(name, f"{i}.mp4") for i, name in enumerate(categories)]
    new = [PurePath(f"new{i}.mp4") for i in range(unsorted)]
    centres = {name: rng.normal(size=dim) for name in names}
    vectors = np.array([centres[name] + 0.3 * rng.normal(size=dim) for name in categories], np.float32)
    return Dataset(
        root=ROOT,
        labelled=vectors.reshape(-1, dim),
        labelled_paths=paths,
        categories=categories,
        unlabelled=rng.normal(size=(unsorted, dim)).astype(np.float32),
        unlabelled_paths=new,
        transcripts={path: f"this is {path}" for path in (*paths, *new)},
        predictions={path: Prediction((("soccer", 0.75), ("cooking", 0.25)), 0.5) for path in new},
        learned=Learned(
            kind="logreg",
            categories=sorted(map(CategoryName, names)),
            labels=len(paths),
            hyperparameters={"temperature": 1.5},
            candidates=[CandidateReport("knn", 0.9, 0.3), CandidateReport("logreg", 0.95, 0.2)],
            arrays={"weights0": np.ones((dim, 2), np.float32), "vectors": vectors.astype(np.float16)},
        ),
        clip_model="ViT-B/32",
        whisper_model="base",
        n_frames=5,
    )


def load(file: Path):
    """As anyone would."""
    import torch  # noqa: PLC0415 - takes seconds

    return torch.load(file)


def in_json(file: Path):
    assert file.read_bytes().isascii()
    return json.loads(file.read_text())


def in_table(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        return list(csv.reader(text))


def listing(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# The seven files


def test_the_snippets_that_people_know_run_on_the_export_as_they_are(tmp_path):
    write(library(each=20), tmp_path / "artifacts", format="pt", relative=False)
    (tmp_path / "snippets.py").write_text(SNIPPETS)
    ended = subprocess.run(
        [sys.executable, "snippets.py"],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "Num videos: 40",
        "Feature dim: 16",
        "Categories: ['cooking', 'soccer']",
        "Class distribution: tensor([20, 20])",
    ]
    assert (tmp_path / "embeddings_tsne.png").stat().st_size > 10_000


def test_all_seven_files_are_there_and_nothing_else(tmp_path):
    assert write(library(each=20), tmp_path, format="pt", relative=False) == []
    assert listing(tmp_path) == [
        "embeddings_tsne.png",
        "labeled_embeddings.pt",
        "model.pt",
        "model_config.json",
        "predictions.json",
        "transcripts.json",
        "unlabeled_embeddings.pt",
    ]
    assert (tmp_path / "embeddings_tsne.png").read_bytes().startswith(b"\x89PNG")


def test_the_tensors_have_the_shapes_and_types_that_are_promised(tmp_path):
    import torch  # noqa: PLC0415 - takes seconds

    dataset = library(names=("soccer", "cooking", "pets"), each=4)
    write(dataset, tmp_path, format="pt", relative=False)
    labelled, unlabelled, model = (
        load(tmp_path / f"{name}.pt") for name in ("labeled_embeddings", "unlabeled_embeddings", "model")
    )
    assert list(labelled) == ["features", "labels", "label_names", "video_paths"]
    assert (labelled["features"].dtype, tuple(labelled["features"].shape)) == (torch.float32, (12, DIM))
    assert (labelled["labels"].dtype, tuple(labelled["labels"].shape)) == (torch.int64, (12,))
    assert labelled["label_names"] == ["cooking", "pets", "soccer"]
    assert [labelled["label_names"][i] for i in labelled["labels"]] == dataset.categories
    assert labelled["video_paths"][0] == "/videos/soccer/0.mp4"
    assert np.array_equal(labelled["features"].numpy(), dataset.labelled)
    assert list(unlabelled) == ["features", "video_paths"]
    assert (unlabelled["features"].dtype, tuple(unlabelled["features"].shape)) == (torch.float32, (3, DIM))
    assert unlabelled["video_paths"] == ["/videos/new0.mp4", "/videos/new1.mp4", "/videos/new2.mp4"]
    assert {name: (value.dtype, tuple(value.shape)) for name, value in model.items()} == {
        "weights0": (torch.float32, (DIM, 2)),
        "vectors": (torch.float16, (12, DIM)),
    }


def test_the_documents_say_what_is_promised(tmp_path):
    dataset = library()
    write(dataset, tmp_path, format="npz", relative=False)
    assert in_json(tmp_path / "model_config.json") == {
        "kind": "logreg",
        "label_names": ["cooking", "soccer"],
        "dim": DIM,
        "clip_model": "ViT-B/32",
        "whisper_model": "base",
        "n_frames": 5,
        "hyperparameters": {"temperature": 1.5},
        "candidates": [
            {"kind": "knn", "cv_accuracy": 0.9, "log_loss": 0.3},
            {"kind": "logreg", "cv_accuracy": 0.95, "log_loss": 0.2},
        ],
        "labels": 2,
    }
    first, *others = in_json(tmp_path / "predictions.json")
    assert first == {
        "video_path": "/videos/new0.mp4",
        "predicted": "soccer",
        "confidence": 0.75,
        "ranking": [["soccer", 0.75], ["cooking", 0.25]],
    }
    assert len(others) == 2
    assert in_json(tmp_path / "transcripts.json") == {
        f"/videos/{path}": text for path, text in dataset.transcripts.items()
    }


@pytest.mark.parametrize("form", ["pt", "npz"])
def test_paths_may_be_relative_to_the_root(form, tmp_path):
    write(library(), tmp_path, format=form, relative=True)
    file = tmp_path / f"labeled_embeddings.{form}"
    labelled = load(file) if form == "pt" else np.load(file)
    assert labelled["video_paths"][1] == "soccer/1.mp4"
    assert list(in_json(tmp_path / "transcripts.json"))[-1] == "new2.mp4"
    assert in_json(tmp_path / "predictions.json")[0]["video_path"] == "new0.mp4"


def test_all_formats_hold_the_same(tmp_path):
    dataset = library()
    for form in ("pt", "npz", "csv"):
        write(dataset, tmp_path / form, format=form, relative=False)
    tensors = load(tmp_path / "pt/labeled_embeddings.pt")
    arrays = np.load(tmp_path / "npz/labeled_embeddings.npz")
    header, *rows = in_table(tmp_path / "csv/labeled_embeddings.csv")
    assert header == ["video_path", "label", *(f"f{i}" for i in range(DIM))]
    assert [row[0] for row in rows] == arrays["video_paths"].tolist() == tensors["video_paths"]
    assert [row[1] for row in rows] == arrays["label_names"][arrays["labels"]].tolist()
    assert arrays["labels"].dtype == np.int64
    assert arrays["features"].dtype == np.float32
    assert np.array_equal(arrays["features"], tensors["features"].numpy())
    assert np.array_equal(np.array([row[2:] for row in rows], np.float32), arrays["features"])
    header, *rows = in_table(tmp_path / "csv/unlabeled_embeddings.csv")
    assert header == ["video_path", *(f"f{i}" for i in range(DIM))]
    assert np.array_equal(np.array([row[1:] for row in rows], np.float32), dataset.unlabelled)
    for folder in ("npz", "csv"):
        model = np.load(tmp_path / folder / "model.npz")
        assert {name: model[name].dtype for name in model.files} == {"weights0": np.float32, "vectors": np.float16}
    assert listing(tmp_path / "csv") == [
        "labeled_embeddings.csv",
        "model.npz",
        "model_config.json",
        "predictions.json",
        "transcripts.json",
        "unlabeled_embeddings.csv",
    ]


@pytest.mark.parametrize("form", ["pt", "npz", "csv"])
def test_names_that_are_no_text_survive_every_format(form, tmp_path):
    dataset = replace(
        library(names=("caf\udce9", "料理"), each=2, unsorted=1),
        unlabelled_paths=[PurePath('n\udcff "new",\n1.mp4')],
        transcripts={PurePath("n\udcff.mp4"): "eh bien"},
    )
    folder = tmp_path / "out\udce8"
    write(dataset, folder, format=form, relative=True)
    if form == "csv":
        paths = [row[0] for row in in_table(folder / "unlabeled_embeddings.csv")[1:]]
        names = {row[1] for row in in_table(folder / "labeled_embeddings.csv")[1:]}
    else:
        file = folder / f"unlabeled_embeddings.{form}"
        paths = list((load(file) if form == "pt" else np.load(file))["video_paths"])
        file = folder / f"labeled_embeddings.{form}"
        names = set((load(file) if form == "pt" else np.load(file))["label_names"])
    assert paths == ['n\udcff "new",\n1.mp4']
    assert names == {"caf\udce9", "料理"}
    assert in_json(folder / "transcripts.json") == {"n\udcff.mp4": "eh bien"}
    assert (folder / "embeddings_tsne.png").exists()  # it too, though the legend can show neither


@pytest.mark.parametrize("form", ["pt", "npz", "csv"])
def test_where_nothing_is_labelled_the_sets_are_empty_but_keep_their_width(form, tmp_path):
    dataset = replace(library(each=0, unsorted=0, dim=1024), learned=None)
    assert write(dataset, tmp_path, format=form, relative=False) == [
        "model and model_config.json are left out: there is no classifier yet",
        "embeddings_tsne.png is left out: it takes 3 labelled videos that differ",
    ]
    assert listing(tmp_path) == [
        f"labeled_embeddings.{form}",
        "predictions.json",
        "transcripts.json",
        f"unlabeled_embeddings.{form}",
    ]
    if form == "csv":
        (header,) = in_table(tmp_path / "labeled_embeddings.csv")
        assert (len(header), header[:2]) == (1026, ["video_path", "label"])
        (header,) = in_table(tmp_path / "unlabeled_embeddings.csv")
        assert len(header) == 1025
        return
    for name in ("labeled_embeddings", "unlabeled_embeddings"):
        content = (load if form == "pt" else np.load)(tmp_path / f"{name}.{form}")
        assert tuple(content["features"].shape) == (0, 1024)
        assert len(content["video_paths"]) == 0
    labelled = (load if form == "pt" else np.load)(tmp_path / f"labeled_embeddings.{form}")
    assert tuple(labelled["labels"].shape) == (0,)


def test_vectors_that_may_not_be_written_are_exported_too(tmp_path):
    dataset = library()
    dataset.labelled.setflags(write=False)
    write(dataset, tmp_path, format="pt", relative=False)
    assert np.array_equal(load(tmp_path / "labeled_embeddings.pt")["features"].numpy(), dataset.labelled)


# The picture


@pytest.mark.parametrize("each", [1, 2])
def test_fewer_than_three_videos_make_no_picture(each, tmp_path):
    omitted = write(library(names=("cooking",), each=each), tmp_path, format="npz", relative=False)
    assert omitted == ["embeddings_tsne.png is left out: it takes 3 labelled videos that differ"]
    assert "embeddings_tsne.png" not in listing(tmp_path)


def test_three_videos_make_one(tmp_path):
    assert write(library(names=("a", "b", "c"), each=1), tmp_path, format="npz", relative=False) == []


def test_copies_of_one_video_make_none(tmp_path):
    dataset = replace(library(each=20), labelled=np.ones((40, DIM), np.float32))
    (omitted,) = write(dataset, tmp_path, format="npz", relative=False)
    assert omitted.startswith("embeddings_tsne.png is left out")


def test_any_folder_name_can_stand_in_the_legend(tmp_path):
    names = ("_private", "$5$ meals", "$broken", "料理", "x\udce9", "^_{")
    assert write(library(names=names, each=2), tmp_path, format="npz", relative=False) == []


# Where it is written


def test_a_second_export_replaces_the_first_and_leaves_everything_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write(library(), tmp_path, format="npz", relative=False)
    write(library(unsorted=9), tmp_path, format="npz", relative=False)
    assert len(np.load(tmp_path / "unlabeled_embeddings.npz")["features"]) == 9
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(listing(tmp_path)) == 7


@pytest.mark.parametrize("obstacle", ["folder", "link", "dangling link"])
def test_what_is_no_earlier_export_is_never_replaced(obstacle, tmp_path):
    write(library(), tmp_path / "out", format="npz", relative=False)
    before = (tmp_path / "out/labeled_embeddings.npz").read_bytes()
    place = tmp_path / "out/predictions.json"
    place.unlink()
    if obstacle == "folder":
        place.mkdir()
    else:
        (tmp_path / "precious").write_text("precious")
        place.symlink_to(tmp_path / ("precious" if obstacle == "link" else "nowhere"))
    with pytest.raises(SortdError, match=r"predictions\.json is in the way: it is no plain file$"):
        write(library(each=5), tmp_path / "out", format="npz", relative=False)
    assert (tmp_path / "out/labeled_embeddings.npz").read_bytes() == before
    assert not any(name.startswith(".") for name in listing(tmp_path / "out"))
    assert obstacle == "folder" or (tmp_path / "precious").read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SortdError, match=r"file/out cannot be written: Not a directory$"):
        write(library(), tmp_path / "file/out", format="npz", relative=False)


def test_an_export_that_fails_leaves_the_earlier_one(tmp_path):
    write(library(), tmp_path, format="npz", relative=False)
    before = {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)}
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from pathlib import Path; from tests.shell.test_export import library, write;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000));"  # less than the first file takes
        f"write(library(each=2000), Path({str(tmp_path)!r}), format='npz', relative=False)"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert re.search(r"SortdError: .* cannot be written: File too large\n$", ended.stderr)
    assert {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)} == before
