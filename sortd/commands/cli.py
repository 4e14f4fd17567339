"""The command line's two ends: every command is gathered here, and what goes wrong ends here."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from io import TextIOWrapper
from typing import Annotated

import typer

from sortd.commands import owner, tools, unsorted
from sortd.commands.parser import app
from sortd.errors import ConfigError, SortdError

__all__ = ["app", "main", "owner", "tools", "unsorted"]  # these three register their commands by being imported

BAD_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h; the service manager is told not to try again on it."""


@app.callback(invoke_without_command=True)
def sortd(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Answer what is asked of the program itself."""
    if version:
        typer.echo(f"sortd {installed_version('sortd')}")
        raise typer.Exit


def main() -> None:
    """Run a command; what goes wrong is one line each on stderr, and an exit status scripts can tell apart."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal's encoding lacks
    try:
        app(prog_name="sortd")
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        sys.exit(BAD_CONFIGURATION)
    except SortdError as error:
        _complain(str(error))
        sys.exit(1)


def _complain(line: str) -> None:
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    sys.stderr.write(f"sortd: {shown}\n")
