"""What `sortd evaluate` measures on, and how it is told to people."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sortd.commands.dataset import dataset
from sortd.commands.facts import Reading
from sortd.config import Config
from sortd.disk.rules import Role
from sortd.domain import Category, Fingerprint
from sortd.learn.embeddings import OUTSIDER, Embeddings
from sortd.learn.replay import NEVER, Rules, Stream, Times
from sortd.store.decisions import DECISION_LOG, last_words, read_after
from sortd.store.features import PASSED_OVER_AFTER

Told = Mapping[str, Any]

COLUMNS = {
    "accuracy": "accuracy",
    "coverage": "coverage",
    "precision": "precision",
    "oracle_coverage": "oracle",
    "outsiders_moved": "outsiders moved",
    "precision_over_all": "precision over all",
}


def embeddings_of(read: Reading, config: Config) -> Embeddings:
    """The owner's labels in this library; which are held out is drawn. Those in folders of outsiders are outsiders."""
    gathered = dataset(read, config)
    others = {name for name in set(gathered.categories) if read.library.rules(name).role is Role.OTHER}
    names = np.array([OUTSIDER if name in others else str(name) for name in gathered.categories], np.str_)
    return Embeddings(gathered.labelled, names, None, read.memory.space)


def stream_of(read: Reading) -> Stream:
    """What has its vector in this library, in the order in which the owner filed it.

    What stands unsorted is thought to belong nowhere. What sortd placed, and the owner never spoke of, is left out.
    """
    memory = read.memory
    roles = {known.name: read.library.rules(known.name).role for known in memory.categories.all() if known.present}
    labels = {clip: name for clip, _, name in memory.features.labels(memory.space)}
    homes: dict[Fingerprint, Category | None] = dict.fromkeys(memory.features.unsorted(memory.space))
    homes |= {clip: name for clip, name in labels.items() if roles[name] is Role.CATEGORY}
    homes |= {clip: None for clip, name in labels.items() if roles[name] is Role.OTHER}
    clips = sorted(homes)  # says nothing: so those of the same time come in no order
    came, told = _times(read, clips)
    spoken_of = labels.keys() | memory.features.taken_out()
    return Stream(
        memory.space,
        memory.features.vectors(clips, memory.space),
        [homes[clip] for clip in clips],
        came,
        np.where([clip in spoken_of for clip in clips], told, NEVER),
    )


def stream_from(data: Embeddings, outsiders: Collection[str]) -> Stream:
    """The rows of a file in their order, as if each had been filed as soon as it came; `outsiders` never were."""
    never_filed = np.isin(data.names, [OUTSIDER, *outsiders])
    came = np.arange(len(data.names), dtype=np.float64)
    homes = [None if left else Category(name) for name, left in zip(data.names.tolist(), never_filed, strict=True)]
    return Stream(data.space, data.vectors, homes, came, np.where(never_filed, NEVER, came))


def _times(read: Reading, clips: Sequence[Fingerprint]) -> tuple[Times, Times]:
    """When each video came, and when the owner spoke of it last.

    What was there before the first classifier came in no order that sortd saw: the times of the files stand in.
    """
    memory = read.memory
    first, seen, made = (
        memory.classifiers.first_adopted() or NEVER,
        memory.index.first_seen(),
        dict[Fingerprint, float](),
    )
    for sighting in memory.index.identities().values():
        made[sighting.fingerprint] = min(made.get(sighting.fingerprint, NEVER), sighting.identity.mtime_ns / 1e9)
    try:
        said = last_words(read_after(read.root / DECISION_LOG, known=0)[0])
    except OSError:
        said = {}
    came = [min(seen[clip], made.get(clip, NEVER)) if seen[clip] <= first else seen[clip] for clip in clips]
    told = [max(at, said[clip]) if said.get(clip, 0.0) > first else at for clip, at in zip(clips, came, strict=True)]
    return np.array(came), np.array(told)


def targets_of(read: Reading) -> dict[Category, float]:
    """Which categories ask for another precision than the rest."""
    names = [known.name for known in read.memory.categories.all() if known.present]
    asked = {name: read.library.rules(name).target_precision for name in names}
    return {name: own for name, own in asked.items() if own is not None}


def rules_of(config: Config, *, target: float, targets: Mapping[Category, float]) -> Rules:
    """What the owner asks for, as the replay wants it."""
    return Rules(target, config.train.after_labels, PASSED_OVER_AFTER, targets, config.train.candidates)


def replay_line(told: Told) -> str:
    """What `sortd evaluate --replay` found, as a line of text."""
    return (
        f"would have filed {told['filed']}, {told['wrongly']} wrongly and {told['outsiders_moved']} that belong"
        f" nowhere; {told['left']} would have been left"
    )


def lines(told: Told) -> Iterator[str]:
    """The report as lines of text."""
    rows = [list(COLUMNS.values())]
    rows += [[_share(draw[key]) for key in COLUMNS] for draw in told["draws"]]
    rows += [[_share(told["mean"][key]) for key in COLUMNS]]
    marks = ["draw", *(str(number) for number in range(1, len(told["draws"]) + 1)), "mean"]
    widths = [max(6, len(title)) for title in COLUMNS.values()]
    for mark, row in zip(marks, rows, strict=True):
        yield "  ".join([f"{mark:>4}", *(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))])
    yield f"the promise was kept in {told['kept']:.0%} of the draws"
    for category in sorted(told["categories"], key=lambda one: one["coverage"] or 0):
        wrongly = f"{category['moved']} moves, {category['wrongly']} of them wrong"
        yield f"{_share(category['coverage'])} of category {json.dumps(category['name'])} moved; {wrongly}"


def _share(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"
