"""Two owners on one machine, or one with two collections: what becomes of one service is nothing to the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sortd.cli.demo_clips import make_clip
from tests.stories.service import Service

pytestmark = [
    pytest.mark.fault("T15"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc"),
]


@pytest.fixture
def two(tmp_path):
    both = [Service(tmp_path / name, extract={"encoder": "builtin"}) for name in ("one", "other")]
    yield both
    for service in both:
        service.end()


def test_two_services_with_libraries_of_their_own_do_not_disturb_each_other(two, tmp_path):
    one, other = (service.start() for service in two)
    for number, service in enumerate((one, other)):
        clip = make_clip(tmp_path / f"{number}.mp4", "sea", number, seconds=0.5)
        shutil.copy(clip or tmp_path / f"{number}.mp4", service.root)
        service.await_told("extracted", path=f"{number}.mp4")
    assert one.run("pause").returncode == 0
    assert [service.ask("status")["state"] for service in (one, other)] == ["paused", "idle"]

    one.kill()
    (other.root / "sea").mkdir()
    (other.root / "1.mp4").rename(other.root / "sea" / "1.mp4")
    other.await_told("labelled", path="sea/1.mp4")
    assert one.ask("status")["state"] == "stopped"
    assert other.stop() == 0
    assert [line["path"] for line in one.told("found") + other.told("found")] == ["0.mp4", "1.mp4"]
