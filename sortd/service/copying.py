"""What the copying child does; it may wait for a disk, which the loop never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sortd.disk.transfer import copy_verified
from sortd.domain import VerifiedCopy
from sortd.errors import MoveRefused
from sortd.messages import Copied, Copy
from sortd.service.worker import Alive


def copying(root: Path) -> Callable[[Copy], Iterator[Copied | Alive]]:
    """A task is a Copy below this root; it is answered by Copied."""

    def copy(order: Copy) -> Iterator[Copied | Alive]:
        copies: list[VerifiedCopy] = []
        try:
            for verified in copy_verified(root, order.part, order.steps):
                copies += [] if verified is None else [verified]
                yield Alive()
        except MoveRefused as refused:
            yield Copied(order.number, (), refused)
        else:
            yield Copied(order.number, tuple(copies), None)

    return copy
