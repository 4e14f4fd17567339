"""Files come in every way there is, and change while they are looked at. Rows A1 to A12 of the fault matrix."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from sortd.cli.demo_clips import make_clip
from sortd.disk.fingerprint import fingerprint
from sortd.disk.regular_file import identity_of
from tests.faults.conftest import Library
from tests.faults.kit import another, aside, called, have_open, racing, slow_copy, stopped, tracing, under_strace

SETTLE_SECONDS = 0.3
"""That of the quick settings."""

CROWD = int(os.environ.get("CROWD", "5000"))
"""The matrix asks for 50,000, which take ten times as long: CROWD=50000."""

MOST_MORE_BYTES = 20_000_000 + 2_000 * CROWD


def when(line) -> float:
    return datetime.fromisoformat(line["at"]).timestamp()


def is_whole(home: Library, name: str, clip: Path) -> bool:
    """Whether what is known of a video is known of all its bytes."""
    whole = fingerprint(clip, identity=identity_of(clip.stat()))
    known = home.ask("explain", str(home.root / name))
    return known["fingerprint"] == whole and known["features"]["visual"]["present"]


def idle(home: Library) -> bool:
    return home.ask("status")["state"] == "idle"


def is_settled(home: Library) -> None:
    """Nothing is left over of what was seen on the way."""
    home.until(lambda: idle(home))
    status = home.ask("status")
    assert (status["videos"]["pending"], status["videos"]["set_aside"], status["set_aside"]) == (0, 0, [])


def last_byte(home: Library, name: str) -> float:
    """When it was written; the one who wrote it may hear of that much later."""
    return (home.root / name).stat().st_mtime


def was_taken_once(home: Library, name: str, clip: Path, *, after: float = 0.0) -> None:
    home.await_told("extracted", path=name)
    is_settled(home)
    (found,) = home.told("found", path=name)
    assert when(found) >= after
    assert len(home.told("extracted", path=name)) == 1
    assert is_whole(home, name, clip)
    assert home.told("set_aside") == []
    assert (home.root / name).read_bytes() == clip.read_bytes()


# Still being written


@pytest.mark.fault("A1", sample=True)
def test_a_slow_copy_is_taken_once_after_its_last_byte(home, clips):
    home.start()
    slow_copy(clips / "sea-0.mp4", home.root / "slow.mp4", seconds=2)
    was_taken_once(home, "slow.mp4", clips / "sea-0.mp4", after=last_byte(home, "slow.mp4"))


@pytest.mark.fault("A2")
def test_a_file_that_has_its_final_size_from_the_start_is_not_taken_while_it_grows_inside(home, clips):
    home.start()
    slow_copy(clips / "sea-0.mp4", home.root / "download.mp4", seconds=3, preallocate=True)
    was_taken_once(home, "download.mp4", clips / "sea-0.mp4", after=last_byte(home, "download.mp4"))


@pytest.mark.fault("A2")
def test_zeros_that_were_taken_for_a_video_are_tried_again_when_the_content_comes(home, clips):
    home.start()
    clip, target = clips / "sea-0.mp4", home.root / "download.mp4"
    target.write_bytes(bytes(clip.stat().st_size))
    home.await_told("set_aside", path="download.mp4")
    with target.open("r+b") as file:
        file.write(clip.read_bytes())
    home.await_told("extracted", path="download.mp4")
    is_settled(home)
    assert is_whole(home, "download.mp4", clip)
    assert len(home.told("extracted")) == 1


@pytest.mark.fault("A3")
def test_a_writer_that_pauses_is_no_writer_that_is_done(home, clips):
    home.start()
    clip = clips / "sea-0.mp4"
    half = clip.stat().st_size // 2
    with (home.root / "paused.mp4").open("wb", buffering=0) as file:
        file.write(clip.read_bytes()[:half])
        shutil.copy(clips / "city-0.mp4", home.root)
        home.await_told("found", path="city-0.mp4")
        time.sleep(3 * SETTLE_SECONDS)
        assert home.told("found", path="paused.mp4") == []
        file.write(clip.read_bytes()[half:])
    was_taken_once(home, "paused.mp4", clip, after=last_byte(home, "paused.mp4"))


@pytest.mark.fault("A4")
def test_a_writer_that_closes_after_each_chunk_is_waited_for_too(home, clips):
    home.configure("config.toml", watch={"settle_seconds": 4.0})
    home.start()
    slow_copy(clips / "sea-0.mp4", home.root / "scan.mp4", seconds=3, reopen=True)
    was_taken_once(home, "scan.mp4", clips / "sea-0.mp4", after=last_byte(home, "scan.mp4"))


@pytest.mark.fault("A4")
def test_a_writer_that_stays_away_too_long_is_taken_too_early_and_again_when_it_is_done(home, clips):
    home.start()
    clip, target = clips / "sea-0.mp4", home.root / "scan.mp4"
    content = clip.read_bytes()
    target.write_bytes(content[:2000])
    home.await_told("set_aside", path="scan.mp4")
    with target.open("ab") as file:
        file.write(content[2000:])
    home.await_told("extracted", path="scan.mp4")
    is_settled(home)
    assert is_whole(home, "scan.mp4", clip)
    assert home.ask("status")["videos"]["total"] == 1


@pytest.mark.fault("A5")
@under_strace
def test_a_part_is_never_opened_and_its_final_name_is_taken_once(home, clips):
    calls = home.folder / "calls"
    home.launch(*aside(tracing("open,openat,openat2", calls)))
    home.await_told("ready")
    part, target = home.root / "clip.mp4.part", home.root / "clip.mp4"
    slow_copy(clips / "sea-0.mp4", part, seconds=2)
    shutil.copy(clips / "city-0.mp4", home.root)
    home.await_told("extracted", path="city-0.mp4")
    part.rename(target)
    was_taken_once(home, "clip.mp4", clips / "sea-0.mp4")
    assert home.stop() == 0
    assert 'clip.mp4"' in calls.read_text()
    assert "clip.mp4.part" not in calls.read_text()


@pytest.mark.fault("A6")
def test_a_download_is_waited_for_while_its_control_file_is_there(home, clips):
    home.start()
    control = home.root / "clip.mp4.aria2"
    control.touch()
    shutil.copy(clips / "sea-0.mp4", home.root / "clip.mp4")
    shutil.copy(clips / "city-0.mp4", home.root)
    home.await_told("extracted", path="city-0.mp4")
    assert home.told("found", path="clip.mp4") == []
    gone = time.time()
    control.unlink()
    was_taken_once(home, "clip.mp4", clips / "sea-0.mp4", after=gone)


# While it is extracted


@pytest.fixture
def extracting(clips):
    """Drops a clip as clip.mp4; it is being extracted for as long as the block runs."""

    @contextmanager
    def amid(home: Library) -> Iterator[Path]:
        another(clips / "city-6.mp4", home.root / "warm.mp4", number=0)
        home.await_told("extracted", path="warm.mp4")
        # A parent comes before its children: the one that decodes a file may still be there.
        decoder = next(child for child in home.children() if "import serve" in called(child))
        path = home.root / "clip.mp4"
        with stopped(decoder):
            another(clips / "sea-6.mp4", path, number=0)
            home.until(lambda: have_open(home.children(), path))
            yield path

    return amid


@pytest.mark.fault("A7")
def test_renamed_while_it_is_extracted_it_is_extracted_once_and_known_under_its_new_name(home, extracting):
    home.start()
    new = home.root / "better name.mp4"
    with extracting(home) as path, home.nothing_lost():
        path.rename(new)
        home.until(lambda: home.run("explain", str(new)).returncode == 0)
    home.await_told("extracted", 2)
    is_settled(home)
    assert is_whole(home, new.name, new)
    assert home.run("explain", str(path)).returncode == 1
    assert len(home.told("extracted")) == 2


@pytest.mark.fault("A8")
def test_deleted_while_it_is_extracted_it_is_missed_by_nobody(home, extracting):
    home.start()
    with extracting(home) as path:
        path.unlink()
        home.until(lambda: home.ask("status")["videos"]["total"] == 1)
    is_settled(home)
    assert home.ask("status")["videos"]["total"] == 1
    assert {line["level"] for line in home.lines if line["event"] != "weights_missing"} == {"info"}


@pytest.mark.fault("A9")
def test_rewritten_while_it_is_extracted_it_is_extracted_again(home, extracting, clips):
    home.start()
    with extracting(home) as path:
        path.write_bytes((clips / "garden-0.mp4").read_bytes())
    home.await_told("extracted", path="clip.mp4")
    is_settled(home)
    assert is_whole(home, "clip.mp4", clips / "garden-0.mp4")
    assert len(home.told("extracted", path="clip.mp4")) == 1
    assert home.told("set_aside") == []


@pytest.mark.fault("A9")
@under_strace
def test_a_file_that_goes_on_changing_is_not_tried_again_before_it_is_still(home, extracting):
    home.configure("config.toml", watch={"settle_seconds": 1.0})
    calls = home.folder / "calls"
    home.launch(*aside(tracing("openat", calls)))
    home.await_told("ready")

    def append() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    def readings() -> int:
        return calls.read_text().count('/clip.mp4", O_RDONLY|O_NOCTTY')

    with ExitStack() as writing:
        with extracting(home) as path:
            append()
            writing.enter_context(racing(append, pause=0.03))
        already = readings()
        time.sleep(3.0)
        assert readings() - already < 10
    home.await_told("extracted", path="clip.mp4")
    is_settled(home)
    assert is_whole(home, "clip.mp4", path)


@pytest.mark.fault("A10")
def test_filed_by_the_owner_while_it_is_extracted_it_is_theirs(fresh, extracting):
    home = fresh().start()
    with extracting(home) as path, home.nothing_lost():
        path.rename(home.root / "garden" / "clip.mp4")
        home.await_told("labelled", path="garden/clip.mp4", category="garden")
    home.await_told("extracted", 2)
    is_settled(home)
    assert [line["path"] for line in home.told("moved")] == ["warm.mp4"]
    assert home.places("clip.mp4") == ["garden/clip.mp4"]
    assert home.ask("explain", str(home.root / "garden/clip.mp4"))["label"] == "garden"


@pytest.mark.fault("A10")
def test_filed_by_the_owner_at_the_very_moment_it_is_known_it_is_theirs(fresh, extracting):
    home = fresh().start()
    with extracting(home) as path:
        path.rename(home.root / "garden" / "clip.mp4")
    home.await_told("labelled", path="garden/clip.mp4", category="garden")
    is_settled(home)
    assert [line["path"] for line in home.told("moved")] == ["warm.mp4"]
    assert home.places("clip.mp4") == ["garden/clip.mp4"]


# Times and crowds


@pytest.mark.fault("A11", sample=True)
@pytest.mark.parametrize("modified", [-86_400, 0, 4_000_000_000], ids=["negative", "1970", "future"])
def test_a_file_of_any_time_settles_and_is_taken(home, clips, modified):
    home.start()
    path = home.root / "clip.mp4"
    shutil.copy(clips / "sea-0.mp4", path)
    os.utime(path, (modified, modified))
    was_taken_once(home, "clip.mp4", clips / "sea-0.mp4")
    assert path.stat().st_mtime == modified


@pytest.mark.fault("A12")
@pytest.mark.timeout(1800)
def test_thousands_dropped_at_once_are_all_known_while_it_answers_and_stays_small(home, tmp_path):
    make_clip(tmp_path / "frame.mp4", "sea", 0, seconds=1 / 12)
    home.start()
    before = home.resident()
    for number in range(CROWD):
        another(tmp_path / "frame.mp4", home.root / f"{number}.mp4", number)
    while len(home.told("found")) < CROWD:
        # It answers within the minute that any command is given.
        assert home.ask("status")["state"] == "running"
    home.await_told("extracted", 50)
    status = home.ask("status")
    assert status["videos"]["total"] == CROWD
    assert 0 < status["videos"]["pending"] < CROWD
    assert status["backlog"]["rate"] > 0
    assert status["backlog"]["ends_at"]
    assert home.resident() - before < MOST_MORE_BYTES
    assert home.stop() == 0
    assert Counter(line["path"] for line in home.told("found")) == Counter(f"{number}.mp4" for number in range(CROWD))
