"""What a checkpoint by path may do (row S10), and what becomes of networks that give no numbers (row G6)."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sortd.domain.errors import NoNumbers, SortdError
from sortd.domain.feature import Feature
from sortd.extract.models.checkpoint import numbers, width
from sortd.extract.models.clip_model import ClipEncoder
from sortd.extract.models.device import DevicePolicy
from sortd.extract.models.model_store import ModelStore
from sortd.extract.models.whisper_model import WhisperTranscriber
from sortd.extract.registry import EncoderSettings, load, space
from sortd.extract.spec import Sample
from tests.checkpoints import Numbers, random_clip, save_archive, save_whisper, talking_whisper

CPU = torch.device("cpu")
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SOUND = np.sin(np.arange(16_000) / 5).astype(np.float32)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self._folder,)


def models(clip: Path, whisper: Path | None = None) -> ModelStore:
    return ModelStore(EncoderSettings(clip_model=str(clip), whisper_model=str(whisper or clip), device="cpu"))


def rewritten(path: Path, source: Path, change: Callable[[zipfile.ZipInfo, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, change(entry, archive.read(entry)))
    return path


@pytest.mark.fault("S10")
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "torchscript"])
@pytest.mark.parametrize("kind", ["clip", "whisper"])
def test_a_checkpoint_that_would_run_code_is_refused_in_one_line(tmp_path: Path, form: str, kind: str) -> None:
    hostile, path = Hostile(tmp_path / "PWNED"), tmp_path / "own.pt"
    if form == "pickle":
        path.write_bytes(pickle.dumps(hostile))
    elif form == "torchscript":
        source = save_archive(tmp_path / "good.pt", random_clip())
        rewritten(
            path, source, lambda entry, was: pickle.dumps(hostile) if entry.filename.endswith("/data.pkl") else was
        )
    else:
        torch.save({"a": hostile}, path, _use_new_zipfile_serialization=form == "zip")

    with pytest.raises(SortdError, match=rf"own\.pt is no checkpoint of {kind}") as refused:
        getattr(models(path), kind)

    assert not (tmp_path / "PWNED").exists()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.fault("S10")
def test_of_a_torchscript_archive_the_numbers_are_read_and_no_program(tmp_path: Path) -> None:
    source = save_archive(tmp_path / "good.pt", random_clip())
    broken = rewritten(tmp_path / "own.pt", source, lambda entry, was: b"(" if "/code/" in entry.filename else was)

    good, other = (models(path).clip.images([PICTURE]) for path in (source, broken))

    assert np.isfinite(good).all()
    assert np.array_equal(good, other)


@pytest.mark.fault("S10")
def test_a_tensor_beyond_its_numbers_is_refused(tmp_path: Path) -> None:
    source = save_archive(tmp_path / "good.pt", random_clip())
    short = rewritten(tmp_path / "own.pt", source, lambda entry, was: was[:2] if "/data/" in entry.filename else was)

    with pytest.raises(SortdError, match=r"own\.pt is no checkpoint of clip: a tensor reaches beyond its numbers"):
        _ = models(short).clip


def pickled(name: str, made: bytes) -> bytes:
    """An object that holds one thing, under this name."""
    return b"\x80\x02cx\ny\n)R}X" + len(name).to_bytes(4, "little") + name.encode() + made + b"sb."


def tensor(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    laid_out = b"".join(pickle.dumps(numbers, 0)[:-1] for numbers in (size, stride))
    numbers = b"(V storage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + numbers + b"I0\n" + laid_out + b"tR"


def circle() -> bytes:
    """Each of two names leads back to the whole: 2 ** n ways, n parts deep."""
    return b"\x80\x02cx\ny\n)Rq\0}(X\1\0\0\0ah\0X\1\0\0\0bh\0ub."


def doubled(levels: int = 40) -> bytes:
    """Each part holds the one before it twice."""
    parts = b"cx\ny\n)Rq\0"
    for number in range(1, levels):
        before = bytes([ord("h"), number - 1])
        parts += b"0cx\ny\n)Rq" + bytes([number]) + b"}(X\1\0\0\0a" + before + b"X\1\0\0\0b" + before + b"ub"
    return b"\x80\x02" + parts + b"."


@pytest.mark.fault("S10")
@pytest.mark.parametrize(
    ("structure", "why"),
    [
        (b"\x80\x02}r" + (300_000_000).to_bytes(4, "little") + b".", "more memory than it can use"),
        (b"\x80\x02}p300000000\n.", "more memory than it can use"),
        (b"\x80\x02" + b"}" * (5 << 20) + b".", "5242883"),
        (pickled("w", tensor((200_000, 200_000), (0, 0))), "more than its numbers"),
        (circle(), "more parts than a network has"),
        (doubled(), "more parts than a network has"),
    ],
    ids=["memo", "memo in words", "many", "one number as many", "circle", "doubled"],
)
def test_a_checkpoint_that_wants_memory_or_time_is_refused(tmp_path: Path, structure: bytes, why: str) -> None:
    path = tmp_path / "own.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", structure)
        archive.writestr("archive/constants.pkl", b"")
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(ValueError, match=why):
        numbers(path)
    with pytest.raises(SortdError, match="is no CLIP"):
        width(path)


def spoilt(numbers: Numbers, value: float) -> Numbers:
    return {name: torch.full_like(each, value) if each.is_floating_point() else each for name, each in numbers.items()}


@pytest.mark.fault("G6")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_clip_that_never_gives_numbers_is_no_videos_fault(tmp_path: Path, value: float) -> None:
    torch.save(spoilt(random_clip(), value), tmp_path / "clip.pt")
    encoder = models(tmp_path / "clip.pt").clip

    with pytest.raises(SortdError, match="CLIP gives no numbers"):
        encoder.images([PICTURE])
    with pytest.raises(SortdError, match="CLIP gives no numbers"):
        encoder.texts(["a dog"])


class HalfPlace(DevicePolicy):
    """A device whose float16 is broken."""

    @property
    def half(self) -> bool:
        return self._fast


@pytest.mark.fault("G6")
def test_where_halves_give_no_numbers_it_is_computed_exactly() -> None:
    class BrokenHalves(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text_projection = torch.nn.Parameter(torch.ones(4, 4).half())
            self.visual = torch.nn.Module()
            self.visual.input_resolution = 32  # type: ignore[assignment]

        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            scale = float("nan") if self.text_projection.dtype is torch.float16 else 1.0
            return torch.full((len(pixels), 4), scale)

    told: list[str] = []
    place = HalfPlace(CPU, fast=True, say=lambda event, **_facts: told.append(event))

    assert np.array_equal(ClipEncoder(BrokenHalves(), place).images([PICTURE]), np.ones((1, 4)))
    assert told == ["precision_lost"]


class Stumbling(torch.nn.Module):
    """Stands for a Whisper that has no numbers for this sound, or none in halves."""

    def __init__(self, *, in_halves_only: bool) -> None:
        super().__init__()
        self._in_halves_only = in_halves_only

    def transcribe(self, _sound: object, *, fp16: bool, **_: object) -> dict[str, str]:
        logits = torch.full((1, 3), 0.0 if self._in_halves_only and not fp16 else float("nan"))
        torch.distributions.Categorical(logits=logits)
        return {"text": " exactly"}


@pytest.mark.fault("G6")
def test_a_whisper_that_fails_in_halves_is_asked_exactly() -> None:
    place = HalfPlace(CPU, fast=True, say=lambda _event, **_facts: None)

    assert WhisperTranscriber(Stumbling(in_halves_only=True), place).transcribe(SOUND) == "exactly"


@pytest.mark.fault("G6")
def test_a_whisper_without_numbers_for_one_sound_costs_that_sound_only(tmp_path: Path) -> None:
    torch.save(random_clip(), tmp_path / "clip.pt")
    own = models(tmp_path / "clip.pt")
    own.__dict__["whisper"] = WhisperTranscriber(
        Stumbling(in_halves_only=False), DevicePolicy(CPU, fast=False, say=print)
    )

    with pytest.raises(NoNumbers):
        own.whisper.transcribe(SOUND)

    (feature,) = speech(own, tmp_path / "clip.pt")
    assert (feature.vector, feature.text) == (None, "")
    assert "no numbers" in feature.details["problem"]


@pytest.mark.fault("G6")
def test_a_whisper_that_never_gives_numbers_is_no_videos_fault(tmp_path: Path) -> None:
    torch.save(random_clip(), tmp_path / "clip.pt")
    silent = talking_whisper("today we are making pasta")
    with torch.no_grad():
        for parameter in silent.parameters():
            parameter.fill_(float("nan"))

    with pytest.raises(SortdError, match="Whisper gives no numbers: its weights") as refused:
        models(tmp_path / "clip.pt", save_whisper(tmp_path / "whisper.pt", silent)).whisper.transcribe(SOUND)

    assert not isinstance(refused.value, NoNumbers)


@pytest.mark.fault("G6")
@pytest.mark.parametrize("text", ["ha" * 500_000, "\ud83d half a sign \udc80", "a\0b", "word " * 200_000])
def test_whatever_a_whisper_says_becomes_one_vector(tmp_path: Path, text: str) -> None:
    class Saying(torch.nn.Module):
        def transcribe(self, _sound: object, **_: object) -> dict[str, str]:
            return {"text": text}

    torch.save(random_clip(), tmp_path / "clip.pt")
    own = models(tmp_path / "clip.pt")
    own.__dict__["whisper"] = WhisperTranscriber(Saying(), DevicePolicy(CPU, fast=False, say=print))

    (feature,) = speech(own, tmp_path / "clip.pt")

    assert feature.vector is not None
    assert np.isfinite(feature.vector).all()
    assert feature.text is not None
    feature.text.encode()


def speech(own: ModelStore, clip: Path) -> list[Feature]:
    settings = EncoderSettings(encoder="clip", clip_model=str(clip), whisper_model=str(clip), device="cpu")
    part = next(part for part in space(settings).parts if part.extractor == "speech")
    return load(part, settings, own).extract([Sample((), (), (), SOUND, 1.0, 60, 40)])
