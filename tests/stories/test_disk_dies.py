"""The library's disk dies under the running service, and comes back: no video pays for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sortd.cli.demo_clips import make_clip
from sortd.domain.feature import Fault
from sortd.domain.messages import RescanDue
from tests.faults.kit import failing, under_strace
from tests.stories.conftest import taught
from tests.waiting import PATIENCE_SECONDS

DECODING = """
import sys
from pathlib import Path, PurePath
from sortd.disk.regular_file import identity_of
from sortd.domain.errors import ExtractionError
from sortd.domain.tasks import ExtractionJob
from sortd.domain.video import Fingerprint
from sortd.extract.decoding.decoder_pool import DecoderPool
from sortd.extract.spec import Needs
from sortd.workers.extraction_worker import _decode
clip = Path(sys.argv[1])
job = ExtractionJob(Fingerprint("00"), PurePath(clip.name), identity_of(clip.stat()), ())
with DecoderPool(Needs(frames=2), timeout_seconds=60.0) as decoder:
    try:
        print(len(_decode(decoder, clip.parent, job).frames), "frames")
    except ExtractionError as error:
        print(error.fault, error)
"""


@under_strace
@pytest.mark.fault("G9")
def test_what_a_failing_disk_makes_of_a_video_is_not_called_damage(tmp_path):
    clip = tmp_path / "clip.mp4"
    make_clip(clip, "sea", 0, seconds=1.0)
    command = [sys.executable, "-P", "-c", DECODING, str(clip)]

    def said(*through: str) -> str:
        done = subprocess.run(
            [*through, *command], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
        return done.stdout.strip() or done.stderr

    assert said(*failing("read,pread64", "EIO", path=clip)).startswith("unreadable the disk cannot read it")
    assert said(*failing("read,pread64", "ESTALE", path=clip)).startswith("unreadable the disk cannot read it")
    assert said() == "2 frames"
    torn = clip.read_bytes()
    clip.write_bytes(torn[: len(torn) // 3])
    assert said().partition(" ")[0] not in {"unreadable", "2"}


@pytest.mark.fault("G9")
def test_what_could_not_be_read_is_tried_again_and_told_of_once(household):
    home = household(taught(3))
    home.broken[b"cats 77"] = Fault.UNREADABLE
    home.files({"new.mp4": b"cats 77"})
    assert [str(aside.path) for aside in home.store.backlog.set_aside()] == ["new.mp4"]
    for _ in range(4):
        home.monotonic += 700
        home.settle(seconds=5)
    assert len(home.events("set_aside")) == 1
    assert 2 <= home.extracted.count(b"cats 77") <= 5
    home.broken.clear()
    home.monotonic += 3700
    home.settle(seconds=5)
    assert home.store.backlog.set_aside() == []


@pytest.mark.fault("G9")
def test_when_the_disk_is_back_it_is_tried_at_once(household):
    home = household(taught(3))
    home.broken[b"cats 77"] = Fault.UNREADABLE
    home.files({"new.mp4": b"cats 77"})
    home.broken.clear()
    home.engine.disk_is_back()
    home.tell(RescanDue("the watcher began anew"))
    home.wait(seconds=5)
    assert home.store.backlog.set_aside() == []


@pytest.mark.fault("G9")
def test_what_fails_while_the_root_is_away_counts_for_nothing(household):
    home = household(taught(3))
    let_go = home.hold_extraction()
    home.broken[b"cats 77"] = Fault.DAMAGED
    home.files({"new.mp4": b"cats 77"})
    marker = home.root / ".sortd/library.json"
    away = marker.rename(home.root / "away")
    let_go()
    away.rename(marker)
    home.engine.disk_is_back()
    home.broken.clear()
    home.settle()
    assert home.store.backlog.set_aside() == []
    assert home.events("set_aside") == []
