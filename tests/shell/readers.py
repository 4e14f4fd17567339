"""What a decoder's child is made to do in the tests instead of reading: crash, hang, flood, lie."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from typing import BinaryIO, NoReturn

import numpy as np

from sortd.extract.spec import Needs, Sample

OnLength = Callable[[float], None]


def fine(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Answer at once; the frames hold the file's first byte."""
    on_length(1.0)
    shade = file.read(1)[0]
    frames = tuple(np.full((4, 6, 3), shade, np.uint8) for _ in range(needs.frames))
    return Sample(frames, (), tuple(map(float, range(needs.frames))), None, seconds=1.0, width=6, height=4)


def crash(_file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Reach for memory that is not ours."""
    on_length(1.0)
    ctypes.string_at(1)
    raise AssertionError


def crash_on_x(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Crash only for files that begin with x."""
    if file.read(1) == b"x":
        os.kill(os.getpid(), signal.SIGSEGV)
    file.seek(0)
    return fine(file, needs, on_length=on_length)


def hang(_file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Ignore polite requests, and wait."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    on_length(0.0)
    while True:
        time.sleep(600)


def take_long(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Be slow over a video that is long: so many seconds as the file says."""
    pause = float(file.read(16))
    file.seek(0)
    on_length(0.0)
    on_length(4 * pause)
    time.sleep(pause)
    return fine(file, needs, on_length=on_length)


def claim_and_claim(_file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Tell of ever more hours."""
    hours = 1
    while True:
        on_length(3600.0 * hours)
        time.sleep(0.05)
        hours += 1


def flood(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Fill every stream there is, and then answer."""
    for stream in (1, 2):
        for _ in range(100):
            with contextlib.suppress(OSError):
                os.write(stream, b"x" * 1_000_000)
    return fine(file, needs, on_length=on_length)


def talk_nonsense(file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Write what the file says to whoever listens."""
    on_length(1.0)
    said = file.read()
    for descriptor in range(3, 64):
        ctypes.CDLL(None).sendto(descriptor, said, ctypes.c_size_t(len(said)), 0, None, 0)
    os._exit(0)


def answer_too_little(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Leave a frame out."""
    return fine(file, Needs(frames=needs.frames - 1), on_length=on_length)


def eat(_file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Want more memory than there is for one video."""
    on_length(1.0)
    hoard = [bytearray(1 << 28) for _ in range(64)]
    raise AssertionError(len(hoard))


def stumble(_file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Meet an error nobody thought of."""
    on_length(1.0)
    raise ZeroDivisionError
