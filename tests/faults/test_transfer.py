"""A category on another filesystem, and folders that take nothing. Rows M8 to M13, M16, M18 and P2 of the matrix."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from itertools import count
from pathlib import Path

import pytest

from tests.faults.kit import (
    MOVE_CALLS,
    WITHOUT_PRIVILEGES,
    as_root,
    bind,
    delaying,
    drawing_zeros,
    failing,
    fill,
    killing,
    tmpfs,
    under_strace,
)
from tests.waiting import PATIENCE_SECONDS, was_quick

KILLED = (137, -9)
GROUP = ["sea-6.mp4", "sea-6.srt"]
FILED = ["sea/sea-6.mp4", "sea/sea-6.srt"]
COPY_CALLS = f"{MOVE_CALLS},fchmod,utimensat"
FIRST_ASIDE = ".sortd-0000000000000000-0.source.part"
"""Where the first file waits for its end, once its copy has its name."""
FIRST_PART = ".sortd-0000000000000000.part"


@contextlib.contextmanager
def sea_on(home, mount=tmpfs, *words):
    """The library's category `sea` on a filesystem of its own, with the same files in it."""
    sea, aside = home.root / "sea", home.folder / "sea"
    shutil.rmtree(aside, ignore_errors=True)
    sea.rename(aside)
    sea.mkdir()
    with mount(sea, *words):
        subprocess.run(["cp", "-a", *aside.iterdir(), sea], check=True)
        try:
            yield sea
        finally:
            home.end()


@contextlib.contextmanager
def copying_slowly(home, *, seconds):
    """Serve, with copies that take so long once their part stands there; the number of the service's process."""
    home.launch(*delaying("utimensat", seconds))
    try:
        home.await_told("ready")
        yield home.children()[0]
    finally:
        # What traces it would only let it go.
        for process in home.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        home.process.wait(timeout=PATIENCE_SECONDS)


def drop(home, clips, *names):
    """Drop clips, the first with subtitles that travel with it."""
    for name in names or ("sea-6.mp4",):
        shutil.copy(clips / name, home.root)
    (home.root / GROUP[1]).write_text("waves")
    return home.root / GROUP[0]


def group(home):
    return home.places("sea-6.*")


def parts(home):
    return [Path(above, name) for above, _, names in os.walk(home.root) for name in names if name.startswith(".sortd-")]


def refused(home, category="sea"):
    """Told once of the folder and of none of its videos, which the owner can ask about."""
    stale = "it changed or went after it was judged"  # said of what the index knew before the clips were dropped
    lines = [line for line in home.lines if "refuse" in f"{line['event']} {line.get('reason')}"]
    lines = [line for line in lines if line["why"] != stale]
    assert [(line["event"], line["category"]) for line in lines] == [("folder_refuses", category)], lines
    assert {one["reason"] for one in home.ask("preview")} == {"move_refused"}
    (why,) = [one["why"] for one in home.ask("status")["categories"] if one["name"] == "sea"]
    assert lines[0]["why"] in why
    return lines[0]["why"]


@pytest.mark.fault("M8", "M23")
@as_root
def test_a_category_on_another_disk_gets_a_verified_copy_and_undo_brings_it_back(fresh, clips):
    home = fresh()
    with sea_on(home):
        video = drop(home, clips)
        video.chmod(0o6750)
        os.utime(video, ns=(1_000_000_007, 1_234_567_890_123_456_789))
        with contextlib.suppress(OSError):
            os.setxattr(video, "user.tag", b"holiday")
        xattrs = os.listxattr(video)
        with home.nothing_lost():
            assert home.once().returncode == 0
            assert home.places("sea-6.*") == ["sea/sea-6.mp4", "sea/sea-6.srt"]
            assert home.told("moved", path="sea-6.mp4", to="sea/sea-6.mp4")
            status = (home.root / "sea/sea-6.mp4").stat()
            assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o750, 1_234_567_890_123_456_789)
            assert os.listxattr(home.root / "sea/sea-6.mp4") == xattrs
        with home.nothing_lost():
            assert home.once().returncode == 0
            assert home.ask("status")["videos"]["placed"] == 1  # its own move is no label
            assert home.ask("undo")["done"][0]["to"] == "sea-6.mp4"
            assert home.places("sea-6.*") == ["sea-6.mp4", "sea-6.srt"]
            assert home.once().returncode == 0
            assert home.ask("explain", str(video))["reason"] == "vetoed"


@pytest.mark.fault("M8", "K14")
@as_root
@under_strace
@pytest.mark.parametrize("error", ["ENOSPC", "E2BIG", "EINVAL"])
def test_an_attribute_that_the_other_disk_cannot_hold_keeps_its_video_where_it_is(fresh, clips, error):
    home = fresh()
    with sea_on(home):
        video = drop(home, clips)
        try:
            os.setxattr(video, "user.tag", b"holiday")
        except OSError:
            pytest.skip("this filesystem has no extended attributes")
        with home.nothing_lost():
            assert home.once(*failing("fsetxattr", error)).returncode == 0
            assert group(home) == GROUP
            assert "would lose its attribute user.tag" in refused(home)
            assert not parts(home)
            assert home.once().returncode == 0
            assert group(home) == FILED


@pytest.mark.fault("K14")
@as_root
def test_a_service_that_may_not_give_files_away_copies_only_its_own(fresh, clips):
    home = fresh()
    with sea_on(home):
        video = drop(home, clips)
        os.chown(video, 2001, 3001)
        video.chmod(0o640)
        with home.nothing_lost():
            assert home.once("setpriv", "--bounding-set", "-chown").returncode == 0
            assert group(home) == GROUP
            assert "would lose its owner and its group" in refused(home)
            assert not parts(home)
            assert home.once().returncode == 0
            assert group(home) == FILED
        status = (home.root / "sea/sea-6.mp4").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (2001, 3001, 0o640)


@pytest.mark.fault("K3")
@as_root
def test_files_of_the_owners_that_are_called_like_a_copy_are_left_alone(fresh, clips):
    home = fresh()
    with sea_on(home) as sea:
        mine = [
            sea / f".sortd-{n}{end}" for n in range(1, 40) for end in (".part", "-1.part", ".new.part", "-1.new.part")
        ]
        for path in mine:
            path.write_bytes(b"mine")
        drop(home, clips)
        with home.nothing_lost():
            assert home.once().returncode == 0
            assert group(home) == FILED
            assert all(path.read_bytes() == b"mine" for path in mine)


@pytest.mark.fault("M9")
@as_root
def test_a_category_that_is_a_bind_mount_has_the_same_device_and_needs_a_copy(fresh, clips):
    home = fresh()
    video = drop(home, clips)
    with bind(home.root / "sea", home.root / "sea"), home.nothing_lost():
        assert (home.root / "sea").stat().st_dev == video.stat().st_dev
        assert home.once().returncode == 0
        assert group(home) == FILED
        assert not parts(home)


@pytest.mark.fault("M1", "M23")
@pytest.mark.timeout(1800)
@under_strace
@pytest.mark.parametrize("who", ["service", "child"])
def test_killed_at_any_call_of_a_copy_the_next_start_repairs_it(fresh, clips, who):
    lost = 0
    for call in count(1):
        home = fresh()
        with sea_on(home) as sea:
            drop(home, clips)
            with home.nothing_lost():
                # Who names the part is the child, and the service only when it publishes the copy.
                part = sea / FIRST_PART if who == "child" else None
                ended = home.once(*killing(COPY_CALLS, at=call, path=part), *drawing_zeros()).returncode
                childless = bool(home.told("folder_refuses"))
                lost += childless
                assert home.once().returncode == 0
                assert group(home) == FILED
                status = home.ask("status")
                assert status["open_moves"] == 0
                assert status["videos"]["placed"] == 1
        if ended not in KILLED and not childless:
            break
    assert (lost > 0) == (who == "child")


@pytest.mark.fault("P2")
@under_strace
def test_told_to_stop_in_the_middle_of_a_copy_it_leaves_no_part_of_it(fresh, clips):
    home = fresh()
    with sea_on(home), copying_slowly(home, seconds=4) as sortd:
        drop(home, clips)
        with home.nothing_lost():
            home.until(lambda: parts(home))
            began = time.monotonic()
            os.kill(sortd, signal.SIGTERM)
            assert home.process.wait(timeout=PATIENCE_SECONDS) == 0
            assert was_quick(began, seconds=10)
            assert group(home) == GROUP
            assert not parts(home)
            assert home.ask("status")["open_moves"] == 0
            assert home.once().returncode == 0
            assert group(home) == FILED


@pytest.mark.fault("P2")
@under_strace
def test_killed_in_the_middle_of_a_copy_the_next_start_removes_the_part_it_left(fresh, clips):
    home = fresh()
    with sea_on(home), copying_slowly(home, seconds=4) as sortd:
        drop(home, clips)
        with home.nothing_lost():
            home.until(lambda: parts(home))
            (home.root / "sea" / ".sortd-99.part").write_text("no intent names it")
            os.kill(sortd, signal.SIGKILL)
            home.process.wait(timeout=PATIENCE_SECONDS)
            assert home.once().returncode == 0
            assert group(home) == FILED
            assert [path.name for path in parts(home)] == [".sortd-99.part"]
            parts(home)[0].unlink()


@pytest.mark.fault("M18")
@under_strace
@pytest.mark.parametrize("what", ["moved", "changed", "deleted", "filed elsewhere"])
def test_the_owner_who_takes_the_video_during_the_copy_keeps_it(fresh, clips, what):
    home = fresh()
    with sea_on(home), copying_slowly(home, seconds=3):
        video = drop(home, clips)
        home.until(lambda: parts(home))
        match what:
            case "moved":
                (home.root / "inbox").mkdir()
                video.rename(home.root / "inbox/sea-6.mp4")
            case "changed":
                with video.open("ab") as file:
                    file.write(b"more")
            case "deleted":
                video.unlink()
            case "filed elsewhere":
                video.rename(home.root / "city/sea-6.mp4")
        home.until(lambda: not parts(home))
        mine = {"moved": ["inbox/sea-6.mp4"], "filed elsewhere": ["city/sea-6.mp4"], "deleted": []}
        home.until(lambda: home.ask("status")["open_moves"] == 0)
        if what == "changed":
            home.await_told("moved")  # as what it is now
            assert (home.root / "sea/sea-6.mp4").read_bytes().endswith(b"more")
        else:
            assert home.places("sea-6.mp4") == mine[what]
            assert home.places("sea-6.srt") == ["sea-6.srt"]
            assert not home.told("moved")


@pytest.mark.fault("M18")
@under_strace
def test_while_one_video_is_copied_others_are_filed_and_its_part_is_no_video(fresh, clips):
    home = fresh()
    with sea_on(home), copying_slowly(home, seconds=3):
        drop(home, clips, "sea-6.mp4", "sea-7.mp4", "sea-8.mp4")
        with home.nothing_lost():
            home.until(lambda: parts(home))
            shutil.copy(clips / "city-6.mp4", home.root)
            home.await_told("moved", category="city")
            assert not home.told("moved", category="sea")
            home.await_told("moved", 3, category="sea")
            (home.root / "city/city-6.mp4").unlink()
        assert not [line for line in home.told("found") if ".part" in line["path"]]


@pytest.mark.fault("M3")
@under_strace
def test_a_name_that_is_taken_during_the_copy_is_its_takers(fresh, clips):
    home = fresh()
    with sea_on(home), copying_slowly(home, seconds=2):
        drop(home, clips)
        home.until(lambda: parts(home))
        (home.root / "sea/sea-6.srt").write_text("the owner's")
        home.await_told("moved", to="sea/sea-6 (2).mp4")
        assert group(home) == ["sea/sea-6.srt"]
        assert home.places("sea-6 (2).*") == ["sea/sea-6 (2).mp4", "sea/sea-6 (2).srt"]
        assert (home.root / "sea/sea-6.srt").read_text() == "the owner's"
        assert not parts(home)


@pytest.mark.fault("M10")
@as_root
def test_a_full_disk_is_told_once_and_takes_its_videos_when_there_is_room_again(fresh, clips):
    home = fresh()
    with sea_on(home, tmpfs, "16m") as sea:
        filler = fill(sea)
        home.start()
        drop(home, clips, "sea-6.mp4", "sea-7.mp4", "sea-8.mp4")
        home.await_told("folder_refuses")
        home.until(lambda: {one["reason"] for one in home.ask("preview")} == {"move_refused"})
        assert refused(home) == "No space left on device"
        assert not parts(home)
        filler.unlink()
        with home.nothing_lost():
            assert home.run("resume").returncode == 0
            home.await_told("moved", 3)
            assert [line["category"] for line in home.told("folder_accepts")] == ["sea"]
            assert group(home) == FILED


@pytest.mark.fault("M10")
@as_root
def test_a_hangup_signal_too_has_it_try_a_folder_that_refused(fresh, clips):
    home = fresh()
    with sea_on(home, tmpfs, "16m") as sea:
        filler = fill(sea)
        home.start()
        drop(home, clips)
        home.await_told("folder_refuses")
        filler.unlink()
        home.process.send_signal(signal.SIGHUP)
        home.await_told("moved")


@pytest.mark.fault("M10", "M11", "M16")
@under_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync"])
def test_a_copy_that_fails_on_its_way_leaves_the_source_and_nothing_else(fresh, clips, call, error):
    home = fresh()
    with sea_on(home) as sea:
        drop(home, clips)
        with home.nothing_lost():
            assert home.once(*failing(call, error, path=sea / FIRST_PART), *drawing_zeros()).returncode == 0
            assert group(home) == GROUP
            assert refused(home) == os.strerror(getattr(errno, error))
            assert not home.told("moved")
            assert home.ask("status")["open_moves"] == 0
            assert home.once().returncode == 0
            assert group(home) == FILED


@pytest.mark.fault("M16")
@under_strace
def test_a_folder_that_cannot_be_synced_after_the_copy_got_its_name_has_it_taken_back(fresh, clips):
    home = fresh()
    with sea_on(home) as sea:
        drop(home, clips)
        with home.nothing_lost():
            assert home.once(*failing("fsync", "EIO", path=sea)).returncode == 0
            assert group(home) == GROUP
            refused(home)
            assert not home.told("moved")


@pytest.mark.fault("M11")
@as_root
def test_a_disk_without_inodes_is_a_full_disk(fresh, clips):
    home = fresh()
    with sea_on(home, tmpfs, "16m", "nr_inodes=8"):  # its root, and the six that taught
        drop(home, clips)
        with home.nothing_lost():
            assert home.once().returncode == 0
            assert group(home) == GROUP
            assert refused(home) == "No space left on device"


@pytest.mark.fault("M12")
@as_root
def test_a_read_only_category_keeps_its_videos_out_and_is_told_once(fresh, clips):
    home = fresh()
    drop(home, clips, "sea-6.mp4", "sea-7.mp4", "sea-8.mp4")
    with bind(home.root / "sea", home.root / "sea", read_only=True), home.nothing_lost():
        for _ in range(2):
            assert home.once().returncode == 0
        assert refused(home) == "Read-only file system"
    with home.nothing_lost():
        assert home.once().returncode == 0
        assert len(home.told("folder_accepts")) == 1
        assert len(home.told("moved")) == 3


@pytest.mark.fault("M12", "M13")
@as_root
@pytest.mark.parametrize("closed", ["sea", "."])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_without_permission_to_write_nothing_is_moved_or_copied(fresh, clips, closed, elsewhere):
    home = fresh()
    with sea_on(home) if elsewhere else contextlib.nullcontext():
        drop(home, clips, "sea-6.mp4", "sea-7.mp4")
        (home.root / closed).chmod(0o555)
        with home.nothing_lost():
            assert home.once(*WITHOUT_PRIVILEGES).returncode == 0
            assert refused(home, closed) == "Permission denied"
            assert group(home) == GROUP
        (home.root / closed).chmod(0o755)
        assert home.once(*WITHOUT_PRIVILEGES).returncode == 0
        assert group(home) == FILED


@pytest.mark.fault("M13")
@under_strace
def test_a_source_that_cannot_be_removed_has_its_copy_withdrawn(fresh, clips):
    home = fresh()
    with sea_on(home):
        drop(home, clips)
        with home.nothing_lost():
            kept = failing("unlinkat", "EPERM", when="1", path=Path(FIRST_ASIDE))
            assert home.once(*kept, *drawing_zeros()).returncode == 0
            assert group(home) == GROUP
            assert home.told("left", reason="move_refused")


@pytest.mark.fault("M15")
@under_strace
def test_a_disk_that_cannot_refuse_to_replace_is_found_out_before_anything_is_copied(fresh, clips):
    home = fresh()
    with sea_on(home):
        drop(home, clips)
        with home.nothing_lost():
            assert home.once(*failing("renameat2,linkat", "ENOSYS")).returncode == 0
            assert group(home) == GROUP
            told = {line["category"]: line["why"] for line in home.told("folder_refuses")}
            assert told.keys() == {".", "sea"}
            assert all("neither" in why for why in told.values())
            assert not home.told("moved")
            assert not parts(home)
