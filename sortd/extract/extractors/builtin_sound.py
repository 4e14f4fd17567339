"""Measure a sound without a network: statistics that tell speech from music from traffic, but not what is said.

Methods: mel bands, modulation and band statistics after McDermott and Simoncelli (2011), pitch by autocorrelation.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sortd.extract.spec import Sample

Array = NDArray[Any]

RATE = 16_000
WINDOW, HOP = 1024, 512
HANN = np.hanning(WINDOW).astype(np.float32)
BANDS = 64
STRETCHES, STRETCH = 6, 10 * RATE  # of a longer sound six evenly spaced stretches of ten seconds are heard
SECONDS = 600  # what a film is about has been heard by then
SILENCE = 1e-3  # a sound that never exceeds this (60 dB under full scale) is silence
FAINT = 8.0  # windows weaker than the loudest by this (natural logarithm of energy: 35 dB) are pauses
LOWEST, HIGHEST = 65, 500  # pitches that are looked for, in hertz: those of voices
VOICED = 0.5  # from this periodicity (0 to 1) on a window has a pitch

GENERAL_FOOTAGE = """
spectrum 64 .6 | 2.75 2.82 2.71 2.74 2.73 2.55 2.44 2.26 2.28 2.34 2.31 2.09 1.9 1.97 1.82 1.57 1.53 1.54 1.29 1.12
    .91 .77 .7 .66 .71 .58 .58 .46 .42 .48 .45 .38 .11 -.18 -.23 -.28 -.22 -.27 -.46 -.67 -.7 -.86 -.88 -.91 -1.05
    -1.2 -1.35 -1.54 -1.7 -1.79 -1.81 -1.93 -2.12 -2.15 -2.29 -2.38 -2.47 -2.63 -2.74 -2.76 -2.78 -2.94 -3.18 -3.53 |
    1.52;
spread 64 .12 | 1.3 | .78;
extremes 64 .12 | -1.22 2.03 | 1.41;
flutter 64 .2 | .66 | .38;
modulation 128 .45 | 1.34 .96 .94 .91 .82 .68 .6 .63 | .45;
noise 32 .3 | -1.87 -1.32 -1.06 -.95 -.84 -.78 -.79 -.82 -.7 -.71 -.63 -.62 -.7 -.62 -.62 -.57 .61 .65 .55 .45 .4 .35
    .39 .38 .32 .34 .27 .3 .32 .27 .28 .26 | .39;
pitch 36 .2 | 1 .56 .64 .63 .5 .61 .48 .51 .54 1.03 .71 .51 .44 .71 .55 .58 .48 .45 .6 .56 .68 .56 .6 .51 .56 .63 .62
    .59 .56 .76 .63 .8 .57 .54 .43 .99 | .77;
rhythm 32 .12 | .01 | .18;
levels 16 .1 | 1.84 1.46 1.15 .93 .82 .68 .59 .45 .26 .21 .34 .16 .07 .03 .03 .27 | .62;
overall 12 .2 | -3.34 1.66 .95 1.36 .44 .43 .48 .16 .31 .07 .07 .24 | 1.83 .56 .17 1.22 .32 .33 .21 .07 .11 .05 .07
    .17
"""
"""As in `builtin`: group, size, weight | typical | spread."""


def listen(sample: Sample) -> dict[str, Array]:
    """Measure a sound of any length; nothing where there is none or it is silent."""
    sound = np.zeros(0) if sample.sound is None else np.clip(np.nan_to_num(sample.sound), -1, 1)
    windows = _windows(sound)
    peak = np.abs(windows).max()
    if peak < SILENCE:
        return {}
    power = 1e-9 + np.abs(np.fft.rfft(windows * HANN, axis=1)) ** 2
    bands, level = np.log(1e-4 + power @ _ears()), np.log(1e-3 + power.sum(axis=1))
    heard = level > level.max() - FAINT
    rise, swell = (np.diff(course, axis=0, prepend=course[:1]) for course in (bands, level))
    voice, pitch = _voice(power)
    voiced = heard & (voice > VOICED)
    crossings = np.sqrt((np.signbit(windows[:, 1:]) != np.signbit(windows[:, :-1])).mean(axis=1))
    gathered = np.cumsum(power.sum(axis=0)) / power.sum()
    loud = np.sqrt((windows**2).mean())
    overall = [np.log(loud), np.log(peak / loud), heard.mean(), level.std(), np.abs(swell).mean()]
    overall += [voiced.mean(), voice.mean(), voice.std(), crossings.mean(), crossings.std()]
    middle = np.median(bands, axis=0).reshape(32, 2).mean(axis=1, keepdims=True)
    return {
        "spectrum": bands[heard].mean(axis=0) - bands[heard].mean(),
        "spread": bands[heard].std(axis=0),
        "extremes": np.ravel(np.percentile(bands, (10, 90), axis=0).T.reshape(32, 2, 2).mean(axis=1) - middle),
        "flutter": np.abs(rise).mean(axis=0),
        "modulation": _modulation(bands),
        "noise": _noise(power[heard]),
        "pitch": _count(12 * np.log2(pitch / LOWEST), 36, voice * voiced),
        "rhythm": _rhythm(np.maximum(rise, 0).mean(axis=1)),
        "levels": _count(1.5 * (level.max() - level), 16, np.ones_like(level)),
        "overall": np.array([*overall, *np.searchsorted(gathered, (0.5, 0.95)) / gathered.size]),
    }


def _windows(sound: Array) -> Array:
    """Cut a sound (of a long one its stretches, a short one filled up) into overlapping windows [n, WINDOW]."""
    if len(sound) > STRETCHES * STRETCH:
        starts = np.linspace(0, len(sound) - STRETCH, STRETCHES).astype(int)
        sound = np.concatenate([sound[start : start + STRETCH] for start in starts])
    filled = np.pad(sound, (0, max(0, WINDOW - len(sound)))).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(filled, WINDOW)[::HOP]


@cache
def _ears() -> Array:
    """Triangular bands, evenly spaced on the mel scale from 60 Hz to 7.9 kHz: [WINDOW // 2 + 1, BANDS]."""
    edges = 700 * np.expm1(np.linspace(np.log1p(60 / 700), np.log1p(7900 / 700), BANDS + 2))
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    bands = np.maximum(0, np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
    return np.asarray(bands / bands.sum(axis=0), np.float32)


def _count(values: Array, size: int, weights: Array) -> Array:
    """Share out weighed values among bins of width one from zero up; what lies outside goes to the ends."""
    return evenly(np.bincount(np.clip(values, 0, size - 1).astype(int), weights, size), floor=1e-3)


def _modulation(bands: Array) -> Array:
    """How fast sixteen bands swell and fade: shares of eight rates, from below 0.7 Hz to above 11.5 Hz."""
    courses = bands.reshape(len(bands), 16, -1).mean(axis=2)
    fade = np.hanning(len(bands) + 2)[1:-1, None]
    strength = np.abs(np.fft.rfft((courses - courses.mean(axis=0)) * fade, axis=0)) ** 2
    rate = np.searchsorted((0.7, 1.4, 2.5, 4.0, 6.0, 8.5, 11.5), np.fft.rfftfreq(len(bands), HOP / RATE))
    return np.concatenate([evenly(np.bincount(rate, course, 8), floor=1e-3) for course in strength.T])


def _voice(power: Array) -> tuple[Array, Array]:
    """How periodic each window is (0 to 1) and at what pitch in hertz: the peak of its autocorrelation."""
    shortest, longest = RATE // HIGHEST, RATE // LOWEST
    fading = np.fft.irfft(np.abs(np.fft.rfft(HANN, 2 * WINDOW)) ** 2)[:longest]
    alike = np.fft.irfft(power, axis=1)[:, :longest]
    alike = alike[:, shortest:] / (alike[:, :1] + 1e-6) / (fading[shortest:] / fading[0])
    return np.clip(alike.max(axis=1), 0, 1), RATE / (shortest + alike.argmax(axis=1))


def _rhythm(onsets: Array) -> Array:
    """How much the onsets repeat after 2 to 33 windows (64 ms to 1.06 s)."""
    apart = np.pad(onsets - onsets.mean(), (0, max(0, 34 - len(onsets))))
    repeats = np.fft.irfft(np.abs(np.fft.rfft(apart, 2 * len(apart))) ** 2)
    return np.asarray(repeats[2:34] / (repeats[0] + 1e-3))


def _noise(power: Array) -> Array:
    """How noisy, rather than tonal, sixteen bands are (0 for noise, far below for a tone), and how much that varies."""
    bands = 1e-6 + power[:, 1:].reshape(len(power), 16, -1)
    noisy = np.log(bands).mean(axis=2) - np.log(bands.mean(axis=2))
    return np.concatenate([noisy.mean(axis=0), noisy.std(axis=0)])


def evenly(amounts: Array, *, floor: float = 1e-6) -> Array:
    """Square roots of shares, scaled so that equal shares give ones; amounts far below the floor count as equal."""
    raised = np.ravel(amounts) + floor
    return np.asarray(np.sqrt(raised * (raised.size / raised.sum())))
