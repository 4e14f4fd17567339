"""What the extraction child does; the service knows it by name only and never imports it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from sortd.domain import Fault, Feature, Identity, Job, Needs, Part, Sample
from sortd.errors import ExtractionError
from sortd.extract import load
from sortd.extract.decoder import Decoder
from sortd.extract.encoders import Networks
from sortd.messages import Extracted, ExtractionFailed, Said
from sortd.protocols import Extractor
from sortd.service.children import ExtractionSettings
from sortd.service.worker import Alive

DECODERS = 2
"""Decoders run ahead of the extractors; more of them would only compete for the same two or three cores."""

PATIENCE_SECONDS = 5.0
"""How often a sign of life is given while a decoder works."""


class _FileChanged(Exception):
    """The file is not the one that was asked for any more: nobody's fault."""


def extraction(settings: ExtractionSettings) -> Callable[[tuple[Job, ...]], Iterator[object]]:
    """A task is a batch of jobs; each is answered by Extracted or ExtractionFailed, in the order they finish."""
    said: list[Said] = []
    networks = Networks(settings.extract, say=lambda event, **facts: said.append(Said(event, facts)))
    made: dict[tuple[Part, ...], _Bench] = {}
    pool = ThreadPoolExecutor(DECODERS)

    def benches(parts: tuple[Part, ...]) -> list[_Bench]:
        """One for each family: the built-in encoder looks at small pictures and the networks at whole ones."""
        families: dict[str, tuple[Part, ...]] = {}
        for part in parts:
            family = part.version.split("-")[0]
            families[family] = (*families.get(family, ()), part)
        for family in families.values():
            if family not in made:
                extractors = [load(part, settings.extract, networks) for part in family]
                made[family] = _Bench(extractors, settings.timeout_seconds)
        return [made[family] for family in families.values()]

    def extract(jobs: tuple[Job, ...]) -> Iterator[object]:
        began = time.monotonic()
        waiting = {pool.submit(_samples, benches(job.parts), settings.root, job): job for job in jobs}
        while waiting:
            done, _ = wait(waiting, timeout=PATIENCE_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                yield Alive()
            for future in done:
                job = waiting.pop(future)
                try:
                    samples = future.result()
                except ExtractionError as error:
                    yield ExtractionFailed(job, error.fault, str(error))
                    continue
                except _FileChanged as error:
                    yield ExtractionFailed(job, None, str(error))
                    continue
                length = max(sample.seconds for sample in samples.values())
                yield Alive(settings.timeout_seconds + length / 2)
                features = tuple(feature for bench, sample in samples.items() for feature in bench.extract(sample))
                yield from said
                said.clear()
                yield Extracted(job, features, time.monotonic() - began)

    return extract


class _Bench:
    """Extractors of one family, and the decoder that gives them what they all need by opening a file once."""

    def __init__(self, extractors: Sequence[Extractor], timeout_seconds: float) -> None:
        self._extractors = extractors
        needs = combined([extractor.needs for extractor in extractors])
        self.decoder = Decoder(needs, timeout_seconds=timeout_seconds)

    def extract(self, sample: Sample) -> list[Feature]:
        return [extractor.extract([sample])[0] for extractor in self._extractors]


def combined(needs: list[Needs]) -> Needs:
    """What satisfies all of them with one opening of the file."""
    sides = [need.short_side for need in needs if need.frames]
    lengths = [need.sound_seconds for need in needs if need.sound]
    return Needs(
        frames=max(need.frames for need in needs),
        following=any(need.following for need in needs),
        short_side=None if None in sides else max((side for side in sides if side), default=None),
        sound=any(need.sound for need in needs),
        sound_seconds=None if None in lengths else max((length for length in lengths if length), default=None),
    )


def _samples(benches: list[_Bench], root: Path, job: Job) -> dict[_Bench, Sample]:
    return {bench: _decode(bench.decoder, root, job) for bench in benches}


def _decode(decoder: Decoder, root: Path, job: Job) -> Sample:
    with _opened(root, job) as descriptor:
        sample = decoder.decode(descriptor)
        if _identity(descriptor) != job.identity:
            raise _FileChanged("it changed while it was read")
        return sample


@contextmanager
def _opened(root: Path, job: Job) -> Iterator[int]:
    """The job's file, if it still is that file; symlinks and what is not a plain file are never followed."""
    try:
        # O_NONBLOCK: a FIFO in its place must not hold us.
        descriptor = os.open(root / job.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _FileChanged("it is gone") from error
    except OSError as error:
        raise ExtractionError(Fault.UNREADABLE, f"cannot be opened: {error.strerror}") from error
    try:
        if _identity(descriptor) != job.identity:
            raise _FileChanged("it is another file now")
        yield descriptor
    finally:
        os.close(descriptor)


def _identity(descriptor: int) -> Identity | None:
    facts = os.fstat(descriptor)
    return Identity(facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None
