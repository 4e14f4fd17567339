"""Read what is mounted at and below a folder: it tells where filesystem events can be trusted, when to listen anew."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_REMOTE = re.compile(
    r"nfs4?|cifs|smb\w*|9p|ceph|afs|ncpfs|vboxsf|prl_fs|fuse\.(sshfs|rclone|davfs\d?|glusterfs|vmhgfs.*)"
)

_STATX = getattr(ctypes.CDLL(None), "statx", None)
_EMPTY_PATH, _UNIQUE_MOUNT = 0x1000, 0x4000  # AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE
_MASK, _MOUNT = slice(0, 4), slice(144, 152)  # stx_mask, stx_mnt_id in the 256 bytes of struct statx


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted filesystem; another mount at the same point has another number."""

    number: int
    point: str
    kind: str

    @property
    def is_remote(self) -> bool:
        """Tell whether others change it without the kernel here hearing of it."""
        return _REMOTE.fullmatch(self.kind) is not None


def mounts_of(folder: Path, *, table: Path = TABLE) -> tuple[Mount, ...]:
    """The mount that holds the folder, then those below it; none where the system does not tell (macOS, a chroot)."""
    try:
        lines = table.read_bytes().splitlines()
    except OSError:
        return ()
    real = os.path.realpath(folder)
    mounts = [_mount(line.split(b" ")) for line in lines]
    holding = [mount for mount in mounts if f"{real}/".startswith(f"{mount.point.rstrip('/')}/")]
    if not holding:
        return ()
    deepest = max(len(mount.point) for mount in holding)
    holder = [mount for mount in holding if len(mount.point) == deepest][-1]  # the last mounted there covers the others
    return (holder, *(mount for mount in mounts if mount.point.startswith(f"{real}/")))


def mount_number(descriptor: int) -> int:
    """The number of the mount that an open file or folder is on; 0 where the system does not tell (macOS).

    Linux gives one that is never used again from 6.8 on. Older ones give the next mount the number of the last.
    """
    status = ctypes.create_string_buffer(256)
    asked = _STATX is not None and _STATX(descriptor, b"", _EMPTY_PATH, _UNIQUE_MOUNT, status) == 0
    if asked and int.from_bytes(status.raw[_MASK], sys.byteorder) & _UNIQUE_MOUNT:
        return int.from_bytes(status.raw[_MOUNT], sys.byteorder)
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
    return 0


def _mount(fields: list[bytes]) -> Mount:
    """From a line of mountinfo, see proc(5): the kind follows a lone "-", for the fields before it vary."""
    point = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
    return Mount(int(fields[0]), os.fsdecode(point), os.fsdecode(fields[fields.index(b"-") + 1]))
