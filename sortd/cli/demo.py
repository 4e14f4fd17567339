"""`sortd demo`: a real service on a small library of made-up clips, and an owner who files some of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sortd.cli.demo_clips import AMBIGUOUS, FAMILIES, make_clip
from sortd.cli.export_folder import refuse_library
from sortd.config.python_interpreter import ANYWHERE, ISOLATED
from sortd.domain.errors import SortdError

TAUGHT = 8
"""Clips of each family that the owner files."""

DROPPED = 2
"""Clips of each family that sortd is to file."""

PATIENCE_SECONDS = 60.0

SETTINGS = """\
[library]
root = "{root}"
[watch]
settle_seconds = 0.4
[extract]
idle_seconds = 5
[train]
quiet_seconds = 1
[state]
dir = "{state}"
"""


TOLD = {
    "ready": ("watcher", "encoder"),
    "trained": ("kind", "labels", "accuracy"),
    "moved": ("path", "to", "confidence"),
    "left": ("path", "reason"),
    "withdrawn": ("path", "category"),
}
"""What is shown of each line of the log."""


class NothingHappened(SortdError):
    """The service ended, or did not do in time what the demonstration waits for."""


def show(folder: Path | None, *, console: Console | None = None) -> None:
    """Play it all in `folder` (a new one; None: a temporary one that is gone afterwards)."""
    console = console or Console(highlight=False, soft_wrap=True)
    if folder is not None:
        refuse_library(folder.absolute())
        if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise SortdError(f"{folder} is not empty; the demonstration wants a folder of its own")
        _Play(folder.absolute(), console).perform()
        console.print(f"\nIt all stays in {escape(str(folder))}: videos, state and log.")
        return
    with tempfile.TemporaryDirectory(prefix="sortd-demo-") as temporary:
        _Play(Path(temporary), console).perform()


class _Play:
    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._root = folder / "videos"
        self._log = folder / "sortd.log"
        self._console = console
        self._read = 0
        self._events: list[dict[str, Any]] = []

    def perform(self) -> None:
        began = time.monotonic()
        self._root.mkdir(parents=True)
        with self._service():
            self._hear("ready")
            self._act_filing()
            self._act_sorting()
            self._act_taking_back()
        self._console.print(f"\n[bold]That was all, in {time.monotonic() - began:.0f} seconds.[/]")

    def _act_filing(self) -> None:
        clips = [(family, number) for number in range(TAUGHT) for family in FAMILIES]
        self._say(f"drop {len(clips)} clips into {self._root.name}/ ...")
        for family, number in clips:
            self._drop(family, number)
        self._await("found", len(clips))
        self._say(f"... and file them by hand into {', '.join(f'{family}/' for family in FAMILIES)}")
        for family, number in clips:
            (self._root / family).mkdir(exist_ok=True)
            name = f"{family}-{number}.mp4"
            (self._root / name).rename(self._root / family / name)
        self._await("labelled", len(clips))
        self._console.print("        (it looks at and listens to each of them once)", style="dim")
        (trained,) = self._await("trained", 1, where=lambda line: line["labels"] == len(clips))
        self._tell(trained)

    def _act_sorting(self) -> None:
        fresh = [(family, TAUGHT + number) for number in range(DROPPED) for family in FAMILIES]
        self._say(f"drop {len(fresh)} new clips, and one that is half this and half that")
        for family, number in [*fresh, (AMBIGUOUS, 0)]:
            self._drop(family, number)
        for line in self._await("moved", len(fresh)):
            self._tell(line)
        for line in self._await("left", 1, where=lambda line: line["path"].startswith(AMBIGUOUS)):
            self._tell(line)

    def _act_taking_back(self) -> None:
        moved = next(line for line in self._events if line["event"] == "moved")
        self._say(f"take {moved['to']} back out")
        (self._root / moved["to"]).rename(self._root / moved["path"])
        for line in self._await("withdrawn", 1):
            self._tell(line)
        for line in self._await("left", 1, where=lambda line: line["reason"] == "vetoed"):
            self._tell(line)

    @contextmanager
    def _service(self) -> Iterator[None]:
        settings = self._folder / "config.toml"
        paths = {"root": self._root, "state": self._folder / "state"}
        settings.write_text(SETTINGS.format(**{name: _quoted(path) for name, path in paths.items()}))
        command = [sys.executable, *ISOLATED, "-m", "sortd", "run", "--config", str(settings)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                command, cwd=ANYWHERE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def _drop(self, family: str, number: int) -> None:
        """Make a clip elsewhere and move it in, as a download that is finished."""
        unfinished = self._folder / "clip.mp4"
        make_clip(unfinished, family, number)
        shutil.move(unfinished, self._root / f"{family}-{number}.mp4")

    def _hear(self, event: str) -> None:
        (line,) = self._await(event, 1)
        self._tell(line)

    def _await(
        self, event: str, count: int, *, where: Callable[[Mapping[str, Any]], bool] = lambda _: True
    ) -> list[dict[str, Any]]:
        """Return so many lines of the log, as soon as they are there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            ended = self._process.poll() is not None
            self._listen()
            heard = [line for line in self._events if line["event"] == event and where(line)]
            if len(heard) >= count:
                return heard[-count:]
            if ended or time.monotonic() > deadline:
                last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
                wrong = "the service ended" if ended else f"waited in vain for {count} x {event}"
                raise NothingHappened(f"{wrong}; the last it said: {last or 'nothing'}")
            time.sleep(0.05)

    def _listen(self) -> None:
        lines = self._log.read_bytes().split(b"\n")[:-1]
        self._events += [json.loads(line) for line in lines[self._read :] if line.startswith(b"{")]
        self._read = len(lines)

    def _say(self, text: str) -> None:
        self._console.print(f"\n[bold cyan]you[/]     {escape(text)}")

    def _tell(self, line: Mapping[str, Any]) -> None:
        told = TOLD[line["event"]]
        shown = {key: f"{line[key]:.2f}" if isinstance(line[key], float) else str(line[key]) for key in told}
        facts = "  ".join(f"[dim]{key}[/] {escape(value)}" for key, value in shown.items())
        self._console.print(f"[bold green]sortd[/]   {line['event']:<10} {facts}")


def _quoted(path: Path) -> str:
    """Give a path as a basic string of TOML."""
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
