"""Its networks are none, run out of memory, or lose their device. Rows P9 and P15 of the fault matrix."""

from __future__ import annotations

import os
import pickle
import shutil

import pytest

from tests.checkpoints import random_clip, save_archive, save_whisper, talking_whisper
from tests.faults.conftest import Library
from tests.faults.kit import alive, installation
from tests.stories import service

WORKER = "sortd.workers.extraction_worker:extraction"


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch PWNED",)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The two checkpoints, as small as they can be."""
    folder = tmp_path_factory.mktemp("weights")
    save_archive(folder / "clip.pt", random_clip())
    save_whisper(folder / "whisper.pt", talking_whisper("today we are making pasta"))
    return folder


@pytest.fixture
def with_networks(home, weights):
    """A library whose checkpoints stand beside it."""
    for name in ("clip.pt", "whisper.pt"):
        shutil.copy(weights / name, home.folder)
    models = {"extract.visual": {"model": str(home.folder / "clip.pt")}}
    models |= {"extract.speech": {"model": str(home.folder / "whisper.pt")}}
    home.configure("config.toml", extract={"timeout_seconds": 60}, **models)
    return home


@pytest.mark.fault("P9")
@pytest.mark.parametrize("damaged", ["clip.pt", "whisper.pt"])
def test_weights_that_are_no_network_run_nothing_and_cost_no_video(with_networks, weights, clips, damaged, monkeypatch):
    home = with_networks
    monkeypatch.chdir(home.folder)
    (home.folder / damaged).write_bytes(pickle.dumps(Evil()))
    shutil.copy(clips / "sea-0.mp4", home.root)
    with home.nothing_lost():
        home.start()
        home.until(lambda: home.told("extraction_stalled") or home.told("extracted"))
        status = home.ask("status")
        assert status["set_aside"] == []
        assert (status["videos"]["pending"] == 0) == (status["encoder"] == "builtin")
        assert home.stop() == 0
        assert list(home.folder.rglob("PWNED")) == []

        shutil.copy(weights / damaged, home.folder)
        home.start()
        home.until(lambda: home.ask("status")["encoder"] == "clip" and home.ask("status")["videos"]["pending"] == 0)
        assert home.stop() == 0
    assert home.told("set_aside") == []


# P15: the GPU's memory runs out, or the GPU is lost

FAULTY = """
import sys
from pathlib import Path

if any("extraction_worker:extraction" in word for word in sys.orig_argv):
    import torch
    from sortd.extract.models import clip_model, model_store, whisper_model

    there = Path({marker!r})
    first = not there.exists()
    there.touch()
    if {lasting} or first:
        model_store.device_of = lambda name: torch.device("cuda")

    def faulty(work):
        def on_a_faulty_device(self, items):
            if self._policy.device.type == "cuda":
                raise torch.{error}
            return work(self, items)
        return on_a_faulty_device

    clip_model.ClipEncoder._look = faulty(clip_model.ClipEncoder._look)
    clip_model.ClipEncoder._read = faulty(clip_model.ClipEncoder._read)
    whisper_model.WhisperTranscriber._listen = faulty(whisper_model.WhisperTranscriber._listen)
"""
"""Makes the networks believe in a GPU, which then fails them: for good, or only the first child."""


@pytest.fixture
def three_films(with_networks, clips):
    """A library with networks, and work for them."""
    home = with_networks
    for number in range(3):
        shutil.copy(clips / f"sea-{number}.mp4", home.root)
    return home


def await_three(home: Library) -> None:
    """As long as it takes: each has the patience that one has."""
    for number in range(1, 4):
        home.await_told("extracted", number)


def with_faulty_gpu(home: Library, monkeypatch: pytest.MonkeyPatch, error: str, *, lasting: bool) -> None:
    marker = str(home.folder / "was there")
    faulty = FAULTY.format(marker=marker, error=error, lasting=lasting)
    python = installation(home.folder / "faulty", {"faulty_gpu.py": faulty}, imports="faulty_gpu")
    monkeypatch.setattr(service, "SORTD", (python, "-P", "-m", "sortd"))


@pytest.mark.fault("P15")
def test_where_the_gpu_s_memory_runs_out_the_networks_go_on_without_it(three_films, monkeypatch):
    home = three_films
    with_faulty_gpu(home, monkeypatch, 'OutOfMemoryError("CUDA out of memory.")', lasting=True)
    with home.nothing_lost():
        home.start()
        await_three(home)
        assert home.ask("status")["device"] == "cpu"
        assert home.stop() == 0
    remedies = [line["remedy"] for line in home.told("memory_ran_out")]
    assert remedies[-2:] == ["wait", "cpu"]
    assert home.told("set_aside") == home.told("step_failed") == []


@pytest.mark.fault("P15")
def test_a_gpu_that_is_lost_to_one_worker_serves_the_next(three_films, monkeypatch):
    home = three_films
    with_faulty_gpu(home, monkeypatch, 'AcceleratorError("CUDA error: an illegal memory access")', lasting=False)
    with home.nothing_lost():
        home.start()
        lost = home.child(WORKER)
        home.until(lambda: not alive(lost))
        home.child(WORKER)
        await_three(home)
        assert home.stop() == 0
    assert home.told("set_aside") == home.told("step_failed") == home.told("memory_ran_out") == []
    assert len(home.told("ready")) == 1
