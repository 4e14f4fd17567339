"""Where the owner's word would have sortd write into the library, or over what is not its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sortd.cli.demo import show
from sortd.cli.service_units import MADE, ServiceProblem, Unit, install
from sortd.config.path_containment import lies_in
from sortd.config.settings import load
from sortd.disk.root_guard import RootGuard
from sortd.domain.errors import ConfigError, SortdError
from sortd.engine.engine_assembly import check_log
from tests.accounts import STRANGER, as_account, with_accounts
from tests.faults.kit import as_root, bind
from tests.folders import make
from tests.stories.service import SORTD
from tests.waiting import PATIENCE_SECONDS

PRECIOUS = b"the only copy"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "Videos", {"a.mp4": PRECIOUS, "cooking": {"b.mp4": PRECIOUS}})


@pytest.fixture
def settings(tmp_path: Path, root: Path):
    """Writes settings with this log, and gives their file."""

    def write(log: str | Path = "") -> Path:
        file = tmp_path / "config.toml"
        file.write_text(f'[library]\nroot = "{root}"\n[state]\ndir = "{tmp_path / "state"}"\n[log]\nfile = "{log}"\n')
        return file

    return write


def sortd(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SORTD, *map(str, command)], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, cwd=cwd
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(done: subprocess.CompletedProcess[str], status: int) -> bool:
    (line,) = done.stderr.splitlines()
    return done.returncode == status and line.startswith("sortd: ")


@pytest.mark.fault("K5")
@pytest.mark.parametrize("how", ["video", "new file", "relative", "link", "linked folder", "the root itself"])
def test_a_log_in_the_library_is_refused(root, settings, tmp_path, how):
    log: str | Path = root / "a.mp4"
    match how:
        case "new file":
            log = root / "cooking/sortd.log"
        case "relative":
            log = "Videos/../Videos/a.mp4"
        case "link":
            log = tmp_path / "sortd.log"
            log.symlink_to(root / "a.mp4")
        case "linked folder":
            (tmp_path / "logs").symlink_to(root / "cooking")
            log = tmp_path / "logs" / "sortd.log"
        case "the root itself":
            log = root
    before = contents(root)
    assert refused(sortd("run", "--once", "--config", settings(log)), 78)
    assert contents(root) == before


@as_root
@pytest.mark.fault("K5")
@pytest.mark.parametrize("part", [".", "cooking"])
def test_a_place_in_the_library_is_known_through_a_mount(root, tmp_path, part):
    with bind(root / part, tmp_path / "elsewhere") as elsewhere:
        assert lies_in(elsewhere / "sortd.log", root)
        assert lies_in(elsewhere, root)
    assert not lies_in(tmp_path / "elsewhere", root)
    assert not lies_in(tmp_path / "Videos 2" / "x", root)


@pytest.mark.fault("K5")
@pytest.mark.parametrize("what", ["a letter", "a video", "a pipe", "a folder"])
def test_a_log_that_is_something_else_is_refused_and_stays(settings, tmp_path, what):
    log = tmp_path / "notes"
    match what:
        case "a letter":
            log.write_text("Dear reader,\n")
        case "a video":
            log.write_bytes(b"\0\0\0\x20ftypisom" + os.urandom(100_000))
        case "a pipe":
            os.mkfifo(log)
        case "a folder":
            log.mkdir()
    before = log.read_bytes() if log.is_file() else b""
    assert refused(sortd("run", "--once", "--config", settings(log)), 78)
    assert (log.read_bytes() if log.is_file() else b"") == before


@pytest.mark.fault("K5")
@pytest.mark.parametrize(
    "already",
    [b"", b'{"event": "ready", "at": "x"}\n', b'torn"}\n{"event": "ready"}\n', b"12:00:00 [info     ] ready\n"],
)
def test_a_log_of_its_own_goes_on(root, settings, tmp_path, already):
    log = tmp_path / "sortd.log"
    log.write_bytes(already)
    config = settings(log)
    # Any command that speaks: the library is none yet.
    sortd("run", "--once", "--config", config, root / "none such")
    assert log.read_bytes().startswith(already)


@pytest.mark.fault("K5")
def test_an_export_writes_over_nothing_but_an_earlier_one(root, settings, tmp_path):
    config = settings()
    assert sortd("pause", "--config", config).returncode == 1  # none yet
    from sortd.config.settings import Settings  # noqa: PLC0415
    from sortd.disk.root_guard import RootGuard  # noqa: PLC0415
    from sortd.extract.registry import feature_space  # noqa: PLC0415
    from sortd.store.store import Store  # noqa: PLC0415

    with RootGuard.open(root, state=tmp_path / "state") as guard:
        Store.open(guard.state, feature_space(Settings())).database.close()

    def export(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
        return sortd("export", folder, "--format", "npz", "--config", config, *more)

    mine = make(tmp_path / "mine", {"transcripts.json": PRECIOUS, "notebook.ipynb": PRECIOUS})
    (tmp_path / "link").symlink_to(root / "cooking")
    for folder in (mine, root, root / "exported", root / "cooking", tmp_path, tmp_path / "link"):
        before = contents(root), contents(mine)
        for more in ((), ("--replace",)):
            assert refused(export(folder, *more), 1), folder
        assert (contents(root), contents(mine)) == before
    assert not (root / "exported").exists()
    out = tmp_path / "out"
    assert export(out).returncode == 0
    first = contents(out)
    assert {"transcripts.json", "predictions.json"} <= first.keys()
    assert refused(export(out), 1)
    (out / "notebook.ipynb").write_bytes(PRECIOUS)
    done = export(out, "--replace")
    assert done.returncode == 0, done.stderr
    assert (out / "notebook.ipynb").read_bytes() == PRECIOUS
    (out / "model.pt").symlink_to("notebook.ipynb")  # an export as tensors would put a file in its place
    assert refused(export(out, "--replace"), 1)
    assert (out / "model.pt").readlink() == Path("notebook.ipynb")
    (out / "model.pt").unlink()
    (out / "transcripts.json").write_bytes(PRECIOUS)
    assert refused(export(out, "--replace"), 1)
    assert (out / "transcripts.json").read_bytes() == PRECIOUS


@pytest.mark.fault("K5")
def test_the_demonstration_is_made_in_no_library(root, tmp_path):
    make(root, {".sortd": {"library.json": b"{}"}})
    before = contents(root)
    for folder in (root / "demo", root / "cooking" / "demo"):
        with pytest.raises(SortdError, match="lies in the library"):
            show(folder)
    (tmp_path / "file").write_bytes(PRECIOUS)
    with pytest.raises(SortdError, match="is not empty"):
        show(tmp_path / "file")
    assert contents(root) == before


@pytest.mark.fault("K5")
@pytest.mark.parametrize("what", ["file", "link", "dangling link", "pipe"])
def test_a_unit_that_is_not_ours_stays(tmp_path, what):
    kept = tmp_path / "kept"
    kept.write_text(MADE)
    file = tmp_path / "units" / "sortd-x.service"
    file.parent.mkdir()
    match what:
        case "file":
            file.write_bytes(PRECIOUS)
        case "link":
            file.symlink_to(kept)
        case "dangling link":
            file.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(file)
    unit = Unit("sortd-x", file, b"new", starts=(), stops=(), forgets=(), advice=())
    with pytest.raises(ServiceProblem, match="is not sortd's"):
        install(unit, call=lambda _: None)
    assert kept.read_text() == MADE
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.fault("K5")
@pytest.mark.parametrize("name", ["lock", "root", "library.json", "index.db", "index.db-journal", "classifier-1.npz"])
def test_a_log_among_what_is_kept_has_a_name_of_its_own(root, settings, tmp_path, name):
    state = tmp_path / "state"
    wished = load(settings(state / name), environ={})
    for _ in range(2):
        with pytest.raises(ConfigError, match="among what sortd keeps"):
            check_log(wished)
        with RootGuard.open(root, state=state):  # then the files are there
            pass
    check_log(load(settings(state / "sortd.log"), environ={}))


@pytest.mark.fault("K5")
def test_a_log_among_what_is_kept_of_another_library_is_refused(settings, tmp_path):
    with RootGuard.open(make(tmp_path / "Films", {}), state=tmp_path / "other"):
        pass
    with pytest.raises(ConfigError, match="among what sortd keeps"):
        check_log(load(settings(tmp_path / "other" / "index.db-journal"), environ={}))


@pytest.mark.fault("K5")
def test_a_log_in_a_library_that_is_not_the_one_of_the_settings_is_refused(settings, tmp_path):
    other = make(tmp_path / "Films", {"noir": {"film.mp4": PRECIOUS}})
    with RootGuard.open(other, state=tmp_path / "other"):
        pass
    with pytest.raises(ConfigError, match="outside the library"):
        check_log(load(settings(other / "noir" / "sortd.log"), environ={}))


@pytest.mark.fault("K5")
def test_a_log_that_is_an_empty_video_by_another_name_is_refused(root, settings, tmp_path):
    (root / "empty.mp4").touch()
    log = tmp_path / "sortd.log"
    log.hardlink_to(root / "empty.mp4")
    assert refused(sortd("run", "--once", "--config", settings(log)), 78)
    assert (root / "empty.mp4").read_bytes() == b""


@with_accounts
@pytest.mark.fault("K15")
def test_a_log_that_root_begins_is_its_service_s_to_go_on_with(open_folder):
    root = make(open_folder / "Videos", {"a.mp4": PRECIOUS})
    log = open_folder / "sortd.log"
    config = open_folder / "config.toml"
    config.write_text(f'[library]\nroot = "{root}"\n[state]\ndir = "{open_folder}/state"\n[log]\nfile = "{log}"\n')
    owner = [*as_account(), *SORTD, "pause", "--config", str(config)]
    environ = {**os.environ, "HOME": str(open_folder)}
    with RootGuard.open(root, state=open_folder / "state"):
        pass
    for path in (open_folder, *open_folder.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    assert sortd("pause", "--config", config).returncode == 0  # by root, and a rotation has taken the log away
    again = subprocess.run(owner, capture_output=True, text=True, check=False, env=environ)
    assert again.returncode == 0, again.stderr
    assert {path.stat().st_uid for path in open_folder.rglob("*")} == {STRANGER}
