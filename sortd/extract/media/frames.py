"""Read exact frames, found by their time stamps, and 16 kHz sound from an open video file.

One pass lists the time stamps and decodes the sound; then only what leads from a key frame to a wanted frame is
decoded. Where a film does not decode as its packets foretell, all of it is decoded instead: slower, the same pictures.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any, BinaryIO, cast

import av
import av.subtitles.stream  # the first opening of a file would import it: every child would
import numpy as np
from av import Packet, VideoFrame, VideoStream
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Stream

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault, Image
from sortd.extract.media.encryption import is_encrypted
from sortd.extract.media.probe import ENCRYPTED, film_of, open_media, skipping_what_is_broken
from sortd.extract.media.sound_track import AudioCollector, sound_track_of
from sortd.extract.media.timeline import INDEXED_FORMATS, PLAIN_CODECS, Run, Surprise, Timeline, comes_next, evenly
from sortd.extract.spec import Needs, Sample

SKIPPABLE_CODECS = frozenset({"h264", "vp9"})
"""Here a frame that calls itself unused is used by no other. In HEVC it may be, by a higher temporal layer."""

SWSCALE_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
"""Those of FFmpeg's `AVColorSpace` that swscale converts; any other it refuses."""
NEAREST_MATRIX = {10: 9}
"""Another one -> one that is known. The two kinds of BT.2020 have the same coefficients."""
UNSPECIFIED_MATRIX = 2
"""What swscale, and so most programs, take for BT.601."""


def _unnamed_side_data(kind: type[SideDataType], number: int) -> SideDataType:
    """Give a name to a kind of side data that PyAV has none for: asking for any other would raise ValueError."""
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"UNNAMED_{number}", number
    return cast("SideDataType", member)


SideDataType._missing_ = classmethod(_unnamed_side_data)  # type: ignore[assignment,method-assign]

FramesByIndex = dict[int, tuple[Image, float]]
"""Which frame of the film -> its picture, and when it is shown, in seconds."""


def read(file: BinaryIO, needs: Needs, *, on_length: Callable[[float], None] = lambda _seconds: None) -> Sample:
    """Read what `needs` asks for from `file`, which must be able to seek. Raises ExtractionError.

    `on_length` is told the film's length in seconds as soon as the header gives it, and again when it was measured.
    One frame is decoded even if none is wanted: a film that shows nothing is damaged.
    """
    try:
        return _read(file, needs, on_length)
    except MemoryError as error:
        raise ExtractionError(Fault.TOO_LARGE, "it takes more memory than one video may") from error
    except av.FFmpegError as error:
        raise ExtractionError(Fault.DAMAGED, f"it cannot be decoded: {error.strerror}") from error
    except OSError as error:
        raise ExtractionError(Fault.UNREADABLE, f"it cannot be read: {error}") from error


def _read(file: BinaryIO, needs: Needs, on_length: Callable[[float], None]) -> Sample:
    lens = FrameConverter(needs.short_side)
    with open_media(file, sound=needs.sound) as container:
        film = film_of(container, file)
        track = sound_track_of(container) if needs.sound else None
        ear = AudioCollector(track, needs.sound_seconds) if track else None
        on_length((container.duration or 0) / av.time_base)
        timeline = _scan(container, film, ear)
        on_length(timeline.seconds)
        frames, following = evenly(needs, len(timeline.stamps))
        shots = decode_frames(film, timeline, {*frames, *following}, lens) if timeline.foreseeable else {}
    if not shots:
        frames, following, shots = decode_all_frames(file, needs, len(timeline.stamps), lens)
    (_, begin), kept = shots[0], frames[: needs.frames]
    return Sample(
        frames=tuple(shots[index][0] for index in kept),
        following=tuple(shots[index][0] for index in following),
        times=tuple(shots[index][1] - begin for index in kept),
        sound=ear.heard if ear else None,
        seconds=timeline.seconds,
        width=lens.width,
        height=lens.height,
    )


def _scan(container: InputContainer, film: VideoStream, ear: AudioCollector | None) -> Timeline:
    """Go through the whole file once, decoding the sound but not the film."""
    plain = container.format.name.startswith(INDEXED_FORMATS) and film.codec_context.name in PLAIN_CODECS
    stamps, ends, keys = array("q"), array("q"), array("q")
    for packet in _packets(film, *([ear.track] if ear else [])):
        if packet and packet.stream_index == film.index:
            if packet.has_sidedata("encryption_info"):
                raise ExtractionError(Fault.UNSUPPORTED, ENCRYPTED)
            if packet.is_keyframe:
                keys.append(len(stamps))
            stamps.append(packet.pts if packet.pts is not None else packet.dts or 0)
            ends.append(stamps[-1] + (packet.duration or 0))
            # What an edit list hides is decoded, but not shown.
            plain = plain and packet.pts is not None and not packet.is_corrupt and not packet.is_discard
        elif ear:
            ear.hear(packet)
    ticks = max(ends) - min(stamps) if stamps else 0
    seconds = _seconds(film, ticks) or (container.duration or 0) / av.time_base
    return Timeline(np.array(stamps, np.int64), np.array(keys, np.int64), seconds, plain)


class FrameConverter:
    """Makes pictures of decoded frames: turned as a player shows them, all as large as the first."""

    def __init__(self, short_side: int | None) -> None:
        self._short_side = short_side
        self._size: tuple[int, int] | None = None
        self.width = self.height = 0

    def picture(self, frame: VideoFrame) -> Image:
        """Scale, convert and turn one frame; a film may change its size half-way, its pictures do not."""
        if frame.colorspace not in SWSCALE_MATRICES:
            frame.colorspace = NEAREST_MATRIX.get(frame.colorspace, UNSPECIFIED_MATRIX)
        right_x, right_y, down_x, down_y = _display_matrix(frame)
        lying = abs(right_y) > abs(right_x)
        if self._size is None:
            shrink = min(1.0, (self._short_side or frame.width) / min(frame.width, frame.height))
            self._size = max(round(frame.width * shrink), 1), max(round(frame.height * shrink), 1)
            self.width, self.height = (frame.height, frame.width) if lying else (frame.width, frame.height)
        # Without scaling, bicubic gives OpenCV's very pixels; of ten bits only if asked for blue before red.
        kernel = "BICUBIC" if self._size == (frame.width, frame.height) else "AREA"
        try:
            image = frame.reformat(*self._size, format="bgr24", interpolation=kernel, threads=1).to_ndarray()[..., ::-1]
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            raise ExtractionError(Fault.UNSUPPORTED, f"its pictures are stored as {frame.format.name}") from error
        if lying:
            image, right_x, down_y = image.swapaxes(0, 1), down_x, right_y
        return np.ascontiguousarray(image[:: -1 if down_y < 0 else 1, :: -1 if right_x < 0 else 1])


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Tell where a player goes for a step to the right (x, y), and for a step down; the scale means nothing here."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1, 0, 0, 1
    right_x, right_y, _, down_x, down_y = np.frombuffer(matrix, np.int32)[:5].tolist()
    return right_x, right_y, down_x, down_y


def decode_frames(film: VideoStream, timeline: Timeline, wanted: set[int], lens: FrameConverter) -> FramesByIndex:
    """Decode only what leads to the wanted frames; nothing at all where the film surprises."""
    with skipping_what_is_broken(av.FFmpegError, Surprise):
        return {
            run.due[stamp]: (lens.picture(frame), _seconds(film, stamp))
            for run in timeline.runs(wanted)
            for stamp, frame in _run(film, timeline, run)
        }
    return {}


def _run(film: VideoStream, timeline: Timeline, run: Run) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the frames that are due, each with its stamp. Raises Surprise."""
    container: Any = film.container
    container.seek(int(timeline.stamps[run.key]), stream=film)
    packets = _packets(film)
    first = next(packets)
    foretold = timeline.onward(first.pts if first else None, run.key)
    codec, missing, shown = film.codec_context, set(run.due), None
    for packet, stamp in zip(chain([first], packets), chain(foretold, repeat(None)), strict=False):
        if packet:
            if packet.pts != stamp:
                raise Surprise
            codec.skip_frame = "NONREF" if codec.name in SKIPPABLE_CODECS and stamp not in run.due else "DEFAULT"
        for frame in codec.decode(packet):
            if shown is None and frame.pts is not None and frame.pts < foretold[0]:
                continue  # it leans on what stands before the key frame, and was not decoded
            if frame.is_corrupt or not comes_next(frame.pts, shown, start=foretold[0], key=frame.key_frame):
                raise Surprise
            shown = frame.pts
            if shown in missing:
                missing.remove(shown)
                yield shown, frame
        if not missing:
            return
    raise Surprise


def decode_all_frames(
    file: BinaryIO, needs: Needs, count: int, lens: FrameConverter
) -> tuple[list[int], list[int], FramesByIndex]:
    """Decode the whole film; if it shows another number of frames than `count`, once more with the right one."""
    for _ in range(2):
        frames, following = evenly(needs, count)
        wanted, shots, shown = {*frames, *following}, {}, 0
        with open_media(file, sound=needs.sound) as container:
            film = film_of(container, file)
            for packet in _packets(film):
                with skipping_what_is_broken(av.FFmpegError):
                    for frame in film.codec_context.decode(packet):
                        if shown in wanted:
                            shots[shown] = lens.picture(frame), _seconds(film, frame.pts, shown)
                        shown += 1
        if shown == count:
            break
        count = shown
    if not shots.keys() >= wanted:
        if is_encrypted(file):
            raise ExtractionError(Fault.UNSUPPORTED, ENCRYPTED)
        raise ExtractionError(Fault.DAMAGED, "none of its pictures decodes")
    return frames, following, shots


def _seconds(film: VideoStream, ticks: int | None, index: int = 0) -> float:
    """Tell the time of a frame; one without a time stamp is timed by its number."""
    return float(ticks * (film.time_base or 0) if ticks is not None else index / (film.average_rate or 25))


def _packets(*streams: Stream) -> Iterator[Packet[Any] | None]:
    """Yield the packets, and None at the end, or where the file breaks off: then the decoder brings out the rest."""
    container: Any = streams[0].container
    with skipping_what_is_broken(av.FFmpegError, IndexError):  # PyAV may end so where a stream turned up late
        # Some files hold empty packets; to a decoder one would be the end.
        yield from (packet for packet in container.demux(*streams) if packet.size)
    yield None
