"""Decode the sound track of a film: mono, 16 kHz, as much as is wanted."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import cast

import av
import av.subtitles.stream  # the first opening of a file would import it: every child would
import numpy as np
from av import AudioFrame, AudioLayout, AudioResampler, AudioStream, Packet
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition

from sortd.domain.feature import Waveform
from sortd.extract.media.probe import skipping_what_is_broken

LOWEST_RATE, HIGHEST_RATE = 1_000, 6_144_000
"""Samples in a second; a track that claims anything else cannot be heard at that rate, nor resampled."""

SAMPLE_RATE = 16_000
SOUND_SECONDS = 6 * 3600
"""However much is asked for: six hours fill 1.4 GB, and a decoder may take 2."""

_resampler = partial(AudioResampler, format="s16", layout="mono", rate=SAMPLE_RATE)  # what a sound file would hold


def sound_track_of(container: InputContainer) -> AudioStream | None:
    """Choose the sound that the ffmpeg program chooses: a default track, then the first with the most channels."""
    tracks = [track for track in container.streams.audio if track.codec_context and not is_locked(track)]
    return max(
        tracks,
        key=lambda track: (bool(track.disposition & Disposition.default), _layout(track.codec_context).nb_channels),
        default=None,
    )


def is_locked(track: AudioStream) -> bool:
    """Tell whether what the track says of itself is that it is encrypted; of others its packets say so."""
    return "enc_key_id" in track.metadata or track.codec_context.codec_tag in {"enca", "drms"}


def _layout(sound: AudioCodecContext | AudioFrame) -> AudioLayout:
    """Tell the layout of a track's or a frame's channels.

    Of a layout with an order of its own PyAV shares the table with FFmpeg, and both free it: so it is never let go.
    """
    layout: AudioLayout = sound.layout
    if "(" in layout.name:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout


class AudioCollector:
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
        with skipping_what_is_broken(av.FFmpegError, ValueError):
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
            with skipping_what_is_broken(av.FFmpegError, ValueError):
                self._take(resampler.resample(frame))
                self._kind, self._resample = kind, resampler.resample
                return

    def _end(self) -> None:
        """Bring out what the resampler holds back: the track ends, or it changes its rate or its channels."""
        with skipping_what_is_broken(av.FFmpegError, ValueError):
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
