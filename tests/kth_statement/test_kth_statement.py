"""The index fails, or the process is killed, at the k-th statement of each message, for every k.

Nothing stays under way for ever, every unsorted video ends moved or left with a reason, and no label, veto, placement
or move is lost, doubled or invented: in the end all is as in the same story without a fault. A sample of all k runs
with every change, all of them with the whole fault matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.kth_statement.driver import SHORT, Loop, outcome
from tests.kth_statement.runs import Lives
from tests.kth_statement.stories import STORIES

EVERY = 24
"""One in so many statements is in the sample, others for each message."""


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    return Lives(tmp_path_factory.mktemp("lives"))


@pytest.mark.parametrize("name", STORIES)
def test_the_index_fails_at_some_statements(lives, name):
    statements, _ = lives.without_fault(name)
    survive(lives, name, sample(range(1, len(statements) + 1), EVERY, name), lives.with_fault)


@pytest.mark.parametrize("name", STORIES)
def test_the_process_is_killed_at_some_statements(lives, name):
    survive(lives, name, sample(lives.moments(name), EVERY // 2, name), lives.with_kill)


@pytest.mark.full
@pytest.mark.fault("G3", "G11")
@pytest.mark.parametrize("name", STORIES)
def test_the_index_fails_at_every_statement(lives, name):
    statements, _ = lives.without_fault(name)
    survive(lives, name, range(1, len(statements) + 1), lives.with_fault)


@pytest.mark.full
@pytest.mark.fault("G3", "G14")
@pytest.mark.parametrize("name", STORIES)
def test_the_process_is_killed_at_every_statement(lives, name):
    survive(lives, name, lives.moments(name), lives.with_kill)


@pytest.mark.fault("G14")
def test_three_kills_of_the_service_are_no_fault_of_the_video(lives):
    assert "new.mp4" in lives.with_kills_while_extracting(3)["tree"]["cats"]


@pytest.mark.fault("G13")
def test_a_command_without_a_service_counts_each_label_change_once(tmp_path):
    home = Loop(tmp_path)
    home.put({"cats": {"0.mp4": b"cats 0"}, "1.mp4": b"cats 1"})
    home.go_on(SHORT)
    before = label_changes(home)
    (home.root / "1.mp4").rename(home.root / "cats" / "1.mp4")
    home.by_hand({"do": "pause"})
    after = label_changes(home)
    home.kill()
    assert after == before + 1


def label_changes(home: Loop) -> int:
    return int(dict(outcome(home)["notes"]).get("label_changes", 0))


def sample(of: Sequence[int], every: int, name: str) -> Sequence[int]:
    return of[len(name) % min(every, len(of)) :: every]


def survive(
    lives: Lives, name: str, statements: Sequence[int], strike: Callable[[str, int], Mapping[str, Any]]
) -> None:
    """Tell the story with each of these faults, and let it come to the same as without."""
    without, expected = lives.without_fault(name)
    seen = {}
    for k in statements:
        try:
            difference = differences(expected, strike(name, k))
        except AssertionError as problem:
            difference = f"{type(problem).__name__}: {problem}"
        if difference:
            seen[k] = difference
    told = "\n".join(f"  {k}: {why}" for k, why in seen.items())
    assert not seen, f"{name}, struck at these of {len(without)} statements:\n{told}"


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What is not as it should be, in one line; empty where all is."""
    lines = []
    for key, wanted in expected.items():
        have = found[key]
        if have == wanted:
            continue
        before, after = (list(one.items()) if isinstance(one, dict) else list(one) for one in (wanted, have))
        lost, invented = [x for x in before if x not in after], [x for x in after if x not in before]
        lines.append(f"{key}: lost {lost}, invented {invented}")
    return "; ".join(lines)
