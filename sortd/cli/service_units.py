"""Install sortd as a service of its owner alone: a systemd user unit, or a launchd agent on macOS."""

from __future__ import annotations

import hashlib
import os
import plistlib
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sortd.disk.atomic_file import opened, replace
from sortd.domain.errors import SortdError

MADE = "Made by `sortd service install`"
"""Stands in every file that is ours; one without it is the owner's own."""

Command = tuple[str, ...]

Call = Callable[[Command], str | None]
"""Have the service manager do it; None when it did, else why not, in one line."""


class ServiceProblem(SortdError):
    """The service could not be set up or taken away; the message says what stands in the way."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What the service manager is given for one library."""

    name: str
    """The name by which the manager knows it."""
    file: Path
    content: bytes
    starts: tuple[Command, ...]
    """The commands that make the manager run it now and at every login, once the file is there."""
    stops: tuple[Command, ...]
    """The commands that undo this while the file is there ..."""
    forgets: tuple[Command, ...]
    """... and those once it is gone."""
    advice: tuple[str, ...]
    """What the owner may want to do next."""


def service(verb: Literal["install", "remove", "show"], root: Path, *, config: Path | None) -> str:
    """Carry out `sortd service` on this machine; return what is printed. Raises ServiceProblem."""
    ours = unit(root, config=config, platform=sys.platform, environ=os.environ)
    if verb == "show":
        return ours.content.decode().rstrip()
    return "\n".join(install(ours, call=call) if verb == "install" else remove(ours, call=call))


def unit(root: Path, *, config: Path | None, platform: str, environ: Mapping[str, str]) -> Unit:
    """Work out the service for the library at `root` (absolute), with the settings in `config`; touches nothing.

    ServiceProblem: sortd knows no service manager for this platform, or the path cannot be told to it.
    """
    home = Path(environ.get("HOME") or Path.home())
    # Folders of the same name are told apart by what is digested of their paths.
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", root.name).strip("-.")[:40] or "videos"
    name = f"sortd-{slug}-{hashlib.blake2b(os.fsencode(root), digest_size=3).hexdigest()}"
    chosen = [] if config is None else ["--config", str(config)]
    # -P: a file called json.py in the folder where it is started is no module of ours.
    command = (sys.executable, "-P", "-m", "sortd", "run", *chosen, str(root))
    if platform == "linux":
        settings = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        return _systemd(name, root, command, folder=settings / "systemd" / "user")
    if platform == "darwin":
        return _launchd(name, root, command, home=home)
    raise ServiceProblem(f"sortd knows no service manager for {platform}; have yours run: {shlex.join(command)}")


def install(unit: Unit, *, call: Call) -> list[str]:
    """Write the file and have the service started now and at every login; return what was done, in lines.

    Where no service manager answers, the lines name the commands instead. ServiceProblem: a file that is not ours is
    in the way, it cannot be written, or the service did not start.
    """
    told = []
    try:
        if _ours(unit.file):
            # Written anew; what runs must not be the old one.
            for command in unit.stops:
                call(command)
        unit.file.parent.mkdir(parents=True, exist_ok=True)
        with opened(unit.file.parent) as folder:
            replace(folder, unit.file.name, unit.content, mode=0o644)
    except OSError as error:
        raise ServiceProblem(f"{unit.file} cannot be written: {error.strerror}") from error
    told.append(f"wrote {unit.file}")
    return told + _carry_out(unit.starts, call, done="started, now and at every login") + list(unit.advice)


def remove(unit: Unit, *, call: Call) -> list[str]:
    """Stop the service and delete its file; return what was done, in lines. What sortd remembers stays.

    ServiceProblem: there is nothing to remove, the file is not ours, or it cannot be deleted.
    """
    if not _ours(unit.file):
        raise ServiceProblem(f"nothing to remove: there is no {unit.file}")
    told = _carry_out(unit.stops, call, done="stopped, and no longer started at login")
    try:
        unit.file.unlink()
    except OSError as error:
        raise ServiceProblem(f"{unit.file} cannot be deleted: {error.strerror}") from error
    for command in unit.forgets:
        call(command)
    return [*told, f"deleted {unit.file}"]


def call(command: Command) -> str | None:
    """Run a service manager's command."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - ours
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if ended.returncode == 0:
        return None
    said = ended.stderr.strip().splitlines()
    return said[0] if said else f"{command[0]} ended with status {ended.returncode}"


def _carry_out(commands: tuple[Command, ...], call: Call, *, done: str) -> list[str]:
    for number, command in enumerate(commands):
        problem = call(command)
        if problem is not None and number:
            raise ServiceProblem(f"{shlex.join(command)}: {problem}")
        if problem is not None:
            return [f"no service manager answers ({problem}); when one does:", *_typed(commands)]
    return [done]


def _typed(commands: Iterable[Command]) -> list[str]:
    return [f"    {shlex.join(command)}" for command in commands]


def _ours(file: Path) -> bool:
    """Tell whether we wrote it; False where there is none. Raises ServiceProblem for one that somebody else wrote."""
    if not os.path.lexists(file):
        return False
    try:
        content = file.read_bytes() if stat.S_ISREG(file.lstat().st_mode) else b""
    except OSError as error:
        raise ServiceProblem(f"{file} cannot be read: {error.strerror}") from error
    if MADE.encode() not in content:
        raise ServiceProblem(f"{file} is not sortd's: move it away first")
    return True


# systemd


def _systemd(name: str, root: Path, command: Command, *, folder: Path) -> Unit:
    service = f"{name}.service"
    text = _SYSTEMD.format(
        made=MADE, service=service, root=_visible(root).replace("%", "%%"), command=" ".join(map(_word, command))
    )
    manager = ("systemctl", "--user")
    return Unit(
        name=name,
        file=folder / service,
        content=text.encode(),
        starts=((*manager, "daemon-reload"), (*manager, "enable", "--now", service)),
        stops=((*manager, "disable", "--now", service),),
        forgets=((*manager, "daemon-reload"),),
        advice=(
            f"what it does:   journalctl --user -u {name} -f",
            "while you are logged out, too:   loginctl enable-linger",
        ),
    )


def _word(text: str) -> str:
    """Quote a word of a unit file's command line ("Quoting" in systemd.syntax(7), "Specifiers" in systemd.unit(5))."""
    plain = "".join(char if char.isprintable() and char not in '"\\' else _bytes(char) for char in text)
    quoted = plain if re.fullmatch(r"[\w./=+,:@%-]+", plain) else f'"{plain}"'
    return quoted.replace("%", "%%")


def _bytes(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def _visible(root: Path) -> str:
    """Give a path for people, without characters that could end the line."""
    return "".join(char if char.isprintable() else "?" for char in str(root))


_SYSTEMD = """\
# {made}, which writes it anew each time: lines of your own belong in a drop-in
# (systemctl --user edit {service}).
#
# Everything here works without namespaces. What needs them (ProtectSystem, ProtectHome, PrivateTmp, PrivateNetwork and
# their like) is left out: where users may make no namespaces the service would not start, and older versions of
# systemd ignore those lines without a word. systemd/sortd.service has them, with an account of its own.

[Unit]
# What `systemctl --user status` calls it.
Description=sortd: sorts the videos in {root}
# What starting again does not mend is left alone: within ten minutes ...
StartLimitIntervalSec=600
# ... five tries are enough.
StartLimitBurst=5

[Service]
# sortd says itself when it is ready: its lock, index, library and watcher are good, or the library is away for now.
Type=notify
# When the watchdog ends a loop that is stuck, the log says in which line it stood.
Environment=PYTHONFAULTHANDLER=1
# What programs of the owner's own are to import is nothing to this one.
UnsetEnvironment=PYTHONPATH PYTHONHOME
# The very sortd that wrote this file. ":" has systemd leave every $ as it is.
ExecStart=:{command}
# `systemctl --user reload`: look at everything again and learn anew.
ExecReload=/bin/kill -HUP $MAINPID
# A crash is mended by starting again: what was begun is finished or taken back before anything else is done.
Restart=on-failure
# Not at once: whatever broke it (a full disk, a library that another sortd has) takes a moment to pass.
RestartSec=10
# 78: the configuration is wrong. Starting again mends nothing, and `systemctl --user status` shows the line to change.
RestartPreventExitStatus=78
# An index of very many videos may have to be brought into a new form first.
TimeoutStartSec=300
# The loop says every few seconds that it goes round; one answer to a command may take it two minutes.
WatchdogSec=180
# SIGTERM is for sortd alone, which ends its children in order; what is left of them then is killed.
KillMode=mixed
# Stopping takes a second or two; what takes longer hangs on a dead disk.
TimeoutStopSec=30
# A child that took too much memory over one video is replaced; the service goes on.
OOMPolicy=continue
# Beyond this the kernel slows sortd down rather than the machine.
MemoryHigh=75%
# There is no way to a network: the only sockets are those between processes of this machine.
RestrictAddressFamilies=AF_UNIX
# A user's service can be given no privilege, so not the one to ask of other accounts' files who writes them
# (AmbientCapabilities=CAP_LEASE, as in systemd/sortd.service): such videos wait longer, and stay on their disk.
# No privileges can be had from a setuid program ...
NoNewPrivileges=yes
# ... nor one be made.
RestrictSUIDSGID=yes
# The system calls that services need ...
SystemCallFilter=@system-service
# ... and those by which a decoder gives up all access to files. An older systemd logs names that it does not know.
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
# A forbidden call fails, as on a system that lacks it, rather than ending the process.
SystemCallErrorNumber=EPERM
# No second set of system calls beside the native one.
SystemCallArchitectures=native
# No namespaces but those in which a decoder leaves the network.
RestrictNamespaces=user net
# No other kind of process than the machine's own, ...
LockPersonality=yes
# ... and none that comes before all others.
RestrictRealtime=yes
# What it makes, nobody else may read.
UMask=0077

[Install]
# Start it at login.
WantedBy=default.target
"""


# launchd


def _launchd(name: str, root: Path, command: Command, *, home: Path) -> Unit:
    file = home / "Library" / "LaunchAgents" / f"{name}.plist"
    log = home / "Library" / "Logs" / f"{name}.log"
    settings = {
        "Label": name,
        "ProgramArguments": list(command),
        # What programs of the owner's own are to import is nothing to this one: empty counts as unset.
        "EnvironmentVariables": {"PYTHONPATH": "", "PYTHONHOME": ""},
        "RunAtLoad": True,
        # A crash is mended by starting again, a stop that was asked for is not.
        "KeepAlive": {"SuccessfulExit": False},
        # launchd knows no limit of tries: a wrong configuration is one line in the log every 30 seconds.
        "ThrottleInterval": 30,
        "ProcessType": "Background",
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
        "Umask": 0o077,
    }
    try:
        content = plistlib.dumps(settings, sort_keys=False)
    except ValueError as error:
        raise ServiceProblem(f"launchd cannot be told the path {_visible(root)}") from error
    head, _, tail = content.partition(b"<plist")
    domain = f"gui/{os.getuid()}"
    return Unit(
        name=name,
        file=file,
        content=head + f"<!-- {MADE}, which writes it anew each time. -->\n<plist".encode() + tail,
        starts=(("launchctl", "bootstrap", domain, str(file)),),
        stops=(("launchctl", "bootout", f"{domain}/{name}"),),
        forgets=(),
        advice=(
            f"what it does:   tail -f {shlex.quote(str(log))}",
            f"where it says that nothing is permitted: give {command[0]} Full Disk Access in System Settings",
        ),
    )
