"""Running the service, and asking it: `run`, `run --once`, and every command that changes something."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from sortd import log
from sortd.commands import facts, report
from sortd.config import Config
from sortd.disk.guard import Guard, find
from sortd.errors import LibraryUnavailable
from sortd.service.control import ask
from sortd.service.daemon import Daemon
from sortd.service.opening import feature_space, library_at, state_wished
from sortd.service.sorter import Sorter
from sortd.store.memory import Memory


class Failed(LibraryUnavailable):
    """The service refused; the message is its own."""


def serve(config: Config, *, observe: bool) -> None:
    """Be the service until told to stop."""
    log.configure(format=config.log.format, level=config.log.level, file=config.log.file)
    Daemon(config, observe=observe).run()


def run_once(config: Config, *, observe: bool) -> None:
    """One full pass with a progress bar on a terminal, then the dataset as it is."""
    log.configure(format=config.log.format, level=config.log.level, file=config.log.file)
    with report.progress(sys.stderr) as progress:
        Daemon(config, observe=observe, once=True, progress=progress).run()
    with facts.reading(config) as read:
        report.summary(facts.status(config, read))


def carry_out(config: Config, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Have the running service do it; where none runs, take the lock and do the same step."""
    root = config.library.root
    found = find(root, state=state_wished(config))
    if found is None:
        raise LibraryUnavailable(f"nothing is known of {root} yet: `sortd run` makes it a library")
    answer = ask(found.state, request)
    if answer is None:
        answer = _by_hand(config, request)
    if "error" in answer:
        raise Failed(str(answer["error"]))
    return answer


def _by_hand(config: Config, request: Mapping[str, Any]) -> Mapping[str, Any]:
    log.configure(format=config.log.format, level=config.log.level, file=config.log.file)
    with Guard.open(config.library.root, state=state_wished(config)) as guard, ExitStack() as stack:
        memory = Memory.open(guard.state, feature_space(config))
        stack.callback(memory.database.close)
        sorter = Sorter(
            memory,
            library_at(guard.root, config),
            guard,
            config=config,
            observe=True,
            write=log.get().info,
            wall=time.time,
        )
        sorter.catch_up()
        return sorter.answer(request)
