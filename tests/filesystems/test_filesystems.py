"""The real service on each filesystem: as the whole library, and as a category of one that stands elsewhere.

A filesystem on which no move is safe takes none, says so once, and nothing is there twice or called the owner's word.
"""

from __future__ import annotations

import json
import random
import shutil
from contextlib import contextmanager
from pathlib import PurePath

import pytest

from sortd.cli.demo_clips import FAMILIES
from sortd.disk.dirfd import opened
from sortd.disk.filesystem_probe import probe
from sortd.judgement.move_method import move_method, why_unsafe
from tests.faults.conftest import TAUGHT
from tests.faults.kit import IS_ROOT, MOVE_CALLS, census, killing
from tests.filesystems.mounts import KINDS, CannotMount, run

pytestmark = [
    pytest.mark.filesystems,
    pytest.mark.skipif(not IS_ROOT, reason="filesystems are mounted by root on Linux"),
]

KILLS = 6
"""So often the service is killed, at random calls of a move."""

LABELS = len(FAMILIES) * TAUGHT
SUBVOLUMES = "btrfs subvolumes"


@contextmanager
def on(home, kind, folder):
    """A folder of the library on a filesystem of its own, with the same files in it."""
    aside, scratch = home.folder / "aside", home.folder / "scratch"
    folder.rename(aside)
    scratch.mkdir()
    with KINDS[kind](folder, scratch):
        for path in aside.iterdir():
            run("cp", "-r", path, folder)
        try:
            yield
        finally:
            home.end()


@contextmanager
def on_subvolume(home):
    """The library on btrfs, a category in a subvolume of it: no rename leads there."""
    sea = home.root / "sea"
    with on(home, "btrfs", home.root):
        sea.rename(home.root / "was")
        run("btrfs", "subvolume", "create", sea)
        for path in (home.root / "was").iterdir():
            run("cp", "-r", path, sea)
        shutil.rmtree(home.root / "was")
        yield


def drop(home, clips, *names):
    for name in names:
        shutil.copyfile(clips / name, home.root / name)


def told_way(home, folder):
    """What the probe says, in the words of the table; whether a move is safe there."""
    with opened(home.root) as folders:
        abilities = probe(folders, PurePath(folder))
    method = move_method(abilities)
    return method is not None, str(method or why_unsafe(abilities))


def videos(home):
    return home.ask("status")["videos"]


def killed_at_random(home, clips, name):
    """Drop a clip, kill a pass that files it at one of its calls, and let the next pass repair that."""
    drop(home, clips, name)
    before = census(home.root)
    for _ in range(KILLS):
        home.once(*killing(MOVE_CALLS, at=random.randint(1, 60)))  # noqa: S311 - no secret
    assert home.once().returncode == 0
    assert census(home.root) == before
    assert not [path for path in home.places(".sortd-*") if path != ".sortd"]


STORIES = [(kind, where) for kind in KINDS for where in ("library", "category")] + [(SUBVOLUMES, "category")]


@pytest.mark.parametrize(("kind", "where"), STORIES)
def test_nothing_is_lost_doubled_or_taken_for_the_owners_word(fresh, clips, row, kind, where):
    row |= {"kind": kind, "where": where}
    home = fresh()
    folder = home.root / "sea" if where == "category" else home.root
    there = on_subvolume(home) if kind == SUBVOLUMES else on(home, kind, folder)
    try:
        with there:
            is_safe, row["way"] = told_way(home, "sea")
            story = lives_there if is_safe else is_refused
            story(home, clips)
    except CannotMount as lacking:
        pytest.skip(str(lacking))


def is_refused(home, clips):
    home.start()
    drop(home, clips, "sea-6.mp4", "sea-7.mp4")
    before = census(home.root)
    home.await_told("folder_refuses")
    home.until(lambda: [one["reason"] for one in home.ask("preview")] == ["move_refused"] * 2)
    (line,) = home.told("folder_refuses")
    assert home.stop() == 0
    for _ in range(2):
        assert home.once().returncode == 0
    assert home.told("folder_refuses") == [line]
    assert census(home.root) == before
    assert home.places("sea-6.mp4") == ["sea-6.mp4"]
    assert videos(home)["labelled"] == LABELS
    assert videos(home)["placed"] == 0
    (finding,) = [one for one in json.loads(home.run("check", "--json").stdout) if one["name"] == "filesystems"]
    assert not finding["ok"]
    assert finding["cure"]


def lives_there(home, clips):
    home.start()
    (home.root / "sea-6.srt").write_text("waves")
    drop(home, clips, "sea-6.mp4", "sea-7.mp4")
    before = census(home.root)
    home.await_told("moved", 2, category="sea")
    home.until(lambda: videos(home)["placed"] == 2)
    assert home.places("sea-6.*") == ["sea/sea-6.mp4", "sea/sea-6.srt"]
    assert census(home.root) == before

    # Taken out by the owner's own hand, and by sortd's.
    shutil.move(home.root / "sea/sea-6.mp4", home.root / "sea-6.mp4")
    home.await_told("withdrawn", path="sea-6.mp4")
    assert home.ask("undo", "sea/sea-7.mp4")["done"][0]["to"] == "sea-7.mp4"
    # Filed by the owner: a label, and the only new one.
    drop(home, clips, "city-6.mp4")
    home.await_told("moved", category="city")
    shutil.move(home.root / "sea-7.mp4", home.root / "sea/sea-7.mp4")
    home.until(lambda: videos(home)["labelled"] == LABELS + 1)
    assert home.stop() == 0

    killed_at_random(home, clips, "sea-8.mp4")
    assert home.places("sea-8.mp4") == ["sea/sea-8.mp4"]
    assert videos(home) | {"labelled": LABELS + 1, "placed": 2, "unsorted": 1} == videos(home)
    assert home.ask("status")["open_moves"] == 0
    assert not home.told("folder_refuses")
