"""Tell whether a film is encrypted where FFmpeg does not: to its decoders cipher text is broken pictures."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

_ENCRYPTED_ENTRIES = frozenset({b"encv", b"drmi"})
"""Sample entries of MP4 whose pictures are encrypted: by Common Encryption (ISO/IEC 23001-7), by FairPlay."""
_FOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
"""Boxes of MP4 on the way to a sample entry; each holds only boxes."""
_MOST_BOXES = 10_000
_BOX = struct.Struct(">I4s")
"""Size and kind of a box. Where the size is 1, 64 bits of it follow."""
_LONG_BOX = struct.Struct(">I4sQ")

_BEFORE_ENTRIES = 8
"""Bytes: version, flags and number of the sample entries."""

_HEAD = 1 << 20
"""Bytes. The other containers tell of it in their header."""
_ASF = bytes.fromhex("3026b2758e66cf11")
_ASF_ENCRYPTION = tuple(
    map(
        bytes.fromhex,
        (
            "fbb3112223bdd211b4b700a0c955fc6e",
            "14e68a292226174cb935dae07ee9289c",
            "b68584439e496b4eaad53b12cb75ac6e",
        ),
    )
)
"""GUIDs of the content encryption, extended and advanced content encryption objects."""
_MATROSKA = b"\x1a\x45\xdf\xa3"
_MATROSKA_FOLDERS = frozenset({0x18538067, 0x1654AE6B, 0xAE, 0x6D80, 0x6240})
"""Segment, Tracks, TrackEntry, ContentEncodings, ContentEncoding: each holds only elements."""
_MATROSKA_ENCRYPTION = 0x5035
"""ContentEncryption, of which a track without a key's number is given no codec by FFmpeg."""
_MOST_ELEMENTS = 10_000
_TS_SYNC = 0x47
_TS_SIZES = (188, 192, 204)
_TS_PACKETS = 5_000


def is_encrypted(file: BinaryIO) -> bool:
    """Tell whether the container says that its pictures are encrypted; what is broken in it says nothing.

    The file's position is afterwards what it was.
    """
    position = file.tell()
    try:
        return _says_so(file)
    finally:
        file.seek(position)


def _says_so(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(_HEAD)
    if head.startswith(_ASF):
        return any(guid in head for guid in _ASF_ENCRYPTION)
    if head.startswith(_MATROSKA):
        return _MATROSKA_ENCRYPTION in _elements(head)
    return _is_scrambled(head) or any(kind in _ENCRYPTED_ENTRIES for kind in _sample_entries(file))


def _sample_entries(file: BinaryIO) -> Iterator[bytes]:
    """Yield the kind of each sample entry of an MP4, wherever its index stands."""
    end = file.seek(0, io.SEEK_END)
    boxes = [(0, end)]
    for _ in range(_MOST_BOXES):
        if not boxes:
            return
        begin, end = boxes.pop()
        file.seek(begin)
        head = file.read(_LONG_BOX.size)
        if len(head) < _BOX.size or begin + _BOX.size > end:
            continue
        size, kind = _BOX.unpack_from(head)
        content = begin + _BOX.size
        if size == 1 and len(head) == _LONG_BOX.size:
            _, _, size = _LONG_BOX.unpack(head)
            content = begin + _LONG_BOX.size
        after = begin + size if size else end
        if after < content:
            continue
        boxes.append((after, end))
        if kind in _FOLDERS:
            boxes.append((content, min(after, end)))
        elif kind == b"stsd":
            yield from _entries(file, content + _BEFORE_ENTRIES, min(after, end))


def _entries(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    """Yield the kinds of the boxes that stand side by side from `begin` to `end`."""
    while begin < end:
        file.seek(begin)
        head = file.read(_BOX.size)
        if len(head) < _BOX.size:
            return
        size, kind = _BOX.unpack(head)
        yield kind
        begin += max(size, _BOX.size)


def _elements(head: bytes) -> Iterator[int]:
    """Yield the identities of the elements of a Matroska file, those within its tracks too, as far as its head goes."""
    position = 0
    for _ in range(_MOST_ELEMENTS):
        identity, content = _number(head, position)
        size, content = _number(head, content)
        if content > len(head):
            return
        length = 1 << (size.bit_length() - 1) if size else 0
        yield identity
        position = content if identity in _MATROSKA_FOLDERS else content + size - length


def _number(head: bytes, position: int) -> tuple[int, int]:
    """Read a number of EBML with its mark of length; give it and where it ends, beyond the head if it is none."""
    first = head[position] if position < len(head) else 0
    end = position + 9 - first.bit_length() if first else len(head) + 1
    return int.from_bytes(head[position:end]), end


def _is_scrambled(head: bytes) -> bool:
    """Tell whether most packets of an MPEG transport stream that carry anything say that they are scrambled."""
    for size in _TS_SIZES:
        for first in range(min(size, len(head))):
            if all(head[first + size * k : first + size * k + 1] == bytes([_TS_SYNC]) for k in range(5)):
                starts = range(first, min(len(head) - 4, first + size * _TS_PACKETS), size)
                loaded = [head[start + 3] for start in starts if head[start] == _TS_SYNC and head[start + 3] & 0x10]
                return sum(flags >> 6 > 1 for flags in loaded) > len(loaded) / 2
    return False
