"""Folders that a system keeps for itself: bins, snapshots, caches of servers and synchronisers.

The lists come from the manuals of Synology, QNAP, Asustor, NetApp, Samba, Windows, macOS, Android, Linux, Syncthing,
GoodSync, Nextcloud, Plex and Jellyfin.
Hidden names (`.Trash-1000`, `.snapshots`, `.zfs`, `.stversions`) need no entry: they are left alone already.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
from enum import Enum, auto


class Kind(Enum):
    """What a folder's name tells of whose it is."""

    OWNERS = auto()
    """Nothing: it is the owner's."""
    DOUBTFUL = auto()
    """Probably a system's; the owner's where it holds labels already."""
    SYSTEMS = auto()
    """Certainly a system's, whatever was found in it."""


_SYSTEMS = {
    "#recycle",
    "#snapshot",
    "$extend",
    "$recycle.bin",
    "$windows.~bt",
    "$windows.~ws",
    "$winreagent",
    "@appstore",
    "@database",
    "@eadir",
    "@qmariadb",
    "@recently-snapshot",
    "@recycle",
    "@sharebin",
    "@snapshot",
    "@sysbackup",
    "@synologydrive",
    "@thumb",
    "@tmp",
    "@__thumb",
    "_gsdata_",
    "backups.backupdb",
    "config.msi",
    "files_trashbin",
    "files_versions",
    "lost+found",
    "lost.dir",
    "msocache",
    "network trash folder",
    "plex versions",
    "system volume information",
    "thefindbycontentfolder",
    "thevolumesettingsfolder",
    "windowsimagebackup",
    "wpsystem",
    "~snapshot",
}
_SYSTEMS_LIKE = re.compile(r"found\.\d{3}|[ag]?quota\.(?:user|group|project)|@gmt-[\d.-]+|.+\.trickplay")

_DOUBTFUL = {
    "_recycle",
    "recycle",
    "recycle bin",
    "recycle.bin",
    "recycled",
    "recycler",
    "temporary items",
    "trash can",
    "trashbox",
}


def kind_of(name: str) -> Kind:
    """Whose a folder of this name is; the case of letters does not matter."""
    lower = name.casefold()
    if lower in _SYSTEMS or _SYSTEMS_LIKE.fullmatch(lower):
        return Kind.SYSTEMS
    return Kind.DOUBTFUL if lower in _DOUBTFUL or lower.startswith(("@", "#")) else Kind.OWNERS


_SUBVOLUME = 256  # the inode of the root of a btrfs subvolume: BTRFS_FIRST_FREE_OBJECTID
_GET_FLAGS = 0x80089419  # BTRFS_IOC_SUBVOL_GETFLAGS, from linux/btrfs.h
_READ_ONLY = 1 << 1  # BTRFS_SUBVOL_RDONLY


def is_snapshot(path: str) -> bool:
    """Tell whether the filesystem says that this folder is a snapshot: a read-only subvolume of btrfs."""
    if sys.platform != "linux":
        return False
    try:
        if os.lstat(path).st_ino != _SUBVOLUME:
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return False
    try:
        answer = fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8))
    except OSError:
        return False  # another filesystem, on which the inode means nothing
    finally:
        os.close(descriptor)
    return bool(struct.unpack("=Q", answer)[0] & _READ_ONLY)
