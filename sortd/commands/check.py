"""Is everything as it must be? Each finding with what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from sortd.commands.parser import printable
from sortd.config import Config
from sortd.disk.guard import check_root, find
from sortd.disk.marker import new_state
from sortd.disk.walk import DEEPEST
from sortd.disk.watch import watch
from sortd.domain import Fingerprint, Identity, Job
from sortd.errors import IndexDamaged, SortdError
from sortd.extract import encoder
from sortd.messages import Extracted, ExtractionFailed
from sortd.service.children import EXTRACTION, ExtractionSettings, patience
from sortd.service.opening import extract_settings, feature_space, library_at, state_wished
from sortd.service.worker import Lost, Worker
from sortd.store import backup
from sortd.store.memory import INDEX_NAME, Memory

PROBE_SECONDS = 5.0

MOST_NAMED = 20
"""Folders named in one finding."""

Finding = dict[str, Any]


def check(config: Config) -> list[Finding]:
    """Look at everything the service needs, in the order in which it needs it."""
    root = config.library.root
    findings = [
        _finding("config", ok=True, message=str(config.path or "no file: the defaults")),
        _root(config),
        _state(config),
    ]
    if root.is_dir():
        findings += [_watcher(root, config), _folders(config)]
    return [
        *findings,
        _decoder(config),
        _weights(config),
        _finding("device", ok=True, message=_device(config)),
    ]


def _finding(name: str, *, ok: bool, message: str, cure: str = "") -> Finding:
    return {"name": name, "ok": ok, "message": message, "cure": "" if ok else cure}


def _root(config: Config) -> Finding:
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


def _state(config: Config) -> Finding:
    """The state directory and the index in it, where there is one already."""
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
            Memory.open(found.state, feature_space(config), query_only=True).database.close()
    except IndexDamaged as damage:
        cure = "start `sortd run` anew: it puts the file aside and makes it again from a backup and the decision log"
        return _finding("state", ok=False, message=str(damage), cure=cure)
    except (SortdError, OSError) as problem:
        return _finding("state", ok=False, message=str(problem), cure="name another as dir under [state], or mend it")
    return _finding("state", ok=True, message=str(place))


def _watcher(root: Path, config: Config) -> Finding:
    """A real file, really noticed."""
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


def _folders(config: Config) -> Finding:
    root = config.library.root
    library = library_at(root, config)
    with ExitStack() as stack:
        with suppress(SortdError):  # of an index that cannot be read another finding tells
            found = find(root, state=state_wished(config))
            if found and (found.state / INDEX_NAME).exists():
                memory = Memory.open(found.state, feature_space(config), query_only=True)
                stack.callback(memory.database.close)
                library.exempt(memory.index.holds_labels)
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


def _listed(lines: list[str]) -> str:
    more = len(lines) - MOST_NAMED
    return "; ".join(lines[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _weights(config: Config) -> Finding:
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


def _device(config: Config) -> str:
    settings = extract_settings(config)
    return settings.device if encoder(settings) == "clip" else "cpu"


def _decoder(config: Config) -> Finding:
    """A made-up clip through the very child that extracts."""
    with tempfile.TemporaryDirectory() as folder:
        maker = "import sys, pathlib, sortd.commands.demo_clips as d; d.make_clip(pathlib.Path(sys.argv[1]), 'sea', 0)"
        clip = Path(folder) / "clip.mp4"
        command = [sys.executable, "-P", "-c", maker, str(clip)]
        made = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - ourselves
        if made.returncode:
            problem = made.stderr.decode(errors="replace").strip().splitlines()[-1]
            return _finding("decoder", ok=False, message=problem, cure="install sortd anew: its PyAV does not work")
        answers: SimpleQueue[Extracted | ExtractionFailed | Lost | None] = SimpleQueue()
        settings = config.extract
        worker = Worker(
            EXTRACTION,
            ExtractionSettings(Path(folder), extract_settings(config), settings.timeout_seconds),
            on_answer=lambda _, answer: answers.put(answer),
            on_end=lambda _, lost: answers.put(lost),
            deadline_seconds=patience(settings.timeout_seconds),
            idle_seconds=0.0,
            threads=1,
        )
        status = clip.stat()
        identity = Identity(status.st_ino, status.st_size, status.st_mtime_ns)
        worker.submit((Job(Fingerprint("probe"), clip.relative_to(folder), identity, feature_space(config).parts),))
        try:
            answer = answers.get(timeout=2 * patience(settings.timeout_seconds))
        except Empty:
            answer = None
        finally:
            worker.stop()
    if isinstance(answer, Extracted):
        return _finding("decoder", ok=True, message=f"a made-up clip was extracted in {answer.seconds:.1f} seconds")
    why = answer.message if answer else "no answer"
    return _finding("decoder", ok=False, message=why, cure="install sortd anew; if that does not help, report it")
