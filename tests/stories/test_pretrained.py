"""A real service and its pretrained networks: the weights come late, or torn, and their worker is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
import torch

from sortd.cli.demo_clips import FAMILIES, make_clip
from tests.checkpoints import TINY_CLIP, random_clip, save_archive, save_whisper, talking_whisper
from tests.stories.service import Service

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")

SENTENCE = "today we are making pasta"
FILES = ("clip.pt", "whisper.pt")
WIDTH = TINY_CLIP[0]
TAUGHT = 6


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The two checkpoints, as small as they can be."""
    folder = tmp_path_factory.mktemp("weights")
    save_archive(folder / "clip.pt", random_clip())
    save_whisper(folder / "whisper.pt", talking_whisper(SENTENCE))
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Short clips, named FAMILY-NUMBER.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    for family, number in product(FAMILIES, range(TAUGHT + 1)):
        make_clip(folder / f"{family}-{number}.mp4", family, number, seconds=0.5)
    return folder


@pytest.fixture
def home(tmp_path):
    """A service that wants checkpoints beside its library; it is gone when the test is."""
    models = {"extract.visual": {"model": str(tmp_path / "clip.pt")}}
    models |= {"extract.speech": {"model": str(tmp_path / "whisper.pt")}}
    home = Service(tmp_path, move={"probation": []}, **models)
    yield home
    home.end()
    assert home.told("step_failed") == []


def put(source: Path, folder: Path, *, share: float = 1.0) -> None:
    """Bring a file, or so much of its beginning, as a careful copier does: beside its place, then into it."""
    content = source.read_bytes()
    beside = folder / f"{source.name}.part"
    beside.write_bytes(content[: int(len(content) * share)])
    beside.rename(folder / source.name)


def fill(home: Service, clips: Path, *, each: int, families: tuple[str, ...] = tuple(FAMILIES)) -> list[str]:
    """File so many clips of each family."""
    for family, number in product(families, range(each)):
        (home.root / family).mkdir(exist_ok=True)
        shutil.copy(clips / f"{family}-{number}.mp4", home.root / family)
    return [f"{family}/{family}-{number}.mp4" for family, number in product(families, range(each))]


def worker(home: Service) -> int | None:
    """The number of the extraction child's process, if there is one."""
    for process in home.children():
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
        if b"sortd.workers.extraction_worker:extraction" in command:
            return process
    return None


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def in_hand(home: Service) -> int:
    """How many videos were given to the extraction child and not answered yet."""
    with closing(sqlite3.connect(f"file:{home.state / 'index.db'}?mode=ro", uri=True)) as index:
        return int(index.execute("SELECT count(*) FROM attempts WHERE running IS NOT NULL").fetchone()[0])


def tries_lost(home: Service) -> dict[str, int]:
    """Tries that were begun and came to nothing, of each video that still waits."""
    with closing(sqlite3.connect(f"file:{home.state / 'index.db'}?mode=ro", uri=True)) as index:
        return dict(index.execute("SELECT fingerprint, count FROM attempts"))


def names_read(home: Service) -> dict[str, int]:
    """What the folders are called, as far as the network read it, with how many numbers each became."""
    with closing(sqlite3.connect(f"file:{home.state / 'index.db'}?mode=ro", uri=True)) as index:
        (note,) = index.execute("SELECT value FROM notes WHERE key = 'words'").fetchone()
    return {text: len(bytes.fromhex(vector)) // 4 for text, vector in json.loads(note)["vectors"].items()}


def maps(process: int, library: str) -> bool:
    """Whether a process has begun to load a library."""
    try:
        return library in Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return False


# They come late


def test_weights_that_come_while_it_runs_take_over_without_a_gap(home, weights, clips):
    taught = fill(home, clips, each=TAUGHT)
    home.start()
    assert home.ask("status")["encoder"] == "builtin"
    home.await_told("trained", adopted=True)
    shutil.copy(clips / "sea-6.mp4", home.root)
    home.await_told("moved", path="sea-6.mp4")

    for name in FILES:
        put(weights / name, home.folder)
    home.await_told("encoder_changed", encoder="clip")
    shutil.copy(clips / "city-6.mp4", home.root)
    home.await_told("moved", path="city-6.mp4", category="city")
    home.await_told("trained", 2)
    home.until(lambda: home.ask("status")["videos"]["pending"] == 0)

    status = home.ask("status")
    told = home.ask("explain", "city/city-6.mp4")
    assert home.stop() == 0
    assert (status["encoder"], status["transcripts"]) == ("clip", len(taught) + 2)
    assert told["features"] == {
        "visual": {"present": True, "dim": WIDTH, "text": None},
        "speech": {"present": True, "dim": WIDTH, "text": SENTENCE},
    }
    assert len(home.told("weights_missing")) == len(home.told("encoder_changed")) == 1
    assert names_read(home) == {f"a video of {family}": WIDTH for family in FAMILIES}
    events = [(line["event"], line.get("path")) for line in home.lines]
    changed = events.index(("encoder_changed", None))
    assert {path for event, path in events[changed:] if event == "extracted"} >= set(taught)
    assert ("trained", None) not in events[changed : events.index(("moved", "city-6.mp4"))]
    assert home.told("retrain_due")[-1]["why"] == "the encoder changed"
    assert home.told("set_aside") == []


# They are in place


def test_what_they_said_and_saw_is_told_and_exported(home, weights, clips):
    for name in FILES:
        put(weights / name, home.folder)
    filed = fill(home, clips, each=2, families=("sea", "city"))
    shutil.copy(clips / "garden-0.mp4", home.root)
    assert home.run("run", "--once").returncode == 0
    models = home.ask("models")
    exported = home.folder / "exported"
    assert home.run("export", str(exported), "--relative").returncode == 0

    assert [(file["path"], file["present"]) for file in models] == [(str(home.folder / name), True) for name in FILES]
    assert home.told("weights_missing") == []
    labelled = torch.load(exported / "labeled_embeddings.pt")
    assert labelled["features"].shape == (len(filed), 2 * WIDTH)
    assert labelled["features"].dtype == torch.float32
    assert sorted(labelled["video_paths"]) == sorted(filed)
    assert torch.bincount(labelled["labels"]).tolist() == [2, 2]
    assert torch.load(exported / "unlabeled_embeddings.pt")["features"].shape == (1, 2 * WIDTH)
    transcripts = json.loads((exported / "transcripts.json").read_text())
    assert transcripts == dict.fromkeys([*filed, "garden-0.mp4"], SENTENCE)


def test_a_worker_killed_at_any_moment_costs_at_most_one_try_of_one_video(home, weights, clips):
    for name in FILES:
        put(weights / name, home.folder)
    names: list[str] = []

    def drop(count: int) -> None:
        """More videos, each another: a player passes over what stands behind a clip's end."""
        for number in range(len(names), len(names) + count):
            content = (clips / f"sea-{number % TAUGHT}.mp4").read_bytes()
            names.append(f"{number}.mp4")
            (home.folder / names[-1]).write_bytes(content + b"\0\0\0\x0cfree%04d" % number)
            (home.folder / names[-1]).rename(home.root / names[-1])

    def answered() -> set[str]:
        return {line["path"] for line in home.told("extracted")}

    moments = {
        "it appears": lambda _victim, _before: True,
        "it loads": lambda victim, _before: maps(victim, "libtorch"),
        "it has answered": lambda _victim, before: answered() > before,
    }
    drop(3)
    home.start()
    for moment, reached in moments.items():
        victim, before = home.until(lambda: worker(home)), answered()
        drop(3)
        home.until(lambda reached=reached, victim=victim, before=before: reached(victim, before))
        os.kill(victim, signal.SIGSTOP)
        drop(1)  # however quick it was, there is something left to do
        home.until(lambda: in_hand(home) > 0)
        lost, left_behind = tries_lost(home), home.children()
        os.kill(victim, signal.SIGKILL)
        home.until(lambda gone=victim: worker(home) not in {None, gone})
        paid = {clip: count - lost.get(clip, 0) for clip, count in tries_lost(home).items()}
        assert sum(count for count in paid.values() if count > 0) <= 1, moment
        home.until(lambda children=left_behind: all(map(ended, children)))
    for count in range(len(names)):  # patience with each of them, for together they may take any time
        home.await_told("extracted", count + 1)
    home.until(lambda: home.ask("status")["state"] == "idle")
    status = home.ask("status")
    assert home.stop() == 0
    assert (status["videos"]["pending"], status["set_aside"]) == (0, [])
    assert sorted(line["path"] for line in home.told("extracted")) == sorted(names)
    assert len(home.told("ready")) == 1


# They are torn


def test_a_torn_checkpoint_is_told_once_and_blamed_on_no_video(home, weights, clips):
    shutil.copy(clips / "sea-0.mp4", home.root)
    put(weights / "clip.pt", home.folder)
    put(weights / "whisper.pt", home.folder, share=0.5)
    home.start()
    home.await_told("extraction_stalled")
    shutil.copy(clips / "sea-1.mp4", home.root)
    home.await_told("found", path="sea-1.mp4")
    status = home.ask("status")
    assert (status["videos"]["pending"], status["set_aside"]) == (2, [])
    assert home.stop() == 0
    (stalled,) = home.told("extraction_stalled")
    assert str(home.folder / "whisper.pt") in stalled["why"]

    put(weights / "whisper.pt", home.folder)
    home.start()
    home.await_told("extracted", 2)
    assert home.stop() == 0
    assert home.told("set_aside") == []


def test_a_torn_clip_leaves_the_built_in_encoder_in_service(home, weights, clips):
    put(weights / "whisper.pt", home.folder)
    home.start()
    put(weights / "clip.pt", home.folder, share=0.5)
    shutil.copy(clips / "sea-0.mp4", home.root)
    home.await_told("extracted", 1)
    assert home.ask("status")["encoder"] == "builtin"
    assert home.stop() == 0
    assert home.told("set_aside") == []
