"""Pictures and sound out of an open video file: exact frames, found by their time stamps, and 16 kHz sound.

One pass lists the time stamps and decodes the sound; then only what leads from a key frame to a wanted frame is
decoded. Where a film does not decode as its packets foretell, all of it is decoded instead: slower, the same pictures.
"""

from __future__ import annotations

import ctypes
import io
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from itertools import chain, repeat
from typing import Any, BinaryIO, cast

import av
import av.subtitles.stream  # the first opening of a file would import it: every child would
import numpy as np
from av import AudioFrame, AudioLayout, AudioResampler, AudioStream, Packet, VideoFrame, VideoStream
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition, Stream

from sortd.domain import Fault, Image, Needs, Sample, Waveform
from sortd.errors import ExtractionError
from sortd.extract.encryption import is_encrypted
from sortd.extract.timeline import INDEXED_FORMATS, PLAIN_CODECS, Run, Surprise, Timeline, comes_next, evenly

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

SAMPLE_RATE = 16_000
SOUND_SECONDS = 6 * 3600
"""However much is asked for: six hours fill 1.4 GB, and a decoder may take 2."""

SKIPPABLE_CODECS = frozenset({"h264", "vp9"})
"""Here a frame that calls itself unused is used by no other. In HEVC it may be, by a higher temporal layer."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 6_144_000
"""Samples in a second; a track that claims anything else cannot be heard at that rate, nor resampled."""

SWSCALE_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
"""Those of FFmpeg's `AVColorSpace` that swscale converts; any other it refuses."""
NEAREST_MATRIX = {10: 9}
"""Another one -> one that is known. The two kinds of BT.2020 have the same coefficients."""
UNSPECIFIED_MATRIX = 2
"""What swscale, and so most programs, take for BT.601."""

_resampler = partial(AudioResampler, format="s16", layout="mono", rate=SAMPLE_RATE)  # what a sound file would hold


def _unnamed_side_data(kind: type[SideDataType], number: int) -> SideDataType:
    """Give a name to a kind of side data that PyAV has none for: asking for any other would raise ValueError."""
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"UNNAMED_{number}", number
    return cast("SideDataType", member)


SideDataType._missing_ = classmethod(_unnamed_side_data)  # type: ignore[assignment,method-assign]

_Shots = dict[int, tuple[Image, float]]
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
    lens = _Lens(needs.short_side)
    with _open(file, sound=needs.sound) as container:
        film = _film(container, file)
        track = _track(container) if needs.sound else None
        ear = _Ear(track, needs.sound_seconds) if track else None
        on_length((container.duration or 0) / av.time_base)
        timeline = _scan(container, film, ear)
        on_length(timeline.seconds)
        frames, following = evenly(needs, len(timeline.stamps))
        shots = _shoot(film, timeline, {*frames, *following}, lens) if timeline.foreseeable else {}
    if not shots:
        frames, following, shots = _shoot_all(file, needs, len(timeline.stamps), lens)
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


def _open(file: BinaryIO, *, sound: bool) -> InputContainer:
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


def _film(container: InputContainer, file: BinaryIO) -> VideoStream:
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


def _track(container: InputContainer) -> AudioStream | None:
    """Choose the sound that the ffmpeg program chooses: a default track, then the first with the most channels."""
    tracks = [track for track in container.streams.audio if track.codec_context and not _is_locked(track)]
    return max(
        tracks,
        key=lambda track: (bool(track.disposition & Disposition.default), _layout(track.codec_context).nb_channels),
        default=None,
    )


def _is_locked(track: AudioStream) -> bool:
    """Whether what the track says of itself is that it is encrypted; of others its packets say so."""
    return "enc_key_id" in track.metadata or track.codec_context.codec_tag in {"enca", "drms"}


def _layout(sound: AudioCodecContext | AudioFrame) -> AudioLayout:
    """Tell the layout of a track's or a frame's channels.

    Of a layout with an order of its own PyAV shares the table with FFmpeg, and both free it: so it is never let go.
    """
    layout: AudioLayout = sound.layout
    if "(" in layout.name:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout


class _Ear:
    """Gathers the sound of a track, packet by packet; one that does not decode is left out."""

    def __init__(self, track: AudioStream, seconds: float | None) -> None:
        self.track = track
        self._wanted = int(SAMPLE_RATE * min(seconds or SOUND_SECONDS, SOUND_SECONDS))
        self._heard = array("f")
        self._kind: tuple[str, str, int] | None = None
        self._resample: Callable[[AudioFrame | None], list[AudioFrame]] = lambda _frame: []

    @property
    def heard(self) -> Waveform | None:
        """All that was heard so far; None: nothing."""
        return np.frombuffer(self._heard, np.float32)[: self._wanted] if self._heard else None

    def hear(self, packet: Packet[AudioStream] | None) -> None:
        """Decode one packet; None, after the last, brings out what the decoder and the resampler hold back."""
        if len(self._heard) >= self._wanted or (packet and packet.has_sidedata("encryption_info")):
            return
        with _going_on(av.FFmpegError, ValueError):
            for frame in self.track.codec_context.decode(packet):
                self._keep(frame)
        if packet is None:
            self._end()

    def _keep(self, frame: AudioFrame) -> None:
        layout = _layout(frame).name
        if not LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE:
            frame.sample_rate = round(1 / (self.track.time_base or 1))
            if not LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE:
                return
        kind = frame.format.name, layout, frame.sample_rate
        if kind == self._kind:
            self._take(self._resample(frame))
            return
        self._end()
        # What cannot be mixed by rule is refused with the first frame.
        for make in (_resampler, _Mean):
            resampler = make()
            with _going_on(av.FFmpegError, ValueError):
                self._take(resampler.resample(frame))
                self._kind, self._resample = kind, resampler.resample
                return

    def _end(self) -> None:
        """Bring out what the resampler holds back: the track ends, or it changes its rate or its channels."""
        with _going_on(av.FFmpegError, ValueError):
            self._take(self._resample(None))
        self._kind, self._resample = None, lambda _frame: []

    def _take(self, sounds: list[AudioFrame]) -> None:
        for sound in sounds:
            self._heard.frombytes((sound.to_ndarray().astype(np.float32) / 32768).tobytes())


class _Mean:
    """Resamples the mean of all channels, for layouts that FFmpeg has no rule to mix: unknown ones, ambisonic."""

    def __init__(self) -> None:
        self._graph: Graph | None = None

    def resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """Do what AudioResampler does; the kind of the first frame is that of all."""
        if self._graph is None:
            if frame is None:
                return []
            self._graph = self._built(frame)
        self._graph.push(frame)
        sounds: list[AudioFrame] = []
        with suppress(av.EOFError, av.BlockingIOError):
            while True:
                sounds.append(cast("AudioFrame", self._graph.pull()))
        return sounds

    @staticmethod
    def _built(frame: AudioFrame) -> Graph:
        count = frame.layout.nb_channels
        graph = Graph()
        graph.link_nodes(
            graph.add(
                "abuffer",
                sample_rate=str(frame.sample_rate),
                sample_fmt=frame.format.name,
                channel_layout=frame.layout.name,
                time_base=str(frame.time_base or Fraction(1, frame.sample_rate)),
            ),
            graph.add("pan", "mono|c0=" + "+".join(f"{1 / count}*c{channel}" for channel in range(count))),
            graph.add("aformat", sample_rates=str(SAMPLE_RATE), sample_fmts="s16", channel_layouts="mono"),
            graph.add("abuffersink"),
        ).configure()
        return graph


def _scan(container: InputContainer, film: VideoStream, ear: _Ear | None) -> Timeline:
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


class _Lens:
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


def _shoot(film: VideoStream, timeline: Timeline, wanted: set[int], lens: _Lens) -> _Shots:
    """Decode only what leads to the wanted frames; nothing at all where the film surprises."""
    with _going_on(av.FFmpegError, Surprise):
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


def _shoot_all(file: BinaryIO, needs: Needs, count: int, lens: _Lens) -> tuple[list[int], list[int], _Shots]:
    """Decode the whole film; if it shows another number of frames than `count`, once more with the right one."""
    for _ in range(2):
        frames, following = evenly(needs, count)
        wanted, shots, shown = {*frames, *following}, {}, 0
        with _open(file, sound=needs.sound) as container:
            film = _film(container, file)
            for packet in _packets(film):
                with _going_on(av.FFmpegError):
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
    with _going_on(av.FFmpegError, IndexError):  # PyAV may end so where a stream turned up late
        # Some files hold empty packets; to a decoder one would be the end.
        yield from (packet for packet in container.demux(*streams) if packet.size)
    yield None


@contextmanager
def _going_on(*errors: type[Exception]) -> Iterator[None]:
    """Let what is broken in a file pass, but not that memory ran out."""
    try:
        yield
    except MemoryError:
        raise
    except errors:
        return
