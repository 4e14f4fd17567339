"""What every test of the fault matrix starts from."""

from __future__ import annotations

import fnmatch
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from sortd.cli.demo_clips import FAMILIES, make_clip
from tests.faults.kit import census, doing
from tests.stories.service import SORTD, Service
from tests.waiting import PATIENCE_SECONDS

TAUGHT = 6
"""Clips of each family that the owner filed: with probation off, the next one is filed by itself."""

SPARE = 4
"""Further clips of each family, to drop."""


class Library(Service):
    """A library that may be put back to how it was, and whose files are counted."""

    def once(self, *through: str, timeout: float = PATIENCE_SECONDS) -> subprocess.CompletedProcess[str]:
        """One pass; `through` are words that run what follows them."""
        command = [*through, *SORTD, "run", "--once", "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)

    def end(self) -> None:
        """Leave nothing behind: what runs a service may end without it."""
        if self.runs():
            below = self.children()
            super().end()
            for process in below:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def child(self, words: str) -> int:
        """The first of its processes whose command line holds these words, as soon as there is one."""
        return self.until(lambda: doing(words, self.children()))[0]

    @contextmanager
    def nothing_lost(self) -> Iterator[None]:
        """The same contents stand below the root before and after, each as often; no part of a copy stays."""
        before = census(self.root)
        yield
        assert census(self.root) == before

    def places(self, name: str) -> list[str]:
        """Where files of this name (a pattern) stand, below the root; folders that come and go are passed over."""
        found = [Path(folder, file) for folder, _, files in os.walk(self.root) for file in fnmatch.filter(files, name)]
        return sorted(str(path.relative_to(self.root)) for path in found)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Short clips, named FAMILY-NUMBER.mp4, TAUGHT + SPARE of each family."""
    folder = tmp_path_factory.mktemp("clips")
    for family, number in product(FAMILIES, range(TAUGHT + SPARE)):
        make_clip(folder / f"{family}-{number}.mp4", family, number, seconds=0.5)
    return folder


@pytest.fixture(scope="session")
def learned(clips, tmp_path_factory) -> Path:
    """A folder with a library and a state that learned each family; every spare clip's features are known already.

    A test gets it back at the very path it was made at, for the state knows its root by its path.
    """
    folder = tmp_path_factory.mktemp("learned")
    library = Library(folder / "home", move={"probation": []})
    for family, number in product(FAMILIES, range(TAUGHT)):
        (library.root / family).mkdir(exist_ok=True)
        shutil.copy(clips / f"{family}-{number}.mp4", library.root / family)
    for family, number in product(FAMILIES, range(TAUGHT, TAUGHT + SPARE)):
        shutil.copy(clips / f"{family}-{number}.mp4", library.root)
    library.configure("config.toml", move={"mode": "observe", "probation": []})
    done = library.once()
    assert done.returncode == 0, done.stderr
    assert len(library.told("left", reason="observe_mode")) == len(FAMILIES) * SPARE, library.lines
    for path in library.root.glob("*.mp4"):
        path.unlink()
    library.log.unlink()
    (folder / "home").rename(folder / "as it was")
    return folder


@pytest.fixture
def fresh(learned) -> Iterator[Callable[..., Library]]:
    """Gives the library that learned, as it was, at every call anew; settings may differ."""
    made: list[Library] = []

    def give(**settings: Mapping[str, Any]) -> Library:
        end()
        subprocess.run(["cp", "-a", str(learned / "as it was"), str(learned / "home")], check=True)
        settings["move"] = {"probation": [], **settings.get("move", {})}
        made.append(Library(learned / "home", **settings))
        return made[-1]

    def end() -> None:
        if made:
            made.pop().end()
        shutil.rmtree(learned / "home", ignore_errors=True)

    yield give
    end()


@pytest.fixture
def home(tmp_path) -> Iterator[Library]:
    """An empty library, gone when the test is."""
    library = Library(tmp_path, move={"probation": []})
    yield library
    library.end()
