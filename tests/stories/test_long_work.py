"""Floods of hints and commands that move thousands of files: the service does some at a time, and answers meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sortd.cli import text_output
from sortd.domain.messages import RequestReceived, RescanDue
from sortd.engine.bulk_moves import AT_ONCE
from tests.stories.conftest import taught

MANY = 3 * AT_ONCE + 1


@pytest.mark.fault("G10")
def test_two_hundred_reasons_for_a_scan_are_one_scan(household):
    home = household(taught(2))
    scans = []
    scan = home.library.scan
    home.library.scan = lambda: scans.append(True) or scan()
    for number in range(200):
        home.engine.handle(RescanDue(f"{number}/.nosort changed"))
    home.wait(seconds=60)
    assert len(scans) == 1


@pytest.mark.fault("G10")
def test_moves_that_are_asked_for_are_made_some_at_a_time_and_other_questions_are_answered_between(household):
    home = household(taught(), move={"probation": []})
    home.files({f"new-{number}.mp4": f"cats {100 + number}".encode() for number in range(MANY)})
    assert len([name for name in home.tree["cats"] if name.startswith("new-")]) == MANY

    undone: list[Mapping[str, Any]] = []
    home.engine.handle(RequestReceived({"do": "undo"}, undone.append))
    left = []
    while not undone:
        home.engine.work(home.monotonic)
        left.append(len([name for name in home.tree["cats"] if name.startswith("new-")]))
        status: list[Mapping[str, Any]] = []
        home.engine.handle(RequestReceived({"do": "status"}, status.append))
        home.engine.work(home.monotonic)
        assert status
    assert all(before - after <= 2 * AT_ONCE for before, after in zip([MANY, *left], left, strict=False))
    assert len(undone[0]["done"]) == MANY
    assert not [name for name in home.tree["cats"] if name.startswith("new-")]


def test_an_answer_that_waited_long_enough_tells_what_is_still_under_way(household, capsys):
    home = household(taught(), move={"probation": []})
    home.files({f"new-{number}.mp4": f"cats {100 + number}".encode() for number in range(MANY)})
    undone: list[Mapping[str, Any]] = []
    home.engine.handle(RequestReceived({"do": "undo"}, undone.append))
    home.engine.work(home.monotonic)
    home.wait(seconds=0)
    home.engine.work(home.monotonic + 61)
    (answer,) = undone
    assert len(answer["done"]) + len(answer["copying"]) == MANY
    assert answer["copying"][0].keys() == {"from"}
    text_output.undone(answer)
    assert f"{len(answer['copying'])} more are being put back" in capsys.readouterr().out
    home.settle()
    assert not [name for name in home.tree["cats"] if name.startswith("new-")]
