"""Read the owner's rules for a folder, from the `.sortd.toml` in it."""

from __future__ import annotations

import codecs
import os
import reprlib
import textwrap
import tomllib
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

from sortd.disk.file_names import FOLDER_RULES
from sortd.disk.regular_file import ABSENT, identity_of, open_plain, status_of
from sortd.domain.video import FileIdentity

_LARGEST = 8 * 1024  # bytes; such a file holds four short lines


class Role(StrEnum):
    """What a folder is to sortd."""

    CATEGORY = "category"
    UNSORTED = "unsorted"
    """As if its videos stood in the root."""
    IGNORE = "ignore"
    """As if it were not there."""
    OTHER = "other"
    """Videos that belong to no category."""


@dataclass(frozen=True, slots=True)
class FolderRules:
    """What the owner said of a folder; these are the defaults.

    `problem` is a sentence where the file could not be used: then the folder is left as it is.
    """

    role: Role = Role.CATEGORY
    says_role: bool = False
    """Whether the owner said what the folder is to be."""
    describe: str = ""
    automatic: bool = True
    target_precision: float | None = None
    problem: str = ""


class FolderRuleCache:
    """The rules of the folders below a root; a file is read again only when it changed."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._read: dict[PurePath, tuple[FileIdentity, FolderRules]] = {}
        self.problems: dict[PurePath, str] = {}
        """What is wrong with the files that were read last."""

    def own(self, folder: PurePath) -> FolderRules | None:
        """The rules that stand in this very folder; None where there are none."""
        path = f"{self._root}/{folder}/{FOLDER_RULES}"
        try:
            rules = self._load(folder, path) if os.path.lexists(path) else None
        except OSError as problem:
            rules = None if problem.errno in ABSENT else _unusable(str(problem.strerror))
        if rules is not None and rules.problem:
            self.problems[folder] = f"{folder / FOLDER_RULES}: {rules.problem}"
            return replace(rules, problem=self.problems[folder])
        self.problems.pop(folder, None)
        return rules

    def nearest(self, folder: PurePath) -> FolderRules:
        """The rules of the folder, or of the nearest above it that has some; the root has none."""
        if folder.is_absolute() or ".." in folder.parts:
            return _unusable(f"{folder} is no folder of this library")  # so names an index that was tampered with
        while folder.parts:
            if rules := self.own(folder):
                return rules
            folder = folder.parent
        return FolderRules()

    def _load(self, folder: PurePath, path: str) -> FolderRules:
        status = status_of(path)
        if status is None:
            return _unusable("not a plain file")
        identity = identity_of(status)
        known = self._read.get(folder)
        if known and known[0] == identity:
            return known[1]
        with open_plain(path) as file:
            content = file.read(_LARGEST + 1)
            changed = identity_of(os.fstat(file.fileno())) != identity
        rules = parse(content)
        if not changed:
            self._read[folder] = (identity, rules)
        return rules


def parse(content: bytes) -> FolderRules:
    """Rules from the text of a `.sortd.toml`; whatever is wrong with it is the rules' problem."""
    if len(content) > _LARGEST:
        return _unusable(f"larger than {_LARGEST} bytes")
    try:
        table = tomllib.loads(_text(content))
        read: dict[str, Any] = {}
        for key, value in table.items():
            fitting = _READERS[key](value) if key in _READERS else None
            if fitting is None:
                return _unusable(f"{_brief(key)} = {_brief(value)} is not one of {_EXPECTED}")
            read[key] = fitting
    except (RecursionError, MemoryError):
        return _unusable("its values are nested too deeply")
    except Exception as problem:  # noqa: BLE001 - of what a stranger's file makes a parser say nothing is certain
        return _unusable(_brief_line(str(problem)))
    return FolderRules(**read, says_role="role" in read)


def _text(content: bytes) -> str:
    """What editors of all systems write: UTF-8 or UTF-16 with a byte order mark, lines that end in CR, LF or both."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16")
    else:
        text = content.decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _brief(value: Any) -> str:  # noqa: ANN401  (whatever TOML holds)
    return reprlib.repr(value)


def _brief_line(text: str) -> str:
    return textwrap.shorten(text.encode("unicode_escape").decode(), 200)


_EXPECTED = (
    'role = "category"|"unsorted"|"ignore"|"other", describe = "...", automatic = false, target_precision = 0.99'
)


def _role(value: Any) -> Role | None:  # noqa: ANN401  (whatever TOML holds)
    return Role(value) if value in list(Role) else None


def _describe(value: Any) -> str | None:  # noqa: ANN401
    return value if isinstance(value, str) else None


def _automatic(value: Any) -> bool | None:  # noqa: ANN401
    return value if isinstance(value, bool) else None


def _target_precision(value: Any) -> float | None:  # noqa: ANN401
    return float(value) if isinstance(value, float) and 0 < value < 1 else None


_READERS = {"role": _role, "describe": _describe, "automatic": _automatic, "target_precision": _target_precision}


def _unusable(why: str) -> FolderRules:
    return FolderRules(automatic=False, problem=why)
