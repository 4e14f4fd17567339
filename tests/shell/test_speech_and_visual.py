from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from sortd.domain.feature import Feature, Image, Waveform
from sortd.extract.media import frames as media_frames
from sortd.extract.models import model_store
from sortd.extract.models.device import DevicePolicy
from sortd.extract.models.model_store import ModelStore
from sortd.extract.models.voice_gate import has_voice
from sortd.extract.models.whisper_model import WhisperTranscriber
from sortd.extract.registry import EncoderSettings, load, space
from sortd.extract.spec import Needs, Sample
from tests.checkpoints import random_clip, save_archive, save_whisper, talking_whisper
from tests.clips import film

PASTA = "today we are making pasta"
RECIPE = (
    "first boil some water with salt then cook the pasta until it is just soft while you cut two red onions and one "
    "green pepper very small put oil in hot pan add both wait five minutes mix all now open wine"
)
LONG = " ".join([RECIPE, *reversed(RECIPE.split())])
"""Eighty-four words, and each is a token to either network."""


@pytest.fixture(scope="module")
def saying(tmp_path_factory: pytest.TempPathFactory):
    """Settings under which Whisper says this sentence of any sound."""
    folder = tmp_path_factory.mktemp("weights")
    archive = save_archive(folder / "clip.pt", random_clip())

    def settings(sentence: str) -> EncoderSettings:
        path = folder / f"{len(sentence)}.pt"
        if not path.exists():
            save_whisper(path, talking_whisper(sentence))
        return EncoderSettings(encoder="clip", clip_model=str(archive), whisper_model=str(path), device="cpu")

    return settings


def frames(seed: int, count: int = 5) -> tuple[Image, ...]:
    return tuple(np.random.default_rng(seed).integers(0, 256, (count, 40, 60, 3), np.uint8))


def hum(seconds: float = 1.0, *, decibels: float = -12.0) -> Waveform:
    loud = 10 ** (decibels / 20)
    return (loud * np.sin(np.arange(int(16_000 * seconds)) / 5)).astype(np.float32)


def sample(*, pictures: tuple[Image, ...] = (), sound: Waveform | None = None) -> Sample:
    return Sample(pictures, (), tuple(map(float, range(len(pictures)))), sound, 1.0, 60, 40)


def extracted(
    settings: EncoderSettings, name: str, *samples: Sample, models: ModelStore | None = None
) -> list[Feature]:
    part = next(part for part in space(settings).parts if part.extractor == name)
    features = load(part, settings, models or ModelStore(settings)).extract(samples)
    assert {(feature.extractor, feature.version) for feature in features} == {(name, part.version)}
    return features


def test_a_sentence_gives_the_vector_that_clip_gives_its_words(saying) -> None:
    (heard,) = extracted(saying(PASTA), "speech", sample(sound=hum()))

    assert heard.text == PASTA
    assert heard.vector is not None
    assert np.array_equal(heard.vector, ModelStore(saying(PASTA)).clip.texts([PASTA])[0])


def test_a_long_transcript_is_kept_whole_and_its_vector_is_that_of_its_beginning(saying) -> None:
    (heard,) = extracted(saying(LONG), "speech", sample(sound=hum()))
    read = ModelStore(saying(LONG)).clip.texts

    assert heard.text == LONG
    assert heard.vector is not None
    assert np.array_equal(heard.vector, read([" ".join(LONG.split()[:75])])[0])
    assert not np.allclose(heard.vector, read([" ".join(LONG.split()[:74])])[0])


def test_no_track_silence_and_no_words_are_known_absences(saying) -> None:
    silences = [None, np.zeros(0, np.float32), np.zeros(16_000, np.float32), hum(decibels=-61), hum(0.02)]

    unheard = extracted(saying(PASTA), "speech", *(sample(sound=sound) for sound in silences))
    (wordless,) = extracted(saying(""), "speech", sample(sound=hum()))

    assert [(feature.vector, feature.text) for feature in (*unheard, wordless)] == [(None, "")] * 6


def test_silence_loads_no_network() -> None:
    nowhere = EncoderSettings(clip_model="ViT-B/32", whisper_model="base", device="toaster", encoder="clip")

    assert extracted(nowhere, "speech", sample())[0].text == ""


def test_whoever_speaks_is_heard_between_the_silent(saying) -> None:
    sounds = [None, hum(), None, hum(2.0)]

    features = extracted(saying(PASTA), "speech", *(sample(sound=sound) for sound in sounds))

    assert [feature.text for feature in features] == ["", PASTA, "", PASTA]
    assert [feature.vector is not None for feature in features] == [False, True, False, True]


@pytest.mark.parametrize("decibels", [-60.5, -70.0, -90.0])
def test_what_nobody_could_hear_holds_no_voice(decibels: float) -> None:
    assert not has_voice(hum(decibels=decibels))


@pytest.mark.parametrize(
    "sound", [hum(decibels=-59.5), hum(0.1), -np.abs(hum()), np.eye(1, 16_000, dtype=np.float32)[0]]
)
def test_in_doubt_it_is_a_voice(sound: Waveform) -> None:
    assert has_voice(sound)


def test_of_very_long_sound_each_stretch_is_heard_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting:
        def to(self, device: object) -> None:
            pass

        def transcribe(self, sound: Waveform, **_: object) -> dict[str, str]:
            return {"text": f" {len(sound)} " if sound.any() else ""}

    monkeypatch.setattr("sortd.extract.models.whisper_model.STRETCH", 16_000)
    sound = np.concatenate([hum(1.0), np.zeros(16_000, np.float32), hum(0.5)])
    place = DevicePolicy(model_store.torch.device("cpu"), fast=False, say=print)

    assert WhisperTranscriber(Counting(), place).transcribe(sound) == "16000 8000"


def test_a_film_is_the_mean_of_its_frames_whose_own_vectors_are_kept(saying) -> None:
    settings, pictures = saying(PASTA), frames(0)

    (seen,) = extracted(settings, "visual", sample(pictures=pictures))

    one_by_one = np.stack([ModelStore(settings).clip.images([picture])[0] for picture in pictures])
    assert seen.frames is not None
    assert seen.vector is not None
    assert np.abs(seen.frames - one_by_one).max() < 1e-5
    assert np.abs(seen.vector - one_by_one.mean(axis=0)).max() < 1e-5
    assert seen.details == {"times": [0.0, 1.0, 2.0, 3.0, 4.0]}


def test_films_seen_together_are_seen_as_each_alone(saying) -> None:
    settings = saying(PASTA)
    films = [sample(pictures=frames(seed, count)) for seed, count in enumerate([5, 1, 5, 0, 3, *[5] * 9])]
    models = ModelStore(settings)

    together = extracted(settings, "visual", *films, models=models)

    for one, seen in zip(films, together, strict=True):
        (alone,) = extracted(settings, "visual", one, models=models)
        if not one.frames:
            assert seen.vector is alone.vector is None
            continue
        assert seen.vector is not None
        assert alone.vector is not None
        assert np.abs(seen.vector - alone.vector).max() < 1e-5
        assert seen.frames is not None
        assert len(seen.frames) == len(one.frames)


def test_a_film_on_the_disk_is_seen_and_heard(saying, tmp_path: Path) -> None:
    settings = saying(PASTA)
    parts = space(settings).parts
    extractors = [load(part, settings, ModelStore(settings)) for part in parts]
    assert [extractor.needs for extractor in extractors] == [Needs(frames=5), Needs(sound=True)]

    with film(tmp_path / "clip.mp4").open("rb") as file:
        watched = media_frames.read(file, Needs(frames=5, sound=True))
    features = [extractor.extract([watched])[0] for extractor in extractors]

    assert [feature.vector.shape for feature in features if feature.vector is not None] == [(64,), (64,)]
    assert [feature.text for feature in features] == [None, PASTA]


def test_sound_comes_in_the_steps_of_a_16_bit_file_and_no_more_of_it_than_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", frames=48)

    def heard(needs: Needs) -> Waveform:
        with path.open("rb") as file:
            sound = media_frames.read(file, needs).sound
        assert sound is not None
        return sound

    everything = heard(Needs(sound=True))
    steps = everything * 32768
    assert np.array_equal(steps, steps.round())
    assert len(everything) == pytest.approx(4 * 16_000, rel=0.03)
    assert np.array_equal(heard(Needs(sound=True, sound_seconds=1.5)), everything[:24_000])


def test_of_several_tracks_the_default_one_with_the_most_channels_is_heard(tmp_path: Path) -> None:
    notes = {
        220: ("mono", True),
        330: ("mono", True),
        440: ("stereo", True),
        550: ("stereo", True),
        660: ("5.1", False),
    }
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w", options={"default_mode": "passthrough"}) as output:
        pictures = output.add_stream("libx264", rate=1)
        pictures.width = pictures.height = 64
        tracks = {note: output.add_stream("pcm_f32le", rate=16_000, layout=notes[note][0]) for note in notes}
        for note, track in tracks.items():
            track.disposition = Disposition.default if notes[note][1] else Disposition.comment
        output.mux([*pictures.encode(av.VideoFrame(64, 64, "yuv420p")), *pictures.encode(None)])
        for note, track in tracks.items():
            wave = np.sin(2 * np.pi * note * np.arange(16_000, dtype=np.float32) / 16_000).repeat(track.channels)
            frame = av.AudioFrame.from_ndarray(wave[None], "flt", track.layout)
            frame.sample_rate = 16_000
            output.mux([*track.encode(frame), *track.encode(None)])

    with path.open("rb") as file:
        sound = media_frames.read(file, Needs(sound=True)).sound

    assert sound is not None
    assert np.argmax(np.abs(np.fft.rfft(sound))) == 440


def test_a_setting_that_changes_a_vector_changes_its_version(saying) -> None:
    settings = saying(PASTA)
    others = [replace(settings, precision="exact"), saying(LONG), replace(settings, task="translate")]

    versions = {space(one).parts[1].version for one in (settings, *others)}

    assert len(versions) == 4
