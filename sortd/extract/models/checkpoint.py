"""Read what can be told of a checkpoint file without torch, and without running anything in it."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sortd.domain.errors import SortdError

_SAMPLE = 256 * 1024
_NUMBERS = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "ByteStorage": "u1",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "BoolStorage": "?",
}
"""What torch calls a row of numbers -> the numbers."""

_LARGEST_STRUCTURE = 4 << 20
"""Bytes: a network's structure, its tensors apart, takes a fraction of one megabyte."""

_MOST_PARTS = 100_000
"""A network has a few thousand parts, one inside the other."""
_DEEPEST = 50


def digest(path: Path) -> str:
    """Tell the content in 12 hexadecimal digits, in constant time. SortdError: it cannot be read."""
    return _digest(*_identity(path))


def width(path: Path) -> int:
    """Length of a CLIP's vectors. SortdError: it cannot be read, or is no CLIP."""
    return _width(*_identity(path))


def is_torchscript(path: Path) -> bool:
    """Tell whether it is a program of TorchScript, as CLIP is published, and no plain file of numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def numbers(path: Path) -> dict[str, NDArray[Any]]:
    """Read the numbers of a TorchScript archive, by name, and leave its program alone: torch itself would load that.

    Raises ValueError, LookupError, OSError.
    """
    with zipfile.ZipFile(path) as archive:
        root, folder = _read_structure(archive)
        # Two tensors may share their numbers; whoever has a few stand for many wants memory.
        left = 2 * path.stat().st_size
        read: dict[str, NDArray[Any]] = {}
        for name, (kind, entry, offset, size, stride) in _tensors(root):
            storage = archive.getinfo(f"{folder}/data/{entry}")
            left -= storage.file_size
            if left < 0:
                raise ValueError("its tensors are more than the file holds")
            read[name] = _view(_storage(storage, archive, _NUMBERS[kind.__name__]), offset, size, stride)
        return read


_Tensor = tuple[type, str, int, tuple[int, ...], tuple[int, ...]]
"""Kind of numbers, their entry in the archive, where the tensor begins in them, its size and strides."""


def _tensors(root: _Stub) -> Iterator[tuple[str, _Tensor]]:
    """Walk through all parts, which a hostile file may lay out in circles. Raises ValueError."""
    parts: list[tuple[str, _Stub]] = [("", root)]
    count = 0
    while parts:
        above, part = parts.pop()
        for key, value in part.items():
            if not isinstance(value, _Stub):
                continue
            count += 1
            name = f"{above}{key}"
            if count > _MOST_PARTS or name.count(".") > _DEEPEST:
                raise ValueError("it names more parts than a network has")
            match value.arguments:
                case ((_, type() as kind, str() as entry, *_), int() as offset, tuple() as size, tuple() as stride, *_):
                    yield name, (kind, entry, offset, size, stride)
                case _:
                    parts.append((f"{name}.", value))


def _storage(entry: zipfile.ZipInfo, archive: zipfile.ZipFile, dtype: str) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("torch packs no numbers")
    return np.frombuffer(archive.read(entry), dtype)


def _view(held: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> NDArray[Any]:
    """Lay out a part of what is held. ValueError: it reaches beyond."""
    if min((offset, *size, *stride)) < 0 or len(size) != len(stride):
        raise ValueError("a tensor of no size")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if 0 not in size and last >= len(held):
        raise ValueError("a tensor reaches beyond its numbers")
    if math.prod(size) > len(held):
        raise ValueError("a tensor is more than its numbers")
    bytes_apart = [step * held.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(held[offset:], size, bytes_apart).copy()


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
        return _read_structure(archive)[0]


def _read_structure(archive: zipfile.ZipFile) -> tuple[_Stub, str]:
    """Read the root, and tell the folder of the archive that holds it."""
    entry = next(entry for entry in archive.infolist() if re.fullmatch(r"[^/]+/data\.pkl", entry.filename))
    if entry.file_size > _LARGEST_STRUCTURE:
        raise ValueError(entry.file_size)
    pickled = archive.read(entry)
    for opcode, policy, _ in pickletools.genops(pickled):
        # What is kept for later use has a place; Python makes room for all places up to the highest.
        if "PUT" in opcode.name and int(policy or 0) > len(pickled):
            raise ValueError("it asks for more memory than it can use")
    root = _Structure(io.BytesIO(pickled)).load()
    return (root if isinstance(root, _Stub) else _Stub.holding(root)), entry.filename.rpartition("/")[0]


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

    def find_class(self, module: str, name: str, /) -> type[_Stub]:
        return type(name, (_Stub,), {}) if module == "torch" else _Stub

    def persistent_load(self, identifier: object, /) -> object:
        return identifier


def _unreadable(path: Path, error: OSError | ValueError) -> SortdError:
    return SortdError(f"{path}: the checkpoint cannot be read: {getattr(error, 'strerror', None) or error}")


def _no_clip(path: Path) -> SortdError:
    return SortdError(f"{path} is no CLIP checkpoint: it holds no text_projection of two dimensions")
