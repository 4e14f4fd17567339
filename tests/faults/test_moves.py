"""A move within a filesystem is killed, refused and raced at every step: rows M1 to M24, L1 and L6 of the matrix."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sortd.cli.demo_clips import FAMILIES
from tests.faults.conftest import SPARE, TAUGHT, Library
from tests.faults.kit import (
    Call,
    calls_of_the_mover,
    census,
    delaying,
    failing,
    killing,
    racing,
    together,
    tracing,
    under_strace,
)
from tests.waiting import PATIENCE_SECONDS

KILLED = (137, -9)
MOVING = ("renameat2", "linkat", "unlinkat")
CALLS = ",".join((*MOVING, "fsync", "fdatasync", "unlink"))
"""The last three are how SQLite commits."""

LATE = 8.0
"""So long the owner has for what is done at the last moment."""

COMMIT = 7
"""At least as many calls as one commit takes."""

VIDEO = "sea-6.mp4"
GROUP = (VIDEO, "sea-6.en.srt", "sea-6.info.json")

RENAMING = ()
LINKING = (failing("renameat2", "EINVAL"),)
both_ways = pytest.mark.parametrize("way", [RENAMING, LINKING], ids=["renaming", "linking"])


def drop(home: Library, clips: Path) -> None:
    """A video that sortd is sure of, with its companions."""
    shutil.copy(clips / VIDEO, home.root)
    for companion in GROUP[1:]:
        (home.root / companion).write_text(companion)


def was_filed_once(home: Library) -> None:
    """All of the group stands in the category, and sortd knows it for its own doing."""
    assert [home.places(name) for name in GROUP] == [[f"sea/{name}"] for name in GROUP]
    assert states(home).count("done") == 1
    assert "open" not in states(home)
    is_no_label(home, VIDEO)


def is_no_label(home: Library, name: str) -> None:
    """It stands in its category as a placement."""
    explained = home.ask("explain", str(home.root / "sea" / name))
    assert (explained["decision"], explained["category"], explained["label"]) == ("filed", "sea", None)
    assert not any(home.told(event, path=f"sea/{name}") for event in ("labelled", "corrected", "confirmed"))
    assert home.told("withdrawn") == []


def states(home: Library) -> list[str]:
    """What became of each move of the video, as the journal has it; a command would ask the loop, which may be held."""
    moves = "SELECT state FROM moves JOIN move_steps ON move = moves.id WHERE source = ? ORDER BY moves.id"
    with closing(sqlite3.connect(home.state / "index.db", timeout=PATIENCE_SECONDS)) as index:
        return [state for (state,) in index.execute(moves, (VIDEO.encode(),))]


# Killed


@pytest.mark.fault("M1", "M23", "L1")
@pytest.mark.timeout(1200)
@under_strace
@both_ways
def test_killed_at_any_call_of_a_move_the_next_start_repairs_it(fresh, clips, tmp_path, way):
    home = fresh()
    drop(home, clips)
    home.once(*together(tracing(CALLS, tmp_path / "calls"), *way))
    was_filed_once(home)
    seen = set()
    for call in in_the_move(calls_of_the_mover(tmp_path / "calls")):
        home = fresh()
        drop(home, clips)
        with home.nothing_lost():
            ended = home.once(*together(killing(call.name, at=call.number), *way))
            assert ended.returncode in KILLED
            seen.add((states(home).count("open"), *where_they_stand(home)))
            finished = "done" in states(home)
            assert home.once().returncode == 0, home.lines
            assert finished or len(home.told("moved")) == 1
        was_filed_once(home)
    assert home.ask("status")["open_moves"] == 0
    halves = {(1, 3, 0), (1, 2, 1), (1, 1, 2), (1, 0, 3)} | ({(1, 3, 1), (1, 2, 2), (1, 1, 3)} if way else set())
    assert seen == {(0, 3, 0), *halves, (0, 0, 3)}


def in_the_move(calls: list[Call]) -> list[Call]:
    """From the commit of its intent to that of its completion, but for those that failed."""
    moving = [n for n, call in enumerate(calls) if call.name in MOVING]
    here = calls[moving[0] - COMMIT : moving[-1] + 2 + COMMIT]  # 2: both folders are synced in between
    return [call for call in here if "EINVAL" not in call.text]


def where_they_stand(home: Library) -> tuple[int, int]:
    """How many of the group stand in the root, and how many in the category."""
    return sum((home.root / name).exists() for name in GROUP), sum(
        (home.root / "sea" / name).exists() for name in GROUP
    )


# What a power cut would leave


@pytest.mark.fault("M24", sample=True)
@under_strace
def test_the_intent_is_on_disk_before_the_move_and_the_move_before_its_completion(fresh, clips, tmp_path):
    home = fresh()
    drop(home, clips)
    home.once(*tracing(f"{CALLS},pwrite64,write", tmp_path / "calls"))
    steps = [step for call in calls_of_the_mover(tmp_path / "calls") if (step := step_of(home, call))]
    start, end = steps.index("move"), len(steps) - steps[::-1].index("move")
    assert steps[start:end] == ["move"] * len(GROUP)
    # Before: the last that was written of the index was synced. After: targets first, then sources, then the index.
    before = steps[:start]
    assert "write index" in before
    assert before[-1] == "sync index"
    assert steps[end : end + 3] == ["sync category", "sync root", "write index"]
    assert "sync index" in steps[end + 3 :]


def step_of(home: Library, call: Call) -> str | None:
    """What a call does for a move, in words."""
    if call.name == "renameat2":
        assert "RENAME_NOREPLACE" in call.text
        return "move"
    met = re.search(r"<([^>]+)>", call.text)
    if met is None:
        return None
    what = {home.root: "root", home.root / "sea": "category"}.get(Path(met[1]))
    if Path(met[1]).is_relative_to(home.state):
        what = "index"
    return what and f"{'write' if 'write' in call.name else 'sync'} {what}"


# A name that is taken


def squat_with_another_video(place: Path, clips: Path) -> None:
    shutil.copy(clips / "sea-7.mp4", place)


def squat_with_a_folder(place: Path, _clips: Path) -> None:
    place.mkdir()


def squat_with_a_link_to_nowhere(place: Path, _clips: Path) -> None:
    place.symlink_to("nowhere")


def squat_with_a_link_to_the_very_file(place: Path, _clips: Path) -> None:
    place.symlink_to(f"../{VIDEO}")


def squat_with_a_pipe(place: Path, _clips: Path) -> None:
    os.mkfifo(place)


SQUATTERS = [
    squat_with_another_video,
    squat_with_a_folder,
    squat_with_a_link_to_nowhere,
    squat_with_a_link_to_the_very_file,
    squat_with_a_pipe,
]


@pytest.mark.fault("M3", "M6")
@pytest.mark.parametrize("squat", SQUATTERS)
def test_a_taken_name_is_kept_and_the_group_gets_a_number(fresh, clips, squat):
    home = fresh()
    drop(home, clips)
    squat(home.root / "sea" / VIDEO, clips)
    before = os.lstat(home.root / "sea" / VIDEO)
    with home.nothing_lost():
        assert home.once().returncode == 0
    after = os.lstat(home.root / "sea" / VIDEO)
    assert (before.st_ino, before.st_mode, before.st_size) == (after.st_ino, after.st_mode, after.st_size)
    assert not (home.root / VIDEO).exists()
    assert {path.name for path in home.root.glob("sea/sea-6 *")} == {
        "sea-6 (2).mp4",
        "sea-6 (2).en.srt",
        "sea-6 (2).info.json",
    }


@pytest.mark.fault("M3", "M23")
def test_a_companions_taken_name_gives_the_whole_group_a_number(fresh, clips):
    home = fresh()
    drop(home, clips)
    (home.root / "sea" / GROUP[2]).write_text("of another")
    (home.root / "sea" / "sea-6 (2).en.srt").write_text("of yet another")
    with home.nothing_lost():
        assert home.once().returncode == 0
    assert home.places("sea-6 (3).*") == ["sea/sea-6 (3).en.srt", "sea/sea-6 (3).info.json", "sea/sea-6 (3).mp4"]


@pytest.mark.fault("M3")
@pytest.mark.parametrize("stem", ["a" * 251, "é" * 125, "\N{GRINNING FACE}" * 62], ids=["a", "e", "face"])
def test_the_longest_of_names_gets_a_number_and_stays_a_name(fresh, clips, stem):
    home = fresh()
    shutil.copy(clips / VIDEO, home.root / f"{stem}.mp4")
    shutil.copy(clips / "sea-7.mp4", home.root / "sea" / f"{stem}.mp4")
    with home.nothing_lost():
        assert home.once().returncode == 0
    (moved,) = home.told("moved")
    name = Path(moved["to"]).name
    assert name.endswith(" (2).mp4")
    assert stem.startswith(name.removesuffix(" (2).mp4"))
    assert 250 <= len(os.fsencode(name)) <= 255
    assert (home.root / "sea" / name).read_bytes() == (clips / VIDEO).read_bytes()


@pytest.mark.fault("M4", "M5")
@pytest.mark.parametrize("put", [shutil.copy, os.link], ids=["a copy", "a link of it"])
def test_what_is_filed_already_stays_where_it_is_and_no_link_of_it_goes(fresh, clips, put):
    home = fresh()
    shutil.copy(clips / VIDEO, home.root)
    put(home.root / VIDEO, home.root / "sea" / VIDEO)
    links = (home.root / VIDEO).stat().st_nlink
    with home.nothing_lost():
        for _ in range(2):
            assert home.once().returncode == 0
            assert home.places(VIDEO) == [VIDEO, f"sea/{VIDEO}"]
            assert (home.root / VIDEO).stat().st_nlink == links
    assert len(home.told("left", path=VIDEO, reason="already_filed")) == 1
    assert home.told("moved") == []


# Refused


@pytest.mark.fault("M14")
@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
@under_strace
def test_a_filesystem_that_cannot_refuse_to_replace_links_and_unlinks(fresh, clips, error):
    home = fresh()
    drop(home, clips)
    shutil.copy(clips / "city-6.mp4", home.root)
    shutil.copy(clips / "city-7.mp4", home.root / "city" / "city-6.mp4")
    with home.nothing_lost():
        assert home.once(*failing("renameat2", error)).returncode == 0
    was_filed_once(home)
    assert home.places("city-6*") == ["city/city-6 (2).mp4", "city/city-6.mp4"]


@pytest.mark.fault("M15")
@under_strace
def test_where_nothing_can_refuse_to_replace_all_is_left_and_told_once(fresh, clips):
    home = fresh()
    drop(home, clips)
    for city in ("city-6.mp4", "city-7.mp4"):
        shutil.copy(clips / city, home.root)
    with home.nothing_lost():
        for _ in range(2):
            words = together(failing("renameat2", "EINVAL"), failing("linkat", "EPERM"))
            assert home.once(*words).returncode == 0
            assert [home.places(name) for name in GROUP] == [[name] for name in GROUP]
    assert [line["category"] for line in home.told("folder_refuses")] == ["."]
    assert (home.told("left"), home.told("moved")) == ([], [])
    assert home.once().returncode == 0
    was_filed_once(home)


@pytest.mark.fault("M16")
@under_strace
@both_ways
def test_a_folder_that_cannot_be_synced_is_no_move_done(fresh, clips, tmp_path, way):
    first = first_of_the_move("fsync", fresh, clips, tmp_path, way)
    home = fresh()
    drop(home, clips)
    with home.nothing_lost():
        assert home.once(*together(failing("fsync", "EIO", when=f"{first}+"), *way)).returncode == 0
        assert [home.places(name) for name in GROUP] == [[name] for name in GROUP]
        assert home.told("moved") == []
        assert home.told("left", path=VIDEO, reason="move_refused")
        assert home.once().returncode == 0
    was_filed_once(home)


@pytest.mark.fault("M16", "L1")
@under_strace
def test_an_index_that_cannot_be_synced_says_nothing_is_done_until_it_can(fresh, clips, tmp_path):
    home = fresh()
    drop(home, clips)
    home.once(*tracing(CALLS, tmp_path / "calls"))
    open_ones = 0
    for call in in_the_move(calls_of_the_mover(tmp_path / "calls")):
        if call.name == "fdatasync":
            home = fresh()
            drop(home, clips)
            with home.nothing_lost():
                home.once(*failing("fdatasync", "EIO", when=f"{call.number}+"))
                open_ones += "open" in states(home)
                assert home.told("moved") == []
                assert home.once().returncode == 0, home.lines
            was_filed_once(home)
    assert open_ones


# Races with the owner


def first_of_the_move(
    call: str, fresh: Callable[..., Library], clips: Path, tmp_path: Path, way: Sequence[Sequence[str]] = RENAMING
) -> int:
    """The how manieth `call` of its thread is the first one of a move: those before it try the filesystem."""
    home = fresh()
    drop(home, clips)
    home.once(*together(tracing(CALLS, tmp_path / "as it goes"), *way))
    moving = in_the_move(calls_of_the_mover(tmp_path / "as it goes"))
    return next(one.number for one in moving if one.name == call)


@contextmanager
def before_it_moves(home: Library, *faults: Sequence[str], call: str = "renameat2", nth: int) -> Iterator[None]:
    """One pass; the block runs after the move was intended, and before the n-th `call` makes it."""
    with ThreadPoolExecutor() as pool:
        one_pass = pool.submit(home.once, *together(delaying(call, LATE, when=str(nth)), *faults))
        while "open" not in states(home):
            assert one_pass.running()
            time.sleep(0.02)
        yield
        assert states(home) == ["open"]  # or the block came too late
        assert one_pass.result().returncode == 0


def moves_it_elsewhere(root: Path, _clips: Path) -> None:
    (root / VIDEO).rename(root / "city" / VIDEO)


def files_it_there(root: Path, _clips: Path) -> None:
    (root / VIDEO).rename(root / "sea" / VIDEO)


def files_it_there_by_another_name(root: Path, _clips: Path) -> None:
    (root / VIDEO).rename(root / "sea" / "mine.mp4")


@pytest.mark.fault("L6")
@under_strace
@pytest.mark.parametrize(
    ("does", "path"),
    [
        (moves_it_elsewhere, f"city/{VIDEO}"),
        (files_it_there, f"sea/{VIDEO}"),
        (files_it_there_by_another_name, "sea/mine.mp4"),
    ],
)
def test_where_two_moves_cross_the_owners_counts(fresh, clips, tmp_path, does, path):
    nth = first_of_the_move("renameat2", fresh, clips, tmp_path)
    home = fresh()
    drop(home, clips)
    with home.nothing_lost():
        with before_it_moves(home, nth=nth):
            does(home.root, clips)
        assert home.once().returncode == 0
    assert home.told("moved") == []
    assert (home.root / path).exists()
    assert [home.places(companion) for companion in GROUP[1:]] == [[companion] for companion in GROUP[1:]]
    assert len(home.told("labelled", path=path, category=path.partition("/")[0])) == 1
    assert home.ask("explain", str(home.root / path))["label"] == path.partition("/")[0]
    assert states(home) == ["abandoned"]


@pytest.mark.fault("L6")
@under_strace
def test_what_the_owner_deletes_at_the_last_moment_is_gone(fresh, clips, tmp_path):
    nth = first_of_the_move("renameat2", fresh, clips, tmp_path)
    home = fresh()
    drop(home, clips)
    with before_it_moves(home, nth=nth):
        (home.root / VIDEO).unlink()
    assert home.once().returncode == 0
    assert home.places(VIDEO) == []
    assert [home.places(companion) for companion in GROUP[1:]] == [[companion] for companion in GROUP[1:]]
    assert (home.told("moved"), states(home)) == ([], ["abandoned"])


def appends(root: Path, _clips: Path) -> None:
    with (root / VIDEO).open("ab") as file:
        file.write(b"more")


def rewrites(root: Path, clips: Path) -> None:
    shutil.copyfile(clips / "city-6.mp4", root / VIDEO)


def replaces(root: Path, clips: Path) -> None:
    shutil.copy(clips / "city-6.mp4", root / "new.part")
    (root / "new.part").rename(root / VIDEO)


@pytest.mark.fault("M17", "L6")
@under_strace
@both_ways
@pytest.mark.parametrize("change", [appends, rewrites, replaces])
def test_what_changes_at_the_last_moment_is_decided_anew(fresh, clips, tmp_path, change, way):
    category = "sea" if change is appends else "city"
    call = "linkat" if way else "renameat2"
    nth = first_of_the_move(call, fresh, clips, tmp_path, way)
    home = fresh()
    drop(home, clips)
    with before_it_moves(home, *way, call=call, nth=nth):
        change(home.root, clips)
        before = census(home.root)
    assert home.once().returncode == 0
    assert census(home.root) == before
    assert home.told("left", path=VIDEO, reason="move_refused", category="sea")
    assert [home.places(name) for name in GROUP] == [[f"{category}/{name}"] for name in GROUP]
    assert [line["category"] for line in home.told("moved", path=VIDEO)] == [category]
    assert states(home) == ["abandoned", "done"]
    assert home.told("labelled") == []


@pytest.mark.fault("M17")
def test_what_is_being_written_is_not_moved_until_it_is_done(fresh, clips):
    home = fresh(watch={"rescan_seconds": 1})
    home.start()
    shutil.copy(clips / VIDEO, home.root)
    with racing(lambda: appends(home.root, clips), pause=0.1):
        time.sleep(3)
        assert home.places(VIDEO) == [VIDEO]
        assert home.told("moved") == []
    with home.nothing_lost():
        home.await_told("moved", path=VIDEO, to=f"sea/{VIDEO}")


@pytest.mark.fault("M7")
@under_strace
@both_ways
@pytest.mark.parametrize("taken", GROUP)
def test_a_name_that_the_owner_takes_at_the_last_moment_is_the_owners(fresh, clips, tmp_path, taken, way):
    call = "linkat" if way else "renameat2"
    nth = first_of_the_move(call, fresh, clips, tmp_path, way)
    home = fresh()
    drop(home, clips)
    theirs = home.root / "sea" / taken
    with before_it_moves(home, *way, call=call, nth=nth):
        shutil.copy(clips / "sea-7.mp4", theirs)
        before = census(home.root)
    assert census(home.root) == before
    assert theirs.read_bytes() == (clips / "sea-7.mp4").read_bytes()
    assert home.places("sea-6 (2).*") == ["sea/sea-6 (2).en.srt", "sea/sea-6 (2).info.json", "sea/sea-6 (2).mp4"]
    assert [line["to"] for line in home.told("moved")] == ["sea/sea-6 (2).mp4"]
    assert home.told("left") == []
    assert states(home) == ["abandoned", "done"]


SWAPS = 1000
SPARES = [f"{family}-{number}.mp4" for family in FAMILIES for number in range(TAUGHT, TAUGHT + SPARE)]


@pytest.mark.fault("M22")
def test_categories_swapped_for_links_while_videos_are_moved_let_nothing_out(fresh, clips, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    swaps = refused = 0

    def swap() -> None:
        nonlocal swaps
        for family in FAMILIES:
            folder, aside = home.root / family, home.root / f".{family}"
            folder.rename(aside)
            folder.symlink_to(outside)
            time.sleep(0.001)
            folder.unlink()
            aside.rename(folder)
            swaps += 1

    while swaps < SWAPS or not refused:
        home = fresh()
        for spare in SPARES:
            shutil.copy(clips / spare, home.root)
        with home.nothing_lost():
            with ThreadPoolExecutor() as pool:
                one_pass = pool.submit(home.once)
                while not home.told("moved"):  # only now, or they are no categories when they are looked at
                    assert one_pass.running()
                    time.sleep(0.01)
                with racing(swap):
                    assert one_pass.result().returncode == 0
            assert list(outside.iterdir()) == []
            refused += len(home.told("left", reason="move_refused"))
            assert home.once().returncode == 0
        assert [home.places(spare) for spare in SPARES] == [[f"{spare[:-6]}/{spare}"] for spare in SPARES]
        assert home.ask("status")["open_moves"] == 0
        assert home.told("labelled") == []


# Whose move it was


@pytest.mark.fault("L1")
@pytest.mark.parametrize(
    "watch", [{"mode": "events"}, {"mode": "polling", "poll_seconds": 0.5}], ids=["events", "polling"]
)
def test_own_moves_are_no_labels_to_the_watcher_nor_to_rescans_nor_after_a_restart(fresh, clips, watch):
    home = fresh(watch={**watch, "rescan_seconds": 1.0})
    home.start()
    drop(home, clips)
    shutil.copy(clips / "city-6.mp4", home.root)
    with home.nothing_lost():
        for video in (VIDEO, "city-6.mp4"):
            home.await_told("moved", path=video)
        for _ in range(2):
            time.sleep(3)
            assert home.stop() == 0
            home.start()
            home.until(lambda: home.ask("status")["state"] == "idle")
    was_filed_once(home)
    assert home.told("retrain_due") == []
    assert home.ask("status")["videos"]["placed"] == 2
