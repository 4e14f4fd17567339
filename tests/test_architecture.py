"""Who may import whom, and what each package may do: read from the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sortd"
MODULES = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}

LAYERS = (
    {"domain"},
    {"config"},
    {"judgement"},
    {"store", "disk", "extract", "learn"},
    {"engine", "workers"},
    {"daemon", "views"},
    {"cli"},
)
"""From the values to the command line. A package imports from layers before its own, and nothing of its own layer."""

ENGINE_MAY_USE = {
    "extract": {"sortd.extract.spec", "sortd.extract.registry"},
    "learn": {"sortd.learn.classifier"},
}
"""The single writer decides; what extracts and trains runs in child processes that the workers start."""

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
    "apscheduler": {"config/settings.py", "daemon/schedule.py"},
    "av": {"cli/demo_clips.py", "extract/media/frames.py", "extract/media/probe.py", "extract/media/sound_track.py"},
    "clip": {"extract/models/clip_model.py"},
    "cv2": {"extract/extractors/builtin_visual.py"},
    "pydantic": {"config/settings.py", "config/config_problems.py"},
    "rich": {"cli/app.py", "cli/text_output.py", "cli/demo.py"},
    "sklearn": {"learn/classifier_candidates.py", "learn/clusters.py", "learn/train.py", "cli/export_files.py"},
    "sqlite3": {"store/backup.py", "store/database.py"},
    "structlog": {"config/logging_setup.py"},
    "tomli": {"config/settings.py", "config/config_problems.py", "disk/folder_rules.py"},
    "torch": {
        "cli/export_files.py",
        "extract/models/clip_model.py",
        "extract/models/device.py",
        "extract/models/model_store.py",
        "extract/models/whisper_model.py",
    },
    "typer": {
        "cli/app.py",
        "cli/change_commands.py",
        "cli/data_commands.py",
        "cli/evaluate_command.py",
        "cli/options.py",
        "cli/read_commands.py",
        "cli/run_command.py",
        "cli/suggest_command.py",
        "cli/system_commands.py",
    },
    "watchdog": {"disk/watch.py"},
    "whisper": {"extract/models/model_store.py", "extract/models/whisper_model.py"},
}
HEAVY = {"av", "clip", "cv2", "sklearn", "torch", "transformers", "whisper"}


def imports(source: str) -> Iterator[str]:
    """Every name imported anywhere in a module, in full: sortd.disk.file_names, numpy.typing.NDArray."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_at_start(source: str) -> Iterator[str]:
    """Likewise, what is imported as soon as the module itself is."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(ast.unparse(node))


def package(module: str) -> str:
    """Tell the package of a path ("disk/watch.py") or of an imported name ("sortd.disk.watch.Watcher")."""
    parts = module.removeprefix("sortd.").replace("/", ".").split(".")
    return "cli" if parts[0] in {"__main__", "__init__", "sortd"} else parts[0]


def layer(name: str) -> int:
    """Tell the number of the layer that a package is in."""
    return next(number for number, names in enumerate(LAYERS) if name in names)


def module_of(name: str) -> str | None:
    """Tell the path of the module that an imported name is, or comes from."""
    path = name.removeprefix("sortd.").replace(".", "/")
    found = (f"{candidate}.py" for candidate in (path, path.rpartition("/")[0]) if f"{candidate}.py" in MODULES)
    return next(found, None)


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
def test_imports_point_to_earlier_layers_only(module: str) -> None:
    own = package(module)
    reached = {name: package(name) for name in imports(MODULES[module]) if library(name) == "sortd" and "." in name}
    wrong = {name: other for name, other in reached.items() if other != own and layer(other) >= layer(own)}
    assert wrong == {}


@pytest.mark.parametrize("module", [module for module in MODULES if package(module) == "engine"])
def test_the_engine_imports_nothing_of_what_its_children_do(module: str) -> None:
    for name in imports(MODULES[module]):
        allowed = ENGINE_MAY_USE.get(package(name)) if library(name) == "sortd" else None
        assert allowed is None or any(name.startswith(f"{one}.") or name == one for one in allowed), name


@pytest.mark.parametrize("module", [module for module in MODULES if package(module) in {"domain", "judgement"}])
def test_values_and_decisions_are_pure(module: str) -> None:
    for name in imports(MODULES[module]):
        if library(name) == "sortd":
            assert package(name) in {"domain", "judgement"}
        else:
            assert library(name) in sys.stdlib_module_names | {"numpy"}
            assert not {name, library(name)} & IMPURE
    calls = (node.func for node in ast.walk(ast.parse(MODULES[module])) if isinstance(node, ast.Call))
    assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"open", "print", "input"}


def test_no_modules_import_each_other_in_a_circle_when_they_start() -> None:
    reached = {
        module: {other for name in imported_at_start(source) if (other := module_of(name)) and other != module}
        for module, source in MODULES.items()
    }
    while free := [module for module, others in reached.items() if not others]:
        for module in free:
            del reached[module]
        for others in reached.values():
            others.difference_update(free)
    assert reached == {}


def test_every_module_has_a_name_of_its_own() -> None:
    names = Counter(Path(module).stem for module in MODULES if not module.endswith("__init__.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_every_public_class_has_a_name_of_its_own() -> None:
    classes = Counter(
        node.name
        for source in MODULES.values()
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in classes.items() if count > 1] == []


@pytest.mark.parametrize("module", MODULES)
def test_each_heavy_library_has_one_home(module: str) -> None:
    for name in {library(name) for name in imports(MODULES[module])} & set(HOMES):
        assert module in HOMES[name], f"{name} lives in {', '.join(sorted(HOMES[name]))}"


@pytest.mark.parametrize("module", [module for module in MODULES if module.endswith("/__init__.py")])
def test_a_package_says_what_it_is_for_and_hands_on_nothing(module: str) -> None:
    body = ast.parse(MODULES[module])
    assert ast.get_docstring(body)
    assert len(body.body) == 1


def test_the_architecture_page_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+)`", page))
    missing = {Path(module).stem for module in MODULES if not module.endswith("__init__.py")} - named - {"__main__"}
    assert missing == set()


@pytest.mark.parametrize("module", ["sortd.daemon.loop", "sortd.cli.app"])
def test_the_service_and_its_commands_start_without_anything_heavy(module: str) -> None:
    assert loaded_with(module) & HEAVY == set()


@pytest.mark.parametrize(
    ("module", "held", "shunned"),
    [
        ("sortd.extract.media.frames", "av", "cv2"),
        ("sortd.cli.demo_clips", "av", "cv2"),
        ("sortd.extract.extractors.builtin_visual", "cv2", "av"),
    ],
)
def test_no_process_holds_two_copies_of_ffmpeg(module: str, held: str, shunned: str) -> None:
    loaded = loaded_with(module)
    assert held in loaded
    assert shunned not in loaded
