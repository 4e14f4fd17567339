"""From a configuration to the parts that the service and the commands share."""

from __future__ import annotations

import os
from pathlib import Path

from sortd.config import Config
from sortd.disk.library import Library
from sortd.domain import FeatureSpace
from sortd.extract import Settings, space


def extract_settings(config: Config) -> Settings:
    """What the owner asks of extraction."""
    asked = config.extract
    return Settings(
        names=asked.with_,
        encoder=asked.encoder,
        frames=asked.visual.frames,
        clip_model=asked.visual.model,
        whisper_model=asked.speech.model,
        language=asked.speech.language,
        task=asked.speech.task,
        device=asked.device,
        precision=asked.precision,
    )


def feature_space(config: Config) -> FeatureSpace:
    """The space of vectors that is wanted now: it changes when pretrained weights come or go."""
    return space(extract_settings(config))


def state_wished(config: Config) -> Path | None:
    """The state directory that the owner or systemd names; None: the one that belongs to the library."""
    # systemd separates several with colons; the first one is ours.
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return config.state.dir or (Path(given) if given else None)


def library_at(root: Path, config: Config) -> Library:
    """The tree below a root, read as the configuration asks."""
    settings = config.library
    return Library(root, levels=settings.levels, extensions=settings.extensions, ignore=settings.ignore)
