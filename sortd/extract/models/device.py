"""Choose where the networks compute, and what is done when memory runs out there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from sortd.domain.errors import DeviceLost, SortdError

WAIT_SECONDS = 3.0
"""Whoever else holds the memory may be about to give it back."""

SHORTAGES = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
DEVICE_ERRORS = ("cuda", "cudnn", "cublas", "cufft")

T = TypeVar("T")
R = TypeVar("R")
Network = Any
"""What openai-clip or openai-whisper builds; they are not typed."""

Say = Callable[..., None]
"""Takes an event's name, and its facts by keyword."""


class DevicePolicy:
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
        """Tell whether float16 serves here: on CUDA, in the fast class."""
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


def device_of(name: str) -> torch.device:
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
