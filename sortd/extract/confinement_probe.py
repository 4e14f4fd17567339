"""What a confined child can do when it tries: what a step returned is not believed."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC


def attempts_that_succeed(server: int) -> tuple[str, ...]:
    """Try what no decoder needs, harmlessly; name what was not refused.

    `server` is the process that forked this one.
    """
    attempts: dict[str, Callable[[], object]] = {
        "open files": lambda: Path(sys.executable).open("rb").close(),
        "reach the network": lambda: socket.socket(socket.AF_INET).close(),
        "reach other processes' sockets": lambda: socket.socket(socket.AF_UNIX).close(),
        "start processes": _fork,
        "signal other processes": lambda: os.kill(server, 0),
        "gain privileges": lambda: os.setuid(0),
        "run what it writes": lambda: mmap.mmap(-1, mmap.PAGESIZE, prot=PROTECTION).close(),
    }
    return tuple(name for name, attempt in attempts.items() if _succeeds(attempt))


def calls_are_filtered() -> bool:
    """Whether a call that never fails does: only a filter of system calls can bring that about."""
    return int(ctypes.CDLL(None).getppid()) < 0


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Exception:  # noqa: BLE001 - a refusal comes in many forms
        return False
    return True


def _fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.kill(child, signal.SIGKILL)
