"""What a video is known by: a hash of its size and of three parts of its content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sortd.disk.regular_file import identity_of, open_plain
from sortd.domain.video import FileIdentity, Fingerprint

_BLOCK = 256 * 1024


def fingerprint(path: str | Path, *, identity: FileIdentity) -> Fingerprint | None:
    """BLAKE2b of the size and of the first, middle and last 256 KiB: constant time, however long the video.

    None where the file was not that of `identity`, before or after it was read. Raises OSError.
    """
    with open_plain(path) as file:
        if identity_of(os.fstat(file.fileno())) != identity:
            return None
        found = content_of(file.fileno())
        return found if identity_of(os.fstat(file.fileno())) == identity else None


def content_of(descriptor: int) -> Fingerprint | None:
    """The fingerprint of an open plain file; None where it becomes shorter meanwhile. Raises OSError."""
    size = os.fstat(descriptor).st_size
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    for start in _starts(size):
        block = os.pread(descriptor, _BLOCK, start)
        if len(block) < min(_BLOCK, size - start):
            return None
        digest.update(block)
    return Fingerprint(digest.hexdigest())


def _starts(size: int) -> tuple[int, ...]:
    if size <= 3 * _BLOCK:
        return tuple(range(0, size, _BLOCK))
    return (0, (size - _BLOCK) // 2, size - _BLOCK)
