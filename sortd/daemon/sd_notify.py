"""Telling the service manager: ready, what is going on, alive, stopping.

The protocol is sd_notify(3): datagrams of KEY=VALUE lines to the socket that $NOTIFY_SOCKET names. Where there is none
(a terminal, macOS), or it cannot be told, nothing happens: the videos matter more than what is said of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from datetime import UTC, datetime

from sortd.config.local_time import local

PATIENCE_SECONDS = 1.0
"""A manager that takes nothing in must not hold up the loop for longer."""

LONGEST_STATUS = 1000
"""Characters; systemd reads 4096 bytes of a message and drops what is longer."""


def listening() -> bool:
    """Tell whether a service manager listens; else what is costly to find out need not be."""
    return os.environ.get("NOTIFY_SOCKET", "").startswith(("/", "@"))


def ready(text: str) -> None:
    """Tell the manager that the start is over; `text` says what is going on."""
    _send("READY=1", _status(text))


def status(text: str) -> None:
    """Tell the manager in one line what is going on (`systemctl status` shows it)."""
    _send(_status(text))


def alive() -> None:
    """Tell the manager that the loop is alive. Only the loop may: a timer thread would vouch for a stuck loop."""
    _send("WATCHDOG=1")


def stopping() -> None:
    """Tell the manager that the stop has begun."""
    _send("STOPPING=1", _status("stopping"))


def watchdog_seconds() -> float | None:
    """How long the manager waits for `alive` before it ends the service; None: it does not wait for it.

    To be safe it should hear of it twice as often (sd_watchdog_enabled(3)).
    """
    addressed = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and addressed == str(os.getpid()) else None


def backlog(*, state: str, why: str, pending: int, total: int, ends_at: float | None) -> str:
    """Say in one line what `sortd status` says in many; `ends_at` in seconds since the epoch."""
    known = f"{total} video{'' if total == 1 else 's'}"
    if pending:
        known += f", {pending} to extract"
        known += f", done about {local(datetime.fromtimestamp(ends_at, UTC)):%a %H:%M}" if ends_at else ""
    return f"{state}{f' ({why})' if why else ''}: {known}"


def _status(text: str) -> str:
    # A line break would begin another assignment, and a folder may be called "x\nMAINPID=1".
    line = "".join(character if character.isprintable() else "?" for character in text)
    return f"STATUS={line[:LONGEST_STATUS]}"


def _send(*lines: str) -> None:
    if not listening():
        return
    address = os.environ["NOTIFY_SOCKET"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE_SECONDS)
        # "@" stands for the NUL that begins a name in the abstract namespace.
        manager.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        manager.sendall("\n".join(lines).encode())
