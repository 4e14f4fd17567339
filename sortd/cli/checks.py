"""`sortd check`: look for faults in all that sortd needs, and say what to do about each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path, PurePath
from queue import Empty, SimpleQueue
from typing import Any

from sortd.config.printable_text import printable
from sortd.config.python_interpreter import ANYWHERE, ISOLATED
from sortd.config.settings import Settings
from sortd.disk.filesystem_probe import survey
from sortd.disk.folder_walk import DEEPEST
from sortd.disk.library import Library
from sortd.disk.library_marker import new_state
from sortd.disk.open_writers import Writers
from sortd.disk.regular_file import identity_of
from sortd.disk.root_guard import check_root, find
from sortd.disk.watch import watch
from sortd.domain.errors import FolderRefuses, IndexDamaged, SortdError
from sortd.domain.messages import Extracted, ExtractionFailed, WorkerEvent
from sortd.domain.move_plan import FilesystemAbilities
from sortd.domain.tasks import ExtractionJob
from sortd.domain.video import Fingerprint
from sortd.engine.engine_assembly import library_at, state_wished
from sortd.engine.scanner import DOUBTED_TIMES
from sortd.extract.decoding.decoder_pool import DecoderPool
from sortd.extract.registry import encoder, extract_settings, feature_space
from sortd.extract.spec import Needs
from sortd.judgement.move_method import move_method, why_unsafe
from sortd.store import backup
from sortd.store.store import INDEX_NAME, Store
from sortd.workers.child_process import ChildProcess, WorkerFailure
from sortd.workers.local_executor import EXTRACTION, ExtractionWorkerSettings, patience

PROBE_SECONDS = 5.0

MOST_ASKED = 200
"""Videos of which it is asked who writes them."""

MOST_NAMED = 20
"""Folders named in one finding."""

CONFINEMENT_CURE = (
    "use a kernel with seccomp or Landlock (Linux 5.13), and let the service manager or container allow them;"
    " until then let sortd see videos of people you trust only"
)

COARSE_NS = 1_000_000
"""Times that are not kept as finely as this are worth a word."""

Finding = dict[str, Any]


def check(config: Settings) -> list[Finding]:
    """Check everything that the service needs, in the order in which it needs it."""
    root = config.library.root
    findings = [
        _finding("config", ok=True, message=str(config.path or "no file: the defaults")),
        _root(config),
        _state(config),
    ]
    if root.is_dir():
        library = library_at(root, config)
        findings += [_watcher(root, config), _folders(config), _filesystems(library), _writers(library)]
    return [
        *findings,
        _decoder(config),
        _weights(config),
        _finding("device", ok=True, message=_device(config)),
    ]


def _finding(name: str, *, ok: bool, message: str, cure: str = "") -> Finding:
    return {"name": name, "ok": ok, "message": message, "cure": "" if ok else cure}


def _root(config: Settings) -> Finding:
    root = config.library.root
    check_root(root)
    if not root.is_dir():
        return _finding("root", ok=False, message=f"{root} is not there", cure="make it, mount it, or name another")
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        return _finding("root", ok=False, message=f"{root} may not be written", cure=f"chown or chmod u+rwx {root}")
    try:
        found = find(root, state=state_wished(config))
    except SortdError as problem:
        return _finding("root", ok=False, message=str(problem), cure="put the marker back from a backup")
    if found and found.foreign:
        return _finding("root", ok=False, message=found.foreign, cure=f"sortd run --take-over {root}")
    return _finding("root", ok=True, message=str(root))


def _state(config: Settings) -> Finding:
    """Check the state directory, and the index in it where there is one."""
    root = config.library.root
    try:
        found = find(root, state=state_wished(config))
        place = found.state if found else state_wished(config) or new_state("new").parent
        above = next(folder for folder in (place, *place.parents) if folder.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            return _finding(
                "state", ok=False, message=f"{above} may not be written", cure="name another as dir under [state]"
            )
        if found and (found.state / INDEX_NAME).exists():
            backup.check(found.state / INDEX_NAME)
            Store.open(found.state, feature_space(config), query_only=True).database.close()
    except IndexDamaged as damage:
        cure = "start `sortd run` anew: it puts the file aside and makes it again from a backup and the decision log"
        return _finding("state", ok=False, message=str(damage), cure=cure)
    except (SortdError, OSError) as problem:
        return _finding("state", ok=False, message=str(problem), cure="name another as dir under [state], or mend it")
    return _finding("state", ok=True, message=str(place))


def _watcher(root: Path, config: Settings) -> Finding:
    """Check that a real file is noticed by the watcher."""
    cure = 'set mode = "polling" under [watch]'
    settings = config.watch
    with watch(root, SimpleQueue(), mode=settings.mode, poll_seconds=settings.poll_seconds) as watcher:
        try:
            noticed = watcher.probe(timeout_seconds=PROBE_SECONDS + 2 * settings.poll_seconds)
        except OSError as problem:
            return _finding("watcher", ok=False, message=f"no probe file can be made: {problem.strerror}", cure=cure)
        how = watcher.mode + (f" ({watcher.why})" if watcher.why else "")
    message = f"by {how}: a probe file was {'noticed' if noticed else 'not noticed'}"
    return _finding("watcher", ok=noticed, message=message, cure=cure)


def _folders(config: Settings) -> Finding:
    root = config.library.root
    library = library_at(root, config)
    with ExitStack() as stack:
        with suppress(SortdError):  # of an index that cannot be read another finding tells
            found = find(root, state=state_wished(config))
            if found and (found.state / INDEX_NAME).exists():
                store = Store.open(found.state, feature_space(config), query_only=True)
                stack.callback(store.database.close)
                library.exempt(store.videos.holds_labels)
        try:
            scan = library.scan()
            skipped = library.skipped()
        except SortdError as problem:
            return _finding("folders", ok=False, message=str(problem), cure="let the service's user read it")
    problems = list(library.rule_problems().values())
    problems += [f"{folder} cannot be read" for folder in scan.unreadable]
    problems += [
        f"{str(folder)[:80]}... is left alone: it stands more than {DEEPEST} folders deep" for folder in scan.too_deep
    ]
    told = _listed(problems) or "every folder and every .sortd.toml can be read"
    if skipped:
        names = _listed([printable(str(folder)) for folder in skipped])
        told += f'; left alone as a system\'s own: {names}: role = "category" in its .sortd.toml uses it after all'
    return _finding(
        "folders",
        ok=not problems,
        message=told,
        cure="mend the .sortd.toml or let the service's user read the folder; until then all of it is left as it is",
    )


def _writers(library: Library) -> Finding:
    """Tell whether it can be told, of the videos that stand here, that nobody writes them."""
    try:
        videos = list(islice(library.scan(), MOST_ASKED))
    except SortdError as problem:
        return _finding("writers", ok=False, message=str(problem), cure="let the service's user read it")
    untold = sum(library.writers(path) is Writers.UNKNOWN for path in videos)
    if not untold:
        return _finding("writers", ok=True, message=f"of each of {len(videos)} videos the system tells who writes it")
    message = f"of {untold} of {len(videos)} videos nothing tells whether somebody writes them: each waits until it was"
    message += f" still for {DOUBTED_TIMES} times settle_seconds, and is not moved to another disk"
    if sys.platform != "linux":
        return _finding("writers", ok=True, message=message)
    cure = "run sortd as the owner of the videos or with CAP_LEASE, as systemd/sortd.service does; no disk of another"
    return _finding("writers", ok=False, message=message, cure=f"{cure} machine tells it, so there it stays so")


def _filesystems(library: Library) -> Finding:
    """Check how files can be moved in the root, and in each category on another filesystem."""
    told, cures = [], []
    try:
        categories = [PurePath(folder.name) for folder in library.folders().folders]
        for folder, seen in survey(library.root, categories):
            place = "the root" if folder == PurePath() else str(folder)
            if isinstance(seen, FolderRefuses):
                told.append(str(seen))
                cures.append(f"let the service's user write in {place}")
                continue
            method = move_method(seen)
            told.append(f"{place}: {method or why_unsafe(seen)}{_limits(seen)}")
            if method is None:
                cures.append(
                    f"nothing is moved in {place}; keep it on another filesystem, or mount it so that links show the"
                    " inodes of their files (mergerfs: use_ino,inodecalc=devino-hash)"
                )
    except SortdError as problem:
        return _finding("filesystems", ok=False, message=str(problem), cure="let the service's user read it")
    return _finding("filesystems", ok=not cures, message="; ".join(told), cure="; ".join(cures))


def _limits(seen: FilesystemAbilities) -> str:
    """Say what files on that filesystem cannot have."""
    lacking = {
        "permissions": seen.keeps_modes,
        "other owners": seen.keeps_owners,
        "extended attributes": seen.keeps_attributes,
        f"times finer than {seen.time_step_ns / 1e9:g} s": seen.time_step_ns < COARSE_NS,
        "folders that are synced": seen.syncs_folders,
        "names that differ in case alone": not seen.folds_case,
    }
    names = [what for what, has in lacking.items() if not has]
    return f" (without {', '.join(names)})" if names else ""


def _listed(lines: list[str]) -> str:
    more = len(lines) - MOST_NAMED
    return "; ".join(lines[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _weights(config: Settings) -> Finding:
    settings = extract_settings(config)
    missing = [str(weights.path()) for weights in settings.weights if not weights.present()]
    if settings.encoder == "builtin":
        return _finding("weights", ok=True, message="the built-in encoder needs none")
    if not missing:
        return _finding("weights", ok=True, message="all that is wanted is there")
    message = f"{' and '.join(missing)} missing"
    if settings.encoder == "auto":
        return _finding(
            "weights", ok=True, message=f"{message}: the built-in encoder serves until `sortd models fetch`"
        )
    return _finding("weights", ok=False, message=message, cure="sortd models fetch, or name a checkpoint that is there")


def _device(config: Settings) -> str:
    settings = extract_settings(config)
    return settings.device if encoder(settings) == "clip" else "cpu"


def _decoder(config: Settings) -> Finding:
    """Check that a made-up clip goes through the very child that extracts."""
    with tempfile.TemporaryDirectory() as folder:
        maker = "import sys, pathlib, sortd.cli.demo_clips as d; d.make_clip(pathlib.Path(sys.argv[1]), 'sea', 0)"
        clip = Path(folder) / "clip.mp4"
        command = [sys.executable, *ISOLATED, "-c", maker, str(clip)]
        made = subprocess.run(command, cwd=ANYWHERE, capture_output=True, check=False)  # noqa: S603 - ourselves
        if made.returncode:
            problem = made.stderr.decode(errors="replace").strip().splitlines()[-1]
            return _finding("decoder", ok=False, message=problem, cure="install sortd anew: its PyAV does not work")
        answers: SimpleQueue[Extracted | ExtractionFailed | WorkerFailure | None] = SimpleQueue()
        settings = config.extract
        worker = ChildProcess(
            EXTRACTION,
            ExtractionWorkerSettings(Path(folder), extract_settings(config), settings.timeout_seconds),
            on_answer=lambda _, answer: None if isinstance(answer, WorkerEvent) else answers.put(answer),
            on_end=lambda _, lost: answers.put(lost),
            deadline_seconds=patience(settings.timeout_seconds),
            idle_seconds=0.0,
            threads=1,
        )
        identity = identity_of(clip.stat())
        worker.submit(
            (ExtractionJob(Fingerprint("probe"), clip.relative_to(folder), identity, feature_space(config).parts),)
        )
        try:
            answer = answers.get(timeout=2 * patience(settings.timeout_seconds))
        except Empty:
            answer = None
        finally:
            worker.stop()
    if isinstance(answer, Extracted):
        return _confined(f"a made-up clip was extracted in {answer.seconds:.1f} seconds")
    why = answer.message if answer else "no answer"
    return _finding("decoder", ok=False, message=why, cure="install sortd anew; if that does not help, report it")


def _confined(worked: str) -> Finding:
    """Check what a file that takes over its decoder could do."""
    try:
        with DecoderPool(Needs(), timeout_seconds=PROBE_SECONDS) as decoder:
            held = decoder.confinement()
    except SortdError as problem:
        return _finding("decoder", ok=False, message=str(problem), cure="install sortd anew")
    return _finding("decoder", ok=held.holds, message=f"{held}; {worked}", cure=CONFINEMENT_CURE)
