"""Give files that sortd makes to the owner of their folder."""

from __future__ import annotations

import os
from contextlib import suppress


def hand_over(descriptor: int, above: os.stat_result) -> None:
    """Give what root makes in another account's folder to that account, which could not go on with it else.

    `above` is the folder's status.
    """
    if os.geteuid() == 0 and above.st_uid != 0:
        with suppress(PermissionError):
            os.fchown(descriptor, above.st_uid, above.st_gid)
