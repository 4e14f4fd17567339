"""The commands that run the service, pause it and let it go on."""

from __future__ import annotations

from typing import Annotated

import typer

from sortd.cli.options import (
    ConfigOption,
    RootArgument,
    RootOption,
    asked,
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


def pause(library: RootArgument = None, *, config: ConfigOption = None, root: RootOption = None) -> None:
    """Move and extract nothing until `sortd resume`.

    It holds over restarts too.
    """
    asked(settings_from(config, library, root), {"do": "pause"})
    typer.echo("paused: nothing is moved or extracted until `sortd resume`")


def resume(
    library: RootArgument = None,
    *,
    vanished: Annotated[
        bool, typer.Option("--vanished", help="Accept that many videos vanished: they are taken for deleted.")
    ] = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Go on after `sortd pause`.

    While many videos have vanished it refuses, and says how many.
    """
    gone = asked(settings_from(config, library, root), {"do": "resume", "vanished": vanished})["vanished"]
    if not vanished:
        typer.echo("resumed")
    elif gone:
        typer.echo(f"resumed; {gone} videos that vanished are taken for deleted")
    else:
        typer.echo("resumed; no mass of videos had vanished, so none is taken for deleted")
