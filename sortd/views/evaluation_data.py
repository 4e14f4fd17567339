"""Gather what `sortd evaluate` measures on: a library's labels, or its owner's filing order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from sortd.config.settings import Settings
from sortd.disk.folder_rules import Role
from sortd.domain.category import CategoryName
from sortd.domain.video import Fingerprint
from sortd.learn.backtest import NEVER, Rules, Stream, Times
from sortd.learn.embeddings_file import OUTSIDER, Embeddings
from sortd.store.decision_log import DECISION_LOG, last_words, read_after
from sortd.store.feature_table import PASSED_OVER_AFTER
from sortd.views.dataset import dataset
from sortd.views.library_reader import LibraryReader


def embeddings_of(reader: LibraryReader, config: Settings) -> Embeddings:
    """Return the labels of this library, to be held out by chance; those in folders of outsiders are outsiders."""
    gathered = dataset(reader, config)
    others = {name for name in set(gathered.categories) if reader.library.rules(name).role is Role.OTHER}
    names = np.array([OUTSIDER if name in others else str(name) for name in gathered.categories], np.str_)
    return Embeddings(gathered.labelled, names, None, reader.store.space)


def stream_of(reader: LibraryReader) -> Stream:
    """Return what has its vector in this library, in the order in which the owner filed it.

    What stands unsorted is thought to belong nowhere. What sortd placed, and the owner never spoke of, is left out.
    """
    store = reader.store
    roles = {known.name: reader.library.rules(known.name).role for known in store.categories.all() if known.present}
    labels = {video: name for video, _, name in store.features.labels(store.space)}
    homes: dict[Fingerprint, CategoryName | None] = dict.fromkeys(store.features.unsorted(store.space))
    homes |= {video: name for video, name in labels.items() if roles[name] is Role.CATEGORY}
    homes |= {video: None for video, name in labels.items() if roles[name] is Role.OTHER}
    videos = sorted(homes)  # says nothing: so those of the same time come in no order
    came, told = _times(reader, videos)
    spoken_of = labels.keys() | store.features.taken_out()
    return Stream(
        store.space,
        store.features.vectors(videos, store.space),
        [homes[video] for video in videos],
        came,
        np.where([video in spoken_of for video in videos], told, NEVER),
    )


def stream_from(data: Embeddings, outsiders: Collection[str]) -> Stream:
    """Return the rows of a file in their order, as if each had been filed when it came, and `outsiders` never."""
    never_filed = np.isin(data.names, [OUTSIDER, *outsiders])
    came = np.arange(len(data.names), dtype=np.float64)
    homes = [None if left else CategoryName(name) for name, left in zip(data.names.tolist(), never_filed, strict=True)]
    return Stream(data.space, data.vectors, homes, came, np.where(never_filed, NEVER, came))


def _times(reader: LibraryReader, videos: Sequence[Fingerprint]) -> tuple[Times, Times]:
    """Return when each video came, and when the owner last filed it or took it out.

    What was there before the first classifier came in no order that sortd saw: the times of the files stand in.
    """
    store = reader.store
    first, seen, made = (
        store.classifiers.first_adopted() or NEVER,
        store.videos.first_seen(),
        dict[Fingerprint, float](),
    )
    for sighting in store.videos.identities().values():
        made[sighting.fingerprint] = min(made.get(sighting.fingerprint, NEVER), sighting.identity.mtime_ns / 1e9)
    try:
        said = last_words(read_after(reader.root / DECISION_LOG, known=0)[0])
    except OSError:
        said = {}
    came = [min(seen[video], made.get(video, NEVER)) if seen[video] <= first else seen[video] for video in videos]
    told = [
        max(at, said[video]) if said.get(video, 0.0) > first else at for video, at in zip(videos, came, strict=True)
    ]
    return np.array(came), np.array(told)


def targets_of(reader: LibraryReader) -> dict[CategoryName, float]:
    """Return the precision that some categories ask for by their rules."""
    names = [known.name for known in reader.store.categories.all() if known.present]
    asked = {name: reader.library.rules(name).target_precision for name in names}
    return {name: own for name, own in asked.items() if own is not None}


def rules_of(config: Settings, *, target: float, targets: Mapping[CategoryName, float]) -> Rules:
    """Return the settings that a backtest needs."""
    return Rules(target, config.train.after_labels, PASSED_OVER_AFTER, targets, config.train.candidates)
