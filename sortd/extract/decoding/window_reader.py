"""Read what a decoding process sends: JSON messages, each after its length, then numbers. None of it is believed.

A hostile file may have taken the child over. Before a byte is taken, what was announced must be what was asked for, and
no larger than a decoder gives; whatever else comes ends as one error.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault
from sortd.extract.decoding.confinement import MEMORY_BYTES, Missing
from sortd.extract.spec import Needs, Sample

MESSAGE_BYTES = 1 << 20
SAID_CHARACTERS = 1_000
"""So much of a refusal is told."""
MOST_LENGTHS = 100
"""A film's length is told when it is claimed, and each time it is known better: a handful of times."""

PICTURE_PIXELS = 67_108_864
"""No decoder gives a picture of more."""
SAMPLE_RATE = 16_000
SOUND_SECONDS = 6 * 3600
"""Nor more sound, however much is asked for."""


class Nonsense(ValueError):
    """What a child says is not what a decoder says."""


class WindowReader:
    """Reads the answer of one child; `timeout_seconds` plus half the video's length from now on.

    `believed` tells how many seconds earn patience, of those that the child claims.
    """

    def __init__(
        self,
        connection: socket.socket,
        needs: Needs,
        timeout_seconds: float,
        *,
        believed: Callable[[float], float] = lambda _claimed: 0.0,
    ) -> None:
        self._connection = connection
        self._believed = believed
        self._needs = needs
        self._patience_ends = time.monotonic() + timeout_seconds

    def sample(self) -> Sample:
        """Take in what came out of the file.

        Raises ExtractionError: the child refuses it. TimeoutError, EOFError, OSError. Nonsense.
        """
        header = self._message()
        began = self._patience_ends
        lengths = 0
        while header.keys() == {"length"}:
            lengths += 1
            if lengths > MOST_LENGTHS:
                raise Nonsense("it never comes to the point")
            longer = began + self._believed(_number(header["length"])) / 2
            self._patience_ends = max(self._patience_ends, longer)
            header = self._message()
        if header.keys() == {"fault", "message"}:
            raise ExtractionError(_fault(header["fault"]), clean_message(_text(header["message"])))
        return self._sample(header)

    def confinement(self) -> tuple[Missing, int, tuple[str, ...]]:
        """Take in how the child is held: the steps that do not hold, Landlock's version, what it could still do."""
        told = self._message()
        missing = {clean_message(_text(name)): clean_message(_text(why)) for name, why in told["missing"].items()}
        possible = tuple(clean_message(_text(name)) for name in told["possible"])
        return missing, _integer(told["landlock"], most=1 << 16), possible

    def _sample(self, header: dict[str, Any]) -> Sample:
        if header.keys() != {"frames", "following", "times", "sound", "seconds", "width", "height"}:
            raise Nonsense("it says something else")
        wanted = self._needs.frames
        frames = [_picture(size) for size in _list(header["frames"], wanted)]
        following = [_picture(size) for size in _list(header["following"], wanted if self._needs.following else 0)]
        times = tuple(_number(shown) for shown in _list(header["times"], wanted))
        seconds = _number(header["seconds"])
        width = _integer(header["width"], least=1, most=PICTURE_PIXELS)
        height = _integer(header["height"], least=1, most=PICTURE_PIXELS)
        samples = header["sound"]
        if samples is not None:
            samples = _integer(samples, most=self._most_samples())
        # More than this a decoder cannot have held.
        if sum(map(math.prod, frames + following)) + 4 * (samples or 0) > MEMORY_BYTES:
            raise Nonsense("it says more than a decoder can hold")
        pictures = [self._array(size, np.uint8) for size in frames + following]
        sound = None if samples is None else self._array((samples,), np.float32)
        if self._connection.recv(1):
            raise Nonsense("it says more than it announced")
        if sound is not None and not np.isfinite(sound).all():
            raise Nonsense("it says what no sound is")
        return Sample(
            frames=tuple(pictures[:wanted]),
            following=tuple(pictures[wanted:]),
            times=times,
            sound=sound,
            seconds=seconds,
            width=width,
            height=height,
        )

    def _most_samples(self) -> int:
        if not self._needs.sound:
            return 0
        asked = self._needs.sound_seconds
        return int(SAMPLE_RATE * min(SOUND_SECONDS if asked is None else asked, SOUND_SECONDS))

    def _message(self) -> dict[str, Any]:
        length = int.from_bytes(self._array((4,), np.uint8).tobytes())
        if length > MESSAGE_BYTES:
            raise Nonsense("it says too much at once")
        told = self._array((length,), np.uint8).tobytes()
        try:
            message = json.loads(told, object_pairs_hook=_object, parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            raise Nonsense("it is no JSON") from error
        if not isinstance(message, dict):
            raise Nonsense("it is no message")
        return message

    def _array(self, shape: tuple[int, ...], kind: type[Any]) -> NDArray[Any]:
        array = np.empty(shape, kind)
        missing = array.reshape(-1).view(np.uint8).data
        while missing:
            left = self._patience_ends - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
            # Descriptors that are sent along are closed by the kernel, as nobody here asks for them.
            count = self._connection.recv_into(missing)
            if not count:
                raise EOFError
            missing = missing[count:]
        return array


def clean_message(text: str) -> str:
    """Give what was said in one line that any terminal, file and database takes, cut short."""
    return "".join(char if char.isprintable() else "?" for char in text[:SAID_CHARACTERS])


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise Nonsense("it says two things under one name")
    return told


def _constant(name: str) -> NoReturn:
    raise Nonsense(f"{name} is no number")


def _list(told: object, length: int) -> list[Any]:
    if not isinstance(told, list) or len(told) != length:
        raise Nonsense("it says more or less than was asked for")
    return told


def _picture(told: object) -> tuple[int, int, int]:
    """Give the size of a picture as an array's shape."""
    height, width = (_integer(side, least=1, most=PICTURE_PIXELS) for side in _list(told, 2))
    if height * width > PICTURE_PIXELS:
        raise Nonsense("it says a picture is larger than any")
    return height, width, 3


def _integer(told: object, *, least: int = 0, most: int) -> int:
    if type(told) is not int or not least <= told <= most:
        raise Nonsense("it says a number that cannot be")
    return told


def _number(told: object) -> float:
    if type(told) not in {int, float}:
        raise Nonsense("it says something else than a number")
    try:
        number = float(told)  # type: ignore[arg-type]  # it is one of these
    except OverflowError as error:
        raise Nonsense("it says a number beyond all") from error
    if not math.isfinite(number):  # 1e999
        raise Nonsense("it says a number beyond all")
    return number


def _fault(told: object) -> Fault:
    try:
        return Fault(_text(told))
    except ValueError as error:
        raise Nonsense("it says a reason that there is not") from error


def _text(told: object) -> str:
    if not isinstance(told, str):
        raise Nonsense("it says something else than words")
    return told
