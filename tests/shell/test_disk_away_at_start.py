"""After a kill in the middle of a move to another disk: that disk is not mounted yet, or the owner acted first."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

import pytest

from sortd.disk.dirfd import OpenFolders, opened
from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.fingerprint import content_of
from sortd.disk.regular_file import identity_of
from sortd.disk.transfer import copy_verified, publish, temporary
from sortd.domain.errors import FolderRefuses, MoveRefused, MoveUnfinished
from sortd.domain.move_plan import MoveStep
from sortd.judgement.move_method import MoveMethod
from tests.folders import make

PART = ".sortd-0123456789abcdef"
CLIP = "clip.mp4"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


class Disk:
    """A filesystem in a file, which keeps what is on it while it is not mounted."""

    def __init__(self, image: Path, where: Path) -> None:
        self._image, self.where = image, where
        with image.open("wb") as file:
            file.truncate(4 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)

    @contextmanager
    def mounted(self, options: str = "rw") -> Iterator[None]:
        mount = ["mount", "-o", f"loop,{options}", self._image, self.where]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this machine has no loop devices")
        try:
            yield
        finally:
            subprocess.run(["umount", self.where], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "root", {"cats": {}, ".sortd": {}})


@pytest.fixture
def disk(tmp_path: Path, root: Path) -> Disk:
    return Disk(tmp_path / "disk", root / "cats")


def copied(root: Path, source: PurePath, target: PurePath) -> tuple[MoveStep, ...]:
    identity = identity_of((root / source).lstat())
    (copy,) = [made for made in copy_verified(root, PART, [MoveStep(source, target, identity)]) if made is not None]
    return (MoveStep(source, target, identity, copy),)


def publisher(root: Path, steps: tuple[MoveStep, ...], filesystems: Filesystems | None = None) -> Callable[[], object]:
    with (root / steps[0].source).open("rb") as file:
        fingerprint = content_of(file.fileno())
    assert fingerprint is not None
    return lambda: publish(root, PART, steps, fingerprint=fingerprint, filesystems=filesystems or Filesystems())


@pytest.mark.fault("K4")
@pytest.mark.parametrize("reached", ["copied", "named", "source gone"])
def test_a_move_whose_target_is_not_mounted_waits_for_it(root: Path, disk: Disk, reached: str) -> None:
    with disk.mounted():
        (root / CLIP).write_bytes(b"the clip")
        steps = copied(root, PurePath(CLIP), PurePath("cats", CLIP))
        publish_it = publisher(root, steps)
        if reached != "copied":
            (root / temporary(PART, 0, steps[0].target)).rename(root / "cats" / CLIP)
        if reached == "source gone":
            (root / CLIP).unlink()

    with pytest.raises(MoveUnfinished, match="another filesystem"):
        publish_it()

    with disk.mounted():
        publish_it()
        assert sorted(path.name for path in root.rglob("*.mp4")) == [CLIP]
        assert (root / "cats" / CLIP).read_bytes() == b"the clip"


@pytest.mark.fault("K4")
def test_a_move_back_whose_source_is_not_mounted_waits_for_it(root: Path, disk: Disk) -> None:
    with disk.mounted():
        (root / "cats" / CLIP).write_bytes(b"the clip")
        steps = copied(root, PurePath("cats", CLIP), PurePath(CLIP))
        publish_it = publisher(root, steps)
        (root / temporary(PART, 0, steps[0].target)).rename(root / CLIP)

    with pytest.raises(MoveUnfinished, match="another filesystem"):
        publish_it()

    with disk.mounted():
        publish_it()
        assert not (root / "cats" / CLIP).exists()
    assert (root / CLIP).read_bytes() == b"the clip"


class Taken(Filesystems):
    """Filesystems whose owner takes the video just before its copy gets its name."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def method(self, folders: OpenFolders, folder: PurePath) -> MoveMethod:
        with suppress(FileNotFoundError):
            (self._root / CLIP).rename(self._root / "dogs" / CLIP)
        return super().method(folders, folder)


@pytest.mark.fault("K2")
def test_a_source_that_its_owner_takes_before_it_is_removed_withdraws_its_copy(root: Path, disk: Disk) -> None:
    with disk.mounted():
        (root / CLIP).write_bytes(b"the clip")
        (root / "dogs").mkdir()
        steps = copied(root, PurePath(CLIP), PurePath("cats", CLIP))

        with pytest.raises(MoveRefused):
            publisher(root, steps, Taken(root))()

        assert [str(path.relative_to(root)) for path in root.rglob("*.mp4")] == ["dogs/clip.mp4"]


@pytest.mark.fault("K1")
def test_a_disk_that_is_mounted_again_in_another_way_is_tried_anew(root: Path, disk: Disk) -> None:
    known = Filesystems()
    with disk.mounted(), opened(root) as folders:
        assert known.method(folders, PurePath("cats")) is MoveMethod.RENAME

    with disk.mounted("ro"), opened(root) as folders, pytest.raises(FolderRefuses, match="Read-only"):
        known.method(folders, PurePath("cats"))
