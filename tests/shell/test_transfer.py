"""What a kill leaves of a move to another filesystem, and what its owner does before the next start."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path, PurePath

import pytest

from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.regular_file import identity_of
from sortd.disk.transfer import copy_verified, publish, temporary, was_put_back
from sortd.domain.move_plan import MoveStep
from sortd.domain.video import Fingerprint
from tests.folders import make, read

CONTENT = Fingerprint(hashlib.blake2b((4).to_bytes(8, "little") + b"clip", digest_size=16).hexdigest())
PART = ".sortd-0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "root", {"clip.mp4": b"clip", "clip.srt": b"words", "cats": {}})


def copied(root: Path) -> tuple[MoveStep, ...]:
    """A video and its companion, with their copies made and verified."""
    names = ("clip.mp4", "clip.srt")
    plan = [MoveStep(PurePath(n), PurePath("cats", n), identity_of((root / n).lstat()), None) for n in names]
    copies = [copy for copy in copy_verified(root, PART, plan) if copy is not None]
    return tuple(MoveStep(s.source, s.target, s.identity, copy) for s, copy in zip(plan, copies, strict=True))


def killed_after_the_video_went(root: Path) -> tuple[MoveStep, ...]:
    steps = copied(root)
    for n, step in enumerate(steps):
        (root / temporary(PART, n, step.target)).rename(root / step.target)
    (root / steps[0].source).unlink()
    return steps


def test_it_is_done_once_the_video_went_whatever_became_of_its_subtitles(root: Path) -> None:
    steps = killed_after_the_video_went(root)
    (root / "cats/clip.srt").write_bytes(b"edited meanwhile")

    identity = publish(root, PART, steps, fingerprint=CONTENT, filesystems=Filesystems())

    assert identity == identity_of((root / "cats/clip.mp4").lstat())
    assert read(root) == {"clip.srt": b"words", "cats": {"clip.mp4": b"clip", "clip.srt": b"edited meanwhile"}}


def test_after_a_kill_the_subtitles_follow_the_video(root: Path) -> None:
    publish(root, PART, killed_after_the_video_went(root), fingerprint=CONTENT, filesystems=Filesystems())

    assert read(root) == {"cats": {"clip.mp4": b"clip", "clip.srt": b"words"}}


def test_what_the_owner_put_back_is_known_by_its_age_where_it_has_the_same_inode_again(root: Path) -> None:
    (step, _) = copied(root)
    begun = time.time_ns() - 60 * 10**9
    (root / temporary(PART, 0, step.target)).unlink()  # as if it had been named, and moved over the source

    assert was_put_back(root, PART, step, fingerprint=CONTENT, began_ns=begun)
    assert not was_put_back(root, PART, step, fingerprint=CONTENT, began_ns=begun + 120 * 10**9)
    assert not was_put_back(root, PART, step, fingerprint=CONTENT, began_ns=None)


def test_a_source_that_was_never_moved_was_not_put_back(root: Path) -> None:
    (step, _) = copied(root)
    begun = time.time_ns() - 60 * 10**9
    (root / "clip.mp4").chmod(0o600)

    assert not was_put_back(root, PART, step, fingerprint=CONTENT, began_ns=begun)
