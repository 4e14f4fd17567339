"""The owner's large gestures with folders, and names that are no folders. Rows M19 to M21, A13, N3 and N4."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from tests.faults.kit import another, calls_of_the_mover, delaying, failing, tracing, under_strace

MANY = 500
"""The matrix asks for 10,000; that takes twenty times as long, and nothing but patience is tried by it."""


def categories(home):
    return {row["name"]: (row["labels"], row["placed"]) for row in home.ask("status")["categories"]}


def awaits_idle(home):
    home.until(lambda: home.ask("status")["state"] == "idle")


# Renamed, deleted, merged


@pytest.mark.fault("M19")
def test_a_renamed_folder_keeps_labels_placements_and_vetoes(fresh, clips):
    home = fresh().start()
    with home.nothing_lost():
        shutil.copy(clips / "sea-6.mp4", home.root)
        shutil.copy(clips / "sea-7.mp4", home.root)
        home.await_told("moved", 2)
        (home.root / "sea" / "sea-7.mp4").rename(home.root / "sea-7.mp4")
        home.await_told("withdrawn", path="sea-7.mp4", category="sea")
        before = categories(home)
        (home.root / "sea").rename(home.root / "ocean")
        home.await_told("renamed", was="sea", category="ocean")
        after = categories(home)
        assert after.pop("ocean") == before.pop("sea")
        assert after == before
        shutil.copy(clips / "sea-8.mp4", home.root)
        home.until(lambda: home.places("sea-8.mp4") == ["ocean/sea-8.mp4"])
        awaits_idle(home)
        assert home.places("sea-7.mp4") == ["sea-7.mp4"]
        assert home.ask("explain", str(home.root / "sea-7.mp4"))["vetoes"] == ["ocean"]
        assert not (home.root / "sea").exists()
        for name in ("sea-6.mp4", "sea-7.mp4", "sea-8.mp4"):
            next(home.root.rglob(name)).unlink()  # dropped since the count


@pytest.mark.fault("M19")
def test_folders_that_swap_their_names_keep_what_each_is_known_for(fresh, clips):
    home = fresh().start()
    with home.nothing_lost():
        shutil.copy(clips / "sea-6.mp4", home.root)
        home.await_told("moved")
        before = categories(home)
        swap(home)
        home.await_told("renamed", 2)
        awaits_idle(home)
        swapped = {**before, "sea": before["city"], "city": before["sea"]}
        assert categories(home) == swapped
        home.stop()
        swap(home)
        home.start()
        home.await_told("renamed", 4)
        awaits_idle(home)
        assert categories(home) == before
        home.stop()
        shutil.rmtree(home.state)
        swap(home)
        home.start()
        home.await_told("renamed", 6)
        awaits_idle(home)
        assert categories(home) == swapped
        for event in ("corrected", "withdrawn", "step_failed"):
            assert not home.told(event)
        (home.root / "city" / "sea-6.mp4").unlink()  # dropped since the count


def swap(home):
    for was, name in (("sea", ".tmp"), ("city", "sea"), (".tmp", "city")):
        (home.root / was).rename(home.root / name)


@pytest.mark.fault("M20")
def test_a_deleted_folder_is_not_made_again(fresh, clips):
    home = fresh().start()
    with home.nothing_lost():
        shutil.move(home.root / "sea", home.folder / "bin")
        home.until(lambda: "sea" not in categories(home))
        shutil.copy(clips / "sea-6.mp4", home.root)
        home.await_told("found", path="sea-6.mp4")
        awaits_idle(home)
        assert home.places("sea-6.mp4") == ["sea-6.mp4"]
        assert not (home.root / "sea").exists()
        (home.root / "sea-6.mp4").unlink()
        shutil.move(home.folder / "bin", home.root / "sea")
        home.until(lambda: categories(home).get("sea", (0, 0))[0] == 6)


@pytest.mark.fault("M20")
@under_strace
def test_a_folder_deleted_in_the_middle_of_a_move_is_not_made_again(fresh, clips, tmp_path):
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    home.once(*tracing("renameat2", tmp_path / "calls"))
    first = calls_of_the_mover(tmp_path / "calls")[0].number  # those before it try the filesystem
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        home.launch(*delaying("renameat2", 3, when=str(first)))
        home.until(lambda: intends(home))
        (home.root / "sea").rename(home.root / ".bin")
        home.until(lambda: not intends(home))
        awaits_idle(home)
        assert not (home.root / "sea").exists()
        (home.root / ".bin").rename(home.root / "sea")


def intends(home):
    with sqlite3.connect(f"file:{home.state / 'index.db'}?mode=ro", uri=True) as index:
        return index.execute("SELECT 1 FROM moves WHERE state = 'open'").fetchone()


@pytest.mark.fault("M21")
def test_merged_folders_are_one_category_and_nothing_goes_back(fresh):
    home = fresh().start()
    before = categories(home)
    with home.nothing_lost():
        for video in sorted((home.root / "sea").iterdir()):
            video.rename(home.root / "city" / video.name)
        (home.root / "sea").rmdir()
        home.await_told("corrected", 6, was="sea", category="city")
        home.until(lambda: "sea" not in categories(home))
        home.await_told("retrain_due")
        awaits_idle(home)
        assert categories(home)["city"] == (before["sea"][0] + before["city"][0], 0)
        assert len(list((home.root / "city").iterdir())) == 12
        assert not home.told("moved")


@pytest.mark.fault("M21")
@pytest.mark.parametrize("late", [False, True])
def test_moves_by_copy_and_delete_are_moves(fresh, late):
    home = fresh().start()
    before = categories(home)
    with home.nothing_lost():
        (home.root / "ocean").mkdir()
        for video in sorted((home.root / "sea").iterdir()):
            content = video.read_bytes()
            if late:
                video.unlink()
            (home.root / "ocean" / video.name).write_bytes(content)
        shutil.rmtree(home.root / "sea")
        home.until(lambda: categories(home).get("ocean") == before["sea"])
        assert "sea" not in home.until(lambda: categories(home) if "sea" not in categories(home) else None)
        awaits_idle(home)
        assert not home.told("moved")
        assert not home.told("withdrawn")


@pytest.mark.fault("M21")
def test_a_second_copy_in_the_root_is_left_and_no_withdrawal(fresh, clips):
    home = fresh()
    shutil.copy(clips / "sea-0.mp4", home.root / "again.mp4")
    with home.nothing_lost():
        assert home.once().returncode == 0
        assert home.places("again.mp4") == ["again.mp4"]
        assert home.told("left", path="again.mp4", reason="already_filed")
        assert not home.told("withdrawn")
        assert categories(home)["sea"] == (6, 0)


@pytest.mark.fault("M19")
def test_folders_arrive_and_leave_whole(fresh, clips):
    home = fresh().start()
    trip = home.folder / "trip"
    (trip / "2024").mkdir(parents=True)
    for number in (6, 7):
        shutil.copy(clips / f"city-{number}.mp4", trip / "2024")
    trip.rename(home.root / "trip")
    home.until(lambda: categories(home).get("trip") == (2, 0))
    shutil.copy(clips / "city-8.mp4", home.root / "trip" / "late.mp4")
    home.until(lambda: categories(home).get("trip") == (3, 0))
    (home.root / "trip").rename(trip)
    home.until(lambda: "trip" not in categories(home))
    assert not home.told("moved")


@pytest.mark.fault("M21", "L2")
def test_a_library_dumped_back_to_the_root_is_withdrawn_as_a_whole(fresh):
    home = fresh().start()
    with home.nothing_lost():
        videos = [path for path in home.root.glob("*/*.mp4") if path.parent.name != ".sortd"]
        for video in videos:
            video.rename(home.root / video.name)
        home.await_told("withdrawn", len(videos))
        awaits_idle(home)
        assert home.ask("status")["videos"]["unsorted"] == len(videos)
        home.stop()
        assert home.once().returncode == 0
        assert len(list(home.root.glob("*.mp4"))) == len(videos)
        assert not home.told("moved")


# Very many at once


@pytest.mark.fault("A13")
@pytest.mark.timeout(1800)
def test_very_many_moved_at_once_are_as_many_labels_and_taught_once(home, clips):
    for number in range(MANY):
        family = ("sea", "city")[number % 2]
        another(clips / f"{family}-{number % 9}.mp4", home.root / f"{family}-{number}.mp4", number)
    shutil.copy(clips / "sea-9.mp4", home.root / "last.mp4")
    home.start()
    home.until(lambda: len(home.told("extracted")) == MANY + 1, seconds=1200)
    awaits_idle(home)
    with home.nothing_lost():
        for family in ("sea", "city"):
            (home.root / family).mkdir()
            for video in home.root.glob(f"{family}-*.mp4"):
                video.rename(home.root / family / video.name)
        home.until(lambda: home.places("last.mp4") == ["sea/last.mp4"], seconds=300)
        awaits_idle(home)
        assert categories(home) == {"sea": (MANY // 2, 1), "city": (MANY // 2, 0)}
        events = [line["event"] for line in home.lines]
        assert events.count("labelled") == MANY
        assert events.count("retrain_due") == events.count("trained") == events.count("moved") == 1
        assert events.index("trained") < events.index("moved")
        assert not {"videos_vanished", "withdrawn", "corrected"} & set(events)


# Names


@pytest.mark.fault("N3")
@pytest.mark.parametrize("name", ["..", "/x", "../sea", "sea/../..", "a\0b", "", ".", "sea/deep"])
def test_a_category_that_is_no_folder_of_the_library_is_nothing(fresh, clips, name):
    """Written into the index by whoever; the classifier tells categories by their number there."""
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    outside = sorted(path.name for path in home.folder.iterdir())
    with sqlite3.connect(home.state / "index.db") as index:
        index.execute("UPDATE categories SET name = ? WHERE name = ?", (name.encode(), b"sea"))
    with home.nothing_lost():
        for command in ("status", "preview"):
            assert isinstance(home.ask(command), dict | list)
        done = home.once()
        assert "Traceback" not in done.stderr
        assert home.places("sea-6.mp4") in (["sea-6.mp4"], ["sea/sea-6.mp4"])
    assert {path.name for path in home.folder.iterdir()} - set(outside) <= {"sortd.log"}
    assert sorted(path.name for path in home.root.iterdir() if path.is_dir()) == sorted(
        [".sortd", *{path.parent.name for path in home.root.glob("*/*.mp4")}]
    )


@pytest.mark.fault("N3")
@pytest.mark.parametrize("name", ["..", "/x", "../sea", "", "a/b"])
def test_a_command_with_such_a_name_is_refused(fresh, name):
    home = fresh()
    with home.nothing_lost():
        for command in (["confirm", name], ["forget", name], ["undo", "--category", name]):
            done = home.run(*command)
            assert done.returncode in {1, 2}, (command, done.stderr)
            assert "Traceback" not in done.stderr


@pytest.mark.fault("N4", sample=True)
def test_what_others_keep_in_the_folder_is_no_category(fresh, clips):
    home = fresh()
    theirs = [".hidden", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information"]
    before = categories(home)
    for name in theirs:
        (home.root / name).mkdir()
        shutil.copy(clips / "sea-6.mp4", home.root / name / "theirs.mp4")
    shutil.copy(clips / "sea-7.mp4", home.root)
    with home.nothing_lost():
        assert home.once().returncode == 0
        assert home.places("sea-7.mp4") == ["sea/sea-7.mp4"]
        assert categories(home) == {**before, "sea": (6, 1)}
        assert len(home.places("theirs.mp4")) == len(theirs)


@pytest.mark.fault("M19")
@under_strace
def test_one_bad_file_in_the_root_stops_nothing_else(fresh, clips):
    home = fresh()
    for name in ("sea-6.mp4", "sea-7.mp4"):
        shutil.copy(clips / name, home.root)
    with home.nothing_lost():
        home.once(*failing("newfstatat,lstat", "EIO", path=home.root / "sea-7.mp4"))
        assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]
        assert home.places("sea-7.mp4") == ["sea-7.mp4"]
        assert not home.told("step_failed")
