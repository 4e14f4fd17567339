"""The program `sortd`: a table of its commands, and what becomes of an error."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from io import TextIOWrapper
from typing import Annotated

import typer

from sortd.cli import (
    change_commands,
    data_commands,
    evaluate_command,
    read_commands,
    run_command,
    suggest_command,
    system_commands,
)
from sortd.config.printable_text import printable
from sortd.domain.errors import ConfigError, SortdError

BAD_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h; the service manager is told not to try again on it."""


app = typer.Typer(
    help="Sort a video collection by watching how its owner does it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # markup would swallow what stands in brackets
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = (
    run_command.run,
    read_commands.status,
    read_commands.preview,
    read_commands.explain,
    read_commands.history,
    change_commands.undo,
    change_commands.confirm,
    change_commands.forget,
    evaluate_command.evaluate,
    change_commands.rollback,
    change_commands.pause,
    change_commands.resume,
    system_commands.check,
    system_commands.demo,
    system_commands.service,
    data_commands.export,
    system_commands.models,
    suggest_command.suggest,
)
"""Each function is the command of its name; `sortd --help` lists them in this order."""

for command in COMMANDS:
    app.command()(command)


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
    sys.stderr.write(f"sortd: {printable(line)}\n")
