"""Tell whether a path that the owner named lies in a folder, by whatever way it is named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def lies_in(path: Path, folder: Path) -> bool:
    """Tell whether `path`, which need not exist, is the folder or lies in it, also by a link, a mount or other case."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if real.is_relative_to(home) or any(_is_same(above, home) for above in (real, *real.parents)):
        return True
    # A part of the folder may be mounted elsewhere too: the filesystem knows both by one name.
    return any(
        device == other and inside.is_relative_to(above)
        for device, inside in _origins(real)
        for other, above in _origins(home)
    )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _origins(real: Path) -> Iterator[tuple[str, Path]]:
    """Return the device of the filesystem that holds a path, and the path within it, see proc_pid_mountinfo(5)."""
    try:
        lines = os.fsdecode(TABLE.read_bytes()).splitlines()
    except OSError:
        return
    mounts = [line.split(" ")[2:5] for line in lines]
    holding = [(device, _plain(top), Path(_plain(point))) for device, top, point in mounts]
    holding = [mount for mount in holding if real.is_relative_to(mount[2])]
    if holding:
        deepest = max(len(point.parts) for _, _, point in holding)
        device, top, point = [mount for mount in holding if len(mount[2].parts) == deepest][-1]
        yield device, Path(top) / real.relative_to(point)


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda match: os.fsdecode(bytes([int(match[1], 8)])), text)
