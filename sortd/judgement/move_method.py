"""Choose how files are moved within a filesystem, by what it was seen to do; nothing is moved where that is unsafe."""

from __future__ import annotations

from enum import StrEnum

from sortd.domain.move_plan import FilesystemAbilities


class MoveMethod(StrEnum):
    """Neither can replace a file."""

    RENAME = "exclusive rename"
    LINK = "link, then unlink"


def move_method(abilities: FilesystemAbilities) -> MoveMethod | None:
    """The safest that this filesystem can do; None: none is safe.

    Linking needs a proof that both names are one file, before the old one is removed.
    """
    if not abilities.inodes_are_stable:
        return None
    if abilities.renames_exclusively:
        return MoveMethod.RENAME
    return MoveMethod.LINK if abilities.links and abilities.links_keep_inode else None


def why_unsafe(abilities: FilesystemAbilities) -> str:
    """Why there is no method, in words."""
    if not abilities.inodes_are_stable:
        return "a file that was moved on this filesystem shows another inode, and cannot be told from others"
    if abilities.links:
        return "this filesystem cannot rename without replacing, and its links show other inodes than their files"
    return "this filesystem can neither rename without replacing nor link"
