"""A move within a filesystem is killed, refused and raced at every step: rows M1 to M24, L1 and L6 of the matrix."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.conftest import Library
from tests.faults.kit import Call, calls_of_the_mover, failing, killing, together, tracing, under_strace

KILLED = (137, -9)
MOVING = ("renameat2", "linkat", "unlinkat")
CALLS = ",".join((*MOVING, "fsync", "fdatasync", "unlink"))
"""The last three are how SQLite commits."""

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
    """What became of each move, as the journal has it: quicker than a command, of which there would be hundreds."""
    with closing(sqlite3.connect(home.state / "index.db", timeout=30)) as index:
        return [state for (state,) in index.execute("SELECT state FROM moves ORDER BY id")]


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
            assert home.once().returncode == 0, home.lines
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
