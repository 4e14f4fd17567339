"""Far too many videos vanish at once: nobody wishes for that without a word."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager

import pytest

from sortd.domain.messages import RescanDue
from tests.faults.kit import as_root, bind, tmpfs
from tests.stories.conftest import taught


def many():
    return taught(30)  # of each of four families


def standing(home):
    return {known.name for known in home.store.categories.all() if known.present}


def vanish(home, *folders):
    """The owner's folders go, and come back by what is given back."""
    aside = home.root.parent / "aside"
    aside.mkdir(exist_ok=True)
    for folder in folders:
        (home.root / folder).rename(aside / folder)

    def bring_back():
        for folder in folders:
            (aside / folder).rename(home.root / folder)
        home.settle()

    return bring_back


def test_whole_folders_that_vanish_are_waited_for(household):
    home = household(many())
    trained = len(home.events("trained"))
    bring_back = vanish(home, "cats", "dogs")
    home.settle(seconds=700)
    home.files({"new.mp4": b"sea 100"})
    (line,) = home.events("videos_vanished")
    assert (line["count"], line["of"]) == (60, 120)
    assert "sortd resume --vanished" in line["cure"]
    assert home.engine.status()["state"] == "paused"
    assert "60 of 120 videos vanished" in home.engine.status()["why"]
    assert standing(home) == {"cats", "dogs", "sea", "city"}
    assert "new.mp4" in home.tree
    assert len(home.events("trained")) == trained
    bring_back()
    assert home.events("videos_back")
    assert home.engine.status()["state"] == "idle"
    assert "new.mp4" in home.tree["sea"]
    assert home.home_of("cats/0.mp4") == ("cats", "owner")
    assert not home.events("withdrawn")


def test_the_brake_holds_over_a_restart(household):
    home = household(many())
    bring_back = vanish(home, "cats", "dogs")
    home.settle()
    home.restart()
    home.restart()
    home.files({"new.mp4": b"sea 100"})
    assert home.engine.status()["state"] == "paused"
    assert "new.mp4" in home.tree
    bring_back()
    assert "new.mp4" in home.tree["sea"]


def test_a_loss_while_sortd_was_off_is_waited_for_too(household):
    home = household(many())
    home.kill()
    bring_back = vanish(home, "cats", "dogs")
    home.start()
    home.settle()
    assert home.engine.status()["state"] == "paused"
    assert standing(home) == {"cats", "dogs", "sea", "city"}
    bring_back()
    assert home.engine.status()["state"] == "idle"


def test_resume_takes_them_for_deleted(household):
    home = household(many())
    vanish(home, "cats", "dogs")
    home.settle()
    assert home.ask(do="resume", vanished=True) == {"paused": False, "vanished": 60}
    assert home.engine.status()["state"] == "idle"
    assert standing(home) == {"sea", "city"}
    home.files({"new.mp4": b"sea 100"})
    assert "new.mp4" in home.tree["sea"]
    assert home.ask(do="resume", vanished=True)["vanished"] == 0


def test_some_that_stay_away_are_no_mass_any_more(household):
    home = household(many())
    bring_back = vanish(home, "cats")
    rest = vanish(home, "dogs")
    home.settle()
    bring_back()
    assert home.events("videos_back")
    assert standing(home) == {"cats", "sea", "city"}
    rest()
    assert standing(home) == {"cats", "dogs", "sea", "city"}


def test_folders_that_vanish_one_by_one_are_counted_together(household):
    home = household(many())
    vanish(home, "cats")
    with home.store.transaction():
        home.engine.scanner._refresh_folders()  # for a hint from elsewhere, while those below still have to settle
    vanish(home, "dogs")
    with home.store.transaction():
        home.engine.scanner._refresh_folders()
    assert standing(home) == {"dogs", "sea", "city"}
    home.settle()
    assert home.engine.status()["state"] == "paused"
    assert standing(home) == {"dogs", "sea", "city"}


@pytest.mark.parametrize("deed", ["renamed", "copied", "merged", "dumped"])
def test_what_only_moved_did_not_vanish(household, deed):
    home = household(many())
    cats = home.root / "cats"
    if deed == "renamed":
        cats.rename(home.root / "kittens")
    elif deed == "copied":
        shutil.copytree(cats, home.root / "kittens")
        shutil.rmtree(cats)
    else:
        for video in sorted(cats.iterdir()):
            video.rename(home.root / ("dogs" if deed == "merged" else ".") / f"cat {video.name}")
        cats.rmdir()
    home.settle()
    assert not home.events("videos_vanished")
    assert home.engine.status()["state"] == "idle"
    assert "cats" not in standing(home)


def test_a_move_seen_half_moves_and_teaches_nothing_meanwhile(household):
    home = household(many())
    (home.root / "new.mp4").write_bytes(b"sea 100")
    bring_back = vanish(home, "cats", "dogs")
    home.tell(RescanDue("the first half"))
    home.tell(None)
    assert home.engine.scanner.loss_guard.held
    assert not home.events("videos_vanished")
    assert "new.mp4" in home.tree
    bring_back()
    assert "new.mp4" in home.tree["sea"]


def test_a_small_library_may_lose_all_it_has(household):
    home = household(taught(12))  # 48 in all
    vanish(home, "cats", "dogs", "sea", "city")
    home.settle()
    assert not home.events("videos_vanished")
    assert standing(home) == set()


@contextmanager
def holding(disk, folder):
    """A disk of its own that holds what was in the folder; where it is bound there, the folder is as it was."""
    with tmpfs(disk):
        for video in list(folder.iterdir()):
            shutil.move(video, disk)
        yield


@as_root
@pytest.mark.parametrize("number", [10, 30])
def test_nothing_is_filed_under_the_mount_point_of_an_unplugged_category(household, tmp_path, number):
    home = household(taught(number))
    sea, disk = home.root / "sea", tmp_path / "disk"
    with holding(disk, sea):
        with bind(disk, sea):
            home.settle()
            home.files({"first.mp4": b"sea 100"})
            assert "first.mp4" in home.tree["sea"]
        for name, content in {"second.mp4": b"sea 101", "third.mp4": b"sea 102"}.items():
            home.files({name: content})
            home.settle(seconds=700)
            if home.engine.status()["state"] == "paused":
                home.ask(do="resume", vanished=True)
        home.restart()
        assert not home.tree["sea"]
        assert standing(home) == {"cats", "dogs", "city"}
        with bind(disk, sea):
            home.settle(seconds=700)
            assert standing(home) == {"cats", "dogs", "city", "sea"}
            assert home.home_of("sea/0.mp4") == ("sea", "owner")


@as_root
def test_a_disk_unplugged_between_the_look_and_the_move_gets_nothing_under_its_mount_point(household, tmp_path):
    home = household(taught(10))
    sea, disk = home.root / "sea", tmp_path / "disk"
    with holding(disk, sea):
        with bind(disk, sea):
            home.settle()
            filed = home.engine.moves.file

            def unplugged(sighting, move):
                subprocess.run(["umount", sea], check=True)
                try:
                    return filed(sighting, move)
                finally:
                    subprocess.run(["mount", "--bind", disk, sea], check=True)

            home.engine.moves.file = unplugged
            home.files({"late.mp4": b"sea 100"})
            assert "late.mp4" in home.tree
            home.engine.moves.file = filed
            home.settle(seconds=700)
            assert "late.mp4" in home.tree["sea"]
        assert not home.tree["sea"]


@pytest.mark.fault("G16")
def test_plain_resume_accepts_no_loss_and_lifts_nothing(household):
    home = household(many())
    home.ask(do="pause")
    vanish(home, "cats", "dogs")
    home.settle()
    told = home.ask(do="resume")
    assert set(told) == {"error"}
    assert "60 of 120 videos vanished" in told["error"]
    assert "`sortd resume --vanished`" in told["error"]
    assert home.engine.pending_decisions.paused
    assert home.engine.scanner.loss_guard.held
    assert home.ask(do="resume", vanished=True) == {"paused": False, "vanished": 60}
    assert not home.engine.pending_decisions.paused
    assert not home.engine.scanner.loss_guard.held


@pytest.mark.fault("G16")
def test_to_accept_a_loss_where_there_is_none_is_no_more_than_to_resume(household):
    home = household(many())
    home.ask(do="pause")
    assert home.ask(do="resume", vanished=True) == {"paused": False, "vanished": 0}
    assert standing(home) == {"cats", "dogs", "sea", "city"}
