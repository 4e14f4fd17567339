"""Extract features, in the extraction child; the service knows this module by name only and never imports it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sortd.disk.fingerprint import content_of
from sortd.disk.regular_file import identity_of, open_plain
from sortd.domain.errors import DeviceLost, ExtractionError, SortdError
from sortd.domain.feature import Fault, Feature, SpacePart
from sortd.domain.messages import CONFINED, Extracted, ExtractionFailed, ExtractorUnavailable, TextsEncoded, WorkerEvent
from sortd.domain.tasks import EncodeTexts, ExtractionJob
from sortd.extract.decoding.decoder_pool import DecoderPool
from sortd.extract.registry import extractable, load, needs_networks
from sortd.extract.spec import Extractor, Needs, Sample
from sortd.store.extraction_trace import ExtractionTrace
from sortd.workers.child_process import Heartbeat, before_abandoned
from sortd.workers.local_executor import ExtractionWorkerSettings, patience

if TYPE_CHECKING:
    from sortd.extract.models.model_store import ModelStore

DECODERS = 2
"""Decoders run ahead of the extractors; more of them would only compete for the same two or three cores."""

PATIENCE_SECONDS = 5.0
"""How often a sign of life is given while a decoder works."""

SAMPLE_RATE = 16_000
"""Of the sound that a decoder gives, in a second."""

PROBES, PROBE_BYTES = 16, 65_536
"""How much of a file is read again where its decoder failed."""

CHANGED = "its encoder changed meanwhile"


class _FileChanged(Exception):
    """The file is not the one that was asked for any more: nobody's fault."""


def extraction(
    settings: ExtractionWorkerSettings,
) -> Callable[[tuple[ExtractionJob, ...] | EncodeTexts], Iterator[object]]:
    """A task is a batch of jobs; each is answered by Extracted or ExtractionFailed, in the order they finish.

    Or it is words to read, answered by NamesRead.
    """
    return _Studio(settings).serve


class _Studio:
    """All that the child works with: networks and decoders, each made when it is first wanted."""

    def __init__(self, settings: ExtractionWorkerSettings) -> None:
        self._settings = settings
        self._trace = None if settings.state is None else ExtractionTrace(settings.state)
        if self._trace is not None:
            before_abandoned(self._trace.end)
        self._said: list[WorkerEvent] = []
        self._probed = False
        self._benches: dict[tuple[SpacePart, ...], _Bench] = {}
        self._pool = ThreadPoolExecutor(DECODERS)
        self._told_device: str | None = None
        self._loaded_from: tuple[str, ...] = ()
        self._decoders = ExitStack()

    @cached_property
    def _models(self) -> ModelStore:
        # Imported only where it has work: torch takes seconds and hundreds of megabytes.
        module = import_module("sortd.extract.models.model_store")
        models: ModelStore = module.ModelStore(self._settings.extract, say=self._say)
        return models

    def serve(self, task: tuple[ExtractionJob, ...] | EncodeTexts) -> Iterator[object]:
        return self._read(task) if isinstance(task, EncodeTexts) else self._extract(task)

    def _extract(self, jobs: tuple[ExtractionJob, ...]) -> Iterator[object]:
        if self._trace is None or len(jobs) > 1:
            yield from self._extracted(jobs)
            return
        self._trace.begin(jobs[0].fingerprint)
        try:
            yield from self._extracted(jobs)
        finally:
            self._trace.end()

    def _extracted(self, jobs: tuple[ExtractionJob, ...]) -> Iterator[object]:
        waiting: dict[Future[tuple[dict[_Bench, Sample], float]], ExtractionJob] = {}
        for job in jobs:
            try:
                waiting[self._pool.submit(_samples, self._benches_for(job.parts), self._settings.root, job)] = job
            except KeyError:
                yield ExtractionFailed(job, None, CHANGED)
            except SortdError as problem:
                yield ExtractorUnavailable((job,), str(problem))
        probing = self._probe_once()
        while waiting:
            done, _ = wait(waiting, timeout=PATIENCE_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                yield Heartbeat()
            for future in done:
                yield from self._answer(waiting.pop(future), future)
        wait(probing, timeout=PATIENCE_SECONDS)
        yield from self._news()

    def _probe_once(self) -> list[Future[None]]:
        """Probe once how decoders are confined, after the first videos, so that none waits for it."""
        if self._probed or not self._benches:
            return []
        self._probed = True
        return [self._pool.submit(self._probe, next(iter(self._benches.values())).decoder)]

    def _probe(self, decoder: DecoderPool) -> None:
        with suppress(SortdError):  # each video tells of it
            self._say(CONFINED, how=str(decoder.confinement()))

    def _read(self, order: EncodeTexts) -> Iterator[TextsEncoded]:
        vectors = {}
        # Networks that cannot work are told of when a video waits for them.
        with suppress(SortdError):
            read = dict(zip(order.texts, self._networks_now().clip.texts(order.texts), strict=True))
            if extractable(order.part, self._settings.extract):
                vectors = read
        yield TextsEncoded(order.part, vectors)

    def _answer(self, job: ExtractionJob, future: Future[tuple[dict[_Bench, Sample], float]]) -> Iterator[object]:
        try:
            samples, decoding_seconds = future.result()
        except ExtractionError as error:
            yield ExtractionFailed(job, error.fault, str(error))
            return
        except _FileChanged as error:
            yield ExtractionFailed(job, None, str(error))
            return
        except SortdError as error:
            yield ExtractorUnavailable((job,), str(error))
            return
        began = time.monotonic()
        heard = max(0 if sample.sound is None else len(sample.sound) for sample in samples.values())
        # What the file claims of its length is no reason to wait: only sound takes the longer, the more there is.
        yield Heartbeat(patience(self._settings.timeout_seconds) + heard / SAMPLE_RATE / 2)
        features, problem = self._features(samples)
        yield from self._news()
        if not all(extractable(part, self._settings.extract) for part in job.parts):
            # The checkpoint was replaced meanwhile: whose vectors these are cannot be told.
            yield ExtractionFailed(job, None, CHANGED)
        elif features:
            yield Extracted(job, tuple(features), decoding_seconds + time.monotonic() - began)
        else:
            yield ExtractorUnavailable((job,), problem or "there was nothing to extract")

    def _features(self, samples: dict[_Bench, Sample]) -> tuple[list[Feature], str | None]:
        """Return what each extractor makes of its sample; one that cannot work does not hold back what another made."""
        features: list[Feature] = []
        problem = None
        for bench, sample in samples.items():
            for extractor in bench.extractors:
                try:
                    for feature in extractor.extract([sample]):
                        details = {**feature.details, "seconds": round(sample.seconds, 3)}
                        features.append(replace(feature, details=details))
                except DeviceLost:
                    raise
                except SortdError as error:
                    problem = str(error)
        if "_models" in self.__dict__ and self._models.device != self._told_device:
            self._told_device = self._models.device
            self._say("device", device=self._told_device)
        return features, problem

    def _benches_for(self, parts: tuple[SpacePart, ...]) -> list[_Bench]:
        """One for each family: the built-in encoder looks at small pictures and the networks at whole ones.

        KeyError: these parts are of checkpoints that are there no more.
        """
        models = self._networks_now() if any(needs_networks(part) for part in parts) else None
        families: dict[str, tuple[SpacePart, ...]] = {}
        for part in parts:
            name = part.version.split("-")[0]
            families[name] = (*families.get(name, ()), part)
        for family in families.values():
            if family not in self._benches:
                extractors = [load(part, self._settings.extract, models) for part in family]
                needs = combined([extractor.needs for extractor in extractors])
                decoder = self._decoders.enter_context(
                    DecoderPool(needs, timeout_seconds=self._settings.timeout_seconds)
                )
                self._benches[family] = _Bench(extractors, decoder)
        return [self._benches[family] for family in families.values()]

    def _networks_now(self) -> ModelStore:
        """Return the networks of the present checkpoint files; those of files that were replaced are dropped."""
        digests = tuple(weights.digest() for weights in self._settings.extract.weights)
        if digests != self._loaded_from:
            self.__dict__.pop("_models", None)
            self.close()
            self._loaded_from = digests
        return self._models

    def close(self) -> None:
        """End every decoder."""
        self._decoders.close()
        self._benches.clear()

    def _news(self) -> Iterator[WorkerEvent]:
        while self._said:
            yield self._said.pop(0)

    def _say(self, event: str, **facts: object) -> None:
        self._said.append(WorkerEvent(event, facts))


class _Bench:
    """Extractors of one family, and the decoder that gives them what they all need by opening a file once."""

    def __init__(self, extractors: Sequence[Extractor], decoder: DecoderPool) -> None:
        self.extractors = extractors
        self.decoder = decoder


def combined(needs: list[Needs]) -> Needs:
    """Return what satisfies all of these needs with one opening of the file."""
    sides = [need.short_side for need in needs if need.frames]
    lengths = [need.sound_seconds for need in needs if need.sound]
    return Needs(
        frames=max(need.frames for need in needs),
        following=any(need.following for need in needs),
        short_side=None if None in sides else max((side for side in sides if side), default=None),
        sound=any(need.sound for need in needs),
        sound_seconds=None if None in lengths else max((length for length in lengths if length), default=None),
    )


def _samples(benches: list[_Bench], root: Path, job: ExtractionJob) -> tuple[dict[_Bench, Sample], float]:
    """Return what each family needs of the job's file, and how many seconds it took."""
    began = time.monotonic()
    return {bench: _decode(bench.decoder, root, job) for bench in benches}, time.monotonic() - began


def _decode(decoder: DecoderPool, root: Path, job: ExtractionJob) -> Sample:
    with _opened(root, job) as descriptor:
        try:
            sample = decoder.decode(descriptor)
        except ExtractionError:
            _check_readable(descriptor, job.identity.size)
            raise
        if not _is_file_of(job, descriptor):
            raise _FileChanged("it changed while it was read")
        return sample


@contextmanager
def _opened(root: Path, job: ExtractionJob) -> Iterator[int]:
    """Open the job's file, if it still is that file."""
    try:
        file = open_plain(root / job.path)
    except FileNotFoundError as error:
        raise _FileChanged("it is gone") from error
    except OSError as error:
        raise ExtractionError(Fault.UNREADABLE, f"cannot be opened: {error.strerror}") from error
    with file:
        if not _is_file_of(job, file.fileno()):
            raise _FileChanged("it is another file now")
        yield file.fileno()


def _is_file_of(job: ExtractionJob, descriptor: int) -> bool:
    """Tell whether this still is the job's file; after a rename or a change of mode its content is looked at."""
    identity = identity_of(os.fstat(descriptor))
    if job.identity.agrees(identity):
        return True
    return identity.lasting == job.identity.lasting and content_of(descriptor) == job.fingerprint


def _check_readable(descriptor: int, size: int) -> None:
    """Raise ExtractionError where the disk, rather than the video, is at fault: parts of it are read from there anew.

    To a decoder a disk that fails looks like a file that is cut short or damaged.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # what is in memory says nothing of the disk
    try:
        for part in range(PROBES):
            os.pread(descriptor, PROBE_BYTES, part * max(0, size - PROBE_BYTES) // (PROBES - 1))
    except OSError as error:
        raise ExtractionError(Fault.UNREADABLE, f"the disk cannot read it: {error.strerror}") from error
