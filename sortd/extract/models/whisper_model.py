"""Whisper: sound becomes words."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import whisper

from sortd.domain.errors import NoNumbers, SortdError
from sortd.domain.feature import Waveform
from sortd.extract.models.device import DevicePolicy, Network

STRETCH = 2 * 3600 * 16_000
"""Two hours of sound: Whisper lays out the spectrogram of all it is given, 1.2 GB an hour."""


class WhisperTranscriber:
    """Sound -> what is said in it, with Whisper's default options."""

    def __init__(
        self, network: Network, policy: DevicePolicy, *, language: str | None = None, task: str = "transcribe"
    ) -> None:
        self._network = network
        self._policy = policy
        self._options = {"language": language, "task": task}

    def transcribe(self, sound: Waveform) -> str:
        """Give all that is said; of more than two hours, each two hours are heard for themselves."""
        stretches = [sound[begin : begin + STRETCH] for begin in range(0, len(sound), STRETCH)]
        try:
            return " ".join(filter(None, self._policy.each(self._listen, stretches, at_once=1)))
        except ValueError as error:  # Whisper draws lots among what it gives no numbers for
            if self._policy.half:
                self._policy.give_up_half()
                return self.transcribe(sound)
            if not self._gives_numbers():
                raise SortdError("Whisper gives no numbers: its weights are damaged, or its device is") from error
            raise NoNumbers("Whisper gives no numbers for its sound") from error

    @torch.inference_mode()
    def _gives_numbers(self) -> bool:
        """Tell whether the network gives any for silence; one that is none of Whisper's is believed."""
        if not isinstance(self._network, whisper.Whisper):
            return True
        silence = torch.zeros((1, self._network.dims.n_mels, 2 * self._network.dims.n_audio_ctx))
        start = torch.tensor([[0]])
        device = self._policy.device
        logits = self._network.to(device).float()(silence.to(device), start.to(device))
        return bool(torch.isfinite(logits).all())

    @torch.inference_mode()
    def _listen(self, stretches: Sequence[Waveform]) -> str:
        (sound,) = stretches
        self._network.to(self._policy.device)
        torch.manual_seed(0)  # where Whisper is unsure it draws lots: the same sound shall give the same words
        with warnings.catch_warnings():
            # It may be the CPU because the GPU's memory is taken; and Whisper leaves its file of tokens open.
            warnings.filterwarnings("ignore", "Performing inference on CPU when CUDA is available", UserWarning)
            warnings.filterwarnings("ignore", r"unclosed file .*\.tiktoken", ResourceWarning)
            heard = self._network.transcribe(sound, fp16=self._policy.half, **self._options)
        return str(heard["text"]).strip()


def load_whisper(path: Path) -> Network:
    """Build Whisper from its file. Raises what torch and openai-whisper raise."""
    with path.open("rb"):  # Whisper would take what cannot be opened for the name of a network
        network = whisper.load_model(str(path.absolute()), device="cpu")
    # Which heads follow the words in time is never asked here, and is sparse, which MPS cannot hold.
    network.register_buffer("alignment_heads", network.alignment_heads.to_dense(), persistent=False)
    return network.eval()
