"""Tell the moves of a library, as plain values with the contract's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sortd.store.journal import Move
from sortd.views.library_reader import iso


def history(moves: Iterable[Move]) -> list[dict[str, Any]]:
    """Describe moves, in their order."""
    return [
        {
            "id": entry.number,
            "at": iso(entry.at),
            "from": str(entry.steps[0].source),
            "to": str(entry.steps[0].target),
            "category": entry.category,
            "confidence": round(entry.confidence, 4),
            "state": entry.state,
        }
        for entry in moves
    ]
