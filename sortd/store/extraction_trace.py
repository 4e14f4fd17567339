"""Record which video an extraction child works on alone, to tell after a kill whether the child died with the service.

Whoever kills the service alone says nothing of the video in work: the child sees that its service is gone, and clears
the trace before it ends. A video that brings both down at once (all memory of the machine or of the unit) leaves it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from sortd.domain.video import Fingerprint

TRACE = "extraction.trace"

WAIT_SECONDS = 5.0
"""How long a child of the service before may take to end."""

LONGEST = 256


class ExtractionTrace:
    """The child's end: it holds the file's lock for as long as it lives.

    Where there can be no such file it does nothing: without it a kill costs a try at most.
    """

    def __init__(self, state: Path) -> None:
        self._file = -1
        with suppress(OSError):
            self._file = os.open(state / TRACE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def begin(self, video: Fingerprint) -> None:
        """Record that this video is in work, and no other."""
        self.end()
        with suppress(OSError):
            os.pwrite(self._file, video.encode(), 0)

    def end(self) -> None:
        """Record that no video is in work."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)


def died_with(state: Path) -> Fingerprint | None:
    """The video that the last service's child worked at by itself when both died at once; None: there is none.

    It is told again until `forget_trace`.
    """
    try:
        file = os.open(state / TRACE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        until = time.monotonic() + WAIT_SECONDS
        while not _locked(file):
            if time.monotonic() > until:
                return None  # it outlived its service by far
            time.sleep(0.01)
        left = os.pread(file, LONGEST, 0).decode(errors="replace").strip()
        return Fingerprint(left) if left else None
    except OSError:
        return None
    finally:
        os.close(file)


def forget_trace(state: Path) -> None:
    """Tell of no video any more: what it died with is noted."""
    with suppress(OSError):
        file = os.open(state / TRACE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.ftruncate(file, 0)
        finally:
            os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as held:
        if held.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True
