"""Resolve which library, and what in it, a command line means."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from sortd.config.settings import Settings, load
from sortd.disk.root_guard import is_known, root_of
from sortd.domain.errors import LibraryUnavailable


def settings_for(config: Path | None, root: Path | None) -> Settings:
    """Read the settings, for another root where one is given."""
    settings = load(config, environ=os.environ)
    return settings if root is None else settings.at(root)


def locate(path: Path, config: Path | None, root: Path | None) -> tuple[Settings, PurePath]:
    """Return the settings of the library that a path lies in, and the path below its root.

    A relative path starts from the working directory or, where nothing stands there, from the root.
    LibraryUnavailable: an absolute path lies outside the library.
    """
    settings = settings_for(config, root)
    place = Path(os.path.realpath(path.parent), path.name)
    home = settings.library.root
    found = root_of(place.parent) if root is None else None
    if found is not None and (is_known(found) or _below(home, place) is None):
        home = found
        if not _same(home, settings.library.root):
            # The marker knows its own state directory; the one in the settings belongs to their own root.
            state = settings.state.model_copy(update={"dir": None})
            settings = settings.at(home).model_copy(update={"state": state})
    inside = _below(home, place)
    if inside is not None and (path.is_absolute() or os.path.lexists(place) or not os.path.lexists(home / path)):
        return settings, inside
    if path.is_absolute():
        raise LibraryUnavailable(f"{path} does not lie in {home}")
    return settings, PurePath(path)


def target_in(target: str, config: Path | None, root: Path | None) -> tuple[Settings, dict[str, str]]:
    """Return the settings and what is meant: a video where there is such a file, else a category."""
    settings, inside = locate(Path(target), config, root)
    kind = "path" if (settings.library.root / inside).is_file() else "category"
    return settings, {kind: str(inside)}


def _below(home: Path, place: Path) -> PurePath | None:
    real = Path(os.path.realpath(home))
    return place.relative_to(real) if place.is_relative_to(real) else None


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
