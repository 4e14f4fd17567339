"""What is written for the owner is true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli

from sortd.cli.app import app
from sortd.config.settings import load

HERE = Path(__file__).parents[1]
README = HERE / "README.md"


def keys(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in table.items():
        yield above + name.removesuffix("_")
        if isinstance(value, dict):
            yield from keys(value, f"{above}{name}.")


def typed(program: str) -> set[str]:
    """What the README has its reader type after `program`: in fenced blocks, or in a line's `code`."""
    text = README.read_text("utf-8") if README.exists() else ""
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in fenced for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)
    return {found[1] for line in lines if (found := re.match(rf"\s*(?:\$ )?{program} ([\w.][\w.-]*)", line))}


def test_the_settings_file_holds_every_key_with_its_default() -> None:
    defaults = load(None, environ={"HOME": "/home/me"}).model_dump()
    written = load(HERE / "config.toml", environ={"HOME": "/home/me"}).model_dump()
    assert written == defaults
    assert set(keys(tomli.loads((HERE / "config.toml").read_text("utf-8")))) == set(keys(defaults))


def test_the_settings_file_says_of_every_key_what_it_does() -> None:
    lines = (HERE / "config.toml").read_text("utf-8").splitlines()
    assert [line for line in lines if " = " in line and not re.search(r"  # \S", line)] == []


def test_what_the_readme_has_its_reader_make_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([\w.]+):(?!=)", (HERE / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    assert typed("make") <= targets
    assert README.exists() == bool(typed("make"))


def test_what_the_readme_has_its_reader_call_is_a_command() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert typed("sortd") <= commands
    assert README.exists() == bool(typed("sortd"))


def test_the_page_on_reliability_names_every_fault_and_its_tests() -> None:
    page = (HERE / "docs" / "reliability.md").read_text("utf-8")
    rows = re.findall(r"^\| ([A-Z]\d+) \| .* \| (.*) \|$", page, re.MULTILINE)
    told = {(row, name) for row, tests in rows for name in re.findall(r"`(\w+)`", tests)}
    assert {row for row, _ in rows} == {row for row, _ in marked()}
    assert {name for _, name in told} == {name for _, name in marked()}


def marked() -> Iterator[tuple[str, str]]:
    """Each row of the fault matrix with a test that is marked with it, by the name that the page gives the test."""
    for path in sorted((HERE / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        of_all = [rows for node in tree.body if is_mark_of_all(node) for rows in rows_in(node)]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                own = [row for mark in node.decorator_list for row in rows_in(mark)]
                yield from ((row, node.name.removeprefix("test_")) for row in of_all + own)


def is_mark_of_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"


def rows_in(marks: ast.AST) -> Iterator[str]:
    for node in ast.walk(marks):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))
