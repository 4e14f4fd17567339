"""A category on another filesystem, and folders that take nothing. Rows M8 to M13, M16, M18 and P2 of the matrix."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.kit import as_root, tmpfs

@pytest.mark.fault("M8")
@as_root
def test_a_category_on_another_disk_gets_a_verified_copy_and_undo_brings_it_back(fresh, clips):
    home = fresh()
    with tmpfs(home.root / "sea"):
        for number in range(6):
            shutil.copy(clips / f"sea-{number}.mp4", home.root / "sea")
        shutil.copy(clips / "sea-6.mp4", home.root)
        (home.root / "sea-6.srt").write_text("waves")
        with home.nothing_lost():
            assert home.once().returncode == 0
            assert home.places("sea-6.*") == ["sea/sea-6.mp4", "sea/sea-6.srt"]
            assert home.told("moved", path="sea-6.mp4", to="sea/sea-6.mp4")
        print(home.lines)
        with home.nothing_lost():
            print(home.run("undo"))
            assert home.places("sea-6.*") == ["sea-6.mp4", "sea-6.srt"]
