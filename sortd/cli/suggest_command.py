"""`sortd suggest`: which unsorted videos could be a folder of their own."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from sortd.cli.options import ConfigOption, JsonOption, RootArgument, RootOption, asked, known, settings_from, show
from sortd.domain.requests import AcceptGroup


def suggest(
    library: RootArgument = None,
    *,
    accept: Annotated[
        tuple[int, str] | None, typer.Option("--accept", help="Make the folder and file group N.", metavar="N NAME")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Show groups of unsorted videos that could be a new folder.

    A group that you accept is filed there, as labels of yours.
    """
    settings = settings_from(config, library, root)
    from sortd.views import group_suggestions as groups  # noqa: PLC0415 - other commands start without them
    from sortd.views import library_reader  # noqa: PLC0415 - other commands start without them

    with library_reader.reading(settings) as reader:
        pool = groups.pool(known(reader, settings), now=time.time())
    if accept is not None:
        number, name = accept
        answer = asked(settings, AcceptGroup(name, dict(groups.shown(pool, number).videos)))
        show(answer, lambda told: typer.echo("\n".join(groups.accepted_lines(told))), as_json=as_json)
        if answer["refused"]:
            raise typer.Exit(1)
        return
    told = [group.told() for group in groups.suggest(pool)]
    show(told, lambda told: typer.echo("\n".join(groups.lines(told))), as_json=as_json)
