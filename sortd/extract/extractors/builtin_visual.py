"""The built-in encoder: `visual` and `speech` without weights, from classical measurements of picture and sound.

Each half is a row of groups of numbers. A group is centred on what general footage measures and then bounded, so no
group drowns the rest, and clips that have nothing in common stand at right angles instead of side by side.
Methods: gradient histograms after Dalal and Triggs (2005), uniform local binary patterns after Ojala et al. (2002),
dense optical flow after Farnebäck (2003); those of sound stand in `sound`.
What it can and cannot tell apart, measured: docs/builtin-encoder.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sortd.domain.feature import Feature, SpacePart, Vector
from sortd.extract.extractors import builtin_sound
from sortd.extract.extractors.builtin_sound import evenly
from sortd.extract.registry import EncoderSettings
from sortd.extract.spec import Needs, Sample

cv2.setNumThreads(1)  # several encoders may run side by side, and spinning threads cost more than they give

Array = NDArray[Any]
Measured = dict[str, Array]
"""Group -> its numbers. A group that could not be measured is missing, and has no say."""

SIDE = 128  # every picture is measured at an area of SIDE * SIDE pixels, whatever its shape
LONGEST = 4.0  # pictures longer than 4:1 are squeezed to that
FLAT = 8  # gradients weaker than this, in gray levels, are no edges
MOVING = 0.5  # pixels of half the working size, from one frame to the next
CHANGED = 12  # gray levels

# A row per group: name, size, weight | typical numbers, repeated over the group's cells | their spread, likewise.
# The last two were measured on a hundred clips of general footage; the weights are a judgement.
GENERAL_FOOTAGE = """
palette 144 .6 | 2.28 .58 .51 .43 .34 .39 .65 .58 2.03 .71 .72 .56 .34 .39 .56 .57 1.69 .43 .62 .52 .37 .36 .36 .37 |
    .5;
tiny 93 .3 | 0 | 56.77;
edges 128 .5 | 1.06 .96 .94 .97 1.1 .98 .94 .95 | .14;
grain 40 .25 | 1.41 .76 .8 1.28 1.4 .83 .5 .52 .34 .85 | .33;
detail 20 .2 | 1.43 1.49 1.7 1.92 2.14 | .71;
flow 32 .15 | 1 .99 1.02 .99 1.01 .98 .99 .98 | .1;
stir 16 .1 | -.53 | .65;
pace 6 .15 | -2.87 -.89 .04 .02 .16 0 | .64 .76 .09 .02 .14 .06;
drift 16 .1 | 1.66 | 1.25;
layout 17 .3 | .37 .43 .11 .19 .08 .14 .3 .42 .55 .74 .31 .18 4.03 .02 .01 .66 .68 | .31 .19 .17 .07 .08 .15 .23 .21
    .21 .22 .25 .35 .83 .07 .01 .14 .11
"""


@dataclass(frozen=True, slots=True)
class MeasurementGroup:
    """Numbers that are weighed together, and what general footage measures for them."""

    size: int
    weight: float
    typical: Array
    spread: Array

    def weigh(self, numbers: Array | None) -> Array:
        """Centre the numbers and bound their norm by the weight: half of it where all are one spread off."""
        if numbers is None:
            return np.zeros(self.size)
        apart = (numbers - np.resize(self.typical, self.size)) / np.resize(self.spread, self.size)
        return np.asarray(apart * self.weight / (np.linalg.norm(apart) + np.sqrt(self.size)))


@dataclass(frozen=True, slots=True)
class BuiltinEncoder:
    """One half of the encoder: measures a sample, then weighs group by group."""

    name: str
    version: str
    dim: int
    needs: Needs
    groups: Mapping[str, MeasurementGroup]
    measure: Callable[[Sample], Measured]

    def extract(self, batch: Sequence[Sample]) -> list[Feature]:
        """Give each sample's feature; its vector is None where there is nothing to see or to hear."""
        return [Feature(self.name, self.version, self._weigh(self.measure(sample))) for sample in batch]

    def _weigh(self, measured: Measured) -> Vector | None:
        if not measured:
            return None
        return np.concatenate(
            [group.weigh(measured.get(name)) for name, group in self.groups.items()], dtype=np.float32
        )


def build(part: SpacePart, settings: EncoderSettings, _models: object) -> BuiltinEncoder:
    """Make the half that the part names; it needs no networks. KeyError: it is neither `visual` nor `speech`."""
    needs, table, measure = {
        "visual": (Needs(frames=settings.frames, following=True, short_side=SIDE), GENERAL_FOOTAGE, _look),
        "speech": (
            Needs(sound=True, sound_seconds=builtin_sound.SECONDS),
            builtin_sound.GENERAL_FOOTAGE,
            builtin_sound.listen,
        ),
    }[part.extractor]
    return BuiltinEncoder(part.extractor, part.version, part.dim, needs, _groups(table), measure)


def _groups(table: str) -> dict[str, MeasurementGroup]:
    groups = {}
    for row in table.split(";"):
        (name, size, weight), typical, spread = (column.split() for column in row.split("|"))
        groups[name] = MeasurementGroup(int(size), float(weight), np.array(typical, float), np.array(spread, float))
    return groups


def _look(sample: Sample) -> Measured:
    """Measure the pictures, one by one, and what changes between them; nothing where there are none."""
    if not sample.frames:
        return {}
    height, width = sample.frames[0].shape[:2]
    aspect = float(np.clip(width / height, 1 / LONGEST, LONGEST))
    size = round(SIDE * aspect**0.5), round(SIDE / aspect**0.5)
    pictures = [_fit(frame, size) for frame in sample.frames]
    grays = [_gray(picture) for picture in pictures]
    seen = [_picture(picture, gray) for picture, gray in zip(pictures, grays, strict=True)]
    told = [0.01 + min(0.1, gray.std() / 255) for gray in grays]  # the first and the last are often all but black
    measured = {name: np.average([one[name] for one in seen], axis=0, weights=told) for name in seen[0]}
    steps = [_step(gray, _gray(_fit(frame, size))) for gray, frame in zip(grays, sample.following, strict=False)]
    if steps:
        measured |= {
            name: np.average([one[name] for one in steps], axis=0, weights=told[: len(steps)]) for name in steps[0]
        }
        measured["flow"] = evenly(measured["flow"], floor=0.02)
    kept = [1.0]
    if len(seen) > 1:
        changes = [cv2.absdiff(one, other).astype(np.float32) for one, other in pairwise(grays)]
        measured["drift"] = np.log(1 + np.mean([_pool(change, 4) for change in changes], axis=0))
        kept = [float(np.minimum(one["palette"][:24], other["palette"][:24]).mean()) for one, other in pairwise(seen)]
    unrest = np.std([one["layout"][:2] for one in seen], axis=0)
    measured["layout"] = np.concatenate([[np.log(aspect)], measured["layout"], unrest, [min(kept), np.mean(kept)]])
    return measured


def _picture(picture: Array, gray: Array) -> Measured:
    """Measure one picture [h, w, 3] and its gray [h, w]."""
    red, green, blue = np.moveaxis(_fit(picture, (96, 96)).astype(np.int32) >> 3, 2, 0)
    colours = _palette()[red << 10 | green << 5 | blue].reshape(3, 32, 3, 32, 24).mean(axis=(1, 3))
    regions = [colours, *colours, colours[:, 1], colours[:, ::2]]
    tiny = _fit(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (8, 8))
    edges, strength = _edges(gray)
    bright, colourful = gray / 255, np.ptp(picture, axis=2) / 255
    apart = bright - bright.mean()
    mirrored = (apart * apart[:, ::-1]).mean() / (apart.var() + 1e-4)
    layout = [
        bright.mean(),
        colourful.mean(),
        bright.std(),
        colourful.std(),
        *np.percentile(bright, (5, 25, 50, 75, 95)),
    ]
    return {
        "palette": np.concatenate([evenly(region.reshape(-1, 24).mean(axis=0)) for region in regions]),
        "tiny": np.concatenate([_waves(tiny[..., 0], 8), _waves(tiny[..., 1], 4), _waves(tiny[..., 2], 4)]),
        "edges": evenly(edges, floor=1.0),
        "grain": _grain(gray),
        "detail": _detail(gray),
        "layout": np.array([*layout, (strength < FLAT).mean(), mirrored, np.log(1 + strength.mean())]),
    }


def _step(gray: Array, following: Array) -> Measured:
    """Measure what moves from a frame to the next."""
    size = gray.shape[1] // 2, gray.shape[0] // 2
    one, other = _fit(gray, size), _fit(following, size)
    flow = cv2.calcOpticalFlowFarneback(one, other, np.zeros((*one.shape, 2), np.float32), 0.5, 2, 9, 2, 5, 1.1, 0)
    length, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    change = cv2.absdiff(one, other).astype(np.float32)
    outwards = flow[..., 0] * np.linspace(-1, 1, size[0]) + flow[..., 1] * np.linspace(-1, 1, size[1])[:, None]
    mean, usual = flow.mean(axis=(0, 1)), length.mean() + 0.1
    steady, widening = np.linalg.norm(mean) / usual, outwards.mean() / usual
    amounts = [
        np.log(0.02 + length.mean()),
        np.log(0.1 + change.mean()),
        (length > MOVING).mean(),
        (change > CHANGED).mean(),
    ]
    return {
        "flow": _directions(np.minimum(length, 8), angle / (2 * np.pi), 2),
        "stir": np.log(0.3 + _pool(change, 4)),
        "pace": np.array([*amounts, steady, widening]),
    }


def _fit(picture: Array, size: tuple[int, int]) -> Array:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _gray(picture: Array) -> Array:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def _pool(values: Array, cells: int) -> Array:
    return _fit(values, (cells, cells)).ravel()


def _cells(shape: tuple[int, ...], rows: int, columns: int) -> Array:
    """Number the cell of each pixel of a picture [h, w] cut into rows and columns."""
    height, width = shape
    return (np.arange(height) * rows // height)[:, None] * columns + np.arange(width) * columns // width


def _directions(strength: Array, turn: Array, cells: int) -> Array:
    """Mean strength [h, w] in each of eight directions (turn, 0 to 1; the nearest two share) in each cell."""
    below = np.floor(turn * 8)
    share = strength * (turn * 8 - below)
    first = _cells(turn.shape, cells, cells) * 8
    near, far = (first + (below + step).astype(np.int32) % 8 for step in (0, 1))
    bins, shares = np.stack([near, far]).ravel(), np.stack([strength - share, share]).ravel()
    return np.bincount(bins, shares, cells * cells * 8) / turn.size


def _edges(gray: Array) -> tuple[Array, Array]:
    """Gradients by orientation in a grid of four by four, and their strength [h, w]."""
    across, down = (cv2.Sobel(gray, cv2.CV_32F, 1 - way, way) for way in (0, 1))
    strength, angle = cv2.cartToPolar(across, down)
    return _directions(strength, angle / np.pi, 4), np.asarray(strength)


def _waves(tiny: Array, side: int) -> Array:
    """Cosine waves of a tiny picture without its mean; the finer ones, weaker in all footage, are raised."""
    down, across = np.mgrid[:side, :side]
    return np.ravel(cv2.dct(tiny)[:side, :side] * np.hypot(down, across))[1:]


def _grain(gray: Array) -> Array:
    """Uniform patterns of each pixel's eight neighbours, in the whole and in three bands: [4 * 10]."""
    middle = gray[1:-1, 1:-1]
    height, width = middle.shape
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    darker = [gray[down : down + height, across : across + width] < middle for down, across in around]
    pattern = _patterns()[np.packbits(darker, axis=0)[0]]
    counts = np.bincount((_cells(middle.shape, 3, 1) * 10 + pattern).ravel(), minlength=30).reshape(3, 10)
    return np.concatenate([evenly(counts.sum(axis=0)), *map(evenly, counts)])


@cache
def _patterns() -> Array:
    """Eight neighbours as bits -> how many are darker, or 9 where dark and light alternate: [256]."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    alternations = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(np.isin(alternations, (0, 2)), bits.sum(axis=1), 9)


def _detail(gray: Array) -> Array:
    """How much there is of five sizes of detail, in each quarter: [4 * 5]."""
    layers, now = [], gray.astype(np.float32)
    for _ in range(5):
        smooth = cv2.GaussianBlur(now, (0, 0), 1)
        layers.append(_pool(np.abs(now - smooth), 2))
        now = _fit(smooth, (now.shape[1] // 2, now.shape[0] // 2))
    return np.ravel(np.log(0.5 + np.transpose(layers)))


@cache
def _palette() -> Array:
    """Colour, five bits a channel -> its shares of gray and seven hues, each dark, middling and light: [32768, 24]."""
    hues = np.arange(7) * 2 * np.pi / 7 + 0.5
    tints = [(0.0, 0.0), *zip(28 * np.cos(hues), 28 * np.sin(hues), strict=True)]
    named = np.array([(light, *tint) for light in (20, 50, 80) for tint in tints], np.float32)
    level = (np.arange(32, dtype=np.float32) * 8 + 4) / 255
    colours = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(1, -1, 3)
    apart = cv2.cvtColor(colours, cv2.COLOR_RGB2LAB)[0][:, None] - named
    distance = apart**2 @ np.array((0.5, 1, 1), np.float32)
    shares = np.exp((distance.min(axis=1, keepdims=True) - distance) / (2 * 10**2))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
