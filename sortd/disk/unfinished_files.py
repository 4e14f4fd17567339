"""Names of files that a program is still writing: downloads, transfers, conversions.

Some names no finished file has. Others a finished file could have too ("clip.f137.mp4"): those are left only while
something of theirs changed of late, so that no video is left for ever.
"""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile

QUIET_SECONDS = 600.0
"""So long nothing of a doubtful file may have changed until it is taken for finished."""

_ENDINGS = (
    ".part",  # yt-dlp, Firefox, Transmission, JDownloader, curl
    ".partial",
    ".partial~",  # Sonarr, Radarr
    ".filepart",  # WinSCP
    ".ytdl",
    ".crdownload",  # Chrome
    ".opdownload",  # Opera
    ".download",  # Safari
    ".downloading",
    ".fdmdownload",
    ".!qb",
    ".!ut",
    ".!bt",
    ".bc!",
    ".dctmp",
    ".aria2",
    ".tmp",
    ".temp",
    ".incomplete",
    ".inprogress",
)
_FRAGMENT = re.compile(r".*\.part-frag\d+(?:\.part)?", re.IGNORECASE | re.DOTALL)
_BEGINNINGS = (".syncthing.", "~syncthing~", ".goutputstream-", "_unpack_", "incomplete~")  # SABnzbd, Soulseek clients

CONTROL_FILE = ".aria2"
"""After a file's name: that file is being written for as long as this stands."""

BESIDE = (".part", ".ytdl", ".crdownload", ".st", "-lftp-pget-status")
"""After a file's name: that file is being written while this changes; what was given up leaves it behind."""

_DOUBTFUL = re.compile(
    r"(?P<base>.+?)(?:"
    r"\.f(?:\d+|(?:hls|dash|http|https|rtmp|m3u8|mpd|audio|video)(?=[-_.\d]))[\w=-]*"  # yt-dlp: one format of several
    r"|\.(?:temp|tmp|part|partial|incomplete|inprogress|converting|encoding|transcoding|downloading)"
    r"|-tdarrcachefile-[\w-]+"
    r"|-working(?:-\d+)+"  # Unmanic
    r")\.[a-z0-9]+",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


def is_unfinished(name: str) -> bool:
    """Tell whether no finished file or folder is called so."""
    lower = name.lower()
    if lower.endswith(_ENDINGS) or lower.startswith(_BEGINNINGS):
        return True
    return ".part-frag" in lower and _FRAGMENT.fullmatch(name) is not None


def doubtful_base(name: str) -> str | None:
    """What all files of one download or conversion begin with, where this may be one of them; None: it is not."""
    stem = name[: name.rfind(".")]
    if "." not in stem and "-" not in stem:
        return None  # most names, and a scan asks for every file
    match = _DOUBTFUL.fullmatch(name)
    return None if match is None else match["base"]


def is_recent(changed: float, *, now: float) -> bool:
    """Whether a change (seconds since the epoch, by the filesystem's clock) is fresh; a far clock proves nothing."""
    return abs(now - changed) < QUIET_SECONDS


def is_fresh(path: str) -> bool:
    """Tell whether what stands at a path changed of late."""
    try:
        return is_recent(os.lstat(path).st_ctime, now=time.time())
    except OSError:
        return False


def siblings_of(base: str, names: Sequence[str]) -> Iterator[str]:
    """Which of these sorted names may be of the same download or conversion."""
    start = bisect_left(names, base)
    for name in takewhile(lambda name: name.startswith(base), islice(names, start, None)):
        if name[len(base) : len(base) + 1] in {".", "-"}:
            yield name


class Growing:
    """Which plain files of one folder are still being written, by what stands beside them; asked for one scan."""

    def __init__(self, files: Mapping[str, os.DirEntry[str]]) -> None:
        self._files = files
        self._now = time.time()
        self._sorted: list[str] | None = None
        self._beside = [name for name in files if name.endswith((CONTROL_FILE, *BESIDE))]

    def has(self, name: str) -> bool:
        """Tell whether a file of this name is not done yet."""
        if self._beside and self._is_marked(name):
            return True
        base = doubtful_base(name)
        if base is None:
            return False
        if self._is_fresh(name):
            return True
        if self._sorted is None:
            self._sorted = sorted(self._files)
        return any(map(self._is_fresh, siblings_of(base, self._sorted)))

    def _is_marked(self, name: str) -> bool:
        if name + CONTROL_FILE in self._files:
            return True
        return any(self._is_fresh(name + mark) for mark in BESIDE if name + mark in self._files)

    def _is_fresh(self, name: str) -> bool:
        try:
            return is_recent(self._files[name].stat(follow_symlinks=False).st_ctime, now=self._now)
        except OSError:
            return False
