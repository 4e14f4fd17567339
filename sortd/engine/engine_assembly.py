"""Make from the settings what the service and the commands share: the library, places, checks of places."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sortd.config.path_containment import lies_in
from sortd.config.settings import Settings
from sortd.disk.library import Library
from sortd.disk.lock import LOG
from sortd.disk.mounts import Mount
from sortd.disk.root_guard import is_state, root_of
from sortd.domain.errors import ConfigError
from sortd.engine.event_log import Tell


def state_wished(config: Settings) -> Path | None:
    """Return the state directory that the owner or systemd names; None: the one that belongs to the library."""
    # systemd separates several with colons; the first one is ours.
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return config.state.dir or (Path(given) if given else None)


def check_state(state: Path, mounts: Sequence[Mount], *, wished: Path | None, tell: Tell) -> None:
    """Refuse a state directory on a network disk by a ConfigError; warn once where the owner asked for it.

    There locks may not hold between machines, and a database is damaged by it sooner or later.
    """
    if not mounts or not mounts[0].is_remote:
        return
    where = f"{state} is on a network disk ({mounts[0].kind}), where an index is damaged sooner or later"
    if wished is None:
        raise ConfigError([f"[state] dir: {where}; name a folder on a disk of this machine"])
    tell("state_is_remote", why=where)


def check_log(config: Settings) -> None:
    """Raise ConfigError where the log would stand in a library, or as one of sortd's own files in a state directory."""
    file = config.log.file
    if file is None:
        return
    real = Path(os.path.realpath(file))
    library, wished = root_of(real.parent), state_wished(config)
    if library is not None:
        raise ConfigError([f"log.file: {file}: should lie outside the library {library}"])
    if LOG not in real.name and (is_state(real.parent) or (wished and lies_in(real, wished))):
        raise ConfigError([f"log.file: {file}: stands among what sortd keeps; there its name should hold {LOG}"])


def library_at(root: Path, config: Settings) -> Library:
    """Return the library at this root, to be read as the settings ask."""
    settings = config.library
    return Library(root, levels=settings.levels, extensions=settings.extensions, ignore=settings.ignore)
