"""Another account of the machine, for what must be refused to it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.kit import IS_ROOT

STRANGER = 12345

with_accounts = pytest.mark.skipif(
    not (IS_ROOT and shutil.which("setpriv") and shutil.which("unshare")),
    reason="becoming another account needs root on Linux, setpriv and unshare",
)

_SHOW_PYTHON = """
exec 9<"$2"
mount -t tmpfs -o mode=755 none "$1"
mkdir -p "$2"
mount -c --bind /proc/self/fd/9 "$2"
exec 9<&-
"""
"""Where the Python that runs the tests lies in a home, the account sees that home with nothing else in it."""


def as_account(uid: int = STRANGER) -> Sequence[str]:
    """Words that run what follows them as this account, without privileges."""
    change = ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--bounding-set", "-all")
    python = Path(sys.base_prefix)
    closed = next((folder for folder in reversed(python.parents) if not folder.stat().st_mode & 0o001), None)
    if closed is None:
        return change
    if Path(__file__).is_relative_to(closed):
        pytest.skip(f"no other account may enter {closed}")
    return (
        "unshare",
        "--mount",
        "sh",
        "-ec",
        f'{_SHOW_PYTHON}shift 2; exec "$@"',
        "sh",
        str(closed),
        str(python),
        *change,
    )
