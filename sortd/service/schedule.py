"""The owner's cron line -> `RetrainDue`: a clock that only puts messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from queue import SimpleQueue
from zoneinfo import ZoneInfoNotFoundError

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from sortd.messages import Message, RetrainDue


@contextmanager
def schedule(cron: str, inbox: SimpleQueue[Message]) -> Iterator[BackgroundScheduler]:
    """Put `RetrainDue("cron")` whenever `cron` (five fields, local time, as the settings give it; "": never) comes.

    Times that passed while the machine slept are made up for once.
    """
    scheduler = _in_local_time()
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


def _in_local_time() -> BackgroundScheduler:
    try:
        return BackgroundScheduler()
    except ZoneInfoNotFoundError:
        # TZ may hold what the C library knows and APScheduler does not, such as "CET-1CEST": then summer time stays
        # as it is now until the next start, which beats not starting.
        return BackgroundScheduler(timezone=datetime.now().astimezone().tzinfo)
