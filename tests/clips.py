"""Small films whose frames carry their own number, so that a test can tell which frame it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from sortd.domain.feature import Image

RATE = 12
"""Frames in a second."""
BITS = 10
WIDTH, HEIGHT = 16 * BITS, 96
SAMPLE_RATE = 48_000

FORMATS = {
    "clip.mp4": ("libx264", "aac"),
    "clip.m4v": ("libx264", "aac"),
    "clip.mov": ("prores_ks", "pcm_s16le"),
    "clip.mkv": ("libx264", "libopus"),
    "clip.webm": ("libvpx-vp9", "libopus"),
    "vp8.webm": ("libvpx", "libopus"),
    "clip.avi": ("mpeg4", "libmp3lame"),
    "clip.ts": ("libx264", "aac"),
    "clip.flv": ("flv1", "libmp3lame"),
    "clip.wmv": ("wmv2", "libmp3lame"),
    "clip.3gp": ("mpeg4", "aac"),
    "clip.mpg": ("mpeg2video", "mp2"),
    "clip.ogv": ("libvpx", "libopus"),
    "clip.gif": ("gif", None),
}
"""A name for each container that sortd takes -> its usual codecs, for pictures and sound."""


def numbered(number: int) -> Image:
    """Draw a number: one stripe for each bit, and a grey edge at the top that tells where up is."""
    stripes = [255 * (number >> bit & 1) for bit in range(BITS)]
    picture = np.repeat(np.array(stripes, np.uint8), WIDTH // BITS)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2)
    picture[: HEIGHT // 8] = 128
    return np.ascontiguousarray(picture)


def number_in(picture: Image) -> int:
    """Read the number that a frame shows, after any codec and at any size."""
    row = picture[picture.shape[0] // 2 :].mean(axis=(0, 2))
    stripes = [row[int((bit + 0.5) * len(row) / BITS)] for bit in range(BITS)]
    return sum(1 << bit for bit, stripe in enumerate(stripes) if stripe > 128)


def film(
    path: Path,
    *,
    frames: int = 2 * RATE,
    ticks: Iterable[int] | None = None,
    codecs: tuple[str, str | None] = ("libx264", "aac"),
    settings: Mapping[str, str] | None = None,
    container: Mapping[str, str] | None = None,
) -> Path:
    """Write a film: the k-th frame shows k, at the k-th of `ticks` (RATE to a second), under one note of 440 Hz.

    `settings` are the picture codec's, `container` the file's, by FFmpeg's names.
    """
    pictures, sounds = codecs
    with av.open(str(path), "w", options=dict(container or {})) as output:
        video = output.add_stream(pictures, rate=RATE, options=dict(settings or {}))
        video.width, video.height = WIDTH, HEIGHT
        video.pix_fmt = {"gif": "rgb8", "prores_ks": "yuv422p10le"}.get(pictures, "yuv420p")
        video.codec_context.time_base = Fraction(1, RATE)
        audio = output.add_stream(sounds, rate=SAMPLE_RATE, layout="stereo") if sounds else None
        for number, tick in enumerate(ticks if ticks is not None else range(frames)):
            frame = av.VideoFrame.from_ndarray(numbered(number)).reformat(format=video.pix_fmt)
            frame.pts, frame.time_base = tick, Fraction(1, RATE)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio:
            for part in _note(frames / RATE, audio):
                output.mux(audio.encode(part))
            output.mux(audio.encode(None))
    return path


def _note(seconds: float, track: av.AudioStream) -> list[av.AudioFrame]:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
    frame.sample_rate = SAMPLE_RATE
    cut = av.AudioResampler(track.format, "stereo", SAMPLE_RATE, frame_size=track.frame_size or None)
    return [*cut.resample(frame), *cut.resample(None)]


def packets(path: Path, kind: str) -> list[slice]:
    """Where in the file the packets of its first "video" or "audio" stream lie."""
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        return [slice(p.pos, p.pos + p.size) for p in container.demux(stream) if p.size and p.pos is not None]


def overwrite(path: Path, places: Iterable[slice]) -> Path:
    """Fill these places of a file with noise."""
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for place in places:
        content[place] = noise.bytes(place.stop - place.start)
    path.write_bytes(content)
    return path
