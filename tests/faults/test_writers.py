"""Whoever writes a video keeps what they write: rows K2 and K13 of the matrix."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.faults.kit import as_root, under_strace
from tests.faults.test_transfer import copying_slowly, drop, parts, sea_on

VIDEO = "sea-6.mp4"

WITHOUT_LEASES = ("setpriv", "--bounding-set", "-lease", "--inh-caps", "-lease")
"""Runs what follows as one who may ask of no file but their own who writes it."""


@pytest.mark.fault("K13")
@as_root
def test_a_paused_writer_of_anothers_file_is_not_taken_for_one_that_is_done(fresh, clips):
    home = fresh(watch={"settle_seconds": 0.2})
    home.launch(*WITHOUT_LEASES)
    home.await_told("ready")
    shutil.copy(clips / VIDEO, home.folder / "new.mp4")
    os.chown(home.folder / "new.mp4", 1000, 1000)
    with (home.folder / "new.mp4").open("ab"):
        (home.folder / "new.mp4").rename(home.root / VIDEO)
        shutil.copy(clips / "city-6.mp4", home.root)
        home.await_told("moved", path="city-6.mp4")
        shutil.copy(clips / "city-7.mp4", home.root)
        home.await_told("moved", path="city-7.mp4")
        assert home.places(VIDEO) == [VIDEO]
    home.await_told("moved", path=VIDEO)
    assert home.places(VIDEO) == [f"sea/{VIDEO}"]


@pytest.mark.fault("K2")
@under_strace
def test_an_edit_during_the_copy_that_sets_the_time_back_is_not_lost(fresh, clips):
    home = fresh()
    with sea_on(home), copying_slowly(home, seconds=3):
        video = drop(home, clips)
        home.until(lambda: parts(home))
        status = video.stat()
        with video.open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"mine")
        os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
        home.await_told("moved")
        assert (home.root / "sea" / VIDEO).read_bytes().endswith(b"mine")
        assert home.places(VIDEO) == [f"sea/{VIDEO}"]
