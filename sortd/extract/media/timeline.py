"""Plan which packets of a film are decoded to see the frames that are wanted; pure, without a file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sortd.extract.spec import Needs

INDEXED_FORMATS = ("mov", "matroska")
"""Here every packet has its own time stamp, and a search ends at a key frame."""
PLAIN_CODECS = frozenset({"h264", "hevc", "vp9", "libdav1d", "prores"})
"""Here every packet is one shown frame; VP8 and MPEG-4 have packets that show none."""


class Surprise(Exception):
    """The film does not decode as its packets foretold."""


@dataclass(frozen=True, slots=True)
class Run:
    """One stretch to decode: on from the packet at position `key`, until all of `due` were shown."""

    key: int
    due: dict[int, int]
    """The wanted frames' time stamps -> which frame of the film each is."""


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The film's packets in the order of the file, which counts their positions; it is not the order of showing."""

    stamps: NDArray[np.int64]
    """When each is shown, in the film's own ticks."""
    keys: NDArray[np.int64]
    """Positions of the key frames, ascending."""
    seconds: float
    plain: bool
    """Whether every packet states its time, is sound, and holds one frame that is meant to be shown."""

    @property
    def foreseeable(self) -> bool:
        """Tell whether each stamp should turn into one frame."""
        return (
            self.plain
            and len(self.keys) > 0
            and self.keys[0] == 0
            and bool(self.stamps[0] == self.stamps.min())  # else the first frames lack the key frame they lean on
            and bool((np.diff(np.sort(self.stamps)) > 0).all())
        )

    def runs(self, wanted: Collection[int]) -> list[Run]:
        """Plan the decoding of the wanted frames: a new run only where a key frame lies ahead of what was decoded."""
        order = np.argsort(self.stamps)
        runs: list[Run] = []
        reached = -1
        for index in sorted(wanted):
            position = int(order[index])
            stamp = int(self.stamps[position])
            key = int(self.keys[(self.stamps[self.keys] <= stamp) & (self.keys <= position)][-1])
            if key > reached:
                runs.append(Run(key, {}))
            runs[-1].due[stamp] = index
            reached = max(reached, position)
        return runs

    def onward(self, stamp: int | None, key: int) -> list[int]:
        """Tell which stamps must come when a search for the key frame at `key` has led to `stamp`. Raises Surprise."""
        landings = self.keys[(self.stamps[self.keys] == stamp) & (self.keys <= key)]
        if not len(landings):
            raise Surprise
        return [int(stamp) for stamp in self.stamps[landings[0] :]]


def evenly(needs: Needs, count: int) -> tuple[list[int], list[int]]:
    """Choose the frames (at least one) and their followers among `count`; the last one's follower is itself."""
    frames = np.linspace(0, max(count - 1, 0), max(needs.frames, 1)).astype(int).tolist()
    following = [min(index + 1, count - 1) for index in frames[: needs.frames]] if needs.following else []
    return frames, following


def comes_next(stamp: int | None, shown: int | None, *, start: int, key: bool) -> bool:
    """Whether a decoded frame was foretold: first comes the key frame that stands at `start`, then ever later ones."""
    if stamp is None or shown is None:
        return key and stamp == start
    return stamp > shown
