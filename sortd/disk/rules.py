"""The owner's rules for one folder, in the `.sortd.toml` that stands in it."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

from sortd.disk.names import FOLDER_RULES
from sortd.disk.plain import ABSENT, identity_of, open_plain, status_of
from sortd.domain import Identity

_LARGEST = 64 * 1024


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

    `problem` is a sentence where the file could not be used: then nothing is moved there on its own.
    """

    role: Role = Role.CATEGORY
    describe: str = ""
    automatic: bool = True
    target_precision: float | None = None
    problem: str = ""


class RuleBook:
    """The rules of the folders below a root; a file is read again only when it changed."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._read: dict[PurePath, tuple[Identity, FolderRules]] = {}

    def own(self, folder: PurePath) -> FolderRules | None:
        """The rules that stand in this very folder; None where there are none."""
        path = f"{self._root}/{folder}/{FOLDER_RULES}"
        if not os.path.lexists(path):
            return None
        try:
            return self._load(folder, path)
        except OSError as problem:
            return None if problem.errno in ABSENT else _unusable(f"{folder / FOLDER_RULES}: {problem.strerror}")

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
            return _unusable(f"{folder / FOLDER_RULES}: not a plain file")
        identity = identity_of(status)
        known = self._read.get(folder)
        if known and known[0] == identity:
            return known[1]
        with open_plain(path) as file:
            rules = parse(file.read(_LARGEST))
        if rules.problem:
            rules = replace(rules, problem=f"{folder / FOLDER_RULES}: {rules.problem}")
        self._read[folder] = (identity, rules)
        return rules


def parse(content: bytes) -> FolderRules:
    """Rules from the text of a `.sortd.toml`."""
    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        return _unusable(str(problem))
    read: dict[str, Any] = {}
    for key, value in table.items():
        fitting = _READERS[key](value) if key in _READERS else None
        if fitting is None:
            return _unusable(f"{key} = {value!r} is not one of {_EXPECTED}")
        read[key] = fitting
    return FolderRules(**read)


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
