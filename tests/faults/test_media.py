"""Odd and hostile files: what they give, what they cost, and what they may touch. Rows D1 to D9 of the fault matrix."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable

import pytest

from tests.faults.kit import memory_of, tracing, under_strace
from tests.faults.media import CASES, Case, made

BUILT_IN = {"extract": {"encoder": "builtin", "timeout_seconds": 30}, "move": {"mode": "observe"}}
GIGABYTE = 1 << 30

A_FEW = {
    "the-cover-first.mp4",
    "broken-sound.mp4",
    "a-hundred-days.mkv",
    "empty.mp4",
    "page.mp4",
    "script.mp4",
    "no-index.mp4",
    "canvas.gif",
    "lying-tables.mp4",
}


def outcome(home, name: str) -> str:
    """What became of a file: "ok", its reason, or nothing yet."""
    if home.told("extracted", path=name):
        return "ok"
    return "".join(line["reason"] for line in home.told("set_aside", path=name))


def arrive(home, cases: Iterable[Case], folder) -> None:
    """Make the files outside, then move them in, each whole."""
    for name in made(folder, cases):
        shutil.move(folder / name, home.root / name)


def judge(home, cases: Iterable[Case]) -> None:
    """Each gives what it should, once."""
    told = {one.name: outcome(home, one.name) for one in cases}
    assert {one.name: told[one.name] for one in cases if told[one.name] not in one.outcome} == {}
    aside = {one["path"]: (one["reason"], one["attempts"]) for one in home.ask("status")["set_aside"]}
    assert aside == {name: (word, 1) for name, word in told.items() if word != "ok"}
    assert home.ask("status")["videos"]["pending"] == 0


@pytest.mark.fault("D1", "D2", "D3", sample=True)
def test_a_hostile_file_costs_one_try_and_gives_one_reason(home, tmp_path):
    cases = [one for one in CASES if one.name in A_FEW]
    home.configure("config.toml", **BUILT_IN)
    arrive(home, cases, tmp_path / "making")
    with home.nothing_lost():
        home.start()
        home.until(lambda: all(outcome(home, one.name) for one in cases))
        judge(home, cases)


@pytest.mark.fault("D1", "D2", "D3", "D4")
def test_of_a_hundred_odd_and_hostile_files_each_gives_what_it_should_within_its_bounds(home, tmp_path):
    home.configure("config.toml", **BUILT_IN)
    arrive(home, CASES, tmp_path / "making")
    with home.nothing_lost(), memory_of(lambda: [home.process.pid, *home.children()] if home.runs() else []) as memory:
        home.start()
        home.until(lambda: all(outcome(home, one.name) for one in CASES), seconds=180)
        judge(home, CASES)
        length = home.log.stat().st_size
        assert home.stop() == 0
        assert home.once().returncode == 0  # nothing is tried again, nothing told twice
        assert not [name for name in (one.name for one in CASES) if len(home.told("extracted", path=name)) > 1]
        assert not [name for name in (one.name for one in CASES) if len(home.told("set_aside", path=name)) > 1]
    assert max(memory.values()) < GIGABYTE
    assert length < 1_000 * len(CASES)


@pytest.mark.fault("D4")
@under_strace
def test_a_play_list_in_disguise_opens_no_other_file_and_no_connection(home, tmp_path):
    home.configure("config.toml", **BUILT_IN)
    lists = [one for one in CASES if one.outcome == ("not_a_video",)]
    disguised = [*lists, *(one for one in CASES if one.name in {"other-files-track.mov", "clip.mp4"})]
    arrive(home, disguised, tmp_path / "making")
    with home.nothing_lost():
        assert home.once(*tracing("openat,open,connect,bind,listen,socket", tmp_path / "calls")).returncode == 0
        judge(home, disguised)
    calls = (tmp_path / "calls").read_text(errors="replace").splitlines()
    decoders = {line.split()[0] for line in calls if '"/dev/fd/' in line}
    assert len(decoders) >= len(disguised)
    own = re.compile(r'openat\(AT_FDCWD, "(/dev/null|/dev/fd/\d+|/proc/self/(statm|oom_score_adj))"')
    begun = [line for line in calls if line.split()[0] in decoders and re.match(r"\d+ +\w+\(", line)]
    assert [line for line in begun if not own.search(line)] == []
