from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import structlog

from sortd.config import logging_setup
from sortd.domain.category import CategoryName
from sortd.domain.decision import Reason
from sortd.domain.errors import ConfigError

NASTY = "two\nlines\r\x1b[31mred\u2028\u202etxt\udcff.mp4"


class Terminal(io.StringIO):
    """Keeps what a terminal would show."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logging.getLogger(logging_setup.NAME).level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.getLogger(logging_setup.NAME).setLevel(ours)
    structlog.reset_defaults()


def to(
    stream: io.StringIO,
    *,
    form: logging_setup.Format = "auto",
    level: logging_setup.Level = "info",
    file: Path | None = None,
) -> None:
    logging_setup.configure(format=form, level=level, file=file, stream=stream)


def said(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_away_from_a_terminal_each_outcome_is_one_json_line() -> None:
    stream = io.StringIO()
    to(stream)
    logging_setup.get().info(
        "moved", path=PurePosixPath("a.mp4"), to=PurePosixPath("cooking/a.mp4"), category="cooking", confidence=0.9
    )
    (line,) = said(stream)
    at = datetime.fromisoformat(line.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert datetime.now(UTC) - at < timedelta(minutes=1)
    assert line == {
        "event": "moved",
        "level": "info",
        "path": "a.mp4",
        "to": "cooking/a.mp4",
        "category": "cooking",
        "confidence": 0.9,
    }


def test_json_begins_with_what_happened_when_and_how_grave() -> None:
    stream = io.StringIO()
    to(stream)
    logging_setup.get().warning("left", path=PurePosixPath("a.mp4"), reason=Reason.CLOSE_CALL)
    assert list(said(stream)[0]) == ["event", "at", "level", "path", "reason"]


def test_json_is_ascii_and_gives_back_the_very_bytes_of_a_name() -> None:
    name = b"caf\xe9 \xf0\x9f\x8e\xac.mp4"
    stream = io.StringIO()
    to(stream)
    logging_setup.get().info("found", path=PurePosixPath(os.fsdecode(name)), raw=name)
    assert stream.getvalue().isascii()
    (line,) = said(stream)
    assert os.fsencode(line["path"]) == os.fsencode(line["raw"]) == name


def test_json_knows_every_value_that_is_logged() -> None:
    stream = io.StringIO()
    to(stream)
    values = {CategoryName("cooking"): [PurePosixPath("a"), {1}, (float("nan"), True, None)]}
    logging_setup.get().info("trained", values=values, error=ValueError("no"))
    (line,) = said(stream)
    assert line["values"] == {"cooking": ["a", [1], ["nan", True, None]]}
    assert line["error"] == "no"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_name_breaks_a_line_or_reaches_the_terminal_raw(
    form: logging_setup.Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    with monkeypatch.context() as alone:
        # pytest would keep the name for its report, which xdist cannot send: it is not UTF-8.
        alone.setattr(logging.getLogger(), "handlers", [])
        to(stream, form=form)
        logging_setup.get().info("found", path=PurePosixPath(NASTY))
        logging.getLogger("watchdog").warning("saw %s", NASTY)
    lines = stream.getvalue().removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert all("[31mred" in line for line in lines)


def test_on_a_terminal_it_speaks_to_people_in_colour() -> None:
    stream = Terminal()
    to(stream)
    logging_setup.get().info("moved", path=PurePosixPath("Ünïcode clip.mp4"))
    text = stream.getvalue()
    assert "moved" in text
    assert "'Ünïcode clip.mp4'" in text
    assert "\x1b[" in text


def test_the_level_says_from_where_on() -> None:
    stream = io.StringIO()
    to(stream, level="warning")
    logging_setup.get().info("found", path="a")
    logging_setup.get().warning("set_aside", path="b")
    assert [line["event"] for line in said(stream)] == ["set_aside"]
    to(stream, level="debug")
    logging_setup.get().debug("settled")
    assert said(stream)[-1]["event"] == "settled"


def test_libraries_speak_the_same_way_from_warnings_up() -> None:
    stream = io.StringIO()
    to(stream, level="debug")
    logging.getLogger("apscheduler.scheduler").info("Scheduler started")
    logging.getLogger("apscheduler.scheduler").warning("Run of job %s was missed", "retrain")
    (line,) = said(stream)
    assert line["event"] == "Run of job retrain was missed"
    assert line["level"] == "warning"
    assert line["logger"] == "apscheduler.scheduler"
    assert set(line) == {"event", "at", "level", "logger"}


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_told_without_the_values_of_variables(form: logging_setup.Format) -> None:
    stream = io.StringIO()
    to(stream, form=form)

    def tear(whisper: str) -> None:
        raise RuntimeError(f"torn \x1b[2J after {len(whisper)} letters")

    try:
        tear("only" + "mine")
    except RuntimeError:
        logging_setup.get().exception("failed")
    text = stream.getvalue()
    assert "RuntimeError: torn" in text
    assert "test_logging_setup.py" in text
    assert "onlymine" not in text
    assert "\x1b" not in text


def test_a_second_start_does_not_say_everything_twice() -> None:
    first, second = io.StringIO(), io.StringIO()
    to(first)
    to(second)
    logging_setup.get().info("ready")
    assert first.getvalue() == ""
    assert len(said(second)) == 1


def test_the_file_gets_the_same_lines_as_json(tmp_path: Path) -> None:
    file = tmp_path / "sortd.log"
    stream = Terminal()
    to(stream, file=file)
    logging_setup.get().info("found", path=PurePosixPath("é.mp4"))
    assert json.loads(file.read_text("ascii"))["path"] == "é.mp4"


def test_the_file_speaks_to_people_where_that_is_asked_for_and_without_colour(tmp_path: Path) -> None:
    file = tmp_path / "sortd.log"
    to(Terminal(), form="console", file=file)
    logging_setup.get().info("found", path=PurePosixPath("é.mp4"))
    assert "path='é.mp4'" in file.read_text("utf-8")


def test_a_rotated_file_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "sortd.log"
    to(io.StringIO(), file=file)
    logging_setup.get().info("found", path="before")
    file.rename(tmp_path / "sortd.log.1")
    logging_setup.get().info("found", path="after")
    assert json.loads(file.read_text())["path"] == "after"
    assert json.loads((tmp_path / "sortd.log.1").read_text())["path"] == "before"


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        to(io.StringIO(), file=tmp_path / "missing" / "sortd.log")


def test_when_the_files_folder_goes_the_service_goes_on_and_so_does_the_file_once_it_is_back(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "sortd.log"
    file.parent.mkdir()
    stream = io.StringIO()
    to(stream, file=file)
    file.parent.rename(tmp_path / "elsewhere")
    logging_setup.get().info("found", path="lost")
    logging_setup.get().info("found", path="lost too")
    file.parent.mkdir()
    logging_setup.get().info("found", path="kept")
    assert [line["path"] for line in said(stream)] == ["lost", "lost too", "kept"]
    assert json.loads(file.read_text())["path"] == "kept"


@pytest.mark.parametrize(
    "outlet",
    [
        "2>/dev/full",  # no space
        "2>&-",  # never there
        "2> >(exec 0<&-)",  # the reader is gone
    ],
)
@pytest.mark.parametrize("file", ["None", "pathlib.Path('/dev/full')"])
def test_without_room_or_reader_for_a_line_the_service_goes_on_and_ends_well(
    outlet: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it would hide that a buffer fails once more at the end
    code = f"""
import pathlib, time
from sortd.config import logging_setup
logging_setup.configure(format="auto", level="info", file={file})
for number in range(300):
    logging_setup.get().info("found", path="x" * 100)
    time.sleep(0.0005)
print("went on")
"""
    shell = f'"$0" -c "$1" {outlet}'
    ended = subprocess.run(
        ["bash", "-c", shell, sys.executable, code], stdout=subprocess.PIPE, stderr=None, text=True, check=False
    )
    assert ended.stdout == "went on\n"
    assert ended.returncode == 0


def test_a_stream_closed_meanwhile_is_no_matter() -> None:
    stream = io.StringIO()
    to(stream)
    stream.close()
    logging_setup.get().info("found", path="a.mp4")
    to(stream)
    logging_setup.get().info("found", path="a.mp4")
