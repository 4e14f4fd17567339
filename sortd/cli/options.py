"""What every command line shares: the options, and how results are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sortd.cli.resolve import settings_for
from sortd.config.settings import Settings
from sortd.domain.errors import LibraryUnavailable
from sortd.domain.requests import Request

if TYPE_CHECKING:
    from sortd.views.library_reader import LibraryReader

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The settings' file.", metavar="FILE")]
RootOption = Annotated[Path | None, typer.Option("--root", help="The library.", metavar="ROOT")]
RootArgument = Annotated[Path | None, typer.Argument(help="The library; else the one in the settings.", metavar="ROOT")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PathArgument = Annotated[Path, typer.Argument(help="A video.", metavar="PATH")]
TargetArgument = Annotated[str, typer.Argument(help="A video or a category.", metavar="PATH|CATEGORY")]


def settings_from(config: Path | None, argument: Path | None, option: Path | None) -> Settings:
    """Read the settings, for the library that the command line names as ROOT or as --root."""
    if argument is not None and option is not None:
        raise typer.BadParameter("the library is named twice", param_hint="--root")
    return settings_for(config, argument or option)


def known(reader: LibraryReader | None, settings: Settings) -> LibraryReader:
    """Return the reader. LibraryUnavailable: nothing is known of this library yet."""
    if reader is None:
        raise LibraryUnavailable(f"nothing is known of {settings.library.root} yet: `sortd run` makes it a library")
    return reader


def asked(settings: Settings, request: Request) -> Mapping[str, Any]:
    """Have the service carry out a request, or carry it out here where none runs."""
    from sortd.cli.service_client import carry_out  # noqa: PLC0415 - as above

    return carry_out(settings, request)


def timestamp(text: str) -> float:
    """Read an ISO 8601 time; return seconds since the epoch."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 time", param_hint="--since") from error


def show(told: Any, render: Callable[[Any], None], *, as_json: bool) -> None:  # noqa: ANN401 - any JSON value
    """Print what a command tells, for people or for scripts."""
    if as_json:
        # ASCII: names that are not UTF-8 stand in it as escaped surrogates.
        typer.echo(json.dumps(told, indent=2))
    else:
        render(told)
