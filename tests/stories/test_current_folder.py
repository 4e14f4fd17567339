"""sortd is started in a folder that anybody drops files into: none of them is ever run as a program."""

from __future__ import annotations

import os
import pkgutil
import site
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import pytest

from sortd.cli.demo_clips import FAMILIES, make_clip
from tests.stories.service import SORTD, Service
from tests.waiting import PATIENCE_SECONDS

KINDS = tuple(FAMILIES)
TAUGHT = 5
COMMANDS = [
    ("status",),
    ("preview",),
    ("history",),
    ("evaluate",),
    ("suggest",),
    ("check",),
    ("models",),
    ("pause",),
    ("resume",),
    ("undo",),
    ("export", "../exported"),
    ("service", "show"),
]


def installed() -> set[str]:
    """Names that an installed library has, or imports if it can."""
    folders = [*site.getsitepackages(), *(entry for entry in sys.path if "site-packages" in entry)]
    return {module.name for module in pkgutil.iter_modules(folders)} | {name.partition(".")[0] for name in sys.modules}


def importable() -> set[str]:
    """Every name that Python, sortd or a library of sortd's may import."""
    customs = {"sitecustomize", "usercustomize"}
    return {*sys.stdlib_module_names, *sys.builtin_module_names, *installed(), *customs} - {"tests", "__main__"}


def plant(folder: Path, names: Iterable[str]) -> Path:
    """Put a module of each name into a folder; give the folder into which each writes its name when it is run."""
    witnesses = folder.parent / "witnesses"
    witnesses.mkdir(exist_ok=True)
    for name in names:
        code = f"open({str(witnesses)!r} + '/{name}', 'a').write('x')\nraise SystemExit('{name} was run')\n"
        (folder / f"{name}.py").write_text(code, "utf-8")
    # Settings that libraries read where they are started.
    (folder / "matplotlibrc").write_text("backend: module://json\nfigure.facecolor: red\n", "utf-8")
    (folder / ".numba_config.yaml").write_text("disable_jit: 1\n", "utf-8")
    return witnesses


@pytest.fixture
def bare(tmp_path: Path) -> Service:
    return Service(tmp_path, move={"probation": []}, extract={"encoder": "builtin"})


@pytest.fixture
def home(bare: Service) -> Iterator[Service]:
    """A library with examples, and one more video of each kind."""
    home = bare
    for family, number in product(KINDS, range(TAUGHT)):
        (home.root / family).mkdir(exist_ok=True)
        make_clip(home.root / family / f"{family}-{number}.mp4", family, number, seconds=0.5)
    for family in KINDS:
        make_clip(home.root / f"{family}-new.mp4", family, TAUGHT, seconds=0.5)
    yield home
    if home.runs():
        home.end()


def run(home: Service, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=home.root,
        env={**os.environ, "HOME": str(home.folder), "SORTD_CONFIG": str(home.config), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.fault("S1")
def test_no_module_of_the_library_is_run_while_videos_are_sorted(home: Service) -> None:
    witnesses = plant(home.root, importable())
    ended = run(home, *SORTD, "run", "--once")
    assert ended.returncode == 0, ended.stderr
    assert len(home.told("extracted")) == len(KINDS) * (TAUGHT + 1)
    assert home.told("trained")
    assert {line["path"] for line in home.told("moved")} == {f"{family}-new.mp4" for family in KINDS}
    assert list(witnesses.iterdir()) == []


@pytest.mark.fault("S1")
def test_no_command_runs_a_module_of_the_folder_it_is_called_in(home: Service) -> None:
    assert run(home, *SORTD, "run", "--once").returncode == 0
    names = importable()
    witnesses = plant(home.root, names)
    (video,) = (home.root / KINDS[0]).glob("*new.mp4")
    for command in (*COMMANDS, ("explain", str(video)), ("confirm", str(video)), ("forget", str(video), "--vetoes")):
        ended = run(home, *SORTD, *command)
        assert ended.returncode in {0, 1}, (command, ended.stderr)
        assert "Traceback" not in ended.stderr, (command, ended.stderr)
        assert [path.name for path in witnesses.iterdir()] == [], command
    assert (home.folder / "exported" / "model_config.json").exists()


@pytest.mark.fault("S1")
def test_without_p_the_folder_is_left_before_anything_else_is_imported(bare: Service) -> None:
    names = {name for name in importable() if name not in loaded_by_python() | {"sortd"}}
    assert {"av", "cv2", "json", "numpy", "pydantic", "sklearn", "typer"} <= names
    witnesses = plant(bare.root, names)
    ended = run(bare, sys.executable, "-m", "sortd", "check")
    assert ended.returncode == 0, ended.stderr
    assert "a made-up clip was extracted" in ended.stdout
    assert list(witnesses.iterdir()) == []


@pytest.mark.fault("S1")
def test_a_search_path_of_the_owner_s_other_programs_is_not_ours(bare: Service) -> None:
    # Before any of our code Python itself imports from there what it starts with.
    names = installed() - sys.stdlib_module_names - loaded_by_python() - {"sortd", "tests", "__main__"}
    assert {"av", "cv2", "numpy", "pydantic", "sklearn", "typer"} <= names
    elsewhere = bare.folder / "elsewhere"
    elsewhere.mkdir()
    witnesses = plant(elsewhere, names)
    plant(bare.root, names)
    path = os.pathsep.join(["", str(elsewhere)])  # what `PYTHONPATH=$PYTHONPATH:/elsewhere` makes of none
    startup = str(elsewhere / "numpy.py")
    ended = run(bare, *SORTD, "check", PYTHONPATH=path, PYTHONSTARTUP=startup)
    assert ended.returncode == 0, ended.stderr
    assert "a made-up clip was extracted" in ended.stdout
    assert list(witnesses.iterdir()) == []


@pytest.mark.fault("S1")
def test_the_service_and_its_children_start_elsewhere(home: Service) -> None:
    with (home.folder / "stderr").open("ab") as stderr:
        home._process = subprocess.Popen([*SORTD, "run", "--config", str(home.config)], cwd=home.root, stderr=stderr)
    home.await_told("moved", len(KINDS))
    for child in home.children():
        assert Path(f"/proc/{child}/cwd").readlink() != home.root
        environ = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        assert [line for line in environ if line.startswith(b"PYTHON")] == []
    assert home.stop() == 0


def loaded_by_python() -> set[str]:
    """What `python -m` imports by itself before it comes to what it is told to run."""
    code = "import runpy, pkgutil, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.partition(".")[0] for name in loaded.split()}
