"""A story told once without a fault, and again with one; what differs in the end was lost, doubled or invented."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sortd.domain.messages import RescanDue
from tests.kth_statement.driver import SHORT, Loop, outcome
from tests.kth_statement.stories import STORIES, Story, live_a_while

LATER_SECONDS = 10_000.0
"""From the life that all stories begin with to the story, and from a kill to the next start."""

NEVER = 70
"""The exit status of a process that was to be killed and was not."""


class Lives:
    """The same household for every story, put back to how it was at the very path it was made at."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self._as_it_was = folder / "as it was"
        self._told: dict[str, tuple[list[str], dict[str, Any]]] = {}
        self._home.mkdir()
        home = Loop(self._home)
        live_a_while(home)
        home.kill()
        self._home.rename(self._as_it_was)

    def without_fault(self, name: str) -> tuple[list[str], dict[str, Any]]:
        """The statements that the message takes, and what the story comes to."""
        if name not in self._told:
            with self._begin(STORIES[name]) as home:
                statements = strike(home, STORIES[name])
                assert home.problems == []
                self._told[name] = statements, end(home, STORIES[name])
        return self._told[name]

    def moments(self, name: str) -> list[int]:
        """The statements at which a kill leaves something else than at the one before.

        Reading changes nothing, and of a transaction that is cut short nothing stays but what was done to files.
        """
        statements, _ = self.without_fault(name)
        ends = {len(statements)}
        inside = False
        for k, sql in enumerate(statements, 1):
            word = sql.split(None, 1)[0]
            if word in {"BEGIN", "COMMIT", "ROLLBACK"} or not (inside or word == "SELECT"):
                ends.add(k)
            inside = word == "BEGIN" or (inside and word not in {"COMMIT", "ROLLBACK"})
        return sorted(ends)

    def with_fault(self, name: str, k: int) -> dict[str, Any]:
        """What the story comes to when statement number `k` fails."""
        with self._begin(STORIES[name]) as home:
            strike(home, STORIES[name], at=k)
            return end(home, STORIES[name])

    def with_kill(self, name: str, k: int) -> dict[str, Any]:
        """What the story comes to when the process is killed at statement number `k`, and sortd started again."""
        story = STORIES[name]
        self._restore()
        self._die(LATER_SECONDS, story.circumstances, lambda home: strike(home, story, at=k, kill=True))
        with self._open(2 * LATER_SECONDS, **{**story.circumstances, **story.next_start}) as home:
            home.tell(None)
            command = story.request or story.again
            if command is not None:
                home.tell(home.request(command(home)))  # whoever waits for an answer in vain asks again
            return end(home, story)

    def with_kills_while_extracting(self, times: int) -> dict[str, Any]:
        """What becomes of a new video when the process is killed so often while it is sent for extraction."""
        self._restore()
        (self._home / "videos" / "new.mp4").write_bytes(b"cats 104")

        def die(home: Loop) -> None:
            home.tell(RescanDue("the start"))
            home.until_ordered()
            os.kill(os.getpid(), signal.SIGKILL)

        for number in range(times):
            self._die((number + 1) * LATER_SECONDS, {}, die)
        with self._open((times + 1) * LATER_SECONDS) as home:
            home.tell(RescanDue("the start"))
            return end(home, Story())

    def _die(self, after: float, circumstances: Mapping[str, Any], act: Callable[[Loop], object]) -> None:
        """Do this in a process of its own that is killed by it."""
        child = os.fork()
        if child == 0:
            try:
                act(Loop(self._home, started_after=after, **circumstances))
            finally:
                os._exit(NEVER)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"it ended with {os.waitstatus_to_exitcode(status)}"
        assert os.WTERMSIG(status) == signal.SIGKILL

    @contextmanager
    def _begin(self, story: Story) -> Iterator[Loop]:
        self._restore()
        with self._open(LATER_SECONDS, **story.circumstances) as home:
            yield home

    @contextmanager
    def _open(self, after: float, **circumstances: Any) -> Iterator[Loop]:
        home = Loop(self._home, started_after=after, **circumstances)
        try:
            yield home
        finally:
            home.kill()

    def _restore(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        shutil.copytree(self._as_it_was, self._home)
        root = self._home / "videos"
        with closing(sqlite3.connect(self._home / "state" / "index.db")) as index:
            # The copies are known as what they are copies of; to look at all of them again would only cost time.
            for (path,) in index.execute("SELECT path FROM files").fetchall():
                seen = (root / os.fsdecode(path)).stat()
                values = (seen.st_ino, seen.st_ctime_ns, seen.st_dev, path)
                index.execute("UPDATE files SET (inode, ctime_ns, device) = (?, ?, ?) WHERE path = ?", values)
            for (name,) in index.execute("SELECT name FROM categories").fetchall():
                seen = (root / os.fsdecode(name)).stat()
                values = (seen.st_ino, seen.st_dev, name)
                index.execute("UPDATE categories SET (inode, device) = (?, ?) WHERE name = ?", values)
            index.commit()


def strike(home: Loop, story: Story, *, at: int = 0, kill: bool = False) -> list[str]:
    """Handle what is on its way and the step that follows, with the fault; the statements that this took."""
    home.go_on(2)
    messages = story.messages(home)
    with home.count_statements(at=at, kill=kill) as statements:
        for message in [*messages, None]:
            if callable(message):
                message()
            else:
                home.tell(message)
    return statements.begun


def end(home: Loop, story: Story) -> dict[str, Any]:
    """What it comes to when nothing fails any more; a video that comes later is treated like any other."""
    home.ask_again()
    home.go_on()
    home.put({"later.mp4": b"cats 105"})
    home.go_on(SHORT)
    assert all(answers for _, answers in home.asked), "a command was never answered"
    assert home.idle(), "something stays under way for ever"
    found = outcome(home)
    found["notes"] = [(key, value) for key, value in found["notes"] if key not in story.not_compared]
    return found
