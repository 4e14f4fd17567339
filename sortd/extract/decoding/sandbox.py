"""Decode a file in a process that keeps what decoding takes and gives up all else.

It runs in the decoder's children (`sortd.extract.decoding.decoder_pool`), and in the warm server that forks them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, NoReturn

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault
from sortd.extract.decoding.confinement import Shelter, anticipate, confine, prepare, reveal
from sortd.extract.decoding.confinement_probe import attempts_that_succeed, calls_are_filtered
from sortd.extract.spec import Needs, Sample

READY = b"ready"
"""What a server says first, if it can serve; else it says what it lacks, and ends."""

DECODE, PROBE = b"d", b"p"
"""What a child is wanted for: to decode the file, or to try what else it could do."""

LONGEST_SECONDS = 12 * 3600
"""A header may claim any length; no claim earns more patience than this."""

LEAST_BYTES_PER_SECOND = 8_000
"""64 kbit/s: a talk filmed sparingly has more. A file that claims to hold fewer claims more than it holds."""

USUAL_BYTES_PER_SECOND = 125_000
"""1 Mbit/s. At this rate the bytes of a file whose claim cannot be true earn patience."""


def longest_film(status: os.stat_result) -> float:
    """Tell how many seconds of film a file of this size can hold; what takes no room on the disk holds none."""
    return min(_held(status) / LEAST_BYTES_PER_SECOND, LONGEST_SECONDS)


def believed_length(claimed_seconds: float, status: os.stat_result) -> float:
    """Tell how many seconds of film earn patience, of so many that a file claims to hold.

    A claim that the bytes can bear is taken as it is; beyond that a longer one earns no more.
    """
    if claimed_seconds <= longest_film(status):
        return claimed_seconds
    return min(_held(status) / USUAL_BYTES_PER_SECOND, LONGEST_SECONDS)


def _held(status: os.stat_result) -> int:
    """Give the bytes that a file really has on the disk."""
    held = status.st_blocks * 512  # some filesystems do not tell
    return min(status.st_size, held or status.st_size)


Task = Callable[["_Answer", BinaryIO], None]
"""What a child does once it is confined."""


def serve() -> None:
    """Be a server: fork a child for each pair of descriptors (file, answer) that comes through standard input."""
    call, needs, timeout_seconds, forks = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    module, _, name = call.partition(":")
    try:
        decoding = _decoding(getattr(import_module(module), name), Needs(**needs))
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
        control.sendall(f"{type(error).__name__}: {error}".encode())
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: their silence tells enough
    shelter = prepare()
    control.sendall(READY)
    server = os.getpid()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not request:
            return
        anticipate(descriptors[1])
        child = os.fork() if forks else server
        if child:
            control.sendall(child.to_bytes(4))
        if child in {0, server}:
            _work(
                decoding if request == DECODE else None,
                *descriptors,
                shelter=shelter,
                server=server,
                cpu_seconds=timeout_seconds + longest_film(os.fstat(descriptors[0])) / 2,
            )
        for descriptor in descriptors:
            os.close(descriptor)


class _Answer:
    """Says to the owner what comes out of the file: messages of JSON, each after its length, then bare numbers."""

    def __init__(self, descriptor: int) -> None:
        self._connection = socket.socket(fileno=descriptor)

    def say(self, **message: object) -> None:
        told = json.dumps(message).encode()
        self._connection.sendall(len(told).to_bytes(4) + told)

    def give(self, sample: Sample) -> None:
        self.say(
            frames=[picture.shape[:2] for picture in sample.frames],
            following=[picture.shape[:2] for picture in sample.following],
            times=sample.times,
            sound=None if sample.sound is None else len(sample.sound),
            seconds=sample.seconds,
            width=sample.width,
            height=sample.height,
        )
        for picture in (*sample.frames, *sample.following):
            self._connection.sendall(picture.tobytes())
        if sample.sound is not None:
            self._connection.sendall(sample.sound.data)


def _work(
    decoding: Task | None, file: int, answer: int, *, shelter: Shelter, server: int, cpu_seconds: float
) -> NoReturn:
    """Be a child: decode the file, or without `decoding` try what could be done beside that."""
    try:
        reveal()
        told = _Answer(answer)
        try:
            # Opened anew, it has a position of its own: two children may read one descriptor.
            video = Path(f"/dev/fd/{file}").open("rb", buffering=0)  # noqa: SIM115 - it is closed with the process
        except OSError as error:
            told.say(fault=Fault.UNREADABLE, message=f"it cannot be opened again: {error.strerror}")
        else:
            missing, landlock = confine(shelter, server=server, keep=(video.fileno(), answer), cpu_seconds=cpu_seconds)
            if decoding is not None:
                decoding(told, video)
            else:
                if not calls_are_filtered():
                    missing.setdefault("seccomp", "the kernel says that it holds, but it does not")
                told.say(missing=missing, landlock=landlock, possible=attempts_that_succeed(server))
    finally:
        os._exit(0)


def _decoding(read: Callable[..., Sample], needs: Needs) -> Task:
    def decode(answer: _Answer, video: BinaryIO) -> None:
        try:
            sample = read(video, needs, on_length=lambda seconds: answer.say(length=seconds))
        except ExtractionError as error:
            answer.say(fault=error.fault, message=str(error))
        except MemoryError:
            answer.say(fault=Fault.TOO_LARGE, message="it takes more memory than one video may")
        except Exception as error:  # noqa: BLE001 - whatever it is, the owner must hear one reason
            answer.say(fault=Fault.DECODER_CRASHED, message=f"the decoder failed: {type(error).__name__}: {error}")
        else:
            answer.give(sample)

    return decode
