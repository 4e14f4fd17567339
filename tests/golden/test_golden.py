"""What the outside sees, word by word: scripts, the owner's decision log and older commands rely on it.

`SORTD_GOLDEN=write .venv/bin/python -m pytest tests/golden` writes the golden files anew; look at what changed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.golden.story import COMMANDS, said

FILES = Path(__file__).parent / "files"
NAMES = ("log.jsonl", "decisions.jsonl", "socket.txt", *(f"{name}.json" for name in COMMANDS))
WRITE = os.environ.get("SORTD_GOLDEN") == "write"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    files = said(tmp_path_factory.mktemp("golden"))
    if WRITE:
        FILES.mkdir(exist_ok=True)
        for old in FILES.iterdir():
            old.unlink()
        for name, text in files.items():
            (FILES / name).write_text(text, "utf-8")
    return files


@pytest.mark.parametrize("name", NAMES)
def test_nothing_changed_that_the_outside_sees(told, name):
    assert told[name] == (FILES / name).read_text("utf-8")


def test_there_are_no_other_golden_files(told):
    assert sorted(told) == sorted(path.name for path in FILES.iterdir())
