"""What can be told of a checkpoint file without torch, and without running anything that stands in it."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Self

from sortd.errors import SortdError

_SAMPLE = 256 * 1024
_LARGEST_STRUCTURE = 64 << 20
"""Bytes: a network's structure, its tensors apart, takes a fraction of one megabyte."""


def digest(path: Path) -> str:
    """Tell the content in 12 hexadecimal digits, in constant time. SortdError: it cannot be read."""
    return _digest(*_identity(path))


def width(path: Path) -> int:
    """Length of a CLIP's vectors. SortdError: it cannot be read, or is no CLIP."""
    return _width(*_identity(path))


def _identity(path: Path) -> tuple[Path, int, int, int]:
    """What tells, without reading it, that the file is still the same."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from error
    return path, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=16)
def _digest(path: Path, _inode: int, size: int, _mtime_ns: int) -> str:
    """BLAKE2b of the size and of the first, middle and last 256 KiB."""
    content = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=6)
    try:
        with path.open("rb") as file:
            for start in sorted({0, max((size - _SAMPLE) // 2, 0), max(size - _SAMPLE, 0)}):
                file.seek(start)
                content.update(file.read(_SAMPLE))
    except OSError as error:
        raise _unreadable(path, error) from error
    return content.hexdigest()


@lru_cache(maxsize=16)
def _width(path: Path, _inode: int, _size: int, _mtime_ns: int) -> int:
    """Read the shape of `text_projection`, [inner, width]."""
    try:
        shape = _structure(path)["text_projection"].shape()
    except zipfile.BadZipFile as error:
        raise SortdError(f"{path} is no file as torch writes them since version 1.6: save it anew") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # a pickle of arbitrary bytes raises anything
        raise _no_clip(path) from error
    match shape:
        case (int(), int(found)):
            return found
    raise _no_clip(path)


def _structure(path: Path) -> _Stub:
    """Read the root of a TorchScript archive or of a saved state dict."""
    with zipfile.ZipFile(path) as archive:
        entry = next(entry for entry in archive.infolist() if re.fullmatch(r"[^/]+/data\.pkl", entry.filename))
        if entry.file_size > _LARGEST_STRUCTURE:
            raise ValueError(entry.file_size)
        root = _Structure(io.BytesIO(archive.read(entry))).load()
    return root if isinstance(root, _Stub) else _Stub.holding(root)


class _Stub(dict[object, "_Stub"]):
    """Stands for whatever a pickle names: keeps what it is given, does nothing."""

    arguments: tuple[object, ...]

    def __new__(cls, *arguments: object) -> Self:
        stub = super().__new__(cls)
        stub.arguments = arguments
        return stub

    def __init__(self, *_arguments: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.update(state)

    @classmethod
    def holding(cls, content: object) -> Self:
        stub = cls()
        stub.__setstate__(content)
        return stub

    def shape(self) -> object:
        """Tell a tensor's: the third of what it is rebuilt from; a parameter is rebuilt from its tensor."""
        inner = self.arguments[0]
        return inner.shape() if isinstance(inner, _Stub) else self.arguments[2]


class _Structure(pickle.Unpickler):
    """Reads how a checkpoint is built and none of its tensors; all that it names is a stub, so that nothing can run."""

    def find_class(self, _module: str, _name: str, /) -> type[_Stub]:
        return _Stub

    def persistent_load(self, _identifier: object, /) -> None:
        return None


def _unreadable(path: Path, error: OSError | ValueError) -> SortdError:
    return SortdError(f"{path}: the checkpoint cannot be read: {getattr(error, 'strerror', None) or error}")


def _no_clip(path: Path) -> SortdError:
    return SortdError(f"{path} is no CLIP checkpoint: it holds no text_projection of two dimensions")
