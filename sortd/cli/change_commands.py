"""The commands that change something: undo, confirm, forget, rollback, pause, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sortd.cli.options import (
    ConfigOption,
    JsonOption,
    RootArgument,
    RootOption,
    TargetArgument,
    asked,
    settings_from,
    show,
    timestamp,
)
from sortd.cli.resolve import locate, settings_for, target_in
from sortd.domain.requests import Confirm, Forget, Pause, Resume, Rollback, Undo


def undo(
    what: Annotated[str | None, typer.Argument(help="How many moves, or one moved video.", metavar="N|PATH")] = None,
    *,
    since: Annotated[str | None, typer.Option("--since", help="Moves since then (ISO 8601).", metavar="TIME")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Moves into this one.", metavar="NAME")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All moves.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Put moved videos back: the last one, the last N, or this one.

    They are not moved there again until you file them there or say `sortd forget --vetoes`.
    """
    settings = settings_for(config, root)
    path, count = None, None
    if what is not None and not what.isdecimal():
        settings, inside = locate(Path(what), config, root)
        path = str(inside)
    elif not (everything or since or category) or what is not None:
        count = int(what or 1)
    began = None if since is None else timestamp(since)
    from sortd.cli import text_output  # noqa: PLC0415 - as above

    answer = asked(settings, Undo(path, count, began, category))
    show(answer, text_output.undone, as_json=as_json)
    if answer["refused"]:
        raise typer.Exit(1)


def confirm(
    target: TargetArgument, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Accept where sortd put a video, or all in a category.

    They become labels of yours, from which it learns.
    """
    settings, meant = target_in(target, config, root)
    from sortd.cli import text_output  # noqa: PLC0415 - as above

    show(asked(settings, Confirm(**meant)), text_output.confirmed, as_json=as_json)


def forget(
    target: TargetArgument,
    *,
    vetoes: Annotated[bool, typer.Option("--vetoes", help="Let sortd move there again (the default).")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="Let it teach nothing any more.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Forget vetoes or labels of a video, or of a category.

    No file is touched.
    """
    settings, meant = target_in(target, config, root)
    answer: dict[str, Any] = {}
    for what in [name for name, wished in (("vetoes", vetoes or not labels), ("labels", labels)) if wished]:
        answer[what] = asked(settings, Forget(what, **meant))["forgotten"]
    from sortd.cli import text_output  # noqa: PLC0415 - as above

    show(answer, text_output.forgotten, as_json=as_json)


def rollback(library: RootArgument = None, *, config: ConfigOption = None, root: RootOption = None) -> None:
    """Let the classifier before this one decide again.

    It stays until labels change. Videos that are filed stay where they are.
    """
    labels = asked(settings_from(config, library, root), Rollback())["labels"]
    typer.echo(f"the classifier that learned from {labels} labels decides again")


def pause(library: RootArgument = None, *, config: ConfigOption = None, root: RootOption = None) -> None:
    """Move and extract nothing until `sortd resume`.

    It holds over restarts too.
    """
    asked(settings_from(config, library, root), Pause())
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
    gone = asked(settings_from(config, library, root), Resume(vanished=vanished))["vanished"]
    if not vanished:
        typer.echo("resumed")
    elif gone:
        typer.echo(f"resumed; {gone} videos that vanished are taken for deleted")
    else:
        typer.echo("resumed; no mass of videos had vanished, so none is taken for deleted")
