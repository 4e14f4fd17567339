"""A real `sortd run`, for the stories that only real processes, clocks and signals can tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.waiting import PATIENCE_SECONDS

SORTD = (sys.executable, "-P", "-m", "sortd")

QUICK = {
    "watch": {"settle_seconds": 0.3, "rescan_seconds": 3600.0},
    "train": {"quiet_seconds": 0.5, "cron": "", "candidates": ["knn", "logreg"]},
    "log": {"format": "json"},
}
"""Settings for those who cannot wait; what an event should tell is not found by a rescan, however long it takes."""

T = TypeVar("T")
Line = Mapping[str, Any]


class Service:
    """A library in `folder`/videos with its settings; `start` serves it, `lines` is all that was ever logged."""

    def __init__(self, folder: Path, **settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.root = folder / "videos"
        self.state = folder / "state"
        self.log = folder / "sortd.log"
        self.root.mkdir(parents=True, exist_ok=True)
        self.config = self.configure("config.toml", **settings)
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, name: str, **settings: Mapping[str, Any]) -> Path:
        """Write settings into a file: the quick ones, but for what is given."""
        here = {"library": {"root": str(self.root)}, "state": {"dir": str(self.state)}, "log": {"file": str(self.log)}}
        tables: dict[str, dict[str, Any]] = {}
        for table, keys in [*QUICK.items(), *here.items(), *settings.items()]:
            tables.setdefault(table, {}).update(keys)
        lines = [
            f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for table, keys in tables.items()
        ]
        path = self.folder / name
        path.write_text("\n".join(lines))
        return path

    # Its process

    def start(self) -> Self:
        """Serve, and wait until it is ready."""
        already = len(self.told("ready"))
        self.launch()
        self.await_told("ready", already + 1)
        return self

    def launch(self, *through: str) -> None:
        """Serve; `through` is a command that runs what follows it."""
        with (self.folder / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                [*through, *SORTD, "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self.process.kill()
        self.process.wait()

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Leave nothing behind, whatever became of the story."""
        if self.runs():
            self.kill()

    def children(self) -> list[int]:
        """Its processes' numbers, those of its children's children too."""
        return list(_below(self.process.pid))

    def cpu_seconds(self) -> float:
        """What the service itself used so far, without its children."""
        return cpu_seconds(self.process.pid)

    def resident(self) -> int:
        """Bytes of memory that the service itself takes now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    # What it says

    @property
    def lines(self) -> list[Line]:
        files = [file for file in (self.log.with_suffix(".log.1"), self.log) if file.exists()]
        return [json.loads(line) for file in files for line in file.read_bytes().split(b"\n")[:-1]]

    def told(self, event: str, **facts: Any) -> list[Line]:
        """The lines of one event of which these facts are true."""
        return [line for line in self.lines if line["event"] == event and facts.items() <= line.items()]

    def await_told(self, event: str, count: int = 1, **facts: Any) -> list[Line]:
        """So many such lines, as soon as they are there."""
        return self.until(lambda: found if len(found := self.told(event, **facts)) >= count else [])

    def until(self, look: Callable[[], T], *, seconds: float = PATIENCE_SECONDS) -> T:
        """Wait for what is true, while the service lives."""
        deadline = time.monotonic() + seconds
        while not (seen := look()):
            told = f"in vain, after: {self.lines[-20:]}"
            assert self.runs(), told
            assert time.monotonic() < deadline, told
            time.sleep(0.02)
        return seen

    # What the owner asks

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Any command on this library."""
        line = [*SORTD, *command, "--config", str(self.config)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)

    def ask(self, *command: str) -> Any:
        """What a command that succeeds prints as JSON."""
        done = self.run(*command, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def cpu_seconds(process: int) -> float:
    """What a process used so far, without its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _below(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[1]) == parent:
            yield int(stat.parent.name)
            yield from _below(int(stat.parent.name))
