"""Tell what a name alone says of a file or a folder; nothing here touches the disk.

Names are `str` as `os.fsdecode` gives them: bytes that are not UTF-8 stand in them as surrogates, and `os.fsencode`
gives the exact bytes back. They are compared as they are: no case folding of stems, no Unicode normal forms.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from sortd.disk.companions import companions_of, may_be_companion
from sortd.disk.system_folders import Kind, kind_of
from sortd.disk.unfinished_files import is_unfinished

FOLDER_RULES = ".sortd.toml"
"""The owner's rules for the folder that it stands in."""

HANDS_OFF = ".nosort"
"""In a folder: leave all of it alone. After a video's name: leave that video alone."""

LONGEST_NAME = 255
"""Bytes, on almost every filesystem."""


def extensions_of(words: Iterable[str]) -> frozenset[str]:
    """The configured extensions ("mp4") as names end in them (".mp4")."""
    return frozenset(f".{word.lower().lstrip('.')}" for word in words)


def is_left_alone(name: str) -> bool:
    """Tell whether a file or folder of this name is none of sortd's business: hidden, a system's own, unfinished."""
    return is_hidden(name) or is_unfinished(name) or kind_of(name) is Kind.SYSTEMS


def is_hidden(name: str) -> bool:
    """Whether a name begins with one dot; more are an ellipsis ("...and then.mp4"), but for the folder above, ".."."""
    return name.startswith(".") and (name == ".." or not name.startswith(".."))


def is_no_name(part: str) -> bool:
    """Tell whether no file or folder can be called so, or it leads elsewhere."""
    return part in {"", ".", "..", "/"} or "\0" in part or len(os.fsencode(part)) > LONGEST_NAME


def is_video(name: str, extensions: Collection[str]) -> bool:
    """Tell whether a plain file of this name is taken for a video."""
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122  (a name, no path)
    return ending in extensions and not is_hidden(name) and not is_unfinished(name)


def may_be_video(name: str) -> bool:
    """Tell whether a file of this name could be a video, whatever extensions are configured."""
    return "." in name and not is_left_alone(name) and not may_be_companion(name)


def stem_of(name: str) -> str:
    """The name without its extension."""
    return os.path.splitext(name)[0]  # noqa: PTH122  (a name, no path)


def companions(video: str, beside: Collection[str], *, extensions: Collection[str]) -> list[str]:
    """Which of the plain files in the video's folder travel with it, by name."""
    videos = {name for name in beside if is_video(name, extensions)}
    return companions_of(video, videos, [name for name in beside if name not in videos and not is_left_alone(name)])
