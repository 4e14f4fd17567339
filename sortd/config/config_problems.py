"""Say what is wrong with a settings file, and where, in one line for each problem."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import tomli
from pydantic import BaseModel, ValidationError

KeyPath = tuple[int | str, ...]


def describe(error: ValidationError, table: type[BaseModel], *, file: Path | None, text: str) -> list[str]:
    """Say of each thing wrong: file, line, key, what is wrong, the value given or the nearest valid key of `table`."""
    lines = _lines(text)
    told: list[tuple[int, str]] = []
    for detail in error.errors(include_url=False):
        path, given = detail["loc"], detail["input"]
        reason = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
        if detail["type"] == "value_error" and isinstance(given, BaseModel | dict):
            # A rule between two tables is told of a table as a whole; its sentence begins with the key.
            key, _, reason = reason.partition(" ")
            path, given = (*path, key), dict(given)[key]
        line = next((lines[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in lines), 0)
        where = ":".join(str(part) for part in (file, line) if part)
        if detail["type"] == "extra_forbidden":
            wrong = f"unknown key; {_nearest(path, table)}"
        else:
            reason = reason.removeprefix("Input ").replace("an object", "a table")
            wrong = f"{reason} (given {_shown(given)})"
        told.append((line, f"{where}: {_dotted(path)}: {wrong}" if where else f"{_dotted(path)}: {wrong}"))
    return [problem for _, problem in sorted(told)]


def _lines(text: str) -> dict[KeyPath, int]:
    """Tell where each key stands: no TOML parser says, so each statement is parsed alone, below the last header."""
    found: dict[KeyPath, int] = {}
    above: KeyPath = ()
    statement, first = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        statement += line + "\n"
        try:
            paths = list(_paths(tomli.loads(statement)))
        except tomli.TOMLDecodeError:
            continue  # a value that goes on in the next line
        if statement.lstrip().startswith("["):
            above = max(paths, key=len)
            paths = [above[:depth] for depth in range(1, len(above) + 1)]
        else:
            paths = [above + path for path in paths]
        for path in paths:
            found.setdefault(path, first)
        statement, first = "", number + 1
    return found


def _paths(tree: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for name, value in tree.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"  # noqa: PLR2004 - a glance's worth


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) if re.fullmatch(r"[\w-]+", str(part)) else json.dumps(part) for part in path)


def _keys(table: type[BaseModel], above: KeyPath = ()) -> Iterator[KeyPath]:
    for name, field in table.model_fields.items():
        key = (*above, field.alias or name)
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, key)


def _nearest(unknown: KeyPath, table: type[BaseModel]) -> str:
    """Suggest the valid key whose name is most alike, rather one of the same table; where none is, name them all."""

    def likeness(key: KeyPath) -> float:
        alike = SequenceMatcher(None, str(unknown[-1]), str(key[-1])).ratio()
        return alike + 0.1 * (key[:-1] == unknown[:-1])

    nearest = max(_keys(table), key=likeness)
    if likeness(nearest) >= 0.7:  # noqa: PLR2004 - a slip or two of the pen
        return f"the nearest is {_dotted(nearest)}"
    return "valid here: " + ", ".join(_dotted(key) for key in _keys(table) if key[:-1] == unknown[:-1])
