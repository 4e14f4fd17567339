"""Open a video file within limits, and find the film in it."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
import av.subtitles.stream  # the first opening of a file would import it: every child would
from av import VideoStream
from av.container import InputContainer
from av.stream import Disposition

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault
from sortd.extract.media.encryption import is_encrypted

FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif"
"""FFmpeg's readers of the containers sortd takes. Play lists and scripts are not among them: a text file called
`.mp4` must not make the decoder open the files it names."""

ENCRYPTED = "its pictures are encrypted"

PIXEL_LIMIT = 67_108_864
"""8192 x 8192: a file of a few kilobytes can claim a picture of any size."""

ALLOCATION_LIMIT = 8 * PIXEL_LIMIT
"""Bytes that FFmpeg may take in one piece: no picture needs more, and no table of a film."""
ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(ALLOCATION_LIMIT))  # noqa: SLF001 - there is no other way

LATE_FORMATS = frozenset({"flv", "mpegts", "mpeg"})
"""Here a stream is known only when its first packet comes."""
PROBE_BYTES = 256 << 20
"""How far such a file is searched for a stream that its beginning lacks: what was read meanwhile is kept in memory."""
PROBE_SECONDS = 12 * 3600


def open_media(file: BinaryIO, *, sound: bool) -> InputContainer:
    """Open a file; one whose streams turn up late is searched for pictures, and for sound if it is wanted."""
    container = _open_at(file, {})
    lacks = not container.streams.video or (sound and not container.streams.audio)
    if lacks and container.format.name in LATE_FORMATS:
        container.close()
        return _open_at(file, {"probesize": str(PROBE_BYTES), "analyzeduration": str(PROBE_SECONDS * av.time_base)})
    return container


def _open_at(file: BinaryIO, options: Mapping[str, str]) -> InputContainer:
    if not file.seek(0, io.SEEK_END):
        raise ExtractionError(Fault.EMPTY, "the file is empty")
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_pixels": str(PIXEL_LIMIT)}
    try:
        return av.open(file, "r", options={**limits, **options}, metadata_errors="replace")
    except av.error.ArgumentError as error:
        raise ExtractionError(Fault.NOT_A_VIDEO, "another kind of file under a video's name") from error
    except av.error.InvalidDataError as error:
        if is_encrypted(file):
            raise ExtractionError(Fault.UNSUPPORTED, ENCRYPTED) from error
        if head[4:8] in {b"ftyp", b"moov"} or head[:4] in {b"RIFF", b"OggS", b"\x1a\x45\xdf\xa3", b"FLV\x01"}:
            raise ExtractionError(Fault.DAMAGED, "a video, but parts of it are missing or broken") from error
        raise ExtractionError(Fault.NOT_A_VIDEO, "nothing in it is a video") from error


def film_of(container: InputContainer, file: BinaryIO) -> VideoStream:
    """Choose the film among the pictures: cover art is none."""
    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not films:
        raise ExtractionError(Fault.NO_VIDEO_STREAM, "it holds no moving pictures")
    best = container.streams.best("video")
    film = next((stream for stream in films if stream is best), films[0])
    codec: Any = film.codec_context
    tells_nothing = codec is None or container.format.name == "asf"
    if "enc_key_id" in film.metadata or (tells_nothing and is_encrypted(file)):
        raise ExtractionError(Fault.UNSUPPORTED, ENCRYPTED)
    if codec is None:
        raise ExtractionError(Fault.UNSUPPORTED, "no decoder knows how its pictures are stored")
    if codec.width * codec.height > PIXEL_LIMIT:
        raise ExtractionError(Fault.TOO_LARGE, f"its pictures are {codec.width} x {codec.height} pixels")
    codec.options = {"max_pixels": str(PIXEL_LIMIT)}  # the picture may still grow after the header
    codec.thread_count = 1
    return film


@contextmanager
def skipping_what_is_broken(*errors: type[Exception]) -> Iterator[None]:
    """Let what is broken in a file pass, but not that memory ran out."""
    try:
        yield
    except MemoryError:
        raise
    except errors:
        return
