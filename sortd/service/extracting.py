"""What the extraction child does; the service knows it by name only and never imports it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from sortd.domain import Fault, Feature, Identity, Job, Needs, Sample
from sortd.errors import ExtractionError
from sortd.extract import load
from sortd.extract.decoder import Decoder
from sortd.messages import Extracted, ExtractionFailed
from sortd.protocols import Extractor
from sortd.service.children import ExtractionSettings
from sortd.service.worker import ALIVE

DECODERS = 2
"""Decoders run ahead of the extractors; more of them would only compete for the same two or three cores."""

PATIENCE_SECONDS = 5.0
"""How often a sign of life is given while a decoder works."""


class _FileChanged(Exception):
    """The file is not the one that was asked for any more: nobody's fault."""


def extraction(settings: ExtractionSettings) -> Callable[[tuple[Job, ...]], Iterator[object]]:
    """A task is a batch of jobs; each is answered by Extracted or ExtractionFailed, in the order they finish."""
    extractors = {name: load(name, frames=settings.frames) for name in settings.extractors}
    decoder = Decoder(combined([e.needs for e in extractors.values()]), timeout_seconds=settings.timeout_seconds)
    pool = ThreadPoolExecutor(DECODERS)

    def extract(jobs: tuple[Job, ...]) -> Iterator[object]:
        samples = {pool.submit(_decode, decoder, settings.root, job): job for job in jobs}
        waiting = set(samples)
        while waiting:
            done, waiting = wait(waiting, timeout=PATIENCE_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                yield ALIVE
            for future in done:
                job = samples.pop(future)
                try:
                    sample, decoding_seconds = future.result()
                except ExtractionError as error:
                    yield ExtractionFailed(job, error.fault, str(error))
                except _FileChanged as error:
                    yield ExtractionFailed(job, None, str(error))
                else:
                    began = time.monotonic()
                    features = _features(extractors, job, sample)
                    yield Extracted(job, features, decoding_seconds + time.monotonic() - began)

    return extract


def combined(needs: list[Needs]) -> Needs:
    """What satisfies all of them with one opening of the file."""
    sides = [need.short_side for need in needs if need.frames]
    return Needs(
        frames=max(need.frames for need in needs),
        following=any(need.following for need in needs),
        short_side=None if None in sides else max((side for side in sides if side), default=None),
        sound=any(need.sound for need in needs),
    )


def _features(extractors: dict[str, Extractor], job: Job, sample: Sample) -> tuple[Feature, ...]:
    return tuple(extractors[name].extract([sample])[0] for name in job.extractors)


def _decode(decoder: Decoder, root: Path, job: Job) -> tuple[Sample, float]:
    """The job's sample, and the seconds it took."""
    began = time.monotonic()
    with _opened(root, job) as descriptor:
        sample = decoder.decode(descriptor)
        if _identity(descriptor) != job.identity:
            raise _FileChanged("it changed while it was read")
    return sample, time.monotonic() - began


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
