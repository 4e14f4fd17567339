"""The pretrained networks, CLIP and Whisper, on the device that serves them best: the only home of torch.

A network is read from its file, never downloaded. What happens to pictures, words and sound is what openai-clip and
openai-whisper do themselves, so vectors and transcripts are theirs.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from pickle import PickleError, UnpicklingError
from typing import Any, TypeVar

import numpy as np
import PIL.Image
import torch
import whisper
from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

from sortd.domain import Image, Matrix, Waveform
from sortd.errors import DeviceLost, NoNumbers, SortdError
from sortd.extract import Settings, checkpoint
from sortd.extract.weights import Weights

with warnings.catch_warnings():
    # openai-clip asks setuptools for torch's version in a way that setuptools means to drop.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    import clip
    from clip.clip import _transform as preprocessing
    from clip.model import build_model

IMAGES_AT_ONCE = 40
TEXTS_AT_ONCE = 64
"""More at once gains little and takes more memory."""

STRETCH = 2 * 3600 * 16_000
"""Two hours of sound: Whisper lays out the spectrogram of all it is given, 1.2 GB an hour."""

THREADS = 4
"""Where nobody said how many: more would help a small batch little, and an owner's machine has other things to do."""

WAIT_SECONDS = 3.0
"""Whoever else holds the memory may be about to give it back."""

SHORTAGES = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
DEVICE_ERRORS = ("cuda", "cudnn", "cublas", "cufft")

SAID_CHARACTERS = 200
"""So much is told of why torch refuses a file."""

UNFIT = (AssertionError, AttributeError, EOFError, LookupError, PickleError, RuntimeError, TypeError, ValueError)
"""What torch and the networks raise on being given any other file."""

T = TypeVar("T")
R = TypeVar("R")
Network = Any
"""What openai-clip or openai-whisper builds; they are not typed."""

Say = Callable[..., None]
"""Takes an event's name, and its facts by keyword."""


class Networks:
    """Owns the networks: each is loaded once, when it is first asked for.

    `say` is told `memory_ran_out` with what is done about it: see Place.
    """

    def __init__(self, settings: Settings, *, say: Say = lambda _event, **_facts: None) -> None:
        self._settings = settings
        self._say = say

    @property
    def device(self) -> str:
        """Where they compute now: "cuda", "mps", "cpu" or what the settings name. Raises SortdError."""
        return str(self._place.device)

    @cached_property
    def clip(self) -> ClipEncoder:
        """Pictures and words -> vectors. Raises SortdError where its file is missing or no such network."""
        weights, _ = self._settings.weights
        load = _own_clip if weights.sha256 is None else _clip
        return ClipEncoder(_loaded(weights, load), self._place)

    @cached_property
    def whisper(self) -> WhisperTranscriber:
        """Sound -> words. Raises SortdError as `clip` does, and where the settings name no language that it knows."""
        language, task = self._settings.language, self._settings.task
        if language and language.lower() not in {*LANGUAGES, *TO_LANGUAGE_CODE}:
            raise SortdError(f"[extract.speech] language: Whisper knows no {language!r}")
        _, weights = self._settings.weights
        return WhisperTranscriber(_loaded(weights, _whisper), self._place, language=language or None, task=task)

    @cached_property
    def _place(self) -> Place:
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(min(torch.get_num_threads(), THREADS))
        fast = self._settings.precision != "exact"
        torch.backends.cudnn.allow_tf32 = fast  # TF32 rounds float32 to ten bits
        return Place(_device(self._settings.device), fast=fast, say=self._say)


class Place:
    """Where the networks compute, and what is done when memory runs out there.

    First less is done at once, down to one item; then the place waits a little; then it is the CPU, for good.
    Each of these is told as `memory_ran_out`(device, remedy: "less_at_once" | "wait" | "cpu", at_once).
    """

    def __init__(
        self, device: torch.device, *, fast: bool, say: Say, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self.device = device
        self._fast = fast
        self._say = say
        self._wait = wait

    @property
    def half(self) -> bool:
        """Whether float16 serves here: on CUDA, in the fast class."""
        return self._fast and self.device.type == "cuda"

    def give_up_half(self) -> None:
        """Compute in float32 from now on, as float16 gives no numbers here; told as `precision_lost`(device)."""
        self._fast = False
        self._say("precision_lost", device=str(self.device))

    def each(self, work: Callable[[Sequence[T]], R], items: Sequence[T], *, at_once: int) -> list[R]:
        """Do the work on all items, so many at once as memory allows. Raises DeviceLost, and MemoryError on the CPU."""
        results: list[R] = []
        remedies, begin, size = self._remedies(min(at_once, len(items))), 0, at_once
        while begin < len(items):
            result = self._attempt(work, items[begin : begin + size])
            if result is None:
                size = next(remedies)
            else:
                results.append(result)
                begin += size
        return results

    def _attempt(self, work: Callable[[Sequence[T]], R], items: Sequence[T]) -> R | None:
        """Do the work, or tell by None that memory ran out: what the failure still held is free after the return."""
        try:
            return work(items)
        except (RuntimeError, MemoryError) as error:
            message = str(error).lower()
            if isinstance(error, MemoryError) or any(words in message for words in SHORTAGES):
                return None
            if self.device.type == "cuda" and any(words in message for words in DEVICE_ERRORS):
                raise DeviceLost(f"{self.device} failed: {error}") from error
            raise

    def _remedies(self, size: int) -> Iterator[int]:
        """Yield how much to do at once next, having done about memory what can be done. Raises MemoryError."""
        while size > 1:
            size //= 2
            self._tell("less_at_once", size)
            yield size
        self._tell("wait", size)
        torch.cuda.empty_cache()  # does nothing where there is no CUDA
        self._wait(WAIT_SECONDS)
        yield size
        if self.device.type != "cpu":
            self._tell("cpu", size)
            self.device = torch.device("cpu")
            yield size
        raise MemoryError("there is too little memory for the networks, even for one thing at a time")

    def _tell(self, remedy: str, at_once: int) -> None:
        self._say("memory_ran_out", device=str(self.device), remedy=remedy, at_once=at_once)


class ClipEncoder:
    """Pictures and words -> vectors in one space, as openai-clip makes them; not normalised."""

    def __init__(self, network: Network, place: Place) -> None:
        self._network = network
        self._place = place
        self._preprocess = preprocessing(network.visual.input_resolution)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._network.text_projection.shape[1])

    def images(self, batch: Sequence[Image]) -> Matrix:
        """[n, dim]: each picture scaled and cropped to its middle square."""
        return self._vectors(self._look, batch, at_once=IMAGES_AT_ONCE, plain=np.full((64, 64, 3), 128, np.uint8))

    def texts(self, batch: Sequence[str]) -> Matrix:
        """[n, dim]: of each text the first 77 tokens, marks for beginning and end included."""
        return self._vectors(self._read, batch, at_once=TEXTS_AT_ONCE, plain="a")

    @torch.inference_mode()
    def _look(self, pictures: Sequence[Image]) -> Matrix:
        pixels = torch.stack([self._preprocess(PIL.Image.fromarray(picture)) for picture in pictures])
        self._move()
        return _numbers(self._network.encode_image(pixels.to(self._place.device)))

    @torch.inference_mode()
    def _read(self, texts: Sequence[str]) -> Matrix:
        tokens = clip.tokenize(list(texts), truncate=True)
        self._move()
        return _numbers(self._network.encode_text(tokens.to(self._place.device)))

    def _vectors(self, work: Callable[[Sequence[T]], Matrix], batch: Sequence[T], *, at_once: int, plain: T) -> Matrix:
        """Do the work; where no numbers come out of it, in float32. SortdError: not even of a plain thing there are."""
        vectors = np.concatenate([np.empty((0, self.dim), np.float32), *self._place.each(work, batch, at_once=at_once)])
        if np.isfinite(vectors).all():
            return vectors
        if self._place.half:
            self._place.give_up_half()
            return self._vectors(work, batch, at_once=at_once, plain=plain)
        if not np.isfinite(work([plain])).all():
            raise SortdError("CLIP gives no numbers: its weights are damaged, or its device is")
        return vectors

    def _move(self) -> None:
        self._network.to(self._place.device)
        if not self._place.half:
            self._network.float()  # openai-clip builds it in float16, which is how it is published


class WhisperTranscriber:
    """Sound -> what is said in it, with Whisper's default options."""

    def __init__(
        self, network: Network, place: Place, *, language: str | None = None, task: str = "transcribe"
    ) -> None:
        self._network = network
        self._place = place
        self._options = {"language": language, "task": task}

    def transcribe(self, sound: Waveform) -> str:
        """Give all that is said; of more than two hours, each two hours are heard for themselves."""
        stretches = [sound[begin : begin + STRETCH] for begin in range(0, len(sound), STRETCH)]
        try:
            return " ".join(filter(None, self._place.each(self._listen, stretches, at_once=1)))
        except ValueError as error:  # Whisper draws lots among what it gives no numbers for
            if self._place.half:
                self._place.give_up_half()
                return self.transcribe(sound)
            if not self._gives_numbers():
                raise SortdError("Whisper gives no numbers: its weights are damaged, or its device is") from error
            raise NoNumbers("Whisper gives no numbers for its sound") from error

    @torch.inference_mode()
    def _gives_numbers(self) -> bool:
        """Whether the network gives any for silence; one that is none of Whisper's is believed."""
        if not isinstance(self._network, whisper.Whisper):
            return True
        silence = torch.zeros((1, self._network.dims.n_mels, 2 * self._network.dims.n_audio_ctx))
        start = torch.tensor([[0]])
        device = self._place.device
        logits = self._network.to(device).float()(silence.to(device), start.to(device))
        return bool(torch.isfinite(logits).all())

    @torch.inference_mode()
    def _listen(self, stretches: Sequence[Waveform]) -> str:
        (sound,) = stretches
        self._network.to(self._place.device)
        torch.manual_seed(0)  # where Whisper is unsure it draws lots: the same sound shall give the same words
        with warnings.catch_warnings():
            # It may be the CPU because the GPU's memory is taken; and Whisper leaves its file of tokens open.
            warnings.filterwarnings("ignore", "Performing inference on CPU when CUDA is available", UserWarning)
            warnings.filterwarnings("ignore", r"unclosed file .*\.tiktoken", ResourceWarning)
            heard = self._network.transcribe(sound, fp16=self._place.half, **self._options)
        return str(heard["text"]).strip()


def _device(name: str) -> torch.device:
    """Tell the device of a name, or the best there is for "auto". Raises SortdError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in there.items() if is_there))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SortdError(f"[extract] device: torch knows no {name!r}") from error
    if not there.get(device.type, True):
        raise SortdError(f"[extract] device: there is no {name!r} here")
    return device


def _loaded(weights: Weights, load: Callable[[Path], T]) -> T:
    """Load a network from its file. Raises SortdError, and never looks elsewhere."""
    path = weights.path()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's about a file that it then refuses
            return load(path)
    except OSError as error:
        raise SortdError(f"{path}: the weights cannot be read: {error.strerror or error}") from error
    except UNFIT as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)[:SAID_CHARACTERS]
        if isinstance(error, UnpicklingError) and "Unsupported" in str(error):
            why = "it holds more than numbers, and nothing of that was run"
        raise SortdError(f"{path} is no checkpoint of {weights.kind}: {why}") from error


def _clip(path: Path) -> Network:
    """Build CLIP from a published file, which is a TorchScript archive."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)  # but so they are published
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)  # said so till 2.13
        numbers = torch.jit.load(file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return build_model(numbers)


def _own_clip(path: Path) -> Network:
    """Build CLIP from the owner's file, of either format, running nothing of what is in it."""
    if checkpoint.is_torchscript(path):
        return build_model({name: torch.from_numpy(values) for name, values in checkpoint.numbers(path).items()})
    return build_model(torch.load(path, map_location="cpu", weights_only=True))


def _whisper(path: Path) -> Network:
    with path.open("rb"):  # Whisper would take what cannot be opened for the name of a network
        network = whisper.load_model(str(path.absolute()), device="cpu")
    # Which heads follow the words in time is never asked here, and is sparse, which MPS cannot hold.
    network.register_buffer("alignment_heads", network.alignment_heads.to_dense(), persistent=False)
    return network.eval()


def _numbers(vectors: torch.Tensor) -> Matrix:
    numbers: Matrix = vectors.float().cpu().numpy()
    return numbers
