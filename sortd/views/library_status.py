"""Tell what `sortd status` shows: the library as a whole, as plain JSON values with the contract's names."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

from sortd.config.settings import Settings, TrainSettings
from sortd.disk.folder_rules import Role
from sortd.disk.mounts import mounts_of
from sortd.disk.root_guard import FoundLibrary, find
from sortd.domain.category import CategoryName
from sortd.domain.decision import Trust
from sortd.domain.video import Placer
from sortd.engine.engine import DEVICE
from sortd.engine.engine_assembly import state_wished
from sortd.engine.move_backoff import refusals
from sortd.engine.pending_decisions import is_paused
from sortd.engine.retraining import PROBLEM
from sortd.extract.registry import encoder, extract_settings
from sortd.judgement.category_report import MOVES
from sortd.judgement.mass_loss import is_mass_loss
from sortd.store.database import VERSION as SQLITE
from sortd.store.store import Store
from sortd.views.library_reader import LibraryReader, away_because, iso, opened
from sortd.views.video_details import suspects

PACKAGES = ("sortd", "av", "opencv-python-headless", "scikit-learn", "watchdog")


Ask = Callable[[Path, Mapping[str, Any]], Mapping[str, Any] | None]
"""Takes the state directory and a request; None: no service runs there."""


def status(config: Settings, *, ask: Ask) -> dict[str, Any]:
    """Return what `sortd status` tells, also of a root that is away; `ask` puts a request to the running service."""
    root = config.library.root
    found = find(root, state=state_wished(config))
    live = (ask(found.state, {"do": "status"}) if found else None) or _without_service(config, found)
    told: dict[str, Any] = {
        "root": str(root),
        "state": live["state"],
        "why": live["why"] or ("until `sortd resume`" if live["state"] == "paused" else ""),
        "watcher": dict(live["watcher"]),
        "videos": dict.fromkeys(("total", "unsorted", "labelled", "placed", "set_aside", "pending"), 0),
        "backlog": {"rate": live["rate"], "ends_at": iso(live["ends_at"])},
        "categories": [],
        "classifier": None,
        "set_aside": [],
        "open_moves": 0,
        "transcripts": 0,
        "suspects": [],
        "encoder": encoder(extract_settings(config)),
        "device": "cpu",
        "versions": _versions(),
    }
    with opened(config, found) as reader:
        if reader is not None:
            store = reader.store
            told["videos"] = asdict(store.videos.tally())
            told["categories"] = _categories(reader, config.train)
            told["classifier"] = _classifier(store)
            told["set_aside"] = [
                {"path": str(aside.path), "reason": aside.fault, "attempts": aside.attempts, "message": aside.message}
                for aside in store.backlog.set_aside()
            ]
            told["open_moves"] = store.journal.open_count()
            told["suspects"] = suspects(reader)
            told["transcripts"] = store.features.transcripts(store.space)
            told["device"] = store.database.note(DEVICE) or told["device"]
            if told["state"] == "stopped" and is_paused(store):
                told["why"] += "; paused until `sortd resume`"
            vanished, stood = store.videos.vanished()
            if told["state"] == "stopped" and is_mass_loss(vanished, stood=stood):
                told["why"] += f"; {vanished} of {stood} videos vanished: bring them back, or `sortd resume --vanished`"
    return told


def _without_service(config: Settings, found: FoundLibrary | None) -> dict[str, Any]:
    """Return what a service would say of itself, where none runs."""
    root, mode = config.library.root, config.watch.mode
    away = away_because(root, found)
    remote = next((mount.kind for mount in mounts_of(root) if mount.is_remote), None) if mode == "auto" else None
    return {
        "state": "away" if away else "stopped",
        "why": away or (found and found.foreign) or "no service runs",
        "watcher": {"mode": "polling" if mode == "polling" or remote else "events", "why": "no service runs"},
        "rate": None,
        "ends_at": None,
    }


def _categories(reader: LibraryReader, schedule: TrainSettings) -> list[dict[str, Any]]:
    """Describe each folder that is a category now: what was moved there, and why it takes moves or not."""
    store = reader.store
    serving = store.classifiers.serving()
    learned = {entry["name"]: entry for entry in serving.report["categories"]} if serving else {}
    limits = reader.decision_inputs.policy()[0].min_confidence
    unlearned = _unlearned(reader, schedule)
    told = []
    for known in store.categories.all():
        if not known.present:
            continue
        name, entry = known.name, learned.get(str(known.number), {})
        held, limit = _held(reader, name), limits.get(name)
        trust = reader.decision_inputs.trust_in(name, now=time.time())
        moves = not held and trust is not Trust.STOPPED
        word = store.track_record.of(name)
        labels = len(store.videos.fingerprints(home=name, placed_by=Placer.OWNER))
        told.append(
            {
                "name": name,
                "labels": labels,
                "placed": len(store.videos.fingerprints(home=name, placed_by=Placer.SORTD)),
                "min_confidence": round(limit, 4) if moves and limit is not None else None,
                "precision": round(1 - entry["wrong"] / entry["moved"], 4) if entry.get("moved") else None,
                "live": {"confirmed": word.confirmed, "corrected": word.corrected},
                "why": held
                or (
                    _why_not(reader, entry, unlearned, labels=labels)
                    if limit is None
                    else _refused(reader, name)
                    or _pace(reader, name, trust)
                    or "; ".join(filter(None, (MOVES, entry.get("why"))))
                ),
            }
        )
    return told


def _held(reader: LibraryReader, name: CategoryName) -> str:
    """Say how the owner keeps moves out of a category; empty where nothing does."""
    rules = reader.library.rules(name)
    if rules.problem:
        return rules.problem
    if rules.role is not Role.CATEGORY:
        return f'its .sortd.toml says role = "{rules.role}"'
    if not rules.automatic:
        return "its .sortd.toml says automatic = false"
    return "a .nosort lies in it" if reader.library.hands_off(PurePath(name)) else ""


def _why_not(reader: LibraryReader, entry: Mapping[str, Any], unlearned: str, *, labels: int) -> str:
    """Say why a category gets no moves, as far as the classifier that serves knows its labels."""
    if entry.get("why"):
        like = next(
            (known.name for known in reader.store.categories.all() if str(known.number) == entry.get("like")), None
        )
        helps = f", most in {like}: more examples of both would help" if like else ""
        before = "" if entry["labels"] == labels else "when this classifier learned: "
        return f"{before}{entry['why']}{helps}"
    return unlearned or "it taught nothing when sortd learned last"


def _unlearned(reader: LibraryReader, schedule: TrainSettings) -> str:
    """Say what came of the last training, if no classifier came of it or labels changed since; else empty."""
    problem = reader.store.database.note(PROBLEM) or ""
    if not problem and reader.decision_inputs.classifier is None:
        return "nothing was learned yet"
    changes = reader.store.label_changes()
    if not changes:
        return problem
    missing = schedule.after_labels - changes
    hour = ", or at its hour" if schedule.cron else ""
    when = f"after {missing} more{hour}" if missing > 0 else "soon"
    return f"label changes since sortd learned last: {changes}; it learns again {when}"


def _refused(reader: LibraryReader, name: CategoryName) -> str:
    """Say why the disk takes no moves into a folder; empty where it does."""
    known = refusals(reader.store)
    if name in known:
        return f"its folder takes no files: {known[name]}"
    return f"nothing can be taken out of the root: {known['.']}" if "." in known else ""


def _pace(reader: LibraryReader, name: CategoryName, trust: Trust) -> str:
    """Say what holds back a category that could take moves; empty where nothing does."""
    if trust is Trust.STOPPED:
        right = reader.decision_inputs.until_free(name)
        return (
            f"stopped: too many of its moves were wrong; {right} right ones more and it moves again: confirm those that"
            " were right, put back what you took out by mistake, file there what waits as category_stopped"
        )
    if trust is Trust.ON_PROBATION:
        return "on probation: confirm the moves so far, or leave them uncorrected for a day"
    return ""


def _classifier(store: Store) -> dict[str, Any] | None:
    serving = store.classifiers.serving()
    if serving is None:
        return None
    told = {key: serving.report[key] for key in ("kind", "labels", "accuracy", "coverage")}
    return {"kind": told.pop("kind"), "trained_at": iso(serving.trained_at), **told}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "sqlite": SQLITE}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
