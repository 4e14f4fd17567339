"""sortd driven as the service drives it, message by message, with an index that fails or a process that dies.

All that the machine knows of the code's insides is here and in `tests/stories/conftest.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from sortd.disk.move import FileMover
from sortd.domain.errors import Elsewhere
from sortd.domain.feature import Fault, FeatureSpace, SpacePart
from sortd.domain.messages import (
    ExtractionFailed,
    Message,
    RequestReceived,
    RescanDue,
    TaskLost,
    Touched,
    Trained,
)
from sortd.domain.tasks import Task, TrainingPayload
from sortd.workers.copy_worker import copying
from tests.folders import Tree, make, read
from tests.stories.conftest import Household

OTHER = FeatureSpace((SpacePart("visual", "other-1", 64), SpacePart("speech", "other-1", 64)))
"""Another encoder's."""

READING = FeatureSpace((SpacePart("visual", "clip-1", 64), SpacePart("speech", "clip-1", 64)))
"""One whose encoder reads the names of folders."""

ROUND_SECONDS = 70.0
RESCAN_ROUNDS = 4
"""Of simulated time, from one rescan to the next."""

LONG = 10
"""Rounds in which all that waits for a while has its turn."""

SHORT = 4
"""Rounds in which files that were put there are found, extracted, and moved or left."""

MOST = 60
"""Times of trying what should come to an end."""

Act = Callable[[], object]


class Across(FileMover):
    """Its categories lie on another disk."""

    def move(self, plan: Any, **_: Any) -> None:
        raise Elsewhere(f"{plan.steps[0][1]} is on another disk")


class Statements:
    """Counts what a connection executes from here on; statement number `at` fails, or the process is killed there."""

    def __init__(self, connection: sqlite3.Connection, *, at: int = 0, kill: bool = False) -> None:
        self._connection = connection
        self._at = at
        self._kill = kill
        self._fired = False
        self.begun: list[str] = []

    def __enter__(self) -> Self:
        self._connection.set_trace_callback(self._count)
        if self._at == len(self.begun) + 1 and not self._kill:
            self._connection.set_authorizer(self._deny)
        return self

    def follow(self, connection: sqlite3.Connection) -> None:
        """Go on with another connection, that of a service which began anew."""
        self._connection = connection
        self.__enter__()

    def __exit__(self, *_: object) -> None:
        self._connection.set_trace_callback(None)
        self._connection.set_authorizer(None)

    def _count(self, sql: str) -> None:
        self.begun.append(sql)
        if self._kill and len(self.begun) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self._kill and len(self.begun) == self._at - 1:
            # SQLite asks the authorizer anew about every statement that begins after it was set, also those it knows.
            self._connection.set_authorizer(self._deny)

    def _deny(self, *_: object) -> int:
        if self._fired:
            return sqlite3.SQLITE_OK
        self._fired = True
        return sqlite3.SQLITE_DENY


class Loop(Household):
    """Orders wait until `deliver`, and a step that fails is passed over: the service's loop without its threads."""

    trained: dict[str, tuple[list[Message], Mapping[Path, bytes]]] = {}  # noqa: RUF012 - shared by all
    """What came out of each training: the same labels give the same classifier."""

    def __init__(
        self,
        folder: Path,
        *,
        started_after: float = 0.0,
        space: FeatureSpace | None = None,
        far: bool = False,
        useless: bool = False,
        **settings: Any,
    ) -> None:
        """`space`: the wanted one; `far`: categories are on another disk; `useless`: no training is of any use."""
        self.started_after = started_after
        self.wanted = space
        self.far = far
        self.useless = useless
        self.inbox: deque[Message | None] = deque()
        self.orders: list[Task] = []
        self.asked: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = []
        self.problems: list[str] = []
        self.collecting = False
        self.statements: Statements | None = None
        super().__init__(folder, **settings)

    def start(self, *, observe: bool = False) -> None:
        self.clock.now += self.started_after
        self.space = self.wanted or self.space
        super().start(observe=observe)

    def begin(self) -> None:
        # What a killed process wrote is the system's to keep; waiting for the disk would only cost time.
        self.store.database.execute("PRAGMA synchronous = OFF")
        if self.far:
            self.engine.moves._mover = Across(self.root)
        if self.statements is not None:
            self.statements.follow(self.store.database._connection)

    def start_again(self) -> None:
        """The service ends at once, and another one starts."""
        self.kill()
        self.inbox.clear()
        self.orders.clear()
        self.start()

    def by_hand(self, request: Mapping[str, Any]) -> None:
        """A command while no service runs: it does itself what it asks for; a service starts afterwards."""
        self.kill()
        super().start(observe=True)
        given: list[Mapping[str, Any]] = []
        self.asked.append((request, given))
        try:
            self.engine.catch_up()
            given.append(self.engine.answer(request, copy=copying(self.root)))
        except Exception as problem:  # noqa: BLE001 - the command ends with this line
            given.append({"error": str(problem)})
        self.start_again()

    # The loop

    def tell(self, message: Message | None) -> None:
        self.inbox.append(message)
        if not self.collecting:
            self.run()

    def run(self) -> None:
        """Empty the inbox."""
        while self.inbox:
            message = self.inbox.popleft()
            if message is not None:
                self.engine.handle(message)
            self.guarded(self.work)
        self.guarded(lambda: self.engine.wakes_at(self.monotonic))

    def work(self) -> None:
        self.orders += self.engine.work(self.monotonic)

    def guarded(self, act: Act) -> None:
        """Do what the service asks of the engine inside its guard: whatever goes wrong, the service goes on."""
        try:
            act()
        except Exception as problem:  # noqa: BLE001 - as said
            self.problems.append(repr(problem))

    def change_encoder(self, space: FeatureSpace) -> None:
        """What the service does when it notices other weights."""
        self.space = space
        self.engine.want(space)

    def deliver(self) -> None:
        """Let the children carry out what was ordered."""
        orders, self.orders = self.orders, []
        for order in orders:
            self.carry_out(order)

    def answers(self) -> list[Message]:
        """Let the children carry out what was ordered; their answers are on the way."""
        self.collecting = True
        self.deliver()
        self.collecting = False
        messages = list(self.inbox)
        self.inbox.clear()
        return messages

    def extract(self, job: Any) -> Message:
        path = self.root / job.path
        if path.stat().st_mtime_ns != job.identity.mtime_ns:
            return ExtractionFailed(job, None, "it changed meanwhile")
        content = path.read_bytes()
        if content.startswith(b"deadly"):
            return TaskLost((job,), Fault.DECODER_CRASHED, "killed")
        if content.startswith(b"broken"):
            self.broken[content] = Fault.DAMAGED
        return super().extract(job)

    def train(self, payload: TrainingPayload) -> None:
        known = self.trained.get(payload.digest)
        if known is None:
            before = set(self.guard.state.iterdir())
            collecting, self.collecting = self.collecting, True
            told, self.inbox = self.inbox, deque()
            super().train(payload)
            known = list(self.inbox), {file: file.read_bytes() for file in {*self.guard.state.iterdir()} - before}
            self.trained[payload.digest] = known
            self.inbox, self.collecting = told, collecting
        for file, content in known[1].items():
            file.write_bytes(content)
        for message in known[0]:
            useless = self.useless and isinstance(message, Trained)
            self.tell(Trained(message.report, "it is no better than the one before") if useless else message)

    # Time

    def advance(self, seconds: float) -> None:
        """Let time pass unnoticed."""
        self.monotonic += seconds
        self.clock.now += seconds

    def go_on(self, rounds: int = LONG) -> None:
        """Let sortd do all it wants to."""
        for number in range(rounds):
            self.advance(ROUND_SECONDS)
            if number % RESCAN_ROUNDS == 0:
                self.inbox.append(RescanDue("it is time"))
            self.tell(None)
            for _ in range(MOST):
                if not self.orders:
                    break
                self.deliver()
                self.tell(None)

    def until_ordered(self) -> None:
        """Let time pass until something is ordered, and do not carry it out."""
        for _ in range(MOST):
            self.advance(3.0)
            self.tell(None)
            if self.orders:
                return
        raise AssertionError("nothing was ordered")

    # The owner

    def put(self, tree: Tree) -> None:
        """Put these files there; sortd is told of each."""
        make(self.root, tree)
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and ".sortd" not in path.parts:
                self.tell(Touched(path.relative_to(self.root)))

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder; sortd is told of both places."""
        (self.root / target).parent.mkdir(exist_ok=True, parents=True)
        (self.root / source).rename(self.root / target)
        self.tell(Touched(self.path_from(source)))
        self.tell(Touched(self.path_from(target)))

    def remove(self, path: str) -> None:
        (self.root / path).unlink()
        self.tell(Touched(self.path_from(path)))

    def path_from(self, name: str) -> Any:
        return self.path(name)

    def settled(self) -> list[Message]:
        """What was touched has been still for long enough, which the next Tick notices."""
        self.tell(None)
        self.advance(3.0)
        return [None]

    def request(self, request: Mapping[str, Any]) -> Message:
        """A command of the owner's on its way."""
        given: list[Mapping[str, Any]] = []
        self.asked.append((request, given))
        return RequestReceived(request, given.append)

    def ask_again(self) -> None:
        """Repeat each command that was refused, as an owner would."""
        self.statements = None
        for request, given in list(self.asked):
            if given and "error" in given[0]:
                self.tell(self.request(request))

    # What is asked in the end

    def idle(self) -> bool:
        return self.engine.idle() and not self.orders

    def count_statements(self, *, at: int = 0, kill: bool = False) -> Statements:
        """From where a `with` begins the index fails at its statement number `at`, or the process is killed there."""
        self.statements = Statements(self.store.database._connection, at=at, kill=kill)
        return self.statements


def outcome(home: Loop) -> dict[str, Any]:
    """All that is durable, without times, numbers and what was given up: equal for stories that came to the same."""
    with closing(sqlite3.connect(home.guard.state / "index.db")) as index:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return sorted(index.execute(sql).fetchall(), key=repr)

        found = {
            "videos": rows(
                "SELECT v.fingerprint, c.name, placed_by, pending, absent_since IS NULL,"
                " iif(absent_since IS NULL, left_reason, ''), iif(absent_since IS NULL, left_category, '')"
                " FROM videos v LEFT JOIN categories c ON c.id = v.home"
            ),
            "files": rows("SELECT path, fingerprint, gone FROM files"),
            "categories": rows("SELECT name, present, confirmed, corrected, agreed, refuted FROM categories"),
            "vetoes": rows("SELECT fingerprint, c.name FROM vetoes JOIN categories c ON c.id = category"),
            "moves": rows(
                "SELECT fingerprint, c.name, state, placed_by, undoes IS NULL, source, target FROM moves m"
                " JOIN categories c ON c.id = category JOIN move_steps s ON s.move = m.id WHERE state != 'abandoned'"
            ),
            "features": rows("SELECT fingerprint, extractor, version, vector IS NULL FROM features"),
            "attempts": rows("SELECT fingerprint, running, fault FROM attempts"),
            "outbox": rows("SELECT line FROM outbox"),
            "classifier": index.execute("SELECT digest FROM classifiers ORDER BY id DESC LIMIT 1").fetchall(),
            "notes": rows("SELECT key, value FROM notes WHERE key NOT IN ('space_since')"),
        }
    found["tree"] = read(home.root)
    found["decisions"] = decisions(home.root / ".sortd" / "decisions.jsonl")
    return found


def decisions(log: Path) -> Counter[str]:
    """Each decision with how often it was written down, one number of a line counted once."""
    by_number = {line["n"]: line for line in map(json.loads, log.read_text("ascii").splitlines())}
    told: Counter[str] = Counter()
    for line in by_number.values():
        facts = {key: value for key, value in line.items() if key not in {"n", "at", "device", "inode", "confidence"}}
        # Videos that went may be told of in one line or in several.
        for one in [facts | {"videos": [video]} for video in facts["videos"]] if "videos" in facts else [facts]:
            told[json.dumps(one, sort_keys=True)] += 1
    # A wish that is said twice is the same wish.
    once = ('"did": "paused"', '"did": "forgotten"')
    return Counter({line: 1 if any(wish in line for wish in once) else count for line, count in told.items()})
