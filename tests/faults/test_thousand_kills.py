"""Killed a thousand times in the middle of a busy life. Row P16 of the fault matrix."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from itertools import count, cycle
from pathlib import Path
from random import Random

import pytest

from sortd.cli.demo_clips import FAMILIES
from tests.faults.conftest import SPARE, TAUGHT, Library
from tests.faults.kit import another, census

KILLS = 1000
FILES = 500
FROM_SECONDS, TO_SECONDS = 0.05, 1.5
"""After so long the service is killed: every other time counted from its launch, else from the time it is ready."""

PAUSE_SECONDS = 0.05
"""Between two things that the owner does."""

SEED = 16


class Owner:
    """Drops, files, takes back, renames and puts away, and remembers of each video what they did with it last.

    A video keeps its number in its name, "NUMBER~VERSION.mp4"; every name is a new one, so nothing is overwritten.
    """

    def __init__(self, home: Library, shelf: Path, dice: Random) -> None:
        self.home = home
        self.shelf = shelf
        self._dice = dice
        self._version = count()
        self.filed = {number(path): path.parent.name for path in home.root.rglob("*/*.mp4")}
        """Videos in a category by the owner's hand, and the category."""
        self.dropped: Counter[str] = Counter()
        """How often each was put among the unsorted."""
        self.taken_back: dict[str, str] = {}
        """What the service itself had filed, by its own account, and where; then the owner leaves it alone."""

    def act(self) -> None:
        """Do one of these by chance; what is not there any more was moved by the service, which was quicker."""
        owner_actions = [*[self.drop] * 4, *[self.put_away] * 3, self.file, self.withdraw, self.rename, self.take_back]
        with contextlib.suppress(FileNotFoundError):
            self._dice.choice(owner_actions)()

    def drop(self) -> None:
        if name := self._any(self.shelf):
            self._put(name, self.home.root)

    def put_away(self) -> None:
        name = self._any(self._folder())
        if name and number(name) not in self.filed:
            self._put(name, self.shelf)

    def file(self) -> None:
        if name := self._any(self.home.root):
            self._put(name, self._category())

    def withdraw(self) -> None:
        if name := self._any(self._category()):
            self._put(name, self.home.root)

    def rename(self) -> None:
        folder = self._folder()
        if name := self._any(folder):
            self._put(name, folder)

    def take_back(self) -> None:
        """Take back what the service says that it filed, and never touch it again."""
        moved = [line for line in self.home.told("moved") if number(line["path"]) not in self.taken_back]
        if moved:
            line = self._dice.choice(moved)
            self._put(self.home.root / line["to"], self.home.root)
            self.taken_back[number(line["path"])] = line["category"]

    def _category(self) -> Path:
        return self.home.root / self._dice.choice(list(FAMILIES))

    def _folder(self) -> Path:
        return self._dice.choice([self.home.root, self._category()])

    def _any(self, folder: Path) -> Path | None:
        paths = [path for path in folder.glob("*.mp4") if number(path) not in self.taken_back]
        return self._dice.choice(paths) if paths else None

    def _put(self, path: Path, folder: Path) -> None:
        path.rename(folder / f"{number(path)}~{next(self._version)}.mp4")
        self.filed.pop(number(path), None)
        if folder == self.home.root:
            self.dropped[number(path)] += path.parent != folder
        elif folder != self.shelf:
            self.filed[number(path)] = folder.name


def number(path: Path | str) -> str:
    return Path(path).stem.partition("~")[0]


def asked_of(home: Library, question: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(home.state / "index.db")) as index:
        return [tuple(map(str, row)) for row in index.execute(question)]


def standing(home: Library) -> dict[str, Path]:
    """The folder in which each video stands."""
    return {number(path): path.parent for path in home.root.rglob("*.mp4")}


def live_on(home: Library) -> None:
    """Serve until nothing is left to do, not even what was set aside."""
    home.log.unlink(missing_ok=True)
    home.launch()
    home.await_told("ready")
    assert home.run("check", "--retry").returncode in {0, 1}
    home.until(lambda: home.ask("status")["state"] in {"idle", "paused"}, seconds=1200)
    assert home.stop() == 0


@pytest.fixture
def crowd(fresh, clips):
    """A library that learned, a shelf with hundreds of other videos, and an owner; three of four are known already."""
    home = fresh(watch={"settle_seconds": 0.1}, move={"mode": "observe"})
    for path in list(home.root.rglob("*.mp4")):
        path.rename(path.with_name(f"{path.stem}~.mp4"))
    spare = cycle([clips / f"{family}-{n}.mp4" for n in range(TAUGHT, TAUGHT + SPARE) for family in FAMILIES])
    shelf = home.folder / "shelf"
    shelf.mkdir()
    for n in range(FILES):
        another(next(spare), (shelf if n % 4 == 0 else home.root) / f"{n}~.mp4", n)
    assert home.once(timeout=1200).returncode == 0
    for path in home.root.glob("*.mp4"):
        path.rename(shelf / path.name)
    home.log.unlink()
    # This owner files and takes out at random: whoever learns from that, or promises more, soon moves nothing at all.
    home.configure(
        "config.toml",
        watch={"settle_seconds": 0.1},
        move={"probation": [], "target_precision": 0.51},
        train={"after_labels": 100_000, "cron": ""},
    )
    return Owner(home, shelf, Random(SEED))  # noqa: S311 - no secret hangs on it


@pytest.mark.fault("P16")
@pytest.mark.timeout(3600)
def test_a_thousand_kills_in_a_busy_life_lose_nothing_and_do_nothing_twice(crowd, capsys):
    home, dice = crowd.home, Random(SEED)  # noqa: S311 - likewise
    before = census(home.root, crowd.shelf)
    done, began, told = threading.Event(), time.monotonic(), Counter[str]()

    def live() -> None:
        while not done.wait(PAUSE_SECONDS):
            crowd.act()

    owner = threading.Thread(target=live)
    owner.start()
    try:
        for kill in range(KILLS):
            home.log.unlink(missing_ok=True)
            home.launch()
            if kill % 2:
                home.await_told("ready")
            time.sleep(dice.uniform(FROM_SECONDS, TO_SECONDS))
            assert home.runs(), "it ended by itself"
            home.kill()
            told.update(line["event"] for line in home.lines)
            if kill % 50 == 0:
                assert asked_of(home, "PRAGMA quick_check") == [("ok",)]
    finally:
        done.set()
        owner.join()
    seconds = time.monotonic() - began
    assert told["step_failed"] == 0
    assert told["moved"] > KILLS / 20
    assert len(crowd.taken_back) > KILLS / 200

    # It converges: what was killed three times while it was extracted comes back when the owner says so.
    set_aside = len(home.ask("status")["set_aside"])
    live_on(home)
    stands = standing(home)
    assert {stands[clip] for clip in crowd.taken_back} == {home.root}
    assert home.once(timeout=1200).returncode == 0
    stands = standing(home)
    assert home.once(timeout=1200).returncode == 0
    assert standing(home) == stands
    status = home.ask("status")
    assert (status["open_moves"], status["videos"]["pending"], status["set_aside"]) == (0, 0, [])

    assert census(home.root, crowd.shelf) == before
    assert asked_of(home, "PRAGMA integrity_check") == [("ok",)]
    # One pass learns from this owner's odd labels too, and may know another category then, but never that one.
    assert all(stands[clip].name != category for clip, category in crowd.taken_back.items())
    rows = asked_of(
        home,
        "SELECT CAST(f.path AS TEXT), v.placed_by FROM files f JOIN videos v USING (fingerprint)"
        " WHERE NOT f.gone AND v.home IS NOT NULL",
    )
    placers = {number(path): placer for path, placer in rows if "/" in path}
    owners = {clip for clip, placer in placers.items() if placer == "owner"}
    done_moves = (
        "SELECT CAST(s.source AS TEXT) FROM moves m JOIN move_steps s ON s.move = m.id"
        " WHERE s.n = 0 AND m.state = 'done' AND m.undoes IS NULL"
    )
    moves = Counter(number(source) for (source,) in asked_of(home, done_moves))
    # Of what the service had filed itself, the owner's word may have been lost with a kill; it stays where it is.
    assert set(crowd.filed) - set(moves) <= owners <= set(crowd.filed)
    assert all(stands[clip].name == category for clip, category in crowd.filed.items())
    assert all(times <= crowd.dropped[clip] for clip, times in moves.items())
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what one wants to know
            f"\nP16: {KILLS} kills in {seconds:.0f} s; {sum(before.values())} files before and after;"
            f" {dict(told)}; {len(crowd.taken_back)} taken back, {len(crowd.filed)} filed by the owner,"
            f" {sum(moves.values())} filed by the service, {set_aside} set aside by kills and taken up again"
        )
