"""CLIP: pictures and words become vectors in one space."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from sortd.domain.errors import SortdError
from sortd.domain.feature import Image, Matrix
from sortd.extract.models import checkpoint
from sortd.extract.models.device import DevicePolicy, Network, T

with warnings.catch_warnings():
    # openai-clip asks setuptools for torch's version in a way that setuptools means to drop.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    import clip
    from clip.clip import _transform as preprocessing
    from clip.model import build_model

IMAGES_AT_ONCE = 40
TEXTS_AT_ONCE = 64
"""More at once gains little and takes more memory."""


class ClipEncoder:
    """Pictures and words -> vectors in one space, as openai-clip makes them; not normalised."""

    def __init__(self, network: Network, policy: DevicePolicy) -> None:
        self._network = network
        self._policy = policy
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
        return _numbers(self._network.encode_image(pixels.to(self._policy.device)))

    @torch.inference_mode()
    def _read(self, texts: Sequence[str]) -> Matrix:
        tokens = clip.tokenize(list(texts), truncate=True)
        self._move()
        return _numbers(self._network.encode_text(tokens.to(self._policy.device)))

    def _vectors(self, work: Callable[[Sequence[T]], Matrix], batch: Sequence[T], *, at_once: int, plain: T) -> Matrix:
        """Do the work; where no numbers come out of it, in float32. SortdError: not even of a plain thing there are."""
        vectors = np.concatenate(
            [np.empty((0, self.dim), np.float32), *self._policy.each(work, batch, at_once=at_once)]
        )
        if np.isfinite(vectors).all():
            return vectors
        if self._policy.half:
            self._policy.give_up_half()
            return self._vectors(work, batch, at_once=at_once, plain=plain)
        if not np.isfinite(work([plain])).all():
            raise SortdError("CLIP gives no numbers: its weights are damaged, or its device is")
        return vectors

    def _move(self) -> None:
        self._network.to(self._policy.device)
        if not self._policy.half:
            self._network.float()  # openai-clip builds it in float16, which is how it is published


def load_published_clip(path: Path) -> Network:
    """Build CLIP from a published file, which is a TorchScript archive."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)  # but so they are published
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)  # said so till 2.13
        numbers = torch.jit.load(file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return build_model(numbers)


def load_own_clip(path: Path) -> Network:
    """Build CLIP from the owner's file, of either format, running nothing of what is in it."""
    if checkpoint.is_torchscript(path):
        return build_model({name: torch.from_numpy(values) for name, values in checkpoint.numbers(path).items()})
    return build_model(torch.load(path, map_location="cpu", weights_only=True))


def _numbers(vectors: torch.Tensor) -> Matrix:
    numbers: Matrix = vectors.float().cpu().numpy()
    return numbers
