"""Limits and mounts that meet nobody but the tests: Linux keeps them by namespace."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 0x40000


def keep_mounts_to_ourselves() -> None:
    """Give this thread and all it starts from now on a mount namespace of its own; what is not root needs none.

    A mount of a test is seen by no other program, and ends with the last process of the tests, however that ends.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "mounts of the tests would be seen by others")


def with_inotify_limits(**limits: int) -> Sequence[str]:
    """Words that run what follows them in a user namespace with its own watches=N or instances=N: nobody else's."""
    set_limits = "".join(f"echo {value} > /proc/sys/user/max_inotify_{name} && " for name, value in limits.items())
    return ["unshare", "--user", "--map-root-user", "sh", "-c", f'{set_limits}exec "$@"', "sh"]


@functools.cache
def _can_have_limits_of_its_own() -> bool:
    if sys.platform != "linux":
        return False
    try:
        done = subprocess.run([*with_inotify_limits(watches=1), "true"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def require_limits_of_its_own() -> None:
    """Skip where no user namespace with inotify limits can be made."""
    if not _can_have_limits_of_its_own():
        pytest.skip("needs a user namespace with inotify limits of its own")
