"""Put a RetrainDue into the inbox at the times of the owner's cron line."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from queue import SimpleQueue

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from sortd.config.local_time import local
from sortd.domain.messages import Message, RetrainDue

_POSIX = re.compile(r":?([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d")
"""How a zone begins that is spelt out rather than named, see tzset(3)."""


@contextmanager
def schedule(cron: str, inbox: SimpleQueue[Message]) -> Iterator[BackgroundScheduler]:
    """Put `RetrainDue("cron")` whenever `cron` (five fields, local time, UTC where that is not known; "": never) comes.

    Times that passed while the machine slept are made up for once.
    """
    scheduler = BackgroundScheduler(timezone=_local_zone()[0])
    if cron:
        scheduler.add_job(
            inbox.put,
            CronTrigger.from_crontab(cron, timezone=scheduler.timezone),
            args=[RetrainDue("cron")],
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.shutdown()


def zone_problem() -> str:
    """Return why the machine's time zone is not known, so that UTC is used; empty where it is."""
    return _local_zone()[1]


def _local_zone() -> tuple[tzinfo, str]:
    """Return the machine's time zone, and what is wrong with it."""
    named = os.environ.get("TZ")
    if named == "":
        return UTC, "TZ is empty"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Can not find any timezone")
            return BackgroundScheduler().timezone, ""
    except Exception as problem:  # noqa: BLE001 - whatever a folder, a torn file or a strange name may lead to
        why = " ".join(str(problem).split())
    if named and _POSIX.match(named):
        # What the C library knows and APScheduler does not, such as "CET-1CEST": then summer time stays as it is now
        # until the next start, which beats not starting.
        here = local(datetime.now(UTC)).tzinfo or UTC
        if here is not UTC:
            return here, ""
    return UTC, why
