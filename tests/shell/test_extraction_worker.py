"""What the extraction child does, in this process: a real decoder, real networks made small."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pytest

from sortd.cli.demo_clips import make_clip
from sortd.domain.messages import Extracted, ExtractionFailed, ExtractorUnavailable
from sortd.domain.tasks import EncodeTexts, ExtractionJob
from sortd.domain.video import FileIdentity, Fingerprint
from sortd.extract.models.model_store import ModelStore
from sortd.extract.registry import EncoderSettings, space
from sortd.workers.extraction_worker import extraction
from sortd.workers.local_executor import ExtractionWorkerSettings
from tests.checkpoints import random_clip, save_archive, save_whisper, talking_whisper


@pytest.fixture
def settings(tmp_path):
    save_archive(tmp_path / "clip.pt", random_clip(seed=1))
    save_whisper(tmp_path / "whisper.pt", talking_whisper("good morning"))
    make_clip(tmp_path / "a.mp4", "sea", 0, seconds=0.5)
    wanted = EncoderSettings(clip_model=str(tmp_path / "clip.pt"), whisper_model=str(tmp_path / "whisper.pt"))
    return ExtractionWorkerSettings(tmp_path, wanted, timeout_seconds=60)


@pytest.fixture
def begin(settings):
    """Children in this process; their decoders end with the test."""
    begun = []

    def one():
        begun.append(extraction(settings))
        return begun[-1]

    yield one
    for child in begun:
        child.__self__.close()


def job(settings, parts):
    status = (settings.root / "a.mp4").stat()
    identity = FileIdentity(status.st_ino, status.st_size, status.st_mtime_ns)
    return ExtractionJob(Fingerprint("a"), PurePath("a.mp4"), identity, parts)


def answer(child, asked):
    (found,) = [
        told for told in child((asked,)) if isinstance(told, Extracted | ExtractionFailed | ExtractorUnavailable)
    ]
    return found


def test_vectors_of_a_replaced_checkpoint_are_those_of_the_new_one(settings, begin):
    child = begin()
    before = space(settings.extract)
    first = answer(child, job(settings, before.parts))
    save_archive(settings.root / "new.pt", random_clip(seed=2))
    (settings.root / "new.pt").replace(settings.root / "clip.pt")
    after = space(settings.extract)
    assert before != after
    second = answer(child, job(settings, after.parts))
    fresh = answer(begin(), job(settings, after.parts))
    vectors = [found.features[0].vector for found in (first, second, fresh)]
    assert np.allclose(vectors[1], vectors[2], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_a_part_of_a_checkpoint_that_is_gone_is_nobodys_fault(settings, begin):
    parts = space(settings.extract).parts
    (settings.root / "clip.pt").unlink()
    told = answer(begin(), job(settings, parts))
    assert isinstance(told, ExtractorUnavailable)


def test_words_are_read_by_the_network_that_sees_the_pictures(settings, begin):
    part = space(settings.extract).parts[0]
    (read,) = begin()(EncodeTexts(part, ("a video of cats", "a video of dogs")))
    expected = ModelStore(settings.extract).clip.texts(["a video of cats", "a video of dogs"])
    assert read.part == part
    assert np.allclose([read.vectors["a video of cats"], read.vectors["a video of dogs"]], expected, atol=1e-6)


def test_words_for_a_checkpoint_that_was_replaced_or_is_gone_are_not_read(settings, begin):
    part = space(settings.extract).parts[0]
    save_archive(settings.root / "clip.pt", random_clip(seed=2))
    assert [read.vectors for read in begin()(EncodeTexts(part, ("cats",)))] == [{}]
    (settings.root / "clip.pt").unlink()
    assert [read.vectors for read in begin()(EncodeTexts(part, ("cats",)))] == [{}]
