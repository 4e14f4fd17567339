"""Run the service, or ask it: `run`, `run --once`, and every command that changes something."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from sortd.config.settings import Settings
from sortd.daemon.control_socket import ask
from sortd.disk.root_guard import RootGuard, find, refuse_strangers
from sortd.domain.errors import LibraryUnavailable, SortdError
from sortd.domain.requests import Request, check, encode
from sortd.engine.engine_assembly import check_log, library_at, state_wished
from sortd.engine.event_log import Tell
from sortd.extract.registry import feature_space


class CommandFailed(SortdError):
    """The service refused a request; the message is its own."""


def serve(config: Settings, *, observe: bool, take_over: bool) -> None:
    """Run the service until it is told to stop."""
    from sortd.daemon.loop import Daemon  # noqa: PLC0415 - only `run` needs its libraries

    _open_log(config)
    Daemon(config, observe=observe, take_over=take_over).run()


def run_once(config: Settings, *, observe: bool, take_over: bool) -> None:
    """Make one full pass, with a progress bar on a terminal, and print a summary."""
    from sortd.cli import text_output  # noqa: PLC0415 - as above
    from sortd.daemon.loop import Daemon  # noqa: PLC0415 - as above
    from sortd.views import library_status  # noqa: PLC0415 - as above

    with contextlib.suppress(LibraryUnavailable):  # the pass itself mends what can be mended, or says what is wrong
        text_output.device(library_status.status(config, ask=ask)["device"])
    with text_output.progress(sys.stderr) as progress:
        _open_log(config)  # only now, so that the lines go above the bar and not through it
        Daemon(config, observe=observe, take_over=take_over, once=True, progress=progress).run()
    text_output.summary(library_status.status(config, ask=ask))


def carry_out(config: Settings, request: Request) -> Mapping[str, Any]:
    """Have the running service carry it out; where none runs, take the lock and do the same here. Raises SortdError."""
    wire = check(encode(request))
    root = config.library.root
    if not root.is_dir():
        raise LibraryUnavailable(f"{root} is not there")
    found = find(root, state=state_wished(config))
    if found is None:
        from sortd.views.library_reader import away_because  # noqa: PLC0415 - most commands find what they ask for

        if away := away_because(root, found):
            raise LibraryUnavailable(away)
        raise LibraryUnavailable(f"nothing is known of {root} yet: `sortd run` makes it a library")
    answer = ask(found.state, wire)
    if answer is None:
        answer = _by_hand(config, wire)
    if "error" in answer:
        raise CommandFailed(str(answer["error"]))
    return answer


def _by_hand(config: Settings, request: Mapping[str, Any]) -> Mapping[str, Any]:
    from sortd.daemon.index_recovery import open_store  # noqa: PLC0415 - as above
    from sortd.engine.engine import Engine  # noqa: PLC0415 - only where no service runs
    from sortd.workers.copy_worker import copying  # noqa: PLC0415 - as above

    refuse_strangers(config.library.root)
    write = _open_log(config)
    with RootGuard.open(config.library.root, state=state_wished(config)) as guard, ExitStack() as stack:
        store = open_store(guard, feature_space(config), tell=write, now=time.time())
        stack.callback(store.database.close)
        engine = Engine(
            store,
            library_at(guard.root, config),
            guard,
            config=config,
            observe=True,
            write=write,
            wall=time.time,
        )
        engine.catch_up()
        return engine.answer(request, copy=copying(guard.root))


def _open_log(config: Settings) -> Tell:
    from sortd.config import logging_setup  # noqa: PLC0415 - a running service writes its own

    check_log(config)
    logging_setup.configure(format=config.log.format, level=config.log.level, file=config.log.file)
    return logging_setup.get().info
