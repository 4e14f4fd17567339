"""The commands about sortd itself rather than about a library: is all well, what is there, how is it run."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sortd.commands.parser import (
    ConfigOption,
    JsonOption,
    RootArgument,
    RootOption,
    app,
    asked,
    known,
    settings_from,
    show,
)


@app.command()
def check(
    library: RootArgument = None,
    *,
    retry: Annotated[bool, typer.Option("--retry", help="Try what was set aside again.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Look for faults in all that sortd needs, and say what to do."""
    settings = settings_from(config, library, root)
    from sortd.commands import report  # noqa: PLC0415 - as above

    if retry:
        show(asked(settings, {"do": "retry"}), report.retried, as_json=as_json)
        return
    from sortd.commands.check import check as look  # noqa: PLC0415 - as above

    told = look(settings)
    show(told, report.checked, as_json=as_json)
    if not all(finding["ok"] for finding in told):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Argument(help="Where to make and keep it.", metavar="DIR")] = None,
) -> None:
    """Show it learn and sort a small library of made-up clips.

    It takes under a minute and downloads nothing.
    """
    from sortd.commands.demo import show  # noqa: PLC0415 - as above

    show(folder)


class Verb(StrEnum):
    """What to do with the service."""

    INSTALL, REMOVE, SHOW = "install", "remove", "show"


@app.command()
def service(
    verb: Annotated[Verb, typer.Argument(help="What to do.", metavar="install|remove|show")],
    library: RootArgument = None,
    *,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Have it run for you, now and at every login."""
    settings = settings_from(config, library, root)
    from sortd.commands.units import service as carry_out  # noqa: PLC0415 - as above

    typer.echo(carry_out(verb.value, settings.library.root, config=settings.path))


class Format(StrEnum):
    """What `sortd export` writes."""

    PT = "pt"
    NPZ = "npz"
    CSV = "csv"


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to.", metavar="DIR")],
    *,
    format_: Annotated[Format, typer.Option("--format", help="PyTorch, numpy or text.")] = Format.PT,
    relative: Annotated[bool, typer.Option("--relative", help="Paths from the library on.")] = False,
    over_earlier: Annotated[bool, typer.Option("--replace", help="Write over an earlier export.")] = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Write features, labels, transcripts and predictions to files.

    They go into an empty folder, or with --replace over an earlier export; never into a library.
    """
    settings = settings_from(config, None, root)
    from sortd.commands import export_place, facts  # noqa: PLC0415 - as above
    from sortd.commands.dataset import dataset  # noqa: PLC0415 - as above
    from sortd.commands.export import write  # noqa: PLC0415 - as above

    place = folder.absolute()
    export_place.check_place(place, settings.library.root, over_earlier=over_earlier)
    with facts.reading(settings) as read:
        gathered = dataset(known(read, settings), settings)
    published = partial(export_place.note, place)
    for sentence in write(gathered, place, format=format_.value, relative=relative, published=published):
        typer.echo(sentence, err=True)
    typer.echo(
        f"{len(gathered.labelled_paths)} labelled and {len(gathered.unlabelled_paths)} other videos are in {folder}"
    )


@app.command()
def models(
    do: Annotated[str | None, typer.Argument(help="`fetch`: get what is missing.", metavar="fetch")] = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """List the pretrained weights that are wanted, or fetch them."""
    settings = settings_from(config, None, root)
    from sortd.commands import models as weights  # noqa: PLC0415 - as above
    from sortd.commands import report  # noqa: PLC0415 - as above
    from sortd.service.opening import extract_settings  # noqa: PLC0415 - as above

    wanted = extract_settings(settings)
    if do not in {None, "fetch"}:
        raise typer.BadParameter(f"{do!r} is not `fetch`")
    problems = weights.fetch_all(wanted, bar=report.transfer) if do == "fetch" else []
    for problem in problems:
        typer.echo(f"sortd: {problem}", err=True)
    show(weights.facts(wanted), report.models, as_json=as_json)
    if problems:
        raise typer.Exit(1)
