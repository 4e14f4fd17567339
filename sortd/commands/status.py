"""What `sortd status` tells: the library as a whole, as plain JSON values with the contract's names."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

from sortd.commands.facts import Reading, away_because, iso, opened, suspects
from sortd.commands.report import MOVES
from sortd.config import Config, Train
from sortd.disk.guard import Found, find
from sortd.disk.mounts import mounts_of
from sortd.disk.rules import Role
from sortd.domain import Category, Placer, Trust
from sortd.extract import encoder
from sortd.judgement.brake import too_many
from sortd.service.control import ask
from sortd.service.deciding import is_paused
from sortd.service.learner import CHANGES, PROBLEM
from sortd.service.opening import extract_settings, state_wished
from sortd.service.refusing import refusals
from sortd.service.sorter import DEVICE
from sortd.store.database import VERSION as SQLITE
from sortd.store.memory import Memory

PACKAGES = ("sortd", "av", "opencv-python-headless", "scikit-learn", "watchdog")


def status(config: Config) -> dict[str, Any]:
    """All of it, also for a root that is away."""
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
    with opened(config, found) as read:
        if read is not None:
            memory = read.memory
            told["videos"] = asdict(memory.index.tally())
            told["categories"] = _categories(read, config.train)
            told["classifier"] = _classifier(memory)
            told["set_aside"] = [
                {"path": str(aside.path), "reason": aside.fault, "attempts": aside.attempts, "message": aside.message}
                for aside in memory.backlog.set_aside()
            ]
            told["open_moves"] = memory.journal.open_count()
            told["suspects"] = suspects(read)
            told["transcripts"] = memory.features.transcripts(memory.space)
            told["device"] = memory.database.note(DEVICE) or told["device"]
            if told["state"] == "stopped" and is_paused(memory):
                told["why"] += "; paused until `sortd resume`"
            vanished, stood = memory.index.vanished()
            if told["state"] == "stopped" and too_many(vanished, stood=stood):
                told["why"] += f"; {vanished} of {stood} videos vanished: bring them back, or `sortd resume --vanished`"
    return told


def _without_service(config: Config, found: Found | None) -> dict[str, Any]:
    """What a service would say of itself."""
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


def _categories(read: Reading, schedule: Train) -> list[dict[str, Any]]:
    """Each folder that is a category now, with what it moved and why it moves or not."""
    memory = read.memory
    serving = memory.classifiers.serving()
    learned = {entry["name"]: entry for entry in serving.report["categories"]} if serving else {}
    limits = read.judge.policy()[0].min_confidence
    unlearned = _unlearned(read, schedule)
    told = []
    for known in memory.categories.all():
        if not known.present:
            continue
        name, entry = known.name, learned.get(str(known.number), {})
        held, limit = _held(read, name), limits.get(name)
        trust = read.judge.trust_in(name, now=time.time())
        moves = not held and trust is not Trust.STOPPED
        word = memory.live.of(name)
        labels = len(memory.index.fingerprints(home=name, placed_by=Placer.OWNER))
        told.append(
            {
                "name": name,
                "labels": labels,
                "placed": len(memory.index.fingerprints(home=name, placed_by=Placer.SORTD)),
                "min_confidence": round(limit, 4) if moves and limit is not None else None,
                "precision": round(1 - entry["wrong"] / entry["moved"], 4) if entry.get("moved") else None,
                "live": {"confirmed": word.confirmed, "corrected": word.corrected},
                "why": held
                or (
                    _why_not(read, entry, unlearned, labels=labels)
                    if limit is None
                    else _refused(read, name)
                    or _pace(read, name, trust)
                    or "; ".join(filter(None, (MOVES, entry.get("why"))))
                ),
            }
        )
    return told


def _held(read: Reading, name: Category) -> str:
    """How the owner keeps moves out of a category; empty where nothing does."""
    rules = read.library.rules(name)
    if rules.problem:
        return rules.problem
    if rules.role is not Role.CATEGORY:
        return f'its .sortd.toml says role = "{rules.role}"'
    if not rules.automatic:
        return "its .sortd.toml says automatic = false"
    return "a .nosort lies in it" if read.library.hands_off(PurePath(name)) else ""


def _why_not(read: Reading, entry: Mapping[str, Any], unlearned: str, *, labels: int) -> str:
    """Why a category gets no moves, as far as the classifier that serves knows its labels."""
    if entry.get("why"):
        like = next(
            (known.name for known in read.memory.categories.all() if str(known.number) == entry.get("like")), None
        )
        helps = f", most in {like}: more examples of both would help" if like else ""
        before = "" if entry["labels"] == labels else "when this classifier learned: "
        return f"{before}{entry['why']}{helps}"
    return unlearned or "it taught nothing when sortd learned last"


def _unlearned(read: Reading, schedule: Train) -> str:
    """What came of the last training, if it gave no classifier or was not the last word; empty where it was."""
    problem = read.memory.database.note(PROBLEM) or ""
    if not problem and read.judge.classifier is None:
        return "nothing was learned yet"
    changes = int(read.memory.database.note(CHANGES) or 0)
    if not changes:
        return problem
    missing = schedule.after_labels - changes
    hour = ", or at its hour" if schedule.cron else ""
    when = f"after {missing} more{hour}" if missing > 0 else "soon"
    return f"label changes since sortd learned last: {changes}; it learns again {when}"


def _refused(read: Reading, name: Category) -> str:
    """What the disk says against moves; empty where it says nothing."""
    known = refusals(read.memory)
    if name in known:
        return f"its folder takes no files: {known[name]}"
    return f"nothing can be taken out of the root: {known['.']}" if "." in known else ""


def _pace(read: Reading, name: Category, trust: Trust) -> str:
    """What holds back a category that may move; empty where nothing does."""
    if trust is Trust.STOPPED:
        right = read.judge.until_free(name)
        return (
            f"stopped: too many of its moves were wrong; {right} right ones more and it moves again: confirm those that"
            " were right, put back what you took out by mistake, file there what waits as category_stopped"
        )
    if trust is Trust.ON_PROBATION:
        return "on probation: confirm the moves so far, or leave them uncorrected for a day"
    return ""


def _classifier(memory: Memory) -> dict[str, Any] | None:
    serving = memory.classifiers.serving()
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
