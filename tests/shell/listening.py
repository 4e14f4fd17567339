"""A watcher in a process of its own, so that limits and stops meet nobody else; one line of JSON for all it says.

Asked by a line on its input ("state", "restart") it says how it watches; what it hears it says unasked.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path, PurePath
from queue import SimpleQueue

from sortd.disk.watch import watch
from sortd.domain.messages import Message, RescanDue, Touched


def encode(message: Message) -> dict[str, str]:
    """Write a message of a watcher as JSON."""
    match message:
        case Touched(path):
            return {"touched": str(path)}
        case RescanDue(why):
            return {"rescan": why}
        case _:
            raise TypeError(message)


def decode(line: Mapping[str, str]) -> Message:
    """Read a message back."""
    return Touched(PurePath(line["touched"])) if "touched" in line else RescanDue(line["rescan"])


def main(root: Path, mode: str, poll_seconds: float) -> None:
    """Watch until the input ends."""
    inbox: SimpleQueue[Message] = SimpleQueue()

    def say(line: Mapping[str, str]) -> None:
        os.write(sys.stdout.fileno(), (json.dumps(line) + "\n").encode())  # one write: two threads say something

    def pass_on() -> None:
        while True:
            say(encode(inbox.get()))

    with watch(root, inbox, mode=mode, poll_seconds=poll_seconds) as watcher:
        threading.Thread(target=pass_on, daemon=True).start()
        say({"mode": watcher.mode, "why": watcher.why, "lost": watcher.lost()})
        for line in sys.stdin:
            if line == "restart\n":
                watcher.restart()
            say({"mode": watcher.mode, "why": watcher.why, "lost": watcher.lost()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
