"""Move to another filesystem: a verified copy under a temporary name, which then gets its name as in any move.

A child process makes the copies (`copy_verified`), for that may wait for a disk for minutes. The loop notes in the
journal what they are, gives them their names and takes the sources away (`publish`); killed anywhere in that, it does
the same again. What fails before the first source went is taken back (`withdraw`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path, PurePath

from sortd.disk.dirfd import (
    NameInFolder,
    OpenFolders,
    check,
    check_writable,
    content_at,
    find,
    opened,
    refusal,
    rename,
    sync,
)
from sortd.disk.file_attributes import keep_attributes, keep_times
from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.open_writers import Writers, asked_for_writers
from sortd.disk.regular_file import identity_of
from sortd.domain.errors import FolderRefuses, MoveRefused, MoveUnfinished, NameTaken
from sortd.domain.move_plan import MoveStep, VerifiedCopy
from sortd.domain.video import FileIdentity, Fingerprint

RESERVE = 64 * 1024 * 1024
"""Bytes that a copy leaves free on its filesystem, or a hundredth of it where that is less: others write there too."""

_BLOCK = 16 * 1024 * 1024
"""Bytes read, written and synced at once: neither the last sync nor a kill waits long for a slow disk."""

_OF_ONE_FILE = {errno.EEXIST, errno.EFBIG, errno.EINVAL, errno.ENAMETOOLONG}
"""What a filesystem says of one file that it cannot hold; anything else it would say of the next one too."""


_CURE = "let sortd run as the owner of the files or as root, or mount what is there with other options"


def temporary(part: str, n: int, target: PurePath) -> PurePath:
    """Where the copy of a move's n-th file grows: hidden, beside its target; `part` is noted in the move's intent."""
    return target.with_name(f"{part}.part" if n == 0 else f"{part}-{n}.part")


def aside(part: str, n: int, source: PurePath) -> PurePath:
    """Where the n-th source waits for its end, beside its own name: hidden, and known to nobody else."""
    return source.with_name(f"{part}-{n}.source.part")


def copy_verified(root: Path, part: str, steps: Sequence[MoveStep]) -> Iterator[VerifiedCopy | None]:
    """Copy a move's files, in order, to their temporary names; None, now and then, is a sign of life.

    MoveRefused: a source is not what is expected of it, or something failed; what was made is the caller's to withdraw.
    NameTaken: a temporary name is another file's, and none of ours is left.
    """
    with opened(root) as folders:
        try:
            check_writable(folders.entry(steps[0].source))
            check_writable(folders.entry(steps[0].target))
            _check_room(folders, steps)
            for n, step in enumerate(steps):
                yield from _copy(folders, step, temporary(part, n, step.target))
        except NameTaken:
            for m, made in enumerate(steps[:n]):
                _remove(folders, temporary(part, m, made.target))
            raise
        except OSError as problem:
            raise refusal(problem) from problem


def publish(
    root: Path, part: str, steps: Sequence[MoveStep], *, fingerprint: Fingerprint, filesystems: Filesystems
) -> FileIdentity:
    """Give verified copies their names, all or none, then take the sources away; what the first file is now.

    `fingerprint` is the first file's. Done again after a kill it goes on where it was. MoveRefused: nothing was moved,
    the copies are withdrawn. Main thread only.
    """
    named: list[int] = []
    try:
        with opened(root) as folders:
            _check_mounted(folders, steps[0])
            _settle_aside(folders, part, steps, filesystems, finish=True)
            if not _went(folders, steps[0], fingerprint):
                for n, step in enumerate(steps):
                    known = fingerprint if n == 0 else None
                    if _name(folders, step, temporary(part, n, step.target), filesystems, known):
                        named.append(n)
                with _refusing(steps[0].target.parent):
                    sync([folders.entry(step.target) for step in steps])
                _take_source(folders, steps[0], aside(part, 0, steps[0].source), filesystems)
    except (OSError, MoveRefused) as problem:
        _withdraw_all(root, part, steps, filesystems, named=named)
        raise refusal(problem) from problem
    try:
        with opened(root) as folders:
            for n, step in enumerate(steps[1:], 1):
                copy, named_now = temporary(part, n, step.target), n in named
                try:
                    named_now |= _name(folders, step, copy, filesystems, None)
                    sync([folders.entry(step.target)])
                    if find(folders, step.source) is not None:  # else it went before a kill, or its owner took it
                        _take_source(folders, step, aside(part, n, step.source), filesystems)
                except (OSError, MoveRefused):  # the video went; a companion that cannot stays where it is
                    _withdraw(folders, step, copy, named=named_now)
            with suppress(FileNotFoundError):  # after a kill, the owner may have removed the emptied folder
                sync([folders.entry(steps[0].source)])
            target = folders.entry(steps[0].target)
            return identity_of(os.stat(target.name, dir_fd=target.folder, follow_symlinks=False))
    except (OSError, MoveRefused) as problem:
        raise MoveUnfinished(f"{steps[0].target}: {problem}") from problem


def withdraw(root: Path, part: str, steps: Sequence[MoveStep], *, filesystems: Filesystems) -> None:
    """Remove a move's temporary files, and its copies that have their names while their sources still stand."""
    _withdraw_all(root, part, steps, filesystems, named=())


def was_put_back(root: Path, part: str, step: MoveStep, *, fingerprint: Fingerprint, began_ns: int | None) -> bool:
    """Tell whether the owner brought back what was moved: it stands at its source again, and its copy nowhere.

    It is another file, though it may have the inode that the source let go. `began_ns` is when the move was intended by
    the clock of the source's filesystem, which tells then that it came later; None: nothing is concluded.
    """
    try:
        with opened(root) as folders:
            _check_mounted(folders, step)
            before, after = find(folders, step.source), find(folders, step.target)
            rest = (temporary(part, 0, step.target), aside(part, 0, step.source))
            if began_ns is None or before is None or after is not None or any(find(folders, path) for path in rest):
                return False
            if (before.st_size, before.st_mtime_ns) != (step.identity.size, step.identity.mtime_ns):
                return False
            return before.st_ctime_ns > began_ns and content_at(folders, step.source) == fingerprint
    except (OSError, MoveRefused) as problem:
        raise MoveUnfinished(f"{step.source} cannot be looked for: {problem}") from problem


def _check_mounted(folders: OpenFolders, step: MoveStep) -> None:
    """MoveUnfinished: one of the two filesystems of a copy is not mounted, and what it holds cannot be asked.

    An empty mount point looks like a folder whose files the owner took away. Two filesystems that show one number (a
    bind mount) cannot be told so.
    """
    if step.copy is None or None in {step.identity.device, step.copy.identity.device}:
        return  # noted by an earlier sortd
    if step.identity.device == step.copy.identity.device:
        return
    with suppress(FileNotFoundError):  # a folder that the owner removed is no mount point
        before, after = (os.fstat(folders.open(path.parent)) for path in (step.source, step.target))
        if before.st_dev == after.st_dev:
            where = f"{step.source.parent} or {step.target.parent}"
            raise MoveUnfinished(f"{where} was on another filesystem, which is not mounted now")


def _name(
    folders: OpenFolders, step: MoveStep, part: PurePath, filesystems: Filesystems, fingerprint: Fingerprint | None
) -> bool:
    """Give a verified copy its name, if its source still is what was copied; False: it had it since before a kill."""
    if find(folders, part) is None and _stands(folders, step, fingerprint):
        return False
    _check_source(folders.entry(step.source), step.identity)
    check(folders.entry(part), _copy_of(step).identity)
    rename(folders.entry(part), folders.entry(step.target), filesystems.method(folders, step.target.parent))
    return True


def _went(folders: OpenFolders, step: MoveStep, fingerprint: Fingerprint | None) -> bool:
    """Tell whether its source was taken away before a kill, and its copy stands; another file may have the old name."""
    before = find(folders, step.source)
    if before is not None and identity_of(before).lasting == step.identity.lasting:
        return False
    return _stands(folders, step, fingerprint)


def _stands(folders: OpenFolders, step: MoveStep, fingerprint: Fingerprint | None) -> bool:
    """Tell whether the copy has its name: an inode number alone proves nothing, so its content is asked."""
    status, copy = find(folders, step.target), _copy_of(step)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != copy.identity.size:
        return False
    if fingerprint is not None and identity_of(status).lasting == copy.identity.lasting:
        return content_at(folders, step.target) == fingerprint
    return _digest(folders, step.target) == copy.digest


def _copy_of(step: MoveStep) -> VerifiedCopy:
    if step.copy is None:
        raise MoveRefused(f"the copy of {step.source} was not verified")
    return step.copy


def _take_source(folders: OpenFolders, step: MoveStep, hidden: PurePath, filesystems: Filesystems) -> None:
    """Remove the source, while it provably is what was copied and nobody writes it. MoveRefused: it stays.

    It goes by way of a hidden name: what is removed is then the very file that was looked at, whatever the owner puts
    in its place meanwhile.
    """
    source, going = folders.entry(step.source), folders.entry(hidden)
    with _reading(source) as file, asked_for_writers(file.fileno(), folder=source.folder) as answer:
        why = why_not_taken(answer.found)
        if why is not None:
            raise MoveRefused(f"{step.source}: {why}")
        if not step.identity.agrees(identity_of(os.fstat(file.fileno()))):
            raise MoveRefused(f"{step.source} changed while it was copied")
        rename(source, going, filesystems.method(folders, step.source.parent))
        why = "was taken up by somebody at the last moment"
        found = os.stat(going.name, dir_fd=going.folder, follow_symlinks=False)
        itself = os.path.samestat(found, os.fstat(file.fileno()))
        if itself and identity_of(found).lasting == step.identity.lasting and answer.holds():
            try:
                _remove(folders, hidden)
                return
            except OSError as problem:
                why = f"cannot be removed: {problem.strerror}"
        _give_name_back(folders, step, hidden, filesystems)
        raise MoveRefused(f"{step.source} {why}")


def _give_name_back(folders: OpenFolders, step: MoveStep, hidden: PurePath, filesystems: Filesystems) -> None:
    try:
        method = filesystems.method(folders, step.source.parent)
        rename(folders.entry(hidden), folders.entry(step.source), method)
    except OSError as problem:
        raise MoveUnfinished(f"{hidden} cannot have its name {step.source.name} back: {problem}") from problem


def why_not_taken(found: Writers) -> str | None:
    """Why a file may not be removed after it was copied; None: it may."""
    match found:
        case Writers.NONE:
            return None
        case Writers.SOME:
            return "somebody has it open for writing"
        case Writers.UNKNOWN:
            return "whether somebody writes it cannot be told, so it is not moved to another disk (see sortd check)"


def _settle_aside(
    folders: OpenFolders, part: str, steps: Sequence[MoveStep], filesystems: Filesystems, *, finish: bool
) -> None:
    """After a kill give each source that waits for its end its name back; to `finish`, remove it if its copy stands."""
    for n, step in enumerate(steps):
        hidden = aside(part, n, step.source)
        if find(folders, hidden) is None:
            continue
        if finish and step.copy and _digest(folders, hidden) == step.copy.digest and _stands(folders, step, None):
            _remove(folders, hidden)
        else:
            _give_name_back(folders, step, hidden, filesystems)


def _withdraw_all(
    root: Path, part: str, steps: Sequence[MoveStep], filesystems: Filesystems, *, named: Container[int]
) -> None:
    try:
        with opened(root) as folders:
            _settle_aside(folders, part, steps, filesystems, finish=False)
            for n, step in enumerate(steps):
                _withdraw(folders, step, temporary(part, n, step.target), named=n in named)
    except (OSError, MoveRefused) as problem:
        raise MoveUnfinished(f"the copy of {steps[0].source} cannot be taken back: {problem}") from problem


def _withdraw(folders: OpenFolders, step: MoveStep, part: PurePath, *, named: bool) -> None:
    """Remove a copy; one that has its name only if its source was not taken: this call `named` it, or both are equal.

    After a kill the copy may be the only one, and the source's name another file's. A source that went since this call
    `named` its copy was taken by its owner, who would find the video twice.
    """
    if find(folders, part) is not None:
        _remove(folders, part)
    before, after, copy = find(folders, step.source), find(folders, step.target), step.copy
    if not (after and copy) or identity_of(after).lasting != copy.identity.lasting:
        return
    if before is None:
        if named:
            _remove(folders, step.target)
        return
    if os.path.samestat(before, after) or not stat.S_ISREG(before.st_mode):
        return
    if named or all(_digest(folders, path) == copy.digest for path in (step.source, step.target)):
        _remove(folders, step.target)


def _digest(folders: OpenFolders, path: PurePath) -> str:
    with _reading(folders.entry(path)) as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()


def _remove(folders: OpenFolders, path: PurePath) -> None:
    os.unlink(path.name, dir_fd=folders.open(path.parent))


# The copy itself


def _check_room(folders: OpenFolders, steps: Sequence[MoveStep]) -> None:
    folder = steps[0].target.parent
    status = os.fstatvfs(folders.open(folder))
    total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    needed = sum(step.identity.size for step in steps) + min(RESERVE, total // 100)
    if total and free < needed:  # some network filesystems tell nothing: zeros
        raise FolderRefuses(folder, os.strerror(errno.ENOSPC))


def _copy(folders: OpenFolders, step: MoveStep, part: PurePath) -> Iterator[VerifiedCopy | None]:
    source = folders.entry(step.source)
    with _reading(source) as old, _refusing(part.parent), _created(folders, part) as new:
        lost = keep_attributes(old.fileno(), new.fileno())
        if lost:
            raise FolderRefuses(part.parent, f"a file copied there would lose {' and '.join(lost)}; {_CURE}")
        written = hashlib.blake2b()
        for block in _blocks(old, source):
            _write(new, block)
            written.update(block)
            os.fdatasync(new.fileno())
            _check_source(source, step.identity)  # whoever took it back need not wait until the copy is through
            yield None
        _check_source(source, step.identity)
        if identity_of(os.fstat(old.fileno())) != step.identity:
            raise MoveRefused(f"{step.source} was swapped while it was copied")
        keep_times(old.fileno(), new.fileno())
        os.fsync(new.fileno())
        yield None
        if hasattr(os, "posix_fadvise"):  # not on macOS; what is read back comes from the disk then
            os.posix_fadvise(new.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        new.seek(0)
        found = hashlib.blake2b()
        while block := new.read(_BLOCK):
            found.update(block)
            yield None
        if found.digest() != written.digest():
            raise FolderRefuses(part.parent, "what is read back is not what was written")
        yield VerifiedCopy(identity_of(os.fstat(new.fileno())), written.hexdigest())


@contextmanager
def _created(folders: OpenFolders, part: PurePath) -> Iterator[FileIO]:
    """A new file to copy into. NameTaken: it is another's."""
    entry = folders.entry(part)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(entry.name, flags, 0o600, dir_fd=entry.folder)
    except FileExistsError as problem:
        raise NameTaken(f"{part} is taken") from problem
    with FileIO(descriptor, "r+") as file:
        yield file


@contextmanager
def _reading(entry: NameInFolder) -> Iterator[FileIO]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(entry.name, flags, dir_fd=entry.folder)
    except OSError as problem:
        raise MoveRefused(f"{entry.path}: {problem.strerror}") from problem
    with FileIO(descriptor) as file:
        yield file


@contextmanager
def _refusing(folder: PurePath) -> Iterator[None]:
    """What the system says to one file written into a folder it would say to the next one too, but for its size."""
    try:
        yield
    except OSError as problem:
        if problem.errno in _OF_ONE_FILE:
            raise MoveRefused(f"{folder}: {problem.strerror}") from problem
        raise FolderRefuses(folder, str(problem.strerror)) from problem


def _blocks(file: FileIO, entry: NameInFolder) -> Iterator[bytes]:
    try:
        while block := file.read(_BLOCK):
            yield block
    except OSError as problem:
        raise MoveRefused(f"{entry.path}: {problem.strerror}") from problem


def _write(file: FileIO, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def _check_source(source: NameInFolder, expected: FileIdentity) -> None:
    try:
        check(source, expected)
    except OSError as problem:
        raise MoveRefused(f"{source.path} went while it was copied") from problem
