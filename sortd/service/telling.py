"""The lines of the log, held back until what they tell is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tell = Callable[..., None]
"""`tell("moved", path=..., to=...)`: one line per outcome, in the past tense."""


class Telling:
    """Collects lines during a transaction; a line that was never true is never written."""

    def __init__(self, write: Tell) -> None:
        self._write = write
        self._held: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **facts: object) -> None:
        """Hold one line."""
        self._held.append((event, facts))

    def flush(self) -> None:
        """Write what is held: it is committed now."""
        held, self._held = self._held, []
        for event, facts in held:
            self._write(event, **facts)

    def drop(self) -> None:
        """Forget what is held: it was rolled back."""
        self._held.clear()
