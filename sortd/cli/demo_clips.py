"""Make small clips of plainly different families, for `sortd demo` and the tests: nothing to download or to own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from math import ceil, cos, pi, sin
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from sortd.domain.feature import Image, Waveform

AMBIGUOUS = "ambiguous"
"""The family that is half one of FAMILIES and half another."""

WIDTH, HEIGHT = 160, 284
FRAMES_PER_SECOND = 12
SAMPLES_PER_SECOND = 16_000

Colour = tuple[float, float, float]
"""Red, green, blue, from 0 to 1."""

Mask = NDArray[np.floating]
"""Shape [height, width], from 0 to 1."""

Canvas = NDArray[np.floating]
"""Shape [HEIGHT, WIDTH, 3], red green blue; clipped from 0 to 1 when it is done. Lengths are in widths."""

Samples = NDArray[np.floating]
"""Shape [samples]; clipped from -1 to 1 when it is done."""

Y, X = (np.mgrid[:HEIGHT, :WIDTH] / WIDTH).astype(np.float32)
BOTTOM = HEIGHT / WIDTH
TURN = 2 * pi
LIT_WINDOWS = 0.55
HORN_SECONDS = 0.2
CHIRP_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Variation:
    """What makes one clip of a family differ from the next, within what is natural for it."""

    warmth: float
    """-1 to 1: bluer or redder light."""
    speed: float
    size: float
    pitch: float
    """These three are factors around 1."""
    phase: float
    """0 to 1: where movements begin."""
    seed: int

    @classmethod
    def draw(cls, family: str, number: int) -> Variation:
        """Give the same variation whenever the same clip is made."""
        dice = np.random.default_rng([*family.encode(), number])
        return cls(
            warmth=float(dice.uniform(-1, 1)),
            speed=float(dice.uniform(0.7, 1.4)),
            size=float(dice.uniform(0.8, 1.25)),
            pitch=float(dice.uniform(0.8, 1.25)),
            phase=float(dice.uniform(0, 1)),
            seed=int(dice.integers(2**31)),
        )


def make_clip(path: Path, family: str, number: int, *, seconds: float = 3.0) -> None:
    """Write clip `number` of a family (FAMILIES or AMBIGUOUS) as MP4, always the same.

    FileExistsError: nothing is overwritten.
    """
    frames = round(seconds * FRAMES_PER_SECOND)
    pictures = (picture(family, number, at=index / FRAMES_PER_SECOND) for index in range(frames))
    heard = sound(family, number, seconds=seconds)
    with path.open("xb") as file, av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        # Without looking ahead, or else x264 comes out a little different each time.
        steady = {"crf": "28", "tune": "zerolatency", "threads": "1"}
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=steady)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLES_PER_SECOND, layout="mono")
        audio.bit_rate = 32_000
        for image in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        samples = av.AudioFrame.from_ndarray(heard[np.newaxis], format="flt", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = SAMPLES_PER_SECOND, 0, Fraction(1, SAMPLES_PER_SECOND)
        container.mux(audio.encode(samples))
        container.mux(audio.encode())


def picture(family: str, number: int, *, at: float) -> Image:
    """Paint what the clip shows `at` so many seconds."""
    if family == AMBIGUOUS:
        left, right = (picture(half, number, at=at) for half in _halves(number))
        return np.concatenate([left[:, : WIDTH // 2], right[:, WIDTH // 2 :]], axis=1)
    variation = Variation.draw(family, number)
    canvas = FAMILIES[family].paint(variation, at)
    light = 1 + 0.08 * variation.warmth * np.array([1, 0, -1], np.float32)
    return (np.clip(canvas * light, 0, 1) * 255).astype(np.uint8)


def sound(family: str, number: int, *, seconds: float) -> Waveform:
    """Play what is heard with the clip."""
    if family == AMBIGUOUS:
        left, right = (sound(half, number, seconds=seconds) for half in _halves(number))
        return (left + right) * np.float32(0.5)
    times = np.arange(round(seconds * SAMPLES_PER_SECOND)) / SAMPLES_PER_SECOND
    heard = FAMILIES[family].play(Variation.draw(family, number), times)
    return np.clip(heard, -1, 1).astype(np.float32)


def _halves(number: int) -> tuple[str, str]:
    pairs = list(combinations(FAMILIES, 2))
    return pairs[number % len(pairs)]


# Brushes


def _mix(canvas: Canvas, mask: Mask, colour: Colour) -> None:
    canvas += mask[..., np.newaxis] * (np.array(colour, np.float32) - canvas)


def _disc(canvas: Canvas, x: float, y: float, radius: float, colour: Colour, *, edge: float = 0.02) -> None:
    part = _span(y - radius, y + radius), _span(x - radius, x + radius)
    _mix(canvas[part], np.clip((radius - np.hypot(X[part] - x, Y[part] - y)) / edge, 0, 1), colour)


def _box(canvas: Canvas, x: float, y: float, size: tuple[float, float], colour: Colour) -> None:
    canvas[_span(y, y + size[1]), _span(x, x + size[0])] = colour


def _span(first: float, last: float) -> slice:
    return slice(max(0, ceil(first * WIDTH)), max(0, ceil(last * WIDTH)))


def _plain(colour: Colour) -> Canvas:
    return np.full((HEIGHT, WIDTH, 3), colour, np.float32)


# What is to be seen


def _stove(clip: Variation, at: float) -> Canvas:
    """Show a pan from above: pieces are stirred in sauce, steam rises."""
    canvas = _plain((0.58, 0.36, 0.2))
    canvas += 0.07 * np.sin(Y * 55 + 3 * np.sin(X * 7 + TURN * clip.phase))[..., np.newaxis]
    pan = 0.4 * clip.size
    _box(canvas, 0.46, 0.9, (0.1, BOTTOM), (0.1, 0.08, 0.08))
    _disc(canvas, 0.5, 0.85, pan, (0.14, 0.12, 0.11))
    _disc(canvas, 0.5, 0.85, 0.87 * pan, (0.72, 0.3, 0.08))
    dice = np.random.default_rng(clip.seed)
    for piece in range(14):
        distance, size, ripe = pan * dice.uniform(0.1, 0.72), dice.uniform(0.025, 0.06), dice.uniform()
        angle = 2.4 * piece + TURN * clip.phase + 1.6 * clip.speed * at
        x, y = 0.5 + distance * cos(angle), 0.85 + distance * sin(angle)
        _disc(canvas, x, y, size, (0.95, 0.35 + 0.5 * ripe, 0.1 + 0.2 * ripe))
    for puff in range(6):
        rise = (puff / 6 + 0.4 * clip.speed * at + clip.phase) % 1
        x, y = 0.5 + 0.22 * sin(2.4 * puff + 3 * rise), 1 - 1.1 * rise
        _disc(canvas, x, y, 0.2, (1, 0.97, 0.92), edge=0.4 / (0.01 + sin(pi * rise)))
    return canvas


def _shore(clip: Variation, at: float) -> Canvas:
    """Show waves under a pale sky that run up a strip of sand."""
    horizon = 0.45 + 0.12 * clip.phase
    height = np.clip(Y / horizon, 0, 1)
    sky = np.stack([0.4 + 0.4 * height, 0.66 + 0.24 * height, 0.9 + 0.06 * height], axis=-1)
    depth = np.clip((Y - horizon) / (BOTTOM - horizon), 0, 1)
    wave = np.sin(14 / (depth + 0.2) / clip.size + 1.5 * np.sin(5 * X + clip.speed * at) - 3.5 * clip.speed * at)
    glint = 0.07 * wave
    water = np.stack([0.02 + 0.14 * depth + glint, 0.26 + 0.3 * depth + glint, 0.5 + 0.16 * depth + glint], axis=-1)
    canvas = np.where((horizon < Y)[..., np.newaxis], water, sky)
    _mix(canvas, np.clip((wave - 0.86) * 7, 0, 1) * depth, (0.93, 0.97, 1))
    tide = 1.5 + 0.12 * sin(1.8 * clip.speed * at + TURN * clip.phase) + 0.03 * np.sin(11 * X + at)
    canvas[tide < Y] = (0.84, 0.74, 0.55)
    _mix(canvas, np.clip(1 - np.abs(Y - tide) / 0.04, 0, 1), (1, 1, 1))
    return canvas


def _street(clip: Variation, at: float) -> Canvas:
    """Show grey fronts with lit windows, and cars that pass both ways."""
    canvas = _plain((0.66, 0.67, 0.69))
    dice = np.random.default_rng(clip.seed)
    left = -0.1
    while left < 1:
        width, top, grey = dice.uniform(0.16, 0.3) * clip.size, dice.uniform(0.15, 0.7), dice.uniform(0.26, 0.46)
        _box(canvas, left, top, (width, BOTTOM), (grey, grey, grey + 0.02))
        for floor, column in product(range(9), range(3)):
            if dice.uniform() < LIT_WINDOWS:
                window = left + width * (0.12 + 0.29 * column), top + 0.06 + 0.115 * floor
                _box(canvas, *window, (0.19 * width, 0.06), (0.82, 0.8, 0.7))
        left += width
    _box(canvas, 0, 1.28, (1, BOTTOM), (0.24, 0.24, 0.25))
    for dash in range(5):
        _box(canvas, 0.25 * (dash - clip.phase), 1.52, (0.13, 0.024), (0.9, 0.9, 0.88))
    for car in range(4):
        lane, grey, start = car % 2, dice.uniform(0.1, 0.95), dice.uniform()
        way = (start + (0.55 + 0.1 * car) * clip.speed * at) % 1
        x, y = 1.3 * (way if lane else 1 - way) - 0.3, 1.38 + 0.2 * lane
        _box(canvas, x, y + 0.04, (0.28, 0.07), (grey, grey, grey))
        _box(canvas, x + 0.06, y, (0.14, 0.04), (0.5, 0.55, 0.6))
        for wheel in (x + 0.06, x + 0.22):
            _disc(canvas, wheel, y + 0.11, 0.028, (0.05, 0.05, 0.05))
    return canvas


def _flowerbed(clip: Variation, at: float) -> Canvas:
    """Show leaves that sway, and flowers among them."""
    sway = 1.2 * sin(2.2 * clip.speed * at + TURN * clip.phase)
    fine = 1 / clip.size
    leaves = np.sin(fine * 38 * X + 3 * np.sin(9 * Y + sway)) * np.sin(fine * 31 * Y + 3 * np.sin(8 * X - sway))
    shade = 0.5 + 0.5 * np.sin(3 * X + 2 * Y + TURN * clip.phase)
    canvas = np.stack([0.16 + 0.12 * leaves, 0.42 + 0.2 * leaves + 0.1 * shade, 0.1 + 0.06 * leaves], axis=-1)
    dice = np.random.default_rng(clip.seed)
    petals = [(0.95, 0.45, 0.65), (0.98, 0.9, 0.95), (0.75, 0.45, 0.85)]
    for flower in range(8):
        x, y, size = dice.uniform(0.08, 0.92), dice.uniform(0.1, BOTTOM - 0.1), dice.uniform(0.05, 0.08) * clip.size
        x += 0.035 * sway * sin(flower + 1)
        for petal in range(5):
            angle = TURN * (petal + x) / 5
            _disc(canvas, x + size * cos(angle), y + size * sin(angle), 0.7 * size, petals[flower % 3])
        _disc(canvas, x, y, 0.55 * size, (0.98, 0.85, 0.2))
    return canvas


# What is to be heard; `times` are in seconds


def _sizzle(clip: Variation, times: Samples) -> Samples:
    dice = np.random.default_rng(clip.seed)
    hiss: Samples = np.diff(dice.normal(size=times.size + 1)) * 0.1
    drops = dice.uniform(size=times.size) < 12 / SAMPLES_PER_SECOND
    spatter = np.convolve(drops, np.exp(-np.arange(400) / 60))[: times.size]
    return hiss * (0.8 + 2.5 * spatter)


def _surf(clip: Variation, times: Samples) -> Samples:
    white: Samples = np.random.default_rng(clip.seed).normal(size=times.size)
    swell: Samples = np.sin(pi * (0.35 * clip.speed * times + clip.phase)) ** 2
    return np.convolve(white, np.hanning(48) / 5, mode="same") * (0.08 + 0.3 * swell)


def _traffic(clip: Variation, times: Samples) -> Samples:
    hum: Samples = sum((np.sin(TURN * 58 * clip.pitch * part * times) / part for part in range(1, 7)), 0 * times)
    horn: Samples = np.sign(np.sin(TURN * 415 * clip.pitch * times))
    since_last_horn = (times + clip.phase) % 1.6
    return 0.16 * hum + 0.1 * horn * (since_last_horn < HORN_SECONDS)


def _birds(clip: Variation, times: Samples) -> Samples:
    every = 0.38 / clip.speed
    chirp: Samples = np.clip((times + clip.phase) % every / CHIRP_SECONDS, 0, 1)
    call: Samples = np.sin(TURN * CHIRP_SECONDS * clip.pitch * (2600 * chirp + 900 * chirp**2)) * np.sin(pi * chirp)
    return 0.4 * call + 0.004 * np.random.default_rng(clip.seed).normal(size=times.size)


@dataclass(frozen=True, slots=True)
class Family:
    """How its clips look at a moment, and how they sound at all of `times`."""

    paint: Callable[[Variation, float], Canvas]
    play: Callable[[Variation, Samples], Samples]


FAMILIES = {
    "cooking": Family(_stove, _sizzle),
    "sea": Family(_shore, _surf),
    "city": Family(_street, _traffic),
    "garden": Family(_flowerbed, _birds),
}
