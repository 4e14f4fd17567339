"""Try what a confined process can do: what each step of confinement returned is not believed."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sortd.extract.decoding.confinement import Missing

OPEN_FILES = "open files"
REACH_NETWORK = "reach the network"
REACH_PROCESSES = "reach other programs by sockets"
START_PROCESSES = "start processes"
SIGNAL_PROCESSES = "signal other processes"
GAIN_PRIVILEGES = "gain privileges"
RUN_WHAT_IT_WRITES = "run what it writes"

REFUSED = {
    "network": {REACH_NETWORK, REACH_PROCESSES},
    "files": {OPEN_FILES},
    "privileges": {GAIN_PRIVILEGES, START_PROCESSES},
}
"""What an owner asks for -> the attempts of which none may succeed."""

PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC


@dataclass(frozen=True, slots=True)
class Confinement:
    """How a child is held: the steps that do not hold, and what it could do all the same when it tried."""

    missing: Missing
    landlock: int
    """The version of Landlock's interface that holds it; 0: none does."""
    possible: tuple[str, ...]

    @property
    def filtered(self) -> bool:
        """Tell whether the filter of system calls holds: all that was tried is refused by it."""
        return "seccomp" not in self.missing and not self.possible

    @property
    def holds(self) -> bool:
        """Tell whether a file that takes its decoder over is kept from the owner's other files."""
        return (self.filtered or self.landlock > 0) and OPEN_FILES not in self.possible

    def __str__(self) -> str:
        """Tell it in one line."""
        steps = ["seccomp"] * self.filtered + [f"landlock {self.landlock}"] * (self.landlock > 0)
        kept = [f"no {what}" for what, attempts in REFUSED.items() if not attempts & set(self.possible)]
        told = [f"confined ({', '.join(steps + kept)})" if self.holds else "limits only"]
        if self.missing:
            told.append("without " + ", ".join(f"{name} ({why})" for name, why in self.missing.items()))
        if self.possible:
            told.append(f"it could {', '.join(self.possible)}")
        return "; ".join(told)


def attempts_that_succeed(server: int) -> tuple[str, ...]:
    """Try what no decoder needs, harmlessly; name what was not refused.

    `server` is the process that forked this one.
    """
    attempts: dict[str, Callable[[], object]] = {
        OPEN_FILES: lambda: Path(sys.executable).open("rb").close(),
        REACH_NETWORK: lambda: socket.socket(socket.AF_INET).close(),
        REACH_PROCESSES: lambda: socket.socket(socket.AF_UNIX).close(),
        START_PROCESSES: _fork,
        SIGNAL_PROCESSES: lambda: os.kill(server, 0),
        GAIN_PRIVILEGES: lambda: os.setuid(0),
        RUN_WHAT_IT_WRITES: lambda: mmap.mmap(-1, mmap.PAGESIZE, prot=PROTECTION).close(),
    }
    return tuple(name for name, attempt in attempts.items() if _succeeds(attempt))


def calls_are_filtered() -> bool:
    """Tell whether a call that never fails does: only a filter of system calls can bring that about."""
    return int(ctypes.CDLL(None).getppid()) < 0


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Exception:  # noqa: BLE001 - a refusal comes in many forms
        return False
    return True


def _fork() -> None:
    if not os.fork():
        os._exit(0)
