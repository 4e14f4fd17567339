"""What a file is besides its content goes along to another filesystem, or the file does not go."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.fingerprint import fingerprint
from sortd.disk.regular_file import identity_of
from sortd.disk.transfer import copy_verified, publish, withdraw
from sortd.domain.errors import FolderRefuses, MoveRefused, NameTaken
from sortd.domain.move_plan import MoveStep
from sortd.judgement.file_access import FileAccess, lost_access
from tests.folders import make, read

PART = ".sortd-0123456789abcdef"
ALICE, BOB, FILMS = 2001, 2002, 3001
ACCESS_LIST = "system.posix_acl_access"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other owners")


def access_list(reader: int) -> bytes:
    """user::rw-, user:READER:r--, group::r--, mask::r--, other::---, as the kernel keeps it."""
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, reader), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A library whose category `cats` is another disk, where mounting is allowed."""
    root = make(tmp_path / "root", {"clip.mp4": b"clip", "cats": {}})
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", root / "cats"]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield root
    if mounted:
        subprocess.run(["umount", root / "cats"], check=True)


def step(root: Path) -> MoveStep:
    return MoveStep(PurePath("clip.mp4"), PurePath("cats/clip.mp4"), identity_of((root / "clip.mp4").lstat()))


def move(root: Path, *, back: bool = False) -> None:
    source, target = ("cats/clip.mp4", "clip.mp4") if back else ("clip.mp4", "cats/clip.mp4")
    planned = MoveStep(PurePath(source), PurePath(target), identity_of((root / source).lstat()))
    content = fingerprint(root / source, identity=planned.identity)
    assert content
    (copy,) = [copy for copy in copy_verified(root, PART, [planned]) if copy]
    publish(root, PART, [replace(planned, copy=copy)], fingerprint=content, filesystems=Filesystems())


def facts(path: Path) -> dict[str, object]:
    status = path.stat()
    extended = {name: os.getxattr(path, name) for name in os.listxattr(path) if not name.startswith("security.")}
    return {"ids": (status.st_uid, status.st_gid), "mode": status.st_mode, "at": status.st_mtime_ns} | extended


@pytest.mark.fault("K14")
@as_root
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o400, 0o000, 0o664])
@pytest.mark.parametrize("listed", [False, True])
def test_owner_permissions_lists_attributes_and_times_go_along_and_come_back(
    root: Path, mode: int, *, listed: bool
) -> None:
    clip = root / "clip.mp4"
    os.setxattr(clip, "user.xdg.tags", b"holiday")
    os.setxattr(clip, "user.empty", b"")
    if listed:
        os.setxattr(clip, ACCESS_LIST, access_list(BOB))
    os.chown(clip, ALICE, FILMS)
    clip.chmod(mode)
    os.utime(clip, ns=(1_000_000_007, 1_234_567_890_123_456_789))
    before = facts(clip)

    move(root)
    assert facts(root / "cats/clip.mp4") == before
    move(root, back=True)
    assert facts(clip) == before
    assert read(root / "cats") == {}


@pytest.mark.fault("K14")
@as_root
def test_what_the_folder_gives_to_new_files_is_no_part_of_a_copy(root: Path) -> None:
    os.chown(root / "cats", -1, FILMS)
    (root / "cats").chmod(0o2775)
    os.setxattr(root / "cats", "system.posix_acl_default", access_list(BOB))
    before = facts(root / "clip.mp4")

    move(root)

    assert facts(root / "cats/clip.mp4") == before


@pytest.mark.fault("K14")
@as_root
@pytest.mark.parametrize(
    ("owner", "group", "named"),
    [(ALICE, FILMS, "its owner and its group"), (ALICE, 0, "its owner"), (BOB, FILMS, "its group")],
)
def test_a_copy_that_would_lose_its_owner_is_refused_before_a_byte_of_it(root: Path, owner, group, named) -> None:
    os.chown(root, BOB, BOB)
    os.chown(root / "cats", BOB, BOB)
    os.chown(root / "clip.mp4", owner, group)
    (root / "clip.mp4").chmod(0o644)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.chdir(root)  # what is above is the test's alone
            os.setgroups([])
            os.setgid(0 if group == 0 else BOB)
            os.setuid(BOB)
            try:
                list(copy_verified(Path(), PART, [step(Path())]))
            except FolderRefuses as refused:
                stood = Path("cats", f"{PART}.part").stat().st_size
                withdraw(Path(), PART, [step(Path())], filesystems=Filesystems())
                os.write(writing, f"{stood} {refused}".encode())
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 4096).decode()
    os.waitpid(child, 0)
    os.close(reading)

    assert said.startswith(f"0 cats: a file copied there would lose {named}; let sortd run as")
    assert read(root) == {"clip.mp4": b"clip", "cats": {}}


@pytest.mark.fault("K14")
def test_a_copy_that_would_lose_an_attribute_is_refused(root: Path) -> None:
    try:
        os.setxattr(root / "clip.mp4", "user.xdg.tags", b"holiday" * 400)
    except OSError:
        pytest.skip("no attributes of that size here")
    if subprocess.run(["mount", "-t", "ramfs", "none", root / "cats"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(FolderRefuses, match=r"would lose its attribute user\.xdg\.tags"):
            move(root)
    finally:
        subprocess.run(["umount", root / "cats"], check=True)


OLD = FileAccess(owner=ALICE, group=FILMS, mode=0o640, access_list=None)


@pytest.mark.fault("K14")
@pytest.mark.parametrize(
    ("before", "after", "readable"),
    [
        (OLD, replace(OLD, owner=0, group=0, mode=0o755), True),
        (OLD, replace(OLD, owner=0, group=0, mode=0o777), True),
        (OLD, replace(OLD, owner=0, group=0, mode=0o700), False),
        (OLD, replace(OLD, owner=0, mode=0o740), False),
        (OLD, replace(OLD, group=0, mode=0o740), False),
        (OLD, replace(OLD, mode=0o740), True),
        (replace(OLD, mode=0o600), replace(OLD, group=0, mode=0o700), True),
        (replace(OLD, mode=0o644), replace(OLD, mode=0o750), False),
        (replace(OLD, access_list=b"bob"), replace(OLD, mode=0o750), False),
        (replace(OLD, access_list=b"bob"), replace(OLD, mode=0o755), True),
    ],
)
def test_where_the_mount_decides_it_is_enough_that_all_readers_may_still_read(before, after, readable) -> None:
    assert (lost_access(before, after, by_mount=True) == ()) == readable


@pytest.mark.fault("K3")
def test_a_file_under_the_temporary_name_is_its_owners(root: Path) -> None:
    make(root / "cats", {f"{PART}.part": b"mine"})

    with pytest.raises(NameTaken):
        list(copy_verified(root, PART, [step(root)]))

    assert read(root) == {"clip.mp4": b"clip", "cats": {f"{PART}.part": b"mine"}}


@pytest.mark.fault("K3")
def test_a_link_under_the_temporary_name_leads_nowhere(root: Path, tmp_path: Path) -> None:
    make(tmp_path, {"outside": b"mine"})
    (root / "cats" / f"{PART}.part").symlink_to(tmp_path / "outside")

    with pytest.raises(MoveRefused):
        list(copy_verified(root, PART, [step(root)]))

    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert (root / "cats" / f"{PART}.part").is_symlink()
