"""What an owner notices of a training: a real service, so many labels, and new videos that come meanwhile.

    python -m benchmarks.training NUMBER

NUMBER labels in twenty categories are put into the index with made-up vectors (their files are tiny and never
decoded). One clip after another is dropped and `sortd status` asked: while the service learns, and afterwards.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.acceptance import made
from sortd.config.settings import load
from sortd.disk.fingerprint import fingerprint
from sortd.disk.regular_file import identity_of
from sortd.domain.feature import Feature, FeatureSpace
from sortd.extract.registry import feature_space
from sortd.store.store import Store
from sortd.workers.local_executor import TRAINING
from tests.stories.service import Service

CATEGORIES = 20
AFTERWARDS = 10
LONG_SECONDS = 600.0


def taught(service: Service, number: int) -> None:
    """File videos, and let the index know a vector of each: that of its category, blurred."""
    space = feature_space(load(service.config, environ={}))
    random = np.random.default_rng(0)
    centres = random.normal(size=(CATEGORIES, space.dim))
    store = Store.open(service.state, space)
    with store.transaction():
        for count in range(number):
            turn, category = divmod(count, CATEGORIES)
            path = service.root / f"category {category}" / f"{turn}.mp4"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"video {count}")
            identity = identity_of(path.stat())
            clip = fingerprint(path, identity=identity)
            if clip is None:
                raise RuntimeError(f"{path} is changed by somebody")
            store.videos.expect(clip, None, identity, now=time.time())
            row = centres[category] + 2 * random.normal(size=space.dim)
            for feature in features(space, row.astype(np.float32)):
                store.features.store(clip, feature)
    store.database.close()


def features(space: FeatureSpace, row: np.ndarray) -> Iterator[Feature]:
    """The parts of one vector."""
    first = 0
    for part in space.parts:
        vector = row[first : first + part.dim]
        first += part.dim
        yield Feature(part.extractor, part.version, vector / np.linalg.norm(vector))


@dataclass(slots=True)
class Waited:
    """Seconds from each drop to the line that tells what became of it, and of each `sortd status`."""

    for_clips: list[float] = field(default_factory=list)
    for_status: list[float] = field(default_factory=list)

    def look(self, service: Service, clip: Path) -> None:
        """Drop a clip, and when it is told what became of it, ask."""
        began = time.monotonic()
        shutil.copyfile(clip, service.root / clip.name)
        service.until(lambda: service.told("left", path=clip.name) or service.told("moved", path=clip.name))
        dealt_with = time.monotonic()
        service.ask("status")
        self.for_clips.append(dealt_with - began)
        self.for_status.append(time.monotonic() - dealt_with)

    def told(self, when: str) -> str:
        """One row of the table."""
        columns = [f"{median(each):.2f} | {max(each):.2f}" for each in (self.for_clips, self.for_status)]
        return " | ".join([when, str(len(self.for_clips)), *columns])


def retraining(service: Service) -> int:
    """The most bytes that the training child has held so far; 0: there is none."""
    for child in service.children():
        with suppress(OSError):  # it may end while we look
            process = Path(f"/proc/{child}")
            if TRAINING.encode() in process.joinpath("cmdline").read_bytes():
                (most,) = re.findall(r"VmHWM:\s+(\d+) kB", process.joinpath("status").read_text())
                return 1024 * int(most)
    return 0


def main(number: int, work: Path) -> None:
    """Print how long clips and questions waited, and how long the training took."""
    service = Service(work / "service", move={"probation": []})
    clips = iter(made(work, 1000))
    during, afterwards, most = Waited(), Waited(), 0
    try:
        service.start()
        service.stop()
        taught(service, number)
        service.start()
        service.until(lambda: retraining(service), seconds=LONG_SECONDS)
        while not service.told("trained"):
            during.look(service, next(clips))
            most = max(most, retraining(service))
        for clip in islice(clips, AFTERWARDS):
            afterwards.look(service, clip)
        (trained,) = service.told("trained")
        service.stop()
    finally:
        service.end()
    print(f"{number} labels learned in {trained['seconds']:.1f} s, by a process of {most / 1e6:.0f} MB")
    print("when | clips | to its line, s: median | longest | status, s: median | longest")
    print(during.told("while it learns"))
    print(afterwards.told("afterwards"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sortd-") as temporary:
        main(int(sys.argv[1]), Path(temporary))
