"""The vector of a film is that of the pipeline sortd grew from, rebuilt here in its plainest form, at full size.

The networks are random, so what Whisper decodes is fixed; all that leads to it and all that follows is real.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image
import pytest
import torch
import whisper
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask, LogitFilter
from whisper.model import Whisper

from sortd.domain.feature import Vector, Waveform
from sortd.extract.media import frames
from sortd.extract.models import model_store
from sortd.extract.models.model_store import ModelStore
from sortd.extract.registry import EncoderSettings, load, space
from sortd.extract.spec import Needs
from sortd.judgement.late_fusion import fuse
from tests.checkpoints import FULL_CLIP, random_clip, random_whisper, save_archive, save_whisper
from tests.clips import FORMATS, RATE, film

FILMS = [("clip.mp4", 3), ("long.mp4", 40), ("clip.webm", 2), ("clip.mov", 2), ("silent.mp4", 2)]
Pipeline = Callable[[Path], Vector]

pytestmark = pytest.mark.slow

RECIPE = """ Today we are making a quick pasta with garlic butter and fresh basil. First you boil the water, then add
 plenty of salt, because that is where the flavour comes from. Never rush the sauce if you want people to come back
 for more, and next week I will show you how to bake the bread that goes with it.""".replace("\n", "")


class Forced(LogitFilter):
    """Lets through one sequence of tokens, and nothing after it."""

    def __init__(self, tokens: list[int], *, begin: int, end: int) -> None:
        self._tokens, self._begin, self._end = tokens, begin, end

    def apply(self, logits: torch.Tensor, tokens: torch.Tensor) -> None:
        position = tokens.shape[1] - self._begin
        token = self._tokens[position] if position < len(self._tokens) else self._end
        logits.fill_(-torch.inf)
        logits[:, token] = 0


class Script:
    """What is said in the windows of one sound, one after the other."""

    def __init__(self) -> None:
        self.window = 0

    def decode(self, network: Whisper, mel: torch.Tensor, options: DecodingOptions) -> DecodingResult:
        task = DecodingTask(network, options)
        words = task.tokenizer.encode(RECIPE)
        begin = task.tokenizer.timestamp_begin
        said = [begin, *words[20 * self.window :], begin + 1500]
        task.logit_filters.append(Forced(said, begin=task.sample_begin, end=task.tokenizer.eot))
        self.window += 1
        return task.run(mel[None])[0]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """What any Whisper says from now on, instead of the babble of random numbers."""
    script = Script()

    def decode(network: Whisper, mel: torch.Tensor, options: DecodingOptions) -> DecodingResult:
        return script.decode(network, mel, options)

    monkeypatch.setattr(Whisper, "decode", decode)
    return script


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EncoderSettings:
    folder = tmp_path_factory.mktemp("weights")
    return EncoderSettings(
        encoder="clip",
        clip_model=str(save_archive(folder / "ViT-B-32.pt", random_clip(FULL_CLIP))),
        whisper_model=str(save_whisper(folder / "base.pt", random_whisper())),
        precision="exact",
        device="cpu",
    )


@pytest.fixture(scope="module")
def sortd(settings: EncoderSettings) -> Pipeline:
    wanted, models = space(settings), ModelStore(settings)
    extractors = [load(part, settings, models) for part in wanted.parts]

    def vector(path: Path) -> Vector:
        with path.open("rb") as file:
            sample = frames.read(file, Needs(frames=5, sound=True))
        return fuse({extractor.name: extractor.extract([sample])[0] for extractor in extractors}, wanted)

    return vector


@pytest.fixture(scope="module")
def seeds(settings: EncoderSettings) -> Pipeline:
    """Seek each frame with OpenCV and encode it alone; write the sound to a 16-bit file, transcribe and encode it."""
    network, preprocess = model_store.clip.load(settings.clip_model, device="cpu", jit=False)
    transcriber = whisper.load_model(settings.whisper_model, device="cpu")

    @torch.no_grad()
    def vector(path: Path) -> Vector:
        capture = cv2.VideoCapture(str(path))
        frames = []
        for index in np.linspace(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - 1, 5, dtype=int):
            capture.set(cv2.CAP_PROP_POS_FRAMES, int(index))
            _, picture = capture.read()
            pixels = preprocess(PIL.Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))
            frames.append(network.encode_image(pixels.unsqueeze(0)).squeeze(0))
        capture.release()
        visual, speech = torch.stack(frames).mean(0), torch.zeros(512)
        sound = sound_file(path)
        if sound is not None:
            text = transcriber.transcribe(sound, fp16=False)["text"].strip()
            speech = network.encode_text(model_store.clip.tokenize([text], truncate=True)).squeeze(0)
        return torch.cat([half / (half.norm() + 1e-8) for half in (visual, speech)]).numpy()

    return vector


def sound_file(path: Path) -> Waveform | None:
    """Write the sound as a 16 kHz, 16-bit file of one channel, and read that as Whisper would."""
    with av.open(str(path)) as film, av.open(str(path.with_suffix(".wav")), "w") as output:
        if not film.streams.audio:
            return None
        track = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        resampler = av.AudioResampler("s16", "mono", 16_000)
        for frame in [*film.decode(audio=0), None]:
            for part in resampler.resample(frame):
                output.mux(track.encode(part))
        output.mux(track.encode(None))
    with wave.open(str(path.with_suffix(".wav"))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (1, 16_000, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
@pytest.mark.filterwarnings("ignore:.*unclosed file .*tiktoken")
@pytest.mark.parametrize(("name", "seconds"), FILMS)
def test_a_film_has_the_vector_that_the_plain_pipeline_gives_it(
    tmp_path: Path, script: Script, sortd: Pipeline, seeds: Pipeline, *, name: str, seconds: int
) -> None:
    codecs = FORMATS.get(name, ("libx264", "aac" if name == "long.mp4" else None))
    path = film(tmp_path / name, frames=seconds * RATE, codecs=codecs)

    expected = seeds(path)
    windows, script.window = script.window, 0
    vector = sortd(path)

    assert windows == script.window == (1 + seconds // 30 if codecs[1] else 0)
    assert [bool(half.any()) for half in np.split(vector, 2)] == [True, codecs[1] is not None]
    for one, other in zip(np.split(vector, 2), np.split(expected, 2), strict=True):
        assert one @ other >= 0.99999 * other @ other
        assert np.abs(one - other).max() < 1e-6
