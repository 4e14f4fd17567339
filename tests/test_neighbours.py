"""The tests bear neighbours: other programs, a service of the owner's, a busy machine, and themselves a second time."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.kit import INOTIFY, as_root, tmpfs
from tests.namespaces import require_limits_of_its_own, with_inotify_limits
from tests.waiting import PATIENCE_SECONDS

TESTS = Path(__file__).parent
CLOCKS = {"monotonic", "perf_counter", "time"}
WRITERS = {"write_text", "write_bytes", "open", "unlink"}
MOMENT_SECONDS = 2.0
"""What waits no longer than this waits to see that nothing comes."""

pytestmark = pytest.mark.fault("T15")


def modules() -> list[tuple[Path, ast.Module]]:
    paths = [path for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__)]
    return [(path, ast.parse(path.read_text("utf-8"))) for path in paths]


def reads_a_clock(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in CLOCKS
        for part in ast.walk(node)
    )


def limits_elapsed_time(node: ast.AST) -> bool:
    """Whether this is `now() - began < limit`, in an assertion or not."""
    if not isinstance(node, ast.Compare) or not any(isinstance(op, ast.Lt | ast.LtE) for op in node.ops):
        return False
    sides = [node.left, *node.comparators][:-1]
    return any(isinstance(side, ast.BinOp) and isinstance(side.op, ast.Sub) and reads_a_clock(side) for side in sides)


def short_waits(tree: ast.Module) -> Iterator[int]:
    """Lines on which something that must come is given less than the patience of all tests."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) != "pytest.mark.timeout":
            given = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
            seconds = [value.value for value in given if isinstance(value, ast.Constant)]
            if any(MOMENT_SECONDS < number < PATIENCE_SECONDS for number in seconds):
                yield node.lineno


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_no_assertion_sets_a_limit_to_how_long_something_took():
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path, tree in modules()
        for check in ast.walk(tree)
        if isinstance(check, ast.Assert)
        for node in ast.walk(check)
        if limits_elapsed_time(node)
    ]
    assert found == []


def test_what_must_come_is_waited_for_with_patience():
    found = [f"{path.relative_to(TESTS)}:{line}" for path, tree in modules() for line in short_waits(tree)]
    assert found == []


def test_no_mark_is_less_patient_than_all_other_tests():
    settings = tomllib.loads((TESTS.parent / "pyproject.toml").read_text("utf-8"))
    limit = settings["tool"]["pytest"]["ini_options"]["timeout"]
    assert limit > PATIENCE_SECONDS
    marks = [
        (f"{path.relative_to(TESTS)}:{node.lineno}", ast.literal_eval(node.args[0]))
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.timeout"
    ]
    assert [(place, seconds) for place, seconds in marks if seconds < limit] == []


def test_no_test_uses_a_path_or_a_process_that_others_may_use_too():
    shared = re.compile(r"/(var/)?tmp/\w|(^|\s)(pkill|killall|sysctl -w)\b")
    found = [
        f"{path.relative_to(TESTS)}:{line}: {text}"
        for path, tree in modules()
        for line, text in texts(tree)
        if shared.search(text)
    ]
    assert found == []


def test_no_test_writes_a_setting_of_the_machine():
    settings = re.compile(r"/proc/sys/|/sys/(?!fs/bpf)")
    trees = modules()
    names = {
        target.id
        for _, tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and settings.search(ast.unparse(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path, tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS
        for receiver in [node.func.value]
        if settings.search(ast.unparse(receiver))
        or names & {part.id for part in ast.walk(receiver) if isinstance(part, ast.Name)}
    ]
    assert found == []


@pytest.mark.skipif(not INOTIFY.exists(), reason="about inotify, which is Linux's")
def test_limits_for_one_process_are_nobody_elses():
    require_limits_of_its_own()
    limits = [INOTIFY.parent.parent / "user" / f"max_inotify_{name}" for name in ("watches", "instances")]
    before = [limit.read_text() for limit in limits]
    told = subprocess.run(
        [*with_inotify_limits(watches=3, instances=2), "cat", *limits], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["3", "2"]
    assert [limit.read_text() for limit in limits] == before


@as_root
def test_a_mount_of_a_test_is_seen_by_the_tests_alone(tmp_path):
    with tmpfs(tmp_path / "disk"):
        assert str(tmp_path / "disk") in Path("/proc/self/mountinfo").read_text()
        assert str(tmp_path / "disk") not in Path("/proc/1/mountinfo").read_text()


def test_the_owners_settings_and_state_are_none_of_the_tests(tmp_path_factory):
    assert Path.home().is_relative_to(tmp_path_factory.getbasetemp())
    assert [name for name in os.environ if name.startswith(("SORTD_", "XDG_"))] == []
