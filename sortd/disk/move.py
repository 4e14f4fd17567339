"""Move a video and its companions, all of them or none, so that nothing can be replaced, lost or half done.

The order of steps is that of Maildir and of restic: refuse to replace, rename, sync the folders.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path, PurePath

from sortd.disk.dirfd import OpenFolders, check, check_writable, content_at, find, opened, refusal, rename, sync
from sortd.disk.file_names import LONGEST_NAME, stem_of
from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.library_marker import MARKER
from sortd.disk.regular_file import identity_of
from sortd.domain.errors import MoveRefused, MoveUnfinished
from sortd.domain.move_plan import MovePlan
from sortd.domain.video import FileIdentity, Fingerprint
from sortd.judgement.move_method import MoveMethod


class RecoveryState(StrEnum):
    """Where the file of an open intent stands."""

    NOT_MOVED = "not_moved"
    MOVED = "moved"
    PUT_BACK = "put_back"
    """It was moved, and the owner put it back."""
    GONE = "gone"
    """At neither place: the owner took it elsewhere."""


def plan_move(
    video: PurePath,
    companions: Sequence[PurePath],
    *,
    folder: PurePath,
    taken: Container[str],
    name: str | None = None,
) -> MovePlan:
    """Where a video and its companions go in `folder`; a taken name becomes `stem (2).ext`, free for the whole group.

    Names stay as they are but for the number, and for the end of a stem that would exceed 255 bytes with it. `name` is
    the video's name from before an earlier move, which it and its companions get back.
    """
    sources = (video, *companions)
    tails = [source.name[len(stem_of(video.name)) :] for source in sources]
    stem = stem_of(video.name if name is None else name)
    for number in itertools.count(1):
        start = stem if number == 1 else _numbered(stem, number, longest_tail=max(map(_size, tails)))
        if not any(start + tail in taken for tail in tails):
            break
    return MovePlan(tuple((source, folder / (start + tail)) for source, tail in zip(sources, tails, strict=True)))


def _numbered(stem: str, number: int, *, longest_tail: int) -> str:
    end = f" ({number})"
    room = LONGEST_NAME - longest_tail - len(end)
    if room < 1:
        raise MoveRefused(f"{stem!r} leaves no room for a number")
    while _size(stem) > room:
        stem = stem[:-1]  # a whole character: cut bytes would be another name on the screen
    return stem + end


def _size(name: str) -> int:
    return len(os.fsencode(name))


class FileMover:
    """Moves files below a root. Raises MoveRefused where nothing was moved, MoveUnfinished where that is not sure."""

    def __init__(self, root: Path, filesystems: Filesystems | None = None) -> None:
        self._root = root
        self._filesystems = filesystems or Filesystems()

    def taken(self, folder: PurePath) -> Container[str]:
        """The names that `plan_move` must not give in this folder; as the filesystem sees it, case folding and all."""
        return _Taken(self._root / folder)

    def move(
        self,
        plan: MovePlan,
        *,
        expected: Mapping[PurePath, FileIdentity],
        before_taking_back: Callable[[], None] = lambda: None,
    ) -> None:
        """Carry out the plan, if every source still is what is `expected` of it; no folder is made.

        `before_taking_back` is called before the first file of a plan that fails is put back; not so where it raises.
        """
        if not plan.steps:
            return
        done: list[_Step] = []
        with opened(self._root) as folders:
            try:
                steps = [_Step(folders, source, target) for source, target in plan.steps]
                for entry in (steps[0].source, steps[0].target):
                    check_writable(entry)
                # Of the source's too: a copy ends with a rename there.
                _, method = (
                    self._filesystems.method(folders, entry.path.parent) for entry in (steps[0].source, steps[0].target)
                )
                for step in steps:
                    check(step.source, expected[step.source.path])
                    rename(step.source, step.target, method)
                    done.append(step)
                    check(step.target, expected[step.source.path], renamed=True)  # it may have been swapped in between
                _sync(steps)
            except (OSError, MoveRefused) as problem:
                if done:
                    before_taking_back()
                    _take_back(done, method)
                raise refusal(problem) from problem

    def clock(self, source: PurePath) -> int | None:
        """The time, in nanoseconds, by the clock of the filesystem that a file stands on; None: it cannot be told.

        It is the change time of our own folder, touched for this, if that is on the same one.
        """
        try:
            with opened(self._root) as folders:
                ours = folders.open(MARKER.parent)
                os.utime(ours)
                status, there = os.fstat(ours), os.fstat(folders.open(source.parent))
        except (OSError, MoveRefused):
            return None
        return status.st_ctime_ns if status.st_dev == there.st_dev else None

    def recover(
        self,
        source: PurePath,
        target: PurePath,
        *,
        identity: FileIdentity,
        fingerprint: Fingerprint | None = None,
        began_ns: int | None = None,
    ) -> RecoveryState:
        """Where the file of an intent that was left open stands; a move that was cut short is finished.

        It is known by its content where its `fingerprint` is given, else by inode, size and time together.
        `began_ns` is when the move was intended, by the clock of the source's filesystem: what stands at its source and
        was renamed later was put back. None: nothing is concluded. MoveUnfinished: it cannot be told.
        """
        try:
            with opened(self._root) as folders:
                before, after = find(folders, source), find(folders, target)
                at_source = _is_it(folders, source, before, identity, fingerprint)
                at_target = _is_it(folders, target, after, identity, fingerprint)
                if at_source and at_target and before and after:
                    if before.st_ctime_ns == identity.ctime_ns:  # no link was made to it
                        return RecoveryState.NOT_MOVED
                    if not os.path.samestat(before, after) or before.st_nlink < 2:  # noqa: PLR2004 - its two names
                        raise MoveUnfinished(
                            f"{source} and {target} hold the same, and whose doing that is is not known"
                        )
                    os.unlink(source.name, dir_fd=folders.open(source.parent))  # killed between link and unlink
                    at_source = False
                if at_target and not at_source:
                    _sync([_Step(folders, source, target)])
                    return RecoveryState.MOVED
                if not at_source or before is None:
                    return RecoveryState.GONE
                return (
                    RecoveryState.PUT_BACK if _came_back(folders, before, target, began_ns) else RecoveryState.NOT_MOVED
                )
        except (OSError, MoveRefused) as problem:
            raise MoveUnfinished(f"{source} cannot be looked for: {problem}") from problem


def _is_it(
    folders: OpenFolders,
    path: PurePath,
    status: os.stat_result | None,
    identity: FileIdentity,
    fingerprint: Fingerprint | None,
) -> bool:
    """Tell whether the file at a path is the one of an intent; a filesystem may have used its inode number again."""
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != identity.size:
        return False
    if fingerprint is None:
        return identity_of(status).lasting == identity.lasting
    return content_at(folders, path) == fingerprint


def _came_back(folders: OpenFolders, status: os.stat_result, target: PurePath, began_ns: int | None) -> bool:
    """Tell whether a file was renamed and its target's folder changed after the intent; a new mode alone is no move."""
    folder = find(folders, target.parent) if target.parent.name else os.fstat(folders.open(target.parent))
    if began_ns is None or folder is None:
        return False
    return status.st_ctime_ns > began_ns and folder.st_mtime_ns > began_ns


class _Taken:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, name: object) -> bool:
        return os.path.lexists(f"{self._folder}/{name}")


class _Step:
    def __init__(self, folders: OpenFolders, source: PurePath, target: PurePath) -> None:
        self.source = folders.entry(source)
        self.target = folders.entry(target)


def _take_back(done: list[_Step], method: MoveMethod) -> None:
    try:
        for step in reversed(done):
            rename(step.target, step.source, method)
    except (OSError, MoveRefused) as problem:
        raise MoveUnfinished(f"{step.target.path} could be neither left nor put back: {problem}") from problem
    with suppress(OSError):  # the next start finds the intent abandoned, and the files at either place
        _sync(done)


def _sync(steps: Sequence[_Step]) -> None:
    """Targets first: after a power cut a file may stand at both places, never at none."""
    sync([step.target for step in steps] + [step.source for step in steps])
