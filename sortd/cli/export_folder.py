"""Tell where `sortd export` may write: into a folder of its own, and over nothing but an earlier export."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from sortd.config.path_containment import lies_in
from sortd.disk.atomic_file import opened, replace
from sortd.disk.regular_file import open_plain
from sortd.disk.root_guard import root_of
from sortd.domain.errors import SortdError

MANIFEST = ".sortd-export.json"
"""Names what an export wrote, each with its SHA-256."""

FILES = (
    *(
        f"{stem}.{end}"
        for stem in ("labeled_embeddings", "unlabeled_embeddings", "model")
        for end in ("pt", "npz", "csv")
    ),
    *("transcripts.json", "predictions.json", "model_config.json", "embeddings_tsne.png"),
)
"""Every name that an export may write."""

_LONGEST = 1 << 20


def check_place(folder: Path, root: Path, *, over_earlier: bool) -> None:
    """Raise SortdError if something of the owner's stands there, or it is part of a library."""
    refuse_library(folder, root)
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except FileNotFoundError:
        return
    except OSError as problem:
        raise SortdError(f"{folder} cannot be written: {problem.strerror}") from problem
    if not names:
        return
    earlier = _earlier(folder)
    if earlier is None:
        raise SortdError(f"{folder} is not empty and holds no earlier export: name an empty folder, or a new one")
    if not over_earlier:
        raise SortdError(f"{folder} holds an earlier export: --replace writes over it")
    for name in sorted(names & set(FILES)):
        digest = _digest(folder / name)
        if digest is None or digest != earlier.get(name):
            raise SortdError(f"{folder / name} is not what was exported: move it away")


def refuse_library(folder: Path, root: Path | None = None) -> None:
    """Raise SortdError if the folder lies in a library, is one, or holds the one at `root`."""
    home = root_of(Path(os.path.realpath(folder)))
    if home is not None or (root and lies_in(folder, root)):
        raise SortdError(f"{folder} lies in the library {home or root}: name a folder outside it")
    if root and lies_in(root, folder):
        raise SortdError(f"{folder} holds the library {root}: name a folder beside it")


def note(folder: Path, written: Iterable[str]) -> None:
    """Note what this export wrote, and remove what only an earlier one wrote: it speaks of another time."""
    earlier = _earlier(folder) or {}
    content = {name: _digest(folder / name) for name in sorted(written)}
    try:
        for name in earlier.keys() - content.keys():
            if earlier[name] == _digest(folder / name):
                (folder / name).unlink()
        with opened(folder) as place:
            replace(place, MANIFEST, json.dumps(content, indent=1).encode() + b"\n", mode=0o644)
    except OSError as problem:
        raise SortdError(f"{folder} cannot be written: {problem.strerror}") from problem


def _earlier(folder: Path) -> Mapping[str, str] | None:
    """Return what an earlier export wrote; None: there was none."""
    try:
        with open_plain(folder / MANIFEST) as file:
            told = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    return {name: digest for name, digest in told.items() if name in FILES and isinstance(digest, str)}


def _digest(path: Path) -> str | None:
    """Return the digest of a regular file; None: there is none."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with open_plain(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a raw file does
    except OSError:
        return None
