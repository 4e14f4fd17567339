"""Take the library as soon as its root is there; the service is up meanwhile, and can be stopped."""

from __future__ import annotations

import contextlib
import queue

from sortd.config.logging_setup import get
from sortd.config.settings import Settings
from sortd.daemon import sd_notify
from sortd.disk.io_timeout import TimedIO
from sortd.disk.library_marker import RootAway
from sortd.disk.root_guard import RootGuard
from sortd.domain.messages import Message, Stop
from sortd.engine.engine_assembly import state_wished


def take_root(
    config: Settings, inbox: queue.SimpleQueue[Message], *, take_over: bool, wait_seconds: float | None
) -> RootGuard | None:
    """The library; None: told to stop before its root was there.

    `wait_seconds` is how long to wait between two tries; None: RootAway is raised instead.
    """
    root, patience = config.library.root, TimedIO()
    told: str | None = None
    while True:
        try:
            guard = RootGuard.open(root, state=state_wished(config), take_over=take_over, patience=patience)
        except RootAway as away:
            if wait_seconds is None:
                raise
            if told is None:
                # The service is up; the library is not. Whoever waits for the service need not wait for a disk.
                sd_notify.ready(f"away: {away}")
                told = str(away)
                get().warning("root_away", root=root, why=told)
        else:
            if told is not None:
                get().info("root_back", root=root)
            if guard.was_host:
                get().warning("taken_over", root=root, was=guard.was_host)
            if guard.was_locked_by:
                get().warning("lock_replaced", root=root, was=guard.was_locked_by)
            return guard
        sd_notify.alive()
        with contextlib.suppress(queue.Empty):
            if isinstance(inbox.get(timeout=wait_seconds), Stop):
                sd_notify.stopping()
                get().info("stopped", why="told to")
                return None
