"""The command line: arguments in, one function per command; whatever is heavy is imported inside the command."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sortd.commands.targets import locate, settings_for, target_in
from sortd.config import Config
from sortd.errors import ConfigError, LibraryUnavailable, SortdError

if TYPE_CHECKING:
    from sortd.commands.facts import Reading

BAD_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h; the service manager is told not to try again on it."""

app = typer.Typer(
    help="Sort a video collection by watching how its owner does it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The configuration file.", metavar="FILE")]
RootOption = Annotated[Path | None, typer.Option("--root", help="The library.", metavar="ROOT")]
RootArgument = Annotated[Path | None, typer.Argument(help="The library; else [library] root.", metavar="[ROOT]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PathArgument = Annotated[Path, typer.Argument(help="A video.", metavar="PATH")]
TargetArgument = Annotated[str, typer.Argument(help="A video or a category.", metavar="PATH|CATEGORY")]


@app.command()
def run(
    root_argument: RootArgument = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="One full pass, a summary, then exit.")] = False,
    observe: Annotated[bool, typer.Option("--observe", help="Decide and log, never move.")] = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Watch the library, learn from its owner and file what is sure, until SIGTERM or SIGINT."""
    settings = settings_for(config, root_argument or root)
    from sortd.commands.running import run_once, serve  # noqa: PLC0415 - other commands start without the service

    (run_once if once else serve)(settings, observe=observe)


@app.command()
def status(
    root_argument: RootArgument = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Tell what is going on, and of each category why it moves or not."""
    settings = settings_for(config, root_argument or root)
    from sortd.commands import facts, report  # noqa: PLC0415 - as above

    with facts.reading(settings) as read:
        told = facts.status(settings, read)
    _print(told, report.status, as_json=as_json)


@app.command()
def preview(
    root_argument: RootArgument = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Show what would be moved now and what left, each with its reason; changes nothing."""
    settings = settings_for(config, root_argument or root)
    from sortd.commands import facts, report  # noqa: PLC0415 - as above

    with facts.reading(settings) as read:
        told = facts.preview(_known(read, settings), now=time.time())
    _print(told, report.preview, as_json=as_json)


@app.command()
def explain(
    path: PathArgument, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Tell all that is known of one video, and which gate decided."""
    settings, inside = locate(path, config, root)
    from sortd.commands import facts, report  # noqa: PLC0415 - as above

    with facts.reading(settings) as read:
        told = facts.explain(_known(read, settings), inside, now=time.time())
    _print(told, report.explain, as_json=as_json)


@app.command()
def history(
    root_argument: RootArgument = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """List the moves made, the latest first."""
    settings = settings_for(config, root_argument or root)
    from sortd.commands import facts, report  # noqa: PLC0415 - as above

    with facts.reading(settings) as read:
        told = [] if read is None else facts.history(read)
    _print(told, report.history, as_json=as_json)


@app.command()
def undo(
    what: Annotated[str | None, typer.Argument(help="How many moves, or one moved video.", metavar="[N|PATH]")] = None,
    *,
    since: Annotated[str | None, typer.Option("--since", help="All moves since this time (ISO 8601).")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Moves into this category only.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All moves.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Put the last N moved videos (default 1) or that one back; they are not moved there again."""
    settings = settings_for(config, root)
    request: dict[str, Any] = {"do": "undo"}
    if what is not None and not what.isdecimal():
        settings, inside = locate(Path(what), config, root)
        request["path"] = str(inside)
    elif not (everything or since or category) or what is not None:
        request["count"] = int(what or 1)
    if since is not None:
        request["since"] = _timestamp(since)
    if category is not None:
        request["category"] = category
    from sortd.commands import report  # noqa: PLC0415 - as above

    answer = _ask(settings, request)
    _print(answer, report.undone, as_json=as_json)
    if answer["refused"]:
        raise typer.Exit(1)


@app.command()
def confirm(
    target: TargetArgument, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Accept sortd's placements: one video's, or all in a category; they become your labels."""
    settings, request = target_in(target, config, root)
    from sortd.commands import report  # noqa: PLC0415 - as above

    _print(_ask(settings, {"do": "confirm", **request}), report.confirmed, as_json=as_json)


@app.command()
def forget(
    target: TargetArgument,
    *,
    vetoes: Annotated[bool, typer.Option("--vetoes", help="Let sortd move there again (the default).")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="Let it teach nothing any more.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Drop what was learned of a video or of a category; no file is touched."""
    settings, request = target_in(target, config, root)
    answer: dict[str, Any] = {}
    for what in [name for name, wished in (("vetoes", vetoes or not labels), ("labels", labels)) if wished]:
        answer[what] = _ask(settings, {"do": "forget", "what": what, **request})["forgotten"]
    from sortd.commands import report  # noqa: PLC0415 - as above

    _print(answer, report.forgotten, as_json=as_json)


@app.command()
def pause(root_argument: RootArgument = None, *, config: ConfigOption = None, root: RootOption = None) -> None:
    """Stop moving and extracting until `sortd resume`, over restarts too."""
    _ask(settings_for(config, root_argument or root), {"do": "pause"})
    typer.echo("paused: nothing is moved or extracted until `sortd resume`")


@app.command()
def resume(root_argument: RootArgument = None, *, config: ConfigOption = None, root: RootOption = None) -> None:
    """Go on after `sortd pause`."""
    _ask(settings_for(config, root_argument or root), {"do": "resume"})
    typer.echo("resumed")


@app.command()
def check(
    root_argument: RootArgument = None,
    *,
    retry: Annotated[bool, typer.Option("--retry", help="Try what was set aside again.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Check configuration, root, state, watcher and decoder; tell what to do about each fault."""
    settings = settings_for(config, root_argument or root)
    if retry:
        typer.echo(f"{_ask(settings, {'do': 'retry'})['retried']} to be tried again")
        return
    from sortd.commands import report  # noqa: PLC0415 - as above
    from sortd.commands.check import check as look  # noqa: PLC0415 - as above

    told = look(settings)
    _print(told, report.checked, as_json=as_json)
    if not all(finding["ok"] for finding in told):
        raise typer.Exit(1)


@app.command()
def demo(folder: Annotated[Path | None, typer.Argument(help="Where to make it.", metavar="[DIR]")] = None) -> None:
    """Make a small library of generated clips, run the service on it, and show it learn and sort."""
    from sortd.commands.demo import show  # noqa: PLC0415 - as above

    show(folder)


def _known(read: Reading | None, settings: Config) -> Reading:
    if read is None:
        raise LibraryUnavailable(f"nothing is known of {settings.library.root} yet: `sortd run` makes it a library")
    return read


def _ask(settings: Config, request: Mapping[str, Any]) -> Mapping[str, Any]:
    from sortd.commands.running import carry_out  # noqa: PLC0415 - as above

    return carry_out(settings, request)


def _timestamp(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 time", param_hint="--since") from error


def _print(told: Any, render: Callable[[Any], None], *, as_json: bool) -> None:  # noqa: ANN401 - any JSON value
    if as_json:
        # ASCII: names that are not UTF-8 stand in it as escaped surrogates.
        typer.echo(json.dumps(told, indent=2))
    else:
        render(told)


def main() -> None:
    """Run a command; what goes wrong is one line each on stderr, and an exit status scripts can tell apart."""
    try:
        app()
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        sys.exit(BAD_CONFIGURATION)
    except SortdError as error:
        _complain(str(error))
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read us has seen enough (`sortd history | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(line: str) -> None:
    sys.stderr.write(f"sortd: {line.encode('utf-8', 'backslashreplace').decode()}\n")
