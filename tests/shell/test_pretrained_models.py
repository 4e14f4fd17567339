from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch

from sortd.domain.errors import DeviceLost, SortdError
from sortd.domain.feature import Image, Matrix, Waveform
from sortd.extract.models import clip_model
from sortd.extract.models.clip_model import IMAGES_AT_ONCE, ClipEncoder
from sortd.extract.models.device import DevicePolicy
from sortd.extract.models.model_store import ModelStore
from sortd.extract.models.whisper_model import WhisperTranscriber
from sortd.extract.registry import EncoderSettings
from tests.checkpoints import random_clip, save_archive, save_whisper, talking_whisper

ELSEWHERE = torch.device("meta")
"""Any device but the CPU: one that every machine has."""


def pictures(count: int) -> list[Image]:
    chance = np.random.default_rng(0)
    return [chance.integers(0, 256, (48 + 8 * (k % 3), 64, 3), np.uint8) for k in range(count)]


def hum(seconds: float = 1.0) -> Waveform:
    return np.sin(np.arange(int(16_000 * seconds)) / 5).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CLIP as it is published and as a plain file of the same numbers, and a Whisper."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(random_clip(), folder / "plain.pt")
    archive = save_archive(folder / "clip.pt", random_clip())
    talking = save_whisper(folder / "whisper.pt", talking_whisper("today we are making pasta"))
    return {"archive": str(archive), "plain": str(folder / "plain.pt"), "whisper": str(talking)}


def models(files: dict[str, str], kind: str = "archive", *, precision: str = "exact") -> ModelStore:
    return ModelStore(
        EncoderSettings(clip_model=files[kind], whisper_model=files["whisper"], device="cpu", precision=precision)
    )


def clips_own(file: str, batch: Sequence[Image]) -> Matrix:
    """What a user of openai-clip gets, one picture after the other."""
    network, preprocess = clip_model.clip.load(file, device="cpu", jit=False)
    with torch.no_grad():
        return np.stack([network.encode_image(preprocess(PIL.Image.fromarray(p))[None])[0].numpy() for p in batch])


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_a_published_file_gives_the_vectors_that_openai_clip_gives(files: dict[str, str]) -> None:
    batch = pictures(3)

    vectors = models(files).clip.images(batch)

    assert vectors.shape == (3, models(files).clip.dim) == (3, 64)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - clips_own(files["archive"], batch)).max() < 1e-5


def test_a_plain_file_of_the_same_numbers_is_the_same_network(files: dict[str, str]) -> None:
    one, other = (models(files, kind).clip for kind in ("archive", "plain"))

    assert np.array_equal(one.texts(["a dog"]), other.texts(["a dog"]))
    assert np.array_equal(one.images(pictures(1)), other.images(pictures(1)))


def test_how_many_come_together_changes_nothing(files: dict[str, str]) -> None:
    encoder, many = models(files).clip, pictures(IMAGES_AT_ONCE + 5)

    together, apart = encoder.images(many), np.concatenate([encoder.images([one]) for one in many])

    assert np.abs(together - apart).max() < 1e-5
    assert np.abs(together[1:] - together[:-1]).max() > 1e-3  # and it is not that all are alike


def test_none_give_none(files: dict[str, str]) -> None:
    assert models(files).clip.images([]).shape == (0, 64)


def test_of_a_long_text_the_first_77_tokens_are_read(files: dict[str, str]) -> None:
    read = models(files).clip.texts
    fits, full, over, far_over = (" ".join(["word"] * count) for count in (74, 75, 76, 500))

    assert not np.allclose(read([fits]), read([full]))
    assert np.array_equal(read([full]), read([over]))
    assert np.array_equal(read([full]), read([far_over + " and more"]))


def test_on_the_cpu_the_fast_class_is_as_exact_as_the_exact_one(files: dict[str, str]) -> None:
    exact, fast = (models(files, precision=precision).clip for precision in ("exact", "fast"))

    assert np.array_equal(exact.images(pictures(2)), fast.images(pictures(2)))


def test_only_a_cuda_device_is_trusted_with_halves_and_only_in_the_fast_class() -> None:
    kinds = [(device, fast) for device in ("cuda", "mps", "cpu") for fast in (True, False)]

    halves = [kind for kind in kinds if DevicePolicy(torch.device(kind[0]), fast=kind[1], say=print).half]

    assert halves == [("cuda", True)]


def test_whisper_says_what_it_hears(files: dict[str, str]) -> None:
    assert models(files).whisper.transcribe(hum()) == "today we are making pasta"


def test_where_whisper_draws_lots_the_same_sound_still_gives_the_same_words() -> None:
    class Guessing(torch.nn.Module):
        def transcribe(self, _sound: Waveform, **_: object) -> dict[str, str]:
            return {"text": str(torch.randint(1_000_000, ()).item())}

    transcriber = WhisperTranscriber(Guessing(), DevicePolicy(torch.device("cpu"), fast=False, say=print))

    assert transcriber.transcribe(hum()) == transcriber.transcribe(hum())


def test_nothing_is_loaded_before_it_is_asked_for_and_then_once(files: dict[str, str]) -> None:
    half_there = ModelStore(
        EncoderSettings(clip_model="/nowhere/clip.pt", whisper_model=files["whisper"], device="cpu")
    )

    assert half_there.whisper is half_there.whisper


def test_nothing_is_ever_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        pytest.fail("it went to the network")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(SortdError, match=r"ViT-B-32\.pt: the weights cannot be read: No such file"):
        _ = ModelStore(EncoderSettings(device="cpu")).clip
    with pytest.raises(SortdError, match=r"base\.pt: the weights cannot be read: No such file"):
        _ = ModelStore(EncoderSettings(device="cpu")).whisper
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"half a file", bytes(100_000)])
def test_a_file_that_is_no_checkpoint_is_called_that(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.pt"
    path.write_bytes(content)
    own = ModelStore(EncoderSettings(clip_model=str(path), whisper_model=str(path), device="cpu"))

    with pytest.raises(SortdError, match=r"own\.pt is no checkpoint of clip"):
        _ = own.clip
    with pytest.raises(SortdError, match=r"own\.pt is no checkpoint of whisper"):
        _ = own.whisper


def test_one_kind_of_checkpoint_is_not_taken_for_the_other(files: dict[str, str]) -> None:
    exchanged = ModelStore(EncoderSettings(clip_model=files["whisper"], whisper_model=files["plain"], device="cpu"))

    with pytest.raises(SortdError, match="is no checkpoint of clip"):
        _ = exchanged.clip
    with pytest.raises(SortdError, match="is no checkpoint of whisper"):
        _ = exchanged.whisper


def test_a_device_or_a_language_that_is_not_there_is_told_in_one_line(files: dict[str, str]) -> None:
    with pytest.raises(SortdError, match="'toaster'"):
        _ = ModelStore(EncoderSettings(device="toaster")).device
    with pytest.raises(SortdError, match="'klingon'"):
        _ = ModelStore(EncoderSettings(whisper_model=files["whisper"], language="klingon", device="cpu")).whisper


class Told(list[tuple[str, int]]):
    """What was said about memory: (remedy, how many at once)."""

    def __call__(self, event: str, *, remedy: str, at_once: int, device: str) -> None:
        assert event == "memory_ran_out"
        assert device
        self.append((remedy, at_once))


class SmallClip:
    """Has room for `room` pictures or texts on its first device and any number on the CPU; vectors tell the size."""

    def __init__(self, room: float, *, on_the_cpu: float = math.inf, shortage: Exception | None = None) -> None:
        self._room, self._on_the_cpu = room, on_the_cpu
        self._shortage = shortage or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.visual = SimpleNamespace(input_resolution=32)
        self.text_projection = torch.empty(64, 3)
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        self.device = device

    def float(self) -> None:
        pass

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.device == self.device
        if len(tokens) > (self._on_the_cpu if self.device.type == "cpu" else self._room):
            raise self._shortage
        return torch.full((len(tokens), 3), float(len(tokens)))


def place(told: Told, device: torch.device = ELSEWHERE, *, waited: list[float] | None = None) -> DevicePolicy:
    return DevicePolicy(device, fast=True, say=told, wait=(waited if waited is not None else []).append)


def sizes(vectors: Matrix) -> list[int]:
    return [int(size) for size in vectors[:, 0]]


WORDS = [str(number) for number in range(10)]


@pytest.mark.parametrize(
    "shortage",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB, max allowed: 9.07 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to..."),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        MemoryError(),
    ],
)
def test_out_of_memory_less_is_done_at_once_and_nothing_is_lost(shortage: Exception) -> None:
    told = Told()

    vectors = ClipEncoder(SmallClip(3, shortage=shortage), place(told)).texts(WORDS)

    assert sizes(vectors) == [2] * 10
    assert told == [("less_at_once", 5), ("less_at_once", 2)]


def test_still_out_of_memory_it_waits_once_and_then_goes_to_the_cpu_for_good() -> None:
    told, waited, small = Told(), [], SmallClip(0)
    encoder = ClipEncoder(small, place(told, waited=waited))

    assert sizes(encoder.texts(WORDS[:4])) == [1, 1, 1, 1]
    assert told == [("less_at_once", 2), ("less_at_once", 1), ("wait", 1), ("cpu", 1)]
    assert len(waited) == 1
    assert sizes(encoder.texts(WORDS)) == [10] * 10
    assert len(told) == 4
    assert small.device.type == "cpu"


def test_memory_that_comes_back_while_it_waits_keeps_it_on_the_device() -> None:
    told, small = Told(), SmallClip(0)

    class Patience(list[float]):
        def append(self, _seconds: float) -> None:
            small._room = 1

    assert sizes(ClipEncoder(small, place(told, waited=Patience())).texts(WORDS[:1])) == [1]
    assert told == [("wait", 1)]
    assert small.device == ELSEWHERE


def test_where_even_the_cpu_has_no_memory_it_gives_up() -> None:
    told = Told()

    with pytest.raises(MemoryError):
        ClipEncoder(SmallClip(0, on_the_cpu=0), place(told)).texts(WORDS[:1])
    assert told == [("wait", 1), ("cpu", 1)]


def test_whisper_goes_to_the_cpu_too() -> None:
    told = Told()

    class SmallWhisper:
        def to(self, device: torch.device) -> None:
            self.device = device

        def transcribe(self, sound: Waveform, *, fp16: bool, language: None, task: str) -> dict[str, str]:
            assert (fp16, language, task) == (False, None, "transcribe")
            if self.device == ELSEWHERE:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return {"text": f" {len(sound)} samples "}

    assert WhisperTranscriber(SmallWhisper(), place(told)).transcribe(hum()) == "16000 samples"
    assert told == [("wait", 1), ("cpu", 1)]


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ],
)
def test_any_other_error_of_the_device_means_that_the_process_has_lost_it(error: Exception) -> None:
    def fail(_: Sequence[str]) -> None:
        raise error

    told = Told()
    with pytest.raises(DeviceLost, match="cuda failed"):
        place(told, torch.device("cuda")).each(fail, WORDS, at_once=4)
    assert told == []


def test_a_mistake_of_our_own_is_not_blamed_on_the_device() -> None:
    def fail(_: Sequence[str]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        place(Told(), torch.device("cuda")).each(fail, WORDS, at_once=4)
