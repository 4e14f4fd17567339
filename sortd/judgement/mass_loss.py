"""Tell when too many videos are missing at once: a failed sync or a slip of the hand is not the owner's wish."""

from __future__ import annotations

AT_LEAST = 50
"""Fewer an owner deletes on many a day."""

SHARE = 0.2


def is_mass_loss(vanished: int, *, stood: int) -> bool:
    """Tell whether so many of the videos that stood are more than go at once by themselves."""
    return vanished > max(AT_LEAST, SHARE * stood)
