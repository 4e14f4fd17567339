"""Where a file is decoded: a process that keeps what decoding takes and gives up all else.

It runs in the decoder's children (`sortd.extract.decoder`), and in the warm server that forks them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from sortd.domain import Fault, Needs, Sample
from sortd.errors import ExtractionError

READY = b"ready"
"""What a server says first, if it can serve; else it says what it lacks, and ends."""

MEMORY_BYTES = 2 << 30
"""On top of what an idle child maps; 8K video takes half of it."""
OPEN_FILES = 64
NICENESS = 10
LONGEST_SECONDS = 12 * 3600
"""A header may claim any length; no claim earns more patience than this."""

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1


def serve() -> None:
    """Be a server: fork a child for each pair of descriptors (file, answer) that comes through standard input."""
    call, needs, timeout_seconds, forks = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    module, _, name = call.partition(":")
    try:
        read = getattr(import_module(module), name)
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
        control.sendall(f"{type(error).__name__}: {error}".encode())
        return
    control.sendall(READY)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: their silence tells enough
    _leave_network()
    server = os.getpid()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not request:
            return
        child = os.fork() if forks else server
        if child:
            control.sendall(child.to_bytes(4))
        if child in {0, server}:
            control.close()
            _work(read, Needs(**needs), *descriptors, timeout_seconds=timeout_seconds, server=server)
        for descriptor in descriptors:
            os.close(descriptor)


def _work(
    read: Callable[..., Sample], needs: Needs, file: int, answer: int, *, timeout_seconds: float, server: int
) -> NoReturn:
    try:
        _confine(timeout_seconds, server)
        _tell(socket.socket(fileno=answer), read, needs, file)
    finally:
        os._exit(0)


def _tell(connection: socket.socket, read: Callable[..., Sample], needs: Needs, file: int) -> None:
    def say(**message: object) -> None:
        told = json.dumps(message).encode()
        connection.sendall(len(told).to_bytes(4) + told)

    try:
        # Opened anew, it has a position of its own: two children may read one descriptor.
        with Path(f"/dev/fd/{file}").open("rb", buffering=0) as video:
            sample = read(video, needs, on_length=lambda seconds: say(length=seconds))
    except ExtractionError as error:
        say(fault=error.fault, message=str(error))
        return
    except MemoryError:
        say(fault=Fault.TOO_LARGE, message="it takes more memory than one video may")
        return
    say(
        frames=[picture.shape[:2] for picture in sample.frames],
        following=[picture.shape[:2] for picture in sample.following],
        times=sample.times,
        sound=None if sample.sound is None else len(sample.sound),
        seconds=sample.seconds,
        width=sample.width,
        height=sample.height,
    )
    for picture in (*sample.frames, *sample.following):
        connection.sendall(picture.tobytes())
    if sample.sound is not None:
        connection.sendall(sample.sound.data)


def _confine(timeout_seconds: float, server: int) -> None:
    """Leave this child what decoding takes, and nothing else."""
    for standard in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    os.nice(NICENESS)
    mapped = 0
    with contextlib.suppress(OSError):
        mapped = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")
    for kind, most in {
        resource.RLIMIT_AS: mapped + MEMORY_BYTES,
        resource.RLIMIT_CPU: math.ceil(timeout_seconds + LONGEST_SECONDS / 2),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }.items():
        with contextlib.suppress(OSError, ValueError):  # the owner may be held tighter already
            resource.setrlimit(kind, (most, most))
    if os.getpid() != server:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(0)


def _leave_network() -> None:
    """Go where there is no network, if that is allowed; a user of no privileges needs a world of his own for it."""
    with contextlib.suppress(AttributeError):  # only Linux can
        unshare = ctypes.CDLL(None).unshare
        if unshare(CLONE_NEWNET):
            unshare(CLONE_NEWUSER | CLONE_NEWNET)
