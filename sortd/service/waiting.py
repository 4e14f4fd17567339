"""Taking the library, as soon as its root is there: the service is up meanwhile, and can be stopped."""

from __future__ import annotations

import contextlib
import queue

from sortd.config import Config
from sortd.disk.guard import Guard
from sortd.disk.marker import RootAway
from sortd.disk.patience import Patience
from sortd.log import get
from sortd.messages import Message, Stop
from sortd.service import notify
from sortd.service.opening import state_wished


def take_root(
    config: Config, inbox: queue.SimpleQueue[Message], *, take_over: bool, wait_seconds: float | None
) -> Guard | None:
    """The library; None: told to stop before its root was there.

    `wait_seconds` is how long to wait between two tries; None: RootAway is raised instead.
    """
    root, patience = config.library.root, Patience()
    told: str | None = None
    while True:
        try:
            guard = Guard.open(root, state=state_wished(config), take_over=take_over, patience=patience)
        except RootAway as away:
            if wait_seconds is None:
                raise
            if told is None:
                # The service is up; the library is not. Whoever waits for the service need not wait for a disk.
                notify.ready(f"away: {away}")
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
        notify.alive()
        with contextlib.suppress(queue.Empty):
            if isinstance(inbox.get(timeout=wait_seconds), Stop):
                notify.stopping()
                get().info("stopped", why="told to")
                return None
