"""Load each pretrained network once, when it is first asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from pickle import PickleError, UnpicklingError

import torch
from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

from sortd.domain.errors import SortdError
from sortd.extract.models.clip_model import ClipEncoder, load_own_clip, load_published_clip
from sortd.extract.models.device import DevicePolicy, Say, T, device_of
from sortd.extract.models.weights import Weights
from sortd.extract.models.whisper_model import WhisperTranscriber, load_whisper
from sortd.extract.registry import EncoderSettings

THREADS = 4
"""Where nobody said how many: more would help a small batch little, and an owner's machine has other things to do."""

SAID_CHARACTERS = 200
"""So much is told of why torch refuses a file."""

UNFIT = (AssertionError, AttributeError, EOFError, LookupError, PickleError, RuntimeError, TypeError, ValueError)
"""What torch and the networks raise on being given any other file."""


class ModelStore:
    """Owns the networks: each is loaded once, when it is first asked for.

    `say` is told `memory_ran_out` with what is done about it: see DevicePolicy.
    """

    def __init__(self, settings: EncoderSettings, *, say: Say = lambda _event, **_facts: None) -> None:
        self._settings = settings
        self._say = say

    @property
    def device(self) -> str:
        """Where they compute now: "cuda", "mps", "cpu" or what the settings name. Raises SortdError."""
        return str(self._policy.device)

    @cached_property
    def clip(self) -> ClipEncoder:
        """Pictures and words -> vectors. Raises SortdError where its file is missing or no such network."""
        weights, _ = self._settings.weights
        load = load_own_clip if weights.sha256 is None else load_published_clip
        return ClipEncoder(_loaded(weights, load), self._policy)

    @cached_property
    def whisper(self) -> WhisperTranscriber:
        """Sound -> words. Raises SortdError as `clip` does, and where the settings name no language that it knows."""
        language, task = self._settings.language, self._settings.task
        if language and language.lower() not in {*LANGUAGES, *TO_LANGUAGE_CODE}:
            raise SortdError(f"[extract.speech] language: Whisper knows no {language!r}")
        _, weights = self._settings.weights
        return WhisperTranscriber(_loaded(weights, load_whisper), self._policy, language=language or None, task=task)

    @cached_property
    def _policy(self) -> DevicePolicy:
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(min(torch.get_num_threads(), THREADS))
        fast = self._settings.precision != "exact"
        torch.backends.cudnn.allow_tf32 = fast  # TF32 rounds float32 to ten bits
        return DevicePolicy(device_of(self._settings.device), fast=fast, say=self._say)


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
