"""One story for each kind of message: what comes before it, and what is on its way when the fault strikes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sortd.domain.feature import Fault
from sortd.domain.messages import (
    ExtractionFailed,
    ExtractorUnavailable,
    Message,
    RescanDue,
    RetrainDue,
    RetryDue,
    TaskLost,
    TrainingLost,
    WorkerEvent,
)
from sortd.domain.tasks import EncodeTexts, Extract, Train
from tests.folders import Tree
from tests.kth_statement.driver import OTHER, READING, SHORT, Act, Loop

FAMILIES = ("cats", "dogs", "sea")
NUMBER = 10


def live_a_while(home: Loop) -> None:
    """What every story begins with: some of everything that an index can hold."""
    home.put({family: {f"{n}.mp4": f"{family} {n}".encode() for n in range(NUMBER)} for family in FAMILIES})
    home.go_on()
    home.put({"city": {f"{n}.mp4": f"city {n}".encode() for n in range(NUMBER)}})
    home.go_on()
    home.put({"placed.mp4": b"cats 100", "placed.srt": b"miaow", "another.mp4": b"cats 103", "vetoed.mp4": b"dogs 100"})
    home.go_on()
    home.rename("dogs/vetoed.mp4", "vetoed.mp4")
    home.put({"left.mp4": b"weddings 1", "broken.mp4": b"broken 1"})
    home.go_on()


@dataclass(frozen=True)
class Story:
    """`before` brings it so far that what it gives is on its way, followed by the command `request` if there is one.

    `again` is the command that `before` gives itself; the owner repeats either where it came to nothing.
    """

    before: Callable[[Loop], Sequence[Message | Act]] | None = None
    request: Callable[[Loop], Mapping[str, Any]] | None = None
    again: Callable[[Loop], Mapping[str, Any]] | None = None
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    """What else is so at each start."""

    next_start: Mapping[str, Any] = field(default_factory=dict)
    """What else is so from then on."""

    not_compared: tuple[str, ...] = ()
    """Notes that are wrong without a fault too, or are told again by the next child."""

    def messages(self, home: Loop) -> list[Message | Act]:
        """What is handled while the fault may strike."""
        messages = [] if self.before is None else list(self.before(home))
        if self.request is not None:
            messages.append(home.request(self.request(home)))
        return messages


def asking(**request: Any) -> Story:
    return Story(request=lambda _: request)


NEW: Tree = {"new.mp4": b"cats 104"}
TWO: Tree = {**NEW, "two.mp4": b"dogs 101"}


def found(home: Loop) -> list[Message | Act]:
    home.put(NEW)
    return [*home.settled()]


def rescan(home: Loop) -> list[Message | Act]:
    (home.root / "new.mp4").write_bytes(b"cats 104")
    (home.root / "city" / "0.mp4").unlink()
    (home.root / "city" / "1.mp4").write_bytes(b"city 1 encoded")
    return [RescanDue("it is time")]


def renamed(home: Loop) -> list[Message | Act]:
    home.rename("cats", "felines")
    return [*home.settled()]


def owner_moves(source: str, target: str) -> Story:
    def before(home: Loop) -> list[Message | Act]:
        home.rename(source, target)
        return [*home.settled()]

    return Story(before)


def gone(home: Loop) -> list[Message | Act]:
    home.remove("sea/0.mp4")
    home.settled()
    home.tell(None)
    home.tell(RescanDue("it is time"))
    return [RescanDue("it is time")]


def vanished(home: Loop) -> list[Message | Act]:
    home.put({"many": {f"{n}.mp4": f"many {n}".encode() for n in range(52)}})
    home.go_on(SHORT)
    shutil.rmtree(home.root / "many")
    home.go_on(SHORT)
    return []


def extraction(tree: Tree, answer: Callable[[Loop], Sequence[Message | Act]]) -> Story:
    def before(home: Loop) -> Sequence[Message | Act]:
        home.put(tree)
        home.until_ordered()
        return answer(home)

    return Story(before)


def jobs(home: Loop) -> tuple[Any, ...]:
    (order,) = home.orders
    assert isinstance(order, Extract)
    home.orders = []
    return order.jobs


def changed_meanwhile(home: Loop) -> list[Message | Act]:
    (job,) = jobs(home)
    (home.root / "new.mp4").write_bytes(b"cats 1041")
    return [ExtractionFailed(job, None, "it changed meanwhile")]


def batch_lost(home: Loop) -> list[Message | Act]:
    return [TaskLost(jobs(home), Fault.DECODER_CRASHED, "killed")]


def third_time_lost(home: Loop) -> list[Message | Act]:
    for _ in range(2):
        home.deliver()
        home.until_ordered()
    return [*home.answers()]


def stalled(home: Loop) -> list[Message | Act]:
    return [ExtractorUnavailable(jobs(home), "a torn checkpoint")]


def names(home: Loop) -> list[Message | Act]:
    home.put({"parties": {"first.mp4": b"parties 1"}})
    home.until_ordered()
    assert isinstance(home.orders[0], EncodeTexts)
    return [*home.answers()]


def encoder(home: Loop) -> list[Message | Act]:
    return [lambda: home.change_encoder(OTHER)]


def taught_more(home: Loop) -> None:
    """As many labels as a training waits for, and all of them embedded."""
    home.put({"sea": {f"{n}.mp4": f"sea {n}".encode() for n in range(NUMBER, NUMBER + 6)}, "odd.mp4": b"sea 999"})
    for _ in range(20):
        home.advance(3.0)
        home.tell(None)
        if not any(isinstance(order, Train) for order in home.orders):
            home.deliver()


def training_due(home: Loop) -> list[Message | Act]:
    taught_more(home)
    assert not home.orders
    home.advance(60.0)
    return [None]


def cron(home: Loop) -> list[Message | Act]:
    taught_more(home)
    return [RetrainDue("it is time")]


def training(home: Loop) -> list[Message]:
    taught_more(home)
    home.advance(60.0)
    home.tell(None)
    (order,) = home.orders
    assert isinstance(order, Train)
    return home.answers()


def trained(home: Loop) -> list[Message | Act]:
    return [*training(home)]


def training_lost(home: Loop) -> list[Message | Act]:
    training(home)
    return [TrainingLost("it was killed")]


def copying(home: Loop, tree: Tree) -> list[Message]:
    home.put(tree)
    home.until_ordered()
    home.deliver()
    return home.answers()


def copied(home: Loop) -> list[Message | Act]:
    return [*copying(home, {**NEW, "new.srt": b"miaow"})]


def copy_refused(home: Loop) -> list[Message | Act]:
    home.put(NEW)
    home.until_ordered()
    home.deliver()
    (home.root / "new.mp4").write_bytes(b"cats 1041")
    return [*home.answers()]


UNDO = {"do": "undo", "path": "cats/placed.mp4"}
FAR = {"far": True}


def copied_back(home: Loop) -> list[Message | Act]:
    home.tell(home.request(UNDO))
    return [*home.answers()]


def device(_: Loop) -> list[Message | Act]:
    return [WorkerEvent("device", {"device": "cpu"})]


def paused(home: Loop) -> list[Message | Act]:
    home.tell(home.request({"do": "pause"}))
    return []


def retry_due(_: Loop) -> list[Message | Act]:
    return [RetryDue()]


def started(home: Loop) -> list[Message | Act]:
    """Of the service before a batch was under way, a move was waiting for its copies, and files came since."""
    copying(home, NEW)
    home.put({"two.mp4": b"dogs 101", "three.mp4": b"sea 103"})
    home.until_ordered()
    (home.root / "four.mp4").write_bytes(b"cats 108")
    return [home.start_again]


CONFIRM = {"do": "confirm", "path": "cats/placed.mp4"}


def without_a_service(home: Loop) -> list[Message | Act]:
    (home.root / "left.mp4").rename(home.root / "sea" / "left.mp4")
    return [lambda: home.by_hand(CONFIRM)]


LEFT = "a998c30b650d6939834dac372c4879f9"
"""What left.mp4 is known as."""


STORIES: dict[str, Story] = {
    "a new video": Story(found),
    "a rescan finds files that came, changed and went": Story(rescan),
    "a renamed folder": Story(renamed),
    "a video is gone": Story(gone),
    "a label": owner_moves("left.mp4", "sea/left.mp4"),
    "a label in a new folder": owner_moves("left.mp4", "parties/left.mp4"),
    "a correction": owner_moves("cats/placed.mp4", "dogs/placed.mp4"),
    "a withdrawal": owner_moves("cats/placed.mp4", "placed.mp4"),
    "extracted": extraction(TWO, Loop.answers),
    "extraction failed": extraction({"new.mp4": b"broken 2"}, Loop.answers),
    "changed while it was extracted": extraction(NEW, changed_meanwhile),
    "a batch is lost": extraction(TWO, batch_lost),
    "a video is lost for the third time": extraction({"new.mp4": b"deadly 1"}, third_time_lost),
    "the encoder stalls": extraction(TWO, stalled),
    "names are read": Story(names, circumstances={"space": READING}),
    "the encoder changes": Story(encoder, next_start={"space": OTHER}),
    "a training is due": Story(training_due),
    "the time of a training": Story(cron),
    "trained": Story(trained),
    "trained to no use": Story(trained, circumstances={"useless": True}),
    "a training is lost": Story(training_lost),
    "copied": Story(copied, circumstances=FAR),
    "a copy is refused": Story(copy_refused, circumstances=FAR),
    "copied back": Story(copied_back, again=lambda _: UNDO, circumstances=FAR),
    "a child tells its device": Story(device, not_compared=("device",)),
    "try again at once": Story(retry_due),
    "status": asking(do="status"),
    "undo": Story(request=lambda _: UNDO),
    "undo of several": asking(do="undo", category="cats"),
    "undo to another disk": Story(request=lambda _: UNDO, circumstances=FAR),
    "confirm": asking(do="confirm", path="cats/placed.mp4"),
    "confirm a category": asking(do="confirm", category="cats"),
    "forget a label": asking(do="forget", what="labels", path="sea/0.mp4"),
    "forget vetoes": asking(do="forget", what="vetoes", path="vetoed.mp4"),
    "pause": asking(do="pause"),
    "resume": Story(paused, lambda _: {"do": "resume"}),
    "accept what vanished": Story(vanished, lambda _: {"do": "resume", "vanished": True}),
    "retry": asking(do="retry"),
    "rollback": asking(do="rollback"),
    "accept a group": asking(do="accept", category="parties", videos={"left.mp4": LEFT}),
    "a start": Story(started, circumstances=FAR),
    "a command without a service": Story(without_a_service, again=lambda _: CONFIRM, not_compared=("label_changes",)),
}
