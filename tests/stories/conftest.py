"""The sorter with a real index, real files and real training; only the networks and the clocks are not real."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any

import pytest

from sortd.config.settings import Settings
from sortd.daemon.index_recovery import open_store
from sortd.disk.root_guard import RootGuard
from sortd.domain.feature import Fault
from sortd.domain.messages import Extracted, ExtractionFailed, FilesCopied, Message, RescanDue, TextsEncoded
from sortd.domain.tasks import CopyFiles, EncodeTexts, Extract, Task, Train, TrainingPayload
from sortd.engine.engine import Engine
from sortd.engine.engine_assembly import library_at
from sortd.extract.registry import feature_space
from sortd.workers.copy_worker import copying
from sortd.workers.local_executor import TrainingWorkerSettings
from sortd.workers.training_worker import training
from tests.fakes import Clock, FakeExtractor
from tests.folders import Tree, make, read

FAST = ("knn", "logreg")
"""The kinds of classifier that the stories' sortd chooses from; the third takes most of a training's time."""


class Household:
    """A library and the sortd that serves it; the tests play the owner."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.root = folder / "videos"
        self.root.mkdir(exist_ok=True)
        tables = {"library": {"root": self.root}, "state": {"dir": folder / "state"}} | settings
        tables["train"] = {"candidates": FAST} | settings.get("train", {})
        self.config = Settings.model_validate(tables, strict=False)
        self.log: list[dict[str, Any]] = []
        self.clock = Clock()
        self.monotonic = 0.0
        self.extracted: list[bytes] = []
        self.read: list[str] = []
        self.cannot_read = False
        self.broken: dict[bytes, Fault] = {}
        self.space = feature_space(self.config)
        self._inbox: deque[Message] = deque()
        self._stack = ExitStack()
        self.start()

    # sortd

    def start(self, *, observe: bool = False) -> None:
        self.guard = self._stack.enter_context(RootGuard.open(self.root, state=self.config.state.dir))
        self.store = open_store(self.guard, self.space, tell=self.write, now=self.clock(), damages=0)
        self._stack.callback(self.store.database.close)
        self.library = library_at(self.root, self.config)
        self.engine = Engine(
            self.store,
            self.library,
            self.guard,
            config=self.config,
            observe=observe,
            write=self.write,
            wall=self.clock,
        )
        self.begin()

    def begin(self) -> None:
        """The first step takes up what the last run left."""

    def write(self, event: str, **facts: Any) -> None:
        self.log.append({"event": event, **facts})

    def kill(self) -> None:
        """Let go of everything in the state it is in."""
        self._stack.close()

    def restart(self, *, observe: bool = False) -> None:
        self.kill()
        self.start(observe=observe)
        self.settle()

    def settle(self, *, seconds: float = 200.0) -> None:
        """Let sortd notice and do all it wants to."""
        self.tell(RescanDue("a test"))
        self.wait(seconds=seconds)

    def wait(self, *, seconds: float) -> None:
        end = self.monotonic + seconds
        while self.monotonic < end:
            self.monotonic += 1.0
            self.clock.now += 1.0
            self.tell(None)

    def tell(self, message: Message | None) -> None:
        """Put a message into the inbox, and empty it unless that is being done further up; None: time has passed."""
        self._inbox.append(message)
        if len(self._inbox) > 1:
            return
        try:
            while self._inbox:
                if self._inbox[0] is not None:
                    self.engine.handle(self._inbox[0])
                for order in self.engine.work(self.monotonic):
                    self.carry_out(order)
                self._inbox.popleft()
        finally:
            self._inbox.clear()

    def carry_out(self, order: Task) -> None:
        match order:
            case Extract(jobs):
                for job in jobs:
                    self.tell(self.extract(job))
            case EncodeTexts(part, texts):
                self.read += texts
                known = () if self.cannot_read else texts
                self.tell(TextsEncoded(part, {text: FakeExtractor().read(part, text) for text in known}))
            case Train(payload):
                self.train(payload)
            case CopyFiles():
                self.copy(order)

    def train(self, payload: TrainingPayload) -> None:
        target, candidates = self.config.move.target_precision, self.config.train.candidates
        for answer in training(TrainingWorkerSettings(self.guard.state, target, candidates))(payload):
            self.tell(answer)

    def copy(self, order: CopyFiles) -> None:
        for answer in copying(self.guard.root)(order):
            if isinstance(answer, FilesCopied):
                self.tell(answer)

    def hold_extraction(self) -> Callable[[], None]:
        """Let the extraction child be slow, until what is given back is called."""
        held: list[Task] = []
        self.carry_out = held.append

        def let_go() -> None:
            del self.carry_out
            for order in held:
                self.carry_out(order)

        return let_go

    def path(self, name: str) -> PurePath:
        return PurePath(name)

    def extract(self, job: Any) -> Message:
        content = (self.root / job.path).read_bytes()
        self.extracted.append(content)
        if content in self.broken:
            return ExtractionFailed(job, self.broken[content], "broken for the test")
        return Extracted(job, FakeExtractor().extract(job.parts, content), 0.1)

    def ask(self, **request: Any) -> dict[str, Any]:
        answer = dict(self.engine.answer(request, copy=copying(self.root)))
        self.settle()
        return answer

    # the owner

    def files(self, tree: Tree) -> None:
        """Put these files there and let sortd notice."""
        make(self.root, tree)
        self.settle()

    def move(self, source: str, target: str) -> None:
        (self.root / target).parent.mkdir(exist_ok=True, parents=True)
        (self.root / source).rename(self.root / target)
        self.settle()

    @property
    def tree(self) -> Tree:
        return read(self.root)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == name]

    def reasons(self, path: str) -> list[str]:
        return [str(line["reason"]) for line in self.events("left") if str(line["path"]) == path]

    def home_of(self, path: str) -> tuple[str | None, str | None]:
        sighting = self.store.videos.known(Path(path))
        assert sighting is not None
        record = self.store.videos.record(sighting.fingerprint)
        return record.home, record.placed_by


FAMILIES = ("cats", "dogs", "sea", "city")


def taught(number: int = 10, families: tuple[str, ...] = FAMILIES) -> Tree:
    """Folders with so many videos of each family."""
    return {family: {f"{n}.mp4": f"{family} {n}".encode() for n in range(number)} for family in families}


@pytest.fixture
def household(tmp_path: Path) -> Iterator[Callable[..., Household]]:
    made: list[Household] = []

    def make_one(tree: Tree | None = None, **settings: Any) -> Household:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        one = Household(folder, **settings)
        made.append(one)
        if tree:
            one.files(tree)
        return one

    yield make_one
    for one in made:
        one.kill()
