"""What a name alone says of a file or a folder; nothing here touches the disk.

Names are `str` as `os.fsdecode` gives them: bytes that are not UTF-8 stand in them as surrogates, and `os.fsencode`
gives the exact bytes back. They are compared as they are: no case folding of stems, no Unicode normal forms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable

FOLDER_RULES = ".sortd.toml"
"""The owner's rules for the folder that it stands in."""

HANDS_OFF = ".nosort"
"""In a folder: leave all of it alone. After a video's name: leave that video alone."""

UNFINISHED_BESIDE = ".aria2"
"""After a file's name: that file is still being downloaded."""

LONGEST_NAME = 255
"""Bytes, on almost every filesystem."""

_LEFT_ALONE = {"@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"}
_UNFINISHED = (".part", ".partial", ".ytdl", ".crdownload", ".tmp", ".!qb", ".aria2", ".download")

_SUBTITLES = (".srt", ".vtt", ".ass")
_COMPANIONS = (".info.json", *_SUBTITLES, ".nfo", ".json", ".description", ".jpg", ".png", ".webp", ".txt")
_LANGUAGE = re.compile(r"\.[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*\Z")


def extensions_of(words: Iterable[str]) -> frozenset[str]:
    """The configured extensions ("mp4") as names end in them (".mp4")."""
    return frozenset(f".{word.lower().lstrip('.')}" for word in words)


def is_left_alone(name: str) -> bool:
    """Whether a file or folder of this name is none of sortd's business: hidden, a system's own, unfinished."""
    lower = name.lower()
    return is_hidden(name) or lower in _LEFT_ALONE or lower.endswith(_UNFINISHED)


def is_hidden(name: str) -> bool:
    """Whether a name begins with one dot; more are an ellipsis ("...and then.mp4"), but for the folder above, ".."."""
    return name.startswith(".") and (name == ".." or not name.startswith(".."))


def is_no_name(part: str) -> bool:
    """Whether no file or folder can be called so, or it leads elsewhere."""
    return part in {"", ".", "..", "/"} or "\0" in part or len(os.fsencode(part)) > LONGEST_NAME


def is_video(name: str, extensions: Collection[str]) -> bool:
    """Whether a plain file of this name is taken for a video."""
    return os.path.splitext(name)[1].lower() in extensions and not is_left_alone(name)  # noqa: PTH122  (a name, no path)


def may_be_video(name: str) -> bool:
    """Whether a file of this name could be a video, whatever extensions are configured."""
    return "." in name and not is_left_alone(name) and not name.lower().endswith(_COMPANIONS)


def stem_of(name: str) -> str:
    """The name without its extension."""
    return os.path.splitext(name)[0]  # noqa: PTH122  (a name, no path)


def companions(video: str, beside: Collection[str], *, extensions: Collection[str]) -> list[str]:
    """Which of the plain files in the video's folder travel with it, by name.

    What two videos of one stem share stays. `clip.two.srt` is `clip.two.mp4`'s where there is such a video, and
    otherwise `clip.mp4`'s, for "two" may be a language.
    """
    stem = stem_of(video)
    stems = [stem_of(name) for name in beside if is_video(name, extensions)]
    if stems.count(stem) > 1:
        return []
    return sorted(name for name in beside if not is_video(name, extensions) and _owner(name, set(stems)) == stem)


def _owner(name: str, stems: set[str]) -> str | None:
    bases = [name[: -len(suffix)] for suffix in _COMPANIONS if name.lower().endswith(suffix)]
    if name.lower().endswith(_SUBTITLES):
        bases.append(_LANGUAGE.sub("", bases[-1]))
    return next((base for base in bases if base in stems), None)
