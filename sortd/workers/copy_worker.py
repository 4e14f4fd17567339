"""Make verified copies, in the copying child: it may wait for a disk, which the loop never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sortd.disk.transfer import copy_verified
from sortd.domain.errors import MoveRefused
from sortd.domain.messages import FilesCopied
from sortd.domain.move_plan import VerifiedCopy
from sortd.domain.tasks import CopyFiles
from sortd.workers.child_process import Heartbeat


def copying(root: Path) -> Callable[[CopyFiles], Iterator[FilesCopied | Heartbeat]]:
    """A task is a CopyFiles below this root; it is answered by FilesCopied."""

    def copy(order: CopyFiles) -> Iterator[FilesCopied | Heartbeat]:
        copies: list[VerifiedCopy] = []
        try:
            for verified in copy_verified(root, order.part, order.steps):
                copies += [] if verified is None else [verified]
                yield Heartbeat()
        except MoveRefused as refused:
            yield FilesCopied(order.number, (), refused)
        else:
            yield FilesCopied(order.number, tuple(copies), None)

    return copy
