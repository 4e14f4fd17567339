"""Who may import whom, and how much: read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sortd"
MODULES = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}

LANGUAGE = "language"  # the modules at the top of the package, which all others speak
BELOW = {
    LANGUAGE: set[str](),
    "judgement": {LANGUAGE},
    "store": {LANGUAGE, "judgement"},
    "disk": {LANGUAGE, "judgement"},
    "extract": {LANGUAGE, "judgement"},
    "learn": {LANGUAGE, "judgement"},
    "service": {LANGUAGE, "judgement", "store", "disk", "extract", "learn"},
    "commands": {LANGUAGE, "judgement", "store", "disk", "extract", "learn", "service"},
}
PURE_LANGUAGE = {"sortd.domain", "sortd.errors", "sortd.protocols", "sortd.messages"}
IMPURE = {
    # clocks, files, chance, other threads
    "asyncio",
    "datetime",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib.Path",
    "random",
    "secrets",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
HOMES = {
    "apscheduler": {"config.py", "service/schedule.py"},
    "av": {"commands/demo_clips.py", "extract/media.py"},
    "clip": {"extract/encoders.py"},
    "cv2": {"extract/builtin.py"},
    "pydantic": {"config.py", "problems.py"},
    "rich": {"commands/cli.py", "commands/report.py", "commands/demo.py"},
    "sklearn": {"learn/candidates.py", "learn/groups.py", "learn/train.py", "commands/export.py"},
    "sqlite3": {"store/backup.py", "store/database.py"},
    "structlog": {"log.py"},
    "tomli": {"config.py", "disk/rules.py", "problems.py"},
    "torch": {"extract/encoders.py", "commands/export.py"},
    "typer": {
        "commands/cli.py",
        "commands/parser.py",
        "commands/owner.py",
        "commands/tools.py",
        "commands/unsorted.py",
    },
    "watchdog": {"disk/watch.py"},
    "whisper": {"extract/encoders.py"},
}
HEAVY = {"av", "clip", "cv2", "sklearn", "torch", "transformers", "whisper"}


def imports(source: str) -> Iterator[str]:
    """Every name imported anywhere in a module, in full: sortd.disk.names, numpy.typing.NDArray."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wing(module: str) -> str:
    """Tell the wing of a path ("disk/watch.py") or of an imported name ("sortd.disk.watch.Watcher")."""
    parts = module.removeprefix("sortd.").replace("/", ".").split(".")
    if parts[0] == "__main__":
        return "commands"
    return parts[0] if parts[0] in BELOW else LANGUAGE


def library(name: str) -> str:
    """Tell the library that an imported name comes from."""
    return name.partition(".")[0]


def loaded_with(module: str) -> set[str]:
    """Tell the libraries that a new process holds once it has imported `module`."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_only(module: str) -> None:
    own = wing(module)
    reached = {name: wing(name) for name in imports(MODULES[module]) if library(name) == "sortd"}
    assert {name: other for name, other in reached.items() if other not in BELOW[own] | {own}} == {}


@pytest.mark.parametrize("module", [module for module in MODULES if wing(module) == "judgement"])
def test_judgement_is_pure(module: str) -> None:
    for name in imports(MODULES[module]):
        if library(name) == "sortd":
            assert wing(name) == "judgement" or name.rpartition(".")[0] in PURE_LANGUAGE
        else:
            assert library(name) in sys.stdlib_module_names | {"numpy"}
            assert not {name, library(name)} & IMPURE
    calls = (node.func for node in ast.walk(ast.parse(MODULES[module])) if isinstance(node, ast.Call))
    assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"open", "print", "input"}


@pytest.mark.parametrize("module", MODULES)
def test_each_heavy_library_has_one_home(module: str) -> None:
    for name in {library(name) for name in imports(MODULES[module])} & set(HOMES):
        assert module in HOMES[name], f"{name} lives in {', '.join(sorted(HOMES[name]))}"


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_longer_than_a_reader_can_hold(module: str) -> None:
    assert len(MODULES[module].splitlines()) <= 500


@pytest.mark.parametrize("name", [name for name in BELOW if name not in {LANGUAGE, "extract"}])
def test_a_wing_says_what_it_is_for_and_hands_on_nothing(name: str) -> None:
    body = ast.parse(MODULES[f"{name}/__init__.py"])
    assert ast.get_docstring(body)
    assert len(body.body) == 1


@pytest.mark.parametrize("module", ["sortd.service.daemon", "sortd.commands.cli"])
def test_the_service_and_its_commands_start_without_anything_heavy(module: str) -> None:
    assert loaded_with(module) & HEAVY == set()


@pytest.mark.parametrize(
    ("module", "held", "shunned"),
    [
        ("sortd.extract.media", "av", "cv2"),
        ("sortd.commands.demo_clips", "av", "cv2"),
        ("sortd.extract.builtin", "cv2", "av"),
    ],
)
def test_no_process_holds_two_copies_of_ffmpeg(module: str, held: str, shunned: str) -> None:
    loaded = loaded_with(module)
    assert held in loaded
    assert shunned not in loaded
