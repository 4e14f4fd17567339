"""Which library, and what in it, a command line means."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from sortd.config import Config, load
from sortd.disk.guard import root_of
from sortd.errors import LibraryUnavailable


def settings_for(config: Path | None, root: Path | None) -> Config:
    """The configuration, for another root where one is given."""
    settings = load(config, environ=os.environ)
    return settings if root is None else settings.at(root)


def locate(path: Path, config: Path | None, root: Path | None) -> tuple[Config, PurePath]:
    """The library a path lies in, and the path below its root; a relative path may also be meant from the root."""
    settings = settings_for(config, root)
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    home = root_of(absolute.parent)
    if home is not None and (root is None or home == Path(os.path.abspath(root))):  # noqa: PTH100 - likewise
        return settings.at(home), absolute.relative_to(home)
    if path.is_absolute():
        if absolute.is_relative_to(settings.library.root):
            return settings, absolute.relative_to(settings.library.root)
        raise LibraryUnavailable(f"{path} lies in no library")
    return settings, PurePath(path)


def target_in(target: str, config: Path | None, root: Path | None) -> tuple[Config, dict[str, str]]:
    """A video where there is such a file, else a category."""
    settings, inside = locate(Path(target), config, root)
    if (settings.library.root / inside).is_file():
        return settings, {"path": str(inside)}
    return settings_for(config, root) if root else settings, {"category": str(inside)}
