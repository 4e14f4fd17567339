"""Suggest new folders: groups among the unsorted videos, numbered as they were shown last."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sortd.config.printable_text import printable
from sortd.disk.atomic_file import opened, replace
from sortd.disk.file_names import stem_of
from sortd.disk.library import Library
from sortd.domain.decision import Leave, Reason
from sortd.domain.errors import SortdError
from sortd.domain.feature import FeatureSpace, Matrix
from sortd.domain.video import Fingerprint
from sortd.judgement.decide import LEFT_TO_THE_OWNER, verdict
from sortd.judgement.group_names import VideoWords, names_for, words_of
from sortd.learn.clusters import DULL, groups_of
from sortd.views.library_reader import LibraryReader

SHOWN = "suggested.json"
"""In the state directory: the groups as they were shown last, so that a number means what its reader saw."""

UNSORTED, FILED = 3000, 1000
"""So many videos are compared at most, always the same ones: what is learned from their groups files the rest."""

UNDECIDED = LEFT_TO_THE_OWNER | {Reason.NO_CLASSIFIER}
"""Why a video is left that no category is about to get."""

MOST_NAMES = 3
EXAMPLES = 3


class NoSuchGroup(SortdError):
    """No group with this number was shown."""


@dataclass(frozen=True, slots=True)
class SuggestedGroup:
    """One suggestion: the paths, relative to the root, are the keys of `videos`, the most typical first."""

    n: int
    names: Sequence[str]
    videos: Mapping[str, Fingerprint]

    def told(self) -> dict[str, Any]:
        """Give the suggestion as scripts read it."""
        return {"n": self.n, "names": list(self.names), "videos": list(self.videos)}


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The videos to suggest from: row i of `unsorted` is the video `videos[i]`, which stands at `paths[i]`."""

    root: Path
    state: Path
    library: Library
    space: FeatureSpace
    videos: Sequence[Fingerprint]
    paths: Sequence[str]
    said: Sequence[VideoWords]
    unsorted: Matrix
    filed: Matrix


def pool(reader: LibraryReader, *, now: float) -> Pool:
    """Gather the unsorted videos that no category is about to get, and those that are filed."""
    store, space = reader.store, reader.store.space
    paths = {video: path for video in store.features.unsorted(space) if (path := _undecided(reader, video, now))}
    videos = sorted(paths)[:UNSORTED]
    filed = sorted(video for video, *_ in store.features.labels(space))[:FILED]
    return Pool(
        root=reader.root,
        state=reader.state,
        library=reader.library,
        space=space,
        videos=videos,
        paths=[paths[video] for video in videos],
        said=[_said(reader, video, paths[video]) for video in videos],
        unsorted=store.features.vectors(videos, space),
        filed=store.features.vectors(filed, space),
    )


def suggest(pool: Pool) -> list[SuggestedGroup]:
    """Return the groups that there are now, the largest first; their numbers are remembered as shown."""
    groups = []
    for n, rows in enumerate(groups_of(pool.unsorted, pool.filed, space=pool.space), start=1):
        others = np.setdiff1d(np.arange(len(pool.videos)), rows)
        telling = names_for([pool.said[row] for row in rows], [pool.said[row] for row in others])
        names = [name for name in telling if _is_free(pool, name)][:MOST_NAMES]
        names = names or [next(name for name in _numbered(n) if _is_free(pool, name))]
        groups.append(SuggestedGroup(n, names, {pool.paths[row]: pool.videos[row] for row in rows}))
    _remember(pool.state, groups)
    return groups


def shown(pool: Pool, n: int) -> SuggestedGroup:
    """Return the group that had this number when groups were shown last. NoSuchGroup: none had."""
    groups = _remembered(pool.state)
    if groups is None:
        groups = suggest(pool)
    for group in groups:
        if group.n == n:
            return group
    raise NoSuchGroup(f"there is no group {n} among those shown last; `sortd suggest` shows what there is now")


def lines(told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the lines of `sortd suggest`."""
    for group in told:
        paths = group["videos"]
        yield f"{group['n']}  {' or '.join(group['names'])}: {len(paths)} videos"
        yield from (f"     {printable(path)}" for path in paths[:EXAMPLES])
        if len(paths) > EXAMPLES:
            yield f"     and {len(paths) - EXAMPLES} more"
    if told:
        yield "`sortd suggest --accept N NAME` makes a folder of one, as your labels"
    else:
        yield "nothing to suggest: no five or more unsorted videos are plainly of one new kind"


def accepted_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines of `sortd suggest --accept`."""
    category, done = printable(answer["category"]), len(answer["done"])
    yield f"{done} {'video is' if done == 1 else 'videos are'} in {category} now, by your word"
    under_way = answer.get("copying", ())
    if waiting := sum("id" not in move for move in under_way):
        yield f"{waiting} more are being moved there; the log will say when each of them is"
    for move in (move for move in under_way if "id" in move):
        yield f"{printable(move['from'])} is being copied there; the log will say when it is done"
    for refused in answer["refused"]:
        yield f"{printable(refused['path'])} stays: {printable(refused['why'])}"


def _undecided(reader: LibraryReader, video: Fingerprint, now: float) -> str | None:
    """Return where a video stands if no category is about to get it and nobody asks to leave it alone, else None."""
    inputs = reader.decision_inputs.read(video, now=now)
    if inputs is None:
        return None
    decided = verdict(inputs)
    if decided.fault is not None or not isinstance(decided.decision, Leave):
        return None
    return str(decided.path) if decided.decision.reason in UNDECIDED else None


def _said(reader: LibraryReader, video: Fingerprint, path: str) -> VideoWords:
    speech = reader.store.features.of(video, reader.store.space).get("speech")
    spoken = "" if speech is None else speech.text or ""
    return VideoWords(words_of(spoken, dull=DULL), words_of(stem_of(Path(path).name), dull=DULL))


def _is_free(pool: Pool, name: str) -> bool:
    return pool.library.category_named(name) is not None and not os.path.lexists(pool.root / name)


def _numbered(n: int) -> Iterator[str]:
    yield f"group {n}"
    yield from (f"group {n} ({other})" for other in itertools.count(2))


def _remember(state: Path, groups: Sequence[SuggestedGroup]) -> None:
    kept = [group.told() | {"videos": dict(group.videos)} for group in groups]
    with contextlib.suppress(OSError), opened(state) as folder:  # to look is allowed to those, too, who may not accept
        replace(folder, SHOWN, json.dumps(kept).encode("ascii"))


def _remembered(state: Path) -> list[SuggestedGroup] | None:
    try:
        return [SuggestedGroup(**group) for group in json.loads((state / SHOWN).read_text("ascii"))]
    except (OSError, ValueError, TypeError):
        return None
