"""A disk of the library that is not mounted yet when sortd starts again after a kill. Row K4 of the matrix."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest

from tests.faults.kit import as_root, killing, under_strace

FILED = ["sea/sea-6.mp4"]


@contextlib.contextmanager
def mounted(image, where):
    subprocess.run(["mount", "-o", "loop", image, where], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", where], check=True)


def disk_for(home):
    """An image of a disk with all that is in the category `sea`, which is an empty folder then."""
    image, sea = home.folder / "disk", home.root / "sea"
    with image.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-d", sea, image], check=True, capture_output=True)
    shutil.rmtree(sea)
    sea.mkdir()
    return image


@pytest.mark.fault("K4")
@as_root
@under_strace
@pytest.mark.parametrize(("call", "at"), [("renameat2", 2), ("unlinkat", 1)])
def test_a_disk_that_is_away_after_a_kill_has_its_move_finished_when_it_is_back(fresh, clips, call, at):
    home = fresh()
    sea, image = home.root / "sea", disk_for(home)
    with mounted(image, sea):
        shutil.copy(clips / "sea-6.mp4", home.root)
        home.once(*killing(call, at=at, path=home.root))
        assert (sea / "sea-6.mp4").exists()
        assert home.ask("status")["open_moves"] == 1

    assert home.once().returncode == 0
    assert home.told("move_unfinished")

    with mounted(image, sea):
        assert home.once().returncode == 0
        status = home.ask("status")
        assert home.places("sea-6.*") == FILED
        assert status["open_moves"] == 0
        assert status["videos"]["placed"] == 1
        assert not list(home.root.rglob(".sortd-*"))
