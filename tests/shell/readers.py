"""What a decoder's child is made to do in the tests instead of reading: crash, hang, flood, lie."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from sortd.domain import Fault, Needs, Sample
from sortd.errors import ExtractionError

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


def hang(file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Start a helper, tell both numbers through the pipe the file names, ignore polite requests, and wait."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(file.read().decode()).write_text(f"{os.getpid()} {helper.pid} {os.getppid()}", "ascii")
    on_length(0.0)
    while True:
        time.sleep(600)


def take_long(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Be slow over a video that is long: so many seconds as the file says."""
    pause = float(file.read())
    file.seek(0)
    on_length(0.0)
    on_length(40 * pause)
    time.sleep(pause)
    return fine(file, needs, on_length=on_length)


def flood(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Fill every stream there is, and then answer."""
    for stream in (1, 2):
        for _ in range(100):
            os.write(stream, b"x" * 1_000_000)
    return fine(file, needs, on_length=on_length)


def talk_nonsense(file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Write what the file says to whoever listens."""
    on_length(1.0)
    said = file.read()
    for descriptor in range(3, 64):
        try:
            connection = socket.socket(fileno=descriptor)
            connection.sendall(said)
        except OSError:
            continue
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


def tell_limits(_file: BinaryIO, _needs: Needs, *, on_length: OnLength) -> NoReturn:
    """Tell, in the words of a refusal, how this child is held."""
    on_length(1.0)
    facts = {
        "own session": os.getsid(0) == os.getpid(),
        "first to go": int(Path("/proc/self/oom_score_adj").read_text("ascii")),
        "niceness": os.nice(0),
        "may write": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
        "may open": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "dumps": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "seconds": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "open": [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()],
        "network": [name for _, name in socket.if_nameindex()],
    }
    raise ExtractionError(Fault.UNSUPPORTED, json.dumps(facts))
