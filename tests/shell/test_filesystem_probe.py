"""What a filesystem can do is learned by trying, and decides how files are moved on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from sortd.disk.dirfd import opened
from sortd.disk.filesystem_probe import PROBE, Filesystems, probe, survey
from sortd.domain.errors import FolderRefuses
from sortd.domain.move_plan import FilesystemAbilities
from sortd.judgement.move_method import MoveMethod, move_method, why_unsafe
from tests.folders import Tree, make, read
from tests.waiting import PATIENCE_SECONDS

ABLE = FilesystemAbilities(
    renames_exclusively=True,
    links=True,
    links_keep_inode=True,
    inodes_are_stable=True,
    syncs_folders=True,
    folds_case=False,
    keeps_modes=True,
    keeps_owners=True,
    keeps_attributes=True,
    time_step_ns=1,
)
LIBRARY: Tree = {".sortd": {}, "cats": {"clip.mp4": b"clip"}}

TRY = """
import sys
from pathlib import Path, PurePath
from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.dirfd import opened
with opened(Path(sys.argv[1])) as folders:
    try:
        print(Filesystems().method(folders, PurePath("cats")).name)
    except Exception as problem:
        print(type(problem).__name__, problem)
"""


def method_where(root: Path, *faults: str) -> str:
    """The method found by a process of its own, in which chosen system calls fail or kill."""
    options = [option for fault in faults for option in ("-e", f"inject={fault}")]
    calls = ",".join(fault.split(":")[0] for fault in faults)
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", *options]
    if (
        shutil.which("strace") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("strace cannot trace here")
    done = subprocess.run(
        [*command, sys.executable, "-c", TRY, root],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    return done.stdout.strip()


def tried(root: Path) -> FilesystemAbilities:
    with opened(root) as folders:
        return probe(folders, PurePath())


def everything(root: Path) -> Tree:
    return read(root) | {".sortd": read(root / ".sortd")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "root", LIBRARY)


@pytest.mark.fault("K1")
@pytest.mark.parametrize(
    ("lacks", "method"),
    [
        ({}, MoveMethod.RENAME),
        ({"links": False, "links_keep_inode": False}, MoveMethod.RENAME),
        ({"renames_exclusively": False}, MoveMethod.LINK),
        ({"renames_exclusively": False, "links_keep_inode": False}, None),
        ({"renames_exclusively": False, "links": False, "links_keep_inode": False}, None),
        ({"inodes_are_stable": False}, None),
        ({"inodes_are_stable": False, "renames_exclusively": False}, None),
    ],
)
def test_the_safest_method_is_chosen_by_what_was_seen_and_none_where_none_is_safe(lacks, method) -> None:
    abilities = replace(ABLE, **lacks)

    assert move_method(abilities) is method
    assert method is not None or why_unsafe(abilities)


@pytest.mark.fault("K1")
def test_a_probe_tells_of_a_local_disk_what_is_so_and_leaves_nothing_behind(root: Path) -> None:
    found = tried(root)

    assert move_method(found) is MoveMethod.RENAME
    assert (found.links, found.links_keep_inode, found.inodes_are_stable, found.syncs_folders) == (True,) * 4
    assert (found.keeps_modes, found.folds_case) == (True, False)
    assert found.keeps_owners == (os.geteuid() == 0)
    assert everything(root) == LIBRARY


@pytest.mark.fault("K1")
@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (["renameat2:error=EINVAL"], "LINK"),
        (["renameat2:error=ENOSYS"], "LINK"),
        (["renameat2:error=EPERM"], "LINK"),
        (["renameat2:error=EINVAL", "linkat:error=EPERM"], "FolderRefuses the root: this filesystem can neither"),
        (["renameat2:retval=0"], "LINK"),  # accepted, and nothing done
        (["renameat2:error=EINVAL", "linkat:retval=0"], "FolderRefuses the root: this filesystem can neither"),
        (["renameat2:retval=0:when=2"], "LINK"),  # a taken name is not refused
        (["mkdirat:error=EROFS"], "FolderRefuses the root: Read-only file system"),
        (["mkdirat:error=ENOSPC"], "FolderRefuses the root: No space left on device"),
        (["mkdir,mkdirat:error=EIO"], "FolderRefuses the root: Input/output error"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "+".join(value),
)
def test_what_a_filesystem_says_is_not_believed_but_what_it_does(root: Path, faults: list[str], said: str) -> None:
    assert method_where(root, *faults).startswith(said)
    assert everything(root) == LIBRARY


@pytest.mark.fault("K1")
def test_what_a_killed_probe_left_is_removed_by_the_next_and_nothing_of_the_owners(root: Path) -> None:
    for call in ("renameat2:signal=SIGKILL:when=1", "linkat:signal=SIGKILL:when=1"):
        assert method_where(root, call) == ""
        assert len(list((root / ".sortd").glob(f"{PROBE}*"))) >= 1
    mine: Tree = {f"{PROBE}holiday": {"file": b"mine"}, f"{PROBE}0123456789abcdef": {"file": b"mine", "folder": {}}}
    make(root / ".sortd", mine)

    tried(root)

    left = read(root / ".sortd")
    assert left == {f"{PROBE}holiday": {"file": b"mine"}, f"{PROBE}0123456789abcdef": {"file": b"mine"}}


@pytest.mark.fault("K1")
def test_a_filesystem_is_tried_once_for_as_long_as_it_is_mounted(root: Path) -> None:
    known = Filesystems()
    with opened(root) as folders:
        assert known.method(folders, PurePath("cats")) is MoveMethod.RENAME
        (root / ".sortd").rmdir()
        (root / "cats").chmod(0o500)
        before = root.stat().st_mtime_ns
        assert known.method(folders, PurePath("cats")) is MoveMethod.RENAME
        assert root.stat().st_mtime_ns == before


@pytest.mark.fault("K1")
def test_another_filesystem_mounted_there_meanwhile_is_tried_anew(root: Path) -> None:
    known = Filesystems()
    with opened(root) as folders:
        known.method(folders, PurePath("cats"))
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", root / "cats"]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        with opened(root) as folders, pytest.raises(FolderRefuses, match="cats: Read-only"):
            known.method(folders, PurePath("cats"))
        assert [str(folder) for folder, _ in survey(root, [PurePath("cats")])] == [".", "cats"]
    finally:
        subprocess.run(["umount", root / "cats"], check=True)
