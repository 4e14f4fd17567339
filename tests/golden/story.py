"""One small life of a library, always the same, and all that sortd says of it: the golden files are made from this.

What the code's insides are called stands here and in `tests/stories/conftest.py` alone.
"""

from __future__ import annotations

import io
import json
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import entry_points
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from sortd.config import logging_setup
from sortd.daemon.control_socket import listen
from sortd.domain.feature import Fault
from sortd.domain.messages import Message
from tests.fakes import Clock
from tests.stories.conftest import Household, taught

HIDDEN = {
    "at": "TIME",
    "device": "DEVICE",
    "first_adopted_at": "TIME",
    "first_seen": "TIME",
    "inode": "INODE",
    "seconds": "SECONDS",
    "trained_at": "TIME",
}
"""Keys whose values are this machine's, or this hour's."""


class GoldenHousehold(Household):
    """What it tells goes through sortd's own log, and commands come over its own socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        logging_setup.configure(format="json", level="info", file=folder / "sortd.log", stream=io.StringIO())
        self.requests = SimpleQueue[Message]()
        self.spoken: list[str] = []
        super().__init__(folder, log={"format": "json"})

    def write(self, event: str, **facts: Any) -> None:
        super().write(event, **facts)
        logging_setup.get().info(event, **facts)

    def say(self, line: str) -> None:
        """Send a line to the socket, and keep it with the line that comes back."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.config.state.dir / "control.sock"))
            client.sendall(line.encode() + b"\n")
            while not select.select([client], [], [], 0.01)[0]:
                try:
                    self.tell(self.requests.get_nowait())
                except Empty:
                    continue
            answer = b""
            while not answer.endswith(b"\n"):
                answer += client.recv(1 << 16)
        self.spoken += [f"> {line}", f"< {answer.decode('ascii').rstrip()}"]
        self.settle()

    def request(self, **request: Any) -> None:
        self.say(json.dumps(request))

    def clip(self, path: str) -> str:
        sighting = self.store.videos.known(self.path(path))
        assert sighting is not None
        return sighting.fingerprint


def live(home: GoldenHousehold) -> None:
    """All kinds of videos, deeds of the owner and commands, in one order."""
    home.files({**taught(10)})
    home.files({"first.mp4": b"cats 100", "first.srt": b"miaow"})
    home.files({"second.mp4": b"dogs 101"})
    home.files({"third.mp4": b"sea 102"})
    home.files({"stranger.mp4": b"weddings 1"})
    home.broken[b"broken 1"] = Fault.DAMAGED
    home.files({"broken.mp4": b"broken 1"})
    home.files({"copy of a cat.mp4": b"cats 1"})
    home.files({"nearly.mp4": b"dogs 3 encoded"})
    home.files({"private": {".nosort": b"", "p.mp4": b"sea 107"}})
    with listen(home.guard.state, home.requests):
        home.request(do="status")
        home.request(do="confirm", path="cats/first.mp4")
        home.request(do="confirm", category="dogs")
        home.request(do="undo", path="sea/third.mp4")
        home.request(do="undo", path="sea/third.mp4")
        home.request(do="forget", what="vetoes", path="third.mp4")
        home.request(do="forget", what="labels", path="city/9.mp4")
        home.request(do="pause")
        home.request(do="resume")
        home.request(do="accept", category="parties", videos={"stranger.mp4": home.clip("stranger.mp4")})
        home.request(do="undo", category="parties")
        home.request(do="retry")
        home.request(do="rollback")
        home.request(do="resume", vanished=True)
        for line in ("what", "[]", '{"do": "dance"}', '{"do": "undo", "count": 0}', '{"do": "forget", "path": "a"}'):
            home.say(line)
    home.move("dogs/second.mp4", "city/second.mp4")
    home.files({"fourth.mp4": b"cats 103"})
    home.files({"fifth.mp4": b"cats 104"})
    home.move("cats/fourth.mp4", "fourth.mp4")
    home.move("cats/fifth.mp4", "dogs/fifth.mp4")
    home.move("stranger.mp4", "weddings/stranger.mp4")
    (home.root / "city").rename(home.root / "town")
    home.settle()
    (home.root / "town" / "0.mp4").unlink()
    home.settle()
    home.settle()
    (home.root / "cats" / "0.mp4").write_bytes(b"cats 0 tagged")
    home.settle()
    home.move("cats/2.mp4", "2.mp4")
    home.move("2.mp4", "cats/2.mp4")
    home.files({"sixth.mp4": b"city 105"})
    home.files({"again.mp4": b"cats 106"})
    (home.root / "unseen.mp4").write_bytes(b"cats 107")
    home.kill()


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "status": ("status",),
    "preview": ("preview",),
    "preview-closest": ("preview", "--closest", "3"),
    "history": ("history",),
    "suggest": ("suggest",),
    "evaluate": ("evaluate", "--draws", "1", "--per-category", "6"),
    "evaluate-replay": ("evaluate", "--replay"),
    "check": ("check",),
    "explain-label": ("explain", "cats/1.mp4"),
    "explain-confirmed": ("explain", "cats/first.mp4"),
    "explain-placement": ("explain", "sea/third.mp4"),
    "explain-corrected": ("explain", "dogs/fifth.mp4"),
    "explain-vetoed": ("explain", "fourth.mp4"),
    "explain-left": ("explain", "sixth.mp4"),
    "explain-set-aside": ("explain", "broken.mp4"),
    "explain-copy": ("explain", "copy of a cat.mp4"),
    "explain-hands-off": ("explain", "private/p.mp4"),
    "explain-unseen": ("explain", "unseen.mp4"),
    "confirm": ("confirm", "sea/third.mp4"),
    "forget": ("forget", "--labels", "cats/3.mp4"),
    "undo": ("undo", "sea/third.mp4"),
}
"""Each is asked with --json; no service runs, so the last three do themselves what they ask for."""


def run(arguments: tuple[str, ...]) -> str:
    """What a command prints, and its exit status where it is not 0."""
    (script,) = entry_points(group="console_scripts", name="sortd")
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["sortd", *arguments])
        patch.setattr(time, "time", Clock(1_800_010_000.0))
        try:
            script.load()()
        except SystemExit as ended:
            status = ended.code
    return out.getvalue() + (err.getvalue() + f"exit status {status}\n" if status else "")


def said(folder: Path) -> dict[str, str]:
    """The golden files of the story, by their names."""
    home = GoldenHousehold(folder)
    live(home)
    settings = folder / "config.toml"
    state = home.config.state.dir
    settings.write_text(
        f'[library]\nroot = "{home.root}"\n[state]\ndir = "{state}"\n[train]\ncandidates = ["knn", "logreg"]\n'
    )
    clean = cleaner(folder)
    files = {
        "socket.txt": "".join(clean_line(line, clean) for line in home.spoken),
        "log.jsonl": lines(folder / "sortd.log", "event", clean),
        "decisions.jsonl": lines(home.root / ".sortd" / "decisions.jsonl", "did", clean),
    }
    for name, arguments in COMMANDS.items():
        printed = run((*arguments, "--json", "--config", str(settings), "--root", str(home.root)))
        try:
            files[f"{name}.json"] = json.dumps(clean(json.loads(printed)), indent=2) + "\n"
        except ValueError:
            files[f"{name}.json"] = clean(printed)
    return files


def lines(file: Path, kind: str, clean: Callable[[Any], Any]) -> str:
    """The lines of a log; those of one kind in a row are sorted, for files are found in no certain order."""
    told = [clean(json.loads(line)) for line in file.read_text("ascii").splitlines()]
    text = ""
    for _, row in groupby(told, key=lambda line: line[kind]):
        several = list(row)
        numbers = [line.pop("n", None) for line in several]
        for number, line in zip(numbers, sorted(several, key=json.dumps), strict=True):
            text += json.dumps(line if number is None else {"n": number, **line}) + "\n"
    return text


def clean_line(line: str, clean: Callable[[Any], Any]) -> str:
    mark, rest = (line[:2], line[2:]) if line[:2] in {"> ", "< "} else ("", line)
    try:
        return mark + json.dumps(clean(json.loads(rest))) + "\n"
    except ValueError:
        return line + "\n"


def cleaner(folder: Path) -> Callable[[Any], Any]:
    """Make what puts words in the place of all that another machine, or another hour, would say otherwise."""

    def clean(value: Any, key: str = "") -> Any:
        match value:
            case dict():
                value = {name: "VERSION" if key == "versions" else clean(item, name) for name, item in value.items()}
            case list():
                value = [clean(item, key) for item in value]
            case bool():
                value = "BOOL" if key == "ok" else value
            case int() if key in HIDDEN:
                value = HIDDEN[key]
            case float():
                value = HIDDEN.get(key, "NUMBER")
            case str() if key in {"message", "cure"} and "broken" not in value:
                value = "TEXT"
            case str():
                value = value.replace(str(folder), "HOME")
                value = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", "TIME", value)
        return value

    return clean
