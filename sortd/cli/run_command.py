"""`sortd run`: be the service."""

from __future__ import annotations

from typing import Annotated

import typer

from sortd.cli.options import (
    ConfigOption,
    RootArgument,
    RootOption,
    settings_from,
)


def run(
    library: RootArgument = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="One full pass, a summary, then exit.")] = False,
    observe: Annotated[bool, typer.Option("--observe", help="Decide and log, never move.")] = False,
    take_over: Annotated[bool, typer.Option("--take-over", help="Even a library that another host served.")] = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Be the service: watch, learn and file, until SIGTERM or SIGINT.

    SIGHUP makes it look at everything again and learn anew.
    """
    settings = settings_from(config, library, root)
    from sortd.cli.service_client import run_once, serve  # noqa: PLC0415 - other commands start without the service

    (run_once if once else serve)(settings, observe=observe, take_over=take_over)
