"""Running the service, and asking it: `run`, `run --once`, and every command that changes something."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from sortd.config import Config
from sortd.disk.guard import Guard, find, refuse_strangers
from sortd.errors import LibraryUnavailable, SortdError
from sortd.service.control import ask
from sortd.service.opening import check_log, feature_space, library_at, state_wished
from sortd.service.requests import check
from sortd.service.telling import Tell


class Failed(SortdError):
    """The service refused; the message is its own."""


def serve(config: Config, *, observe: bool, take_over: bool) -> None:
    """Be the service until told to stop."""
    from sortd.service.daemon import Daemon  # noqa: PLC0415 - only `run` needs its libraries

    _open_log(config)
    Daemon(config, observe=observe, take_over=take_over).run()


def run_once(config: Config, *, observe: bool, take_over: bool) -> None:
    """One full pass with a progress bar on a terminal, then the dataset as it is."""
    from sortd.commands import report, status  # noqa: PLC0415 - as above
    from sortd.service.daemon import Daemon  # noqa: PLC0415 - as above

    with contextlib.suppress(LibraryUnavailable):  # the pass itself mends what can be mended, or says what is wrong
        report.device(status.status(config)["device"])
    with report.progress(sys.stderr) as progress:
        _open_log(config)  # only now, so that the lines go above the bar and not through it
        Daemon(config, observe=observe, take_over=take_over, once=True, progress=progress).run()
    report.summary(status.status(config))


def carry_out(config: Config, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Have the running service do it; where none runs, take the lock and do the same step. Raises SortdError."""
    check(request)
    root = config.library.root
    if not root.is_dir():
        raise LibraryUnavailable(f"{root} is not there")
    found = find(root, state=state_wished(config))
    if found is None:
        from sortd.commands.facts import away_because  # noqa: PLC0415 - most commands find what they ask for

        if away := away_because(root, found):
            raise LibraryUnavailable(away)
        raise LibraryUnavailable(f"nothing is known of {root} yet: `sortd run` makes it a library")
    answer = ask(found.state, request)
    if answer is None:
        answer = _by_hand(config, request)
    if "error" in answer:
        raise Failed(str(answer["error"]))
    return answer


def _by_hand(config: Config, request: Mapping[str, Any]) -> Mapping[str, Any]:
    from sortd.service.restoring import open_memory  # noqa: PLC0415 - as above
    from sortd.service.sorter import Sorter  # noqa: PLC0415 - only where no service runs

    refuse_strangers(config.library.root)
    write = _open_log(config)
    with Guard.open(config.library.root, state=state_wished(config)) as guard, ExitStack() as stack:
        memory = open_memory(guard, feature_space(config), tell=write, now=time.time())
        stack.callback(memory.database.close)
        sorter = Sorter(
            memory,
            library_at(guard.root, config),
            guard,
            config=config,
            observe=True,
            write=write,
            wall=time.time,
        )
        sorter.catch_up()
        return sorter.answer(request)


def _open_log(config: Config) -> Tell:
    from sortd import log  # noqa: PLC0415 - a running service writes its own

    check_log(config)
    log.configure(format=config.log.format, level=config.log.level, file=config.log.file)
    return log.get().info
