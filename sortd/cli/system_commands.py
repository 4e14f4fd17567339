"""The commands about sortd itself: check, demo, service, models."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sortd.cli.options import ConfigOption, JsonOption, RootArgument, RootOption, asked, settings_from, show
from sortd.domain.requests import Retry


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
    from sortd.cli import text_output  # noqa: PLC0415 - as above

    if retry:
        show(asked(settings, Retry()), text_output.retried, as_json=as_json)
        return
    from sortd.cli.checks import check as look  # noqa: PLC0415 - as above

    told = look(settings)
    show(told, text_output.checked, as_json=as_json)
    if not all(finding["ok"] for finding in told):
        raise typer.Exit(1)


def demo(
    folder: Annotated[Path | None, typer.Argument(help="Where to make and keep it.", metavar="DIR")] = None,
) -> None:
    """Show it learn and sort a small library of made-up clips.

    It takes under a minute and downloads nothing.
    """
    from sortd.cli.demo import show  # noqa: PLC0415 - as above

    show(folder)


class Verb(StrEnum):
    """What `sortd service` does."""

    INSTALL, REMOVE, SHOW = "install", "remove", "show"


def service(
    verb: Annotated[Verb, typer.Argument(help="What to do.", metavar="install|remove|show")],
    library: RootArgument = None,
    *,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Have it run for you, now and at every login."""
    settings = settings_from(config, library, root)
    from sortd.cli.service_units import service as carry_out  # noqa: PLC0415 - as above

    typer.echo(carry_out(verb.value, settings.library.root, config=settings.path))


def models(
    do: Annotated[str | None, typer.Argument(help="`fetch`: get what is missing.", metavar="fetch")] = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """List the pretrained weights that are wanted, or fetch them."""
    settings = settings_from(config, None, root)
    from sortd.cli import model_files as weights  # noqa: PLC0415 - as above
    from sortd.cli import text_output  # noqa: PLC0415 - as above
    from sortd.extract.registry import extract_settings  # noqa: PLC0415 - as above

    wanted = extract_settings(settings)
    if do not in {None, "fetch"}:
        raise typer.BadParameter(f"{do!r} is not `fetch`")
    problems = weights.fetch_all(wanted, bar=text_output.transfer) if do == "fetch" else []
    for problem in problems:
        typer.echo(f"sortd: {problem}", err=True)
    show(weights.facts(wanted), text_output.models, as_json=as_json)
    if problems:
        raise typer.Exit(1)
