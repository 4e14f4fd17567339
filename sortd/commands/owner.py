"""The commands about a library: what an owner asks, and asks for."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from sortd.commands.parser import (
    ConfigOption,
    JsonOption,
    PathArgument,
    RootArgument,
    RootOption,
    TargetArgument,
    app,
    asked,
    known,
    settings_from,
    show,
    timestamp,
)
from sortd.commands.targets import locate, settings_for, target_in


@app.command()
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
    from sortd.commands.running import run_once, serve  # noqa: PLC0415 - other commands start without the service

    (run_once if once else serve)(settings, observe=observe, take_over=take_over)


@app.command()
def status(
    library: RootArgument = None, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Tell what is going on, and why each category moves or not."""
    settings = settings_from(config, library, root)
    from sortd.commands import report  # noqa: PLC0415 - as above
    from sortd.commands.status import status as look  # noqa: PLC0415 - as above

    show(look(settings), report.status, as_json=as_json)


@app.command()
def preview(
    library: RootArgument = None,
    *,
    closest: Annotated[
        int | None,
        typer.Option("--closest", min=1, help="Only the N undecided whose filing would teach most.", metavar="N"),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Show what would be moved now and what left, with the reason.

    Changes nothing.
    """
    settings = settings_from(config, library, root)
    from sortd.commands import facts, report  # noqa: PLC0415 - as above
    from sortd.commands.closest import closest as teaching_most  # noqa: PLC0415 - as above

    with facts.reading(settings) as read:
        if closest is None:
            show(facts.preview(known(read, settings), now=time.time()), report.preview, as_json=as_json)
            return
        told = teaching_most(known(read, settings), closest, now=time.time())
    show(told, lambda told: report.preview(told, none="no unsorted video is in doubt"), as_json=as_json)


@app.command()
def explain(
    path: PathArgument, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Tell all that is known of one video, and what decided."""
    settings, inside = locate(path, config, root)
    from sortd.commands import facts, report  # noqa: PLC0415 - as above

    with facts.reading(settings) as read:
        told = facts.explain(known(read, settings), inside, now=time.time())
    show(told, partial(report.explain, names=facts.spoken_names(settings)), as_json=as_json)


@app.command()
def history(
    library: RootArgument = None, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """List the moves made, the latest first."""
    settings = settings_from(config, library, root)
    from sortd.commands import facts, report  # noqa: PLC0415 - as above

    with facts.reading(settings) as read:
        moves = [] if read is None else read.memory.journal.recent()
    asked_for = {move.number for move in moves if move.asked_for}
    show(facts.history(moves), partial(report.history, asked_for=asked_for), as_json=as_json)


@app.command()
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
    request: dict[str, Any] = {"do": "undo"}
    if what is not None and not what.isdecimal():
        settings, inside = locate(Path(what), config, root)
        request["path"] = str(inside)
    elif not (everything or since or category) or what is not None:
        request["count"] = int(what or 1)
    if since is not None:
        request["since"] = timestamp(since)
    if category is not None:
        request["category"] = category
    from sortd.commands import report  # noqa: PLC0415 - as above

    answer = asked(settings, request)
    show(answer, report.undone, as_json=as_json)
    if answer["refused"]:
        raise typer.Exit(1)


@app.command()
def confirm(
    target: TargetArgument, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Accept where sortd put a video, or all in a category.

    They become labels of yours, from which it learns.
    """
    settings, request = target_in(target, config, root)
    from sortd.commands import report  # noqa: PLC0415 - as above

    show(asked(settings, {"do": "confirm", **request}), report.confirmed, as_json=as_json)


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
    """Forget vetoes or labels of a video, or of a category.

    No file is touched.
    """
    settings, request = target_in(target, config, root)
    answer: dict[str, Any] = {}
    for what in [name for name, wished in (("vetoes", vetoes or not labels), ("labels", labels)) if wished]:
        answer[what] = asked(settings, {"do": "forget", "what": what, **request})["forgotten"]
    from sortd.commands import report  # noqa: PLC0415 - as above

    show(answer, report.forgotten, as_json=as_json)


@app.command()
def evaluate(
    library: RootArgument = None,
    *,
    embeddings: Annotated[
        Path | None, typer.Option("--embeddings", help="Instead of a library: rows of numbers.", metavar="FILE.npz")
    ] = None,
    per_category: Annotated[
        int | None, typer.Option("--per-category", min=1, help="Examples filed in each category; else all.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", min=1, help="How often examples are drawn; else ten times.")
    ] = None,
    target: Annotated[
        float | None, typer.Option("--target", min=0.5, max=0.9999, help="Instead of target_precision.")
    ] = None,
    outsiders: Annotated[
        str, typer.Option("--outsiders", help="Categories that are never filed.", metavar="NAME,...")
    ] = "",
    passed_over: Annotated[
        int | None, typer.Option("--passed-over", min=0, help="Outsiders known as passed over; else all.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Over your own filing order instead, learning as it goes.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    root: RootOption = None,
) -> None:
    """Measure how good the sorter is, on examples held out from it.

    With --replay: how many it would have filed, and how many wrongly, had it served from your first video on. Each is
    decided before it is learned from; what stands unsorted counts as belonging nowhere.
    """
    from sortd.commands import evaluate as measures  # noqa: PLC0415 - as above
    from sortd.commands import facts  # noqa: PLC0415 - as above
    from sortd.learn.embeddings import Embeddings  # noqa: PLC0415 - as above
    from sortd.learn.evaluate import Plan, measured  # noqa: PLC0415 - as above
    from sortd.learn.replay import replayed  # noqa: PLC0415 - as above

    settings = settings_from(config, library, root)
    wished = settings.move.target_precision if target is None else target
    names = [name for name in outsiders.split(",") if name]
    if replay:
        if {per_category, draws, passed_over} != {None} or (names and embeddings is None):
            raise typer.BadParameter("your own order leaves nothing to draw or to leave out", param_hint="--replay")
        if embeddings is not None:
            data = Embeddings.read(embeddings)
            stream, targets = measures.stream_from(data, data.called(names)), {}
        else:
            with facts.reading(settings) as read:
                stream, targets = measures.stream_of(known(read, settings)), measures.targets_of(known(read, settings))
        told = replayed(stream, measures.rules_of(settings, target=wished, targets=targets))
        show(told, lambda told: typer.echo(measures.replay_line(told)), as_json=as_json)
        return
    if embeddings is not None:
        data = Embeddings.read(embeddings)
    else:
        with facts.reading(settings) as read:
            data = measures.embeddings_of(known(read, settings), settings)
    plan = Plan(
        per_category=per_category,
        draws=10 if draws is None else draws,
        target=wished,
        outsiders=data.called(names),
        passed_over=passed_over,
        candidates=settings.train.candidates,
    )
    show(measured(data, plan), lambda told: typer.echo("\n".join(measures.lines(told))), as_json=as_json)


@app.command()
def rollback(library: RootArgument = None, *, config: ConfigOption = None, root: RootOption = None) -> None:
    """Let the classifier before this one decide again.

    It stays until labels change. Videos that are filed stay where they are.
    """
    labels = asked(settings_from(config, library, root), {"do": "rollback"})["labels"]
    typer.echo(f"the classifier that learned from {labels} labels decides again")


@app.command()
def pause(library: RootArgument = None, *, config: ConfigOption = None, root: RootOption = None) -> None:
    """Move and extract nothing until `sortd resume`.

    It holds over restarts too.
    """
    asked(settings_from(config, library, root), {"do": "pause"})
    typer.echo("paused: nothing is moved or extracted until `sortd resume`")


@app.command()
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
