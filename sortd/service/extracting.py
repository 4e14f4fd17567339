"""What the extraction child does; the service knows it by name only and never imports it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sortd.domain import Fault, Feature, Identity, Job, Needs, Part, Sample
from sortd.errors import DeviceLost, ExtractionError, SortdError
from sortd.extract import load, needs_networks
from sortd.extract.decoder import Decoder
from sortd.messages import Extracted, ExtractionFailed, Said, Stalled
from sortd.protocols import Extractor
from sortd.service.children import ExtractionSettings
from sortd.service.worker import Alive

if TYPE_CHECKING:
    from sortd.extract.encoders import Networks

DECODERS = 2
"""Decoders run ahead of the extractors; more of them would only compete for the same two or three cores."""

PATIENCE_SECONDS = 5.0
"""How often a sign of life is given while a decoder works."""


class _FileChanged(Exception):
    """The file is not the one that was asked for any more: nobody's fault."""


def extraction(settings: ExtractionSettings) -> Callable[[tuple[Job, ...]], Iterator[object]]:
    """A task is a batch of jobs; each is answered by Extracted or ExtractionFailed, in the order they finish."""
    return _Studio(settings).extract


class _Studio:
    """The child's whole equipment: networks and decoders, each made when first wanted."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings = settings
        self._said: list[Said] = []
        self._benches: dict[tuple[Part, ...], _Bench] = {}
        self._pool = ThreadPoolExecutor(DECODERS)
        self._told_device: str | None = None

    @cached_property
    def _networks(self) -> Networks:
        # Imported only where it has work: torch takes seconds and hundreds of megabytes.
        encoders = import_module("sortd.extract.encoders")
        networks: Networks = encoders.Networks(self._settings.extract, say=self._say)
        return networks

    def extract(self, jobs: tuple[Job, ...]) -> Iterator[object]:
        waiting = {
            self._pool.submit(_samples, self._benches_for(job.parts), self._settings.root, job): job for job in jobs
        }
        while waiting:
            done, _ = wait(waiting, timeout=PATIENCE_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                yield Alive()
            for future in done:
                job = waiting.pop(future)
                try:
                    yield from self._answer(job, future)
                except DeviceLost:
                    raise
                except SortdError as problem:
                    yield Stalled((job,), str(problem))

    def _answer(self, job: Job, future: Future[tuple[dict[_Bench, Sample], float]]) -> Iterator[object]:
        try:
            samples, decoding_seconds = future.result()
        except ExtractionError as error:
            yield ExtractionFailed(job, error.fault, str(error))
            return
        except _FileChanged as error:
            yield ExtractionFailed(job, None, str(error))
            return
        began = time.monotonic()
        length = max(sample.seconds for sample in samples.values())
        yield Alive(self._settings.timeout_seconds + length / 2)
        features = tuple(feature for bench, sample in samples.items() for feature in bench.extract(sample))
        if "_networks" in self.__dict__ and self._networks.device != self._told_device:
            self._told_device = self._networks.device
            self._say("device", device=self._told_device)
        yield from self._said
        self._said.clear()
        yield Extracted(job, features, decoding_seconds + time.monotonic() - began)

    def _benches_for(self, parts: tuple[Part, ...]) -> list[_Bench]:
        """One for each family: the built-in encoder looks at small pictures and the networks at whole ones."""
        families: dict[str, tuple[Part, ...]] = {}
        for part in parts:
            name = part.version.split("-")[0]
            families[name] = (*families.get(name, ()), part)
        for family in families.values():
            if family not in self._benches:
                networks = self._networks if any(needs_networks(part) for part in family) else None
                extractors = [load(part, self._settings.extract, networks) for part in family]
                self._benches[family] = _Bench(extractors, self._settings.timeout_seconds)
        return [self._benches[family] for family in families.values()]

    def _say(self, event: str, **facts: object) -> None:
        self._said.append(Said(event, facts))


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


def _samples(benches: list[_Bench], root: Path, job: Job) -> tuple[dict[_Bench, Sample], float]:
    """What each family needs of the job's file, and the seconds it took."""
    began = time.monotonic()
    return {bench: _decode(bench.decoder, root, job) for bench in benches}, time.monotonic() - began


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
