"""Tell whether a copy of a file on another filesystem lets everybody do with it what they could before."""

from __future__ import annotations

from dataclasses import dataclass

_OWNER_READS, _GROUP_READS, _OTHERS_READ = 0o400, 0o040, 0o004
_ALL_READ = _OWNER_READS | _GROUP_READS | _OTHERS_READ


@dataclass(frozen=True, slots=True)
class FileAccess:
    """Owner and group by their numbers, permission bits, and the POSIX access list as the kernel gives it, if any."""

    owner: int
    group: int
    mode: int
    access_list: bytes | None


def lost_access(before: FileAccess, after: FileAccess, *, by_mount: bool) -> tuple[str, ...]:
    """What a copy lacks of its source, in words.

    `by_mount`: the filesystem knows no owners, the way it is mounted decides for all files alike. There nothing is
    lost as long as all who could read the source may read the copy.
    """
    if by_mount:
        return () if _all_still_read(before, after) else ("its readers",)
    lost = {
        "its owner": before.owner != after.owner,
        "its group": before.group != after.group,
        "its permissions": before.mode != after.mode,
        "its access list": before.access_list != after.access_list,
    }
    return tuple(what for what, is_lost in lost.items() if is_lost)


def _all_still_read(before: FileAccess, after: FileAccess) -> bool:
    if after.mode & _ALL_READ == _ALL_READ:
        return True
    return (
        before.access_list is None
        and not before.mode & _OTHERS_READ
        and (not before.mode & _OWNER_READS or (before.owner == after.owner and bool(after.mode & _OWNER_READS)))
        and (not before.mode & _GROUP_READS or (before.group == after.group and bool(after.mode & _GROUP_READS)))
    )
