"""Show times as the owner's clocks do."""

from __future__ import annotations

from datetime import UTC, datetime


def local(moment: datetime) -> datetime:
    """Give a moment in the machine's time zone; in UTC where that is one that cannot be, such as UTC+25."""
    try:
        return moment.astimezone()
    except (ValueError, OverflowError):
        return moment.astimezone(UTC)
