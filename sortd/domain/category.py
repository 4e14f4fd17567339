"""Categories, and where the copies of a video stand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import NewType

CategoryName = NewType("CategoryName", str)
"""A folder's path relative to the root, `levels` deep at most, with "/" between its parts."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Where one copy of a video stands: its category (None: unsorted) and its path below that category's folder."""

    category: CategoryName | None
    below: PurePath


Locations = frozenset[Location]
"""Where all present copies of a video stand."""
