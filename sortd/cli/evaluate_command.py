"""`sortd evaluate`: how good the sorter is, on the owner's labels or on a file of embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sortd.cli.options import (
    ConfigOption,
    JsonOption,
    RootArgument,
    RootOption,
    known,
    settings_from,
    show,
)

Told = Mapping[str, Any]

COLUMNS = {
    "accuracy": "accuracy",
    "coverage": "coverage",
    "precision": "precision",
    "oracle_coverage": "oracle",
    "outsiders_moved": "outsiders moved",
    "precision_over_all": "precision over all",
}


def replay_line(told: Told) -> str:
    """Say in one line what `sortd evaluate --replay` found."""
    return (
        f"would have filed {told['filed']}, {told['wrongly']} wrongly and {told['outsiders_moved']} that belong"
        f" nowhere; {told['left']} would have been left"
    )


def lines(told: Told) -> Iterator[str]:
    """Give the report as lines of text."""
    rows = [list(COLUMNS.values())]
    rows += [[_share(draw[key]) for key in COLUMNS] for draw in told["draws"]]
    rows += [[_share(told["mean"][key]) for key in COLUMNS]]
    marks = ["draw", *(str(number) for number in range(1, len(told["draws"]) + 1)), "mean"]
    widths = [max(6, len(title)) for title in COLUMNS.values()]
    for mark, row in zip(marks, rows, strict=True):
        yield "  ".join([f"{mark:>4}", *(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))])
    yield f"the promise was kept in {told['kept']:.0%} of the draws"
    for category in sorted(told["categories"], key=lambda one: one["coverage"] or 0):
        wrongly = f"{category['moved']} moves, {category['wrongly']} of them wrong"
        yield f"{_share(category['coverage'])} of category {json.dumps(category['name'])} moved; {wrongly}"


def _share(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"


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
    from sortd.learn.backtest import replayed  # noqa: PLC0415 - as above
    from sortd.learn.embeddings_file import Embeddings  # noqa: PLC0415 - as above
    from sortd.learn.evaluation import Plan, measured  # noqa: PLC0415 - as above
    from sortd.views import evaluation_data, library_reader  # noqa: PLC0415 - as above

    settings = settings_from(config, library, root)
    wished = settings.move.target_precision if target is None else target
    names = [name for name in outsiders.split(",") if name]
    if replay:
        if {per_category, draws, passed_over} != {None} or (names and embeddings is None):
            raise typer.BadParameter("your own order leaves nothing to draw or to leave out", param_hint="--replay")
        if embeddings is not None:
            data = Embeddings.read(embeddings)
            stream, targets = evaluation_data.stream_from(data, data.called(names)), {}
        else:
            with library_reader.reading(settings) as reader:
                stream, targets = (
                    evaluation_data.stream_of(known(reader, settings)),
                    evaluation_data.targets_of(known(reader, settings)),
                )
        told = replayed(stream, evaluation_data.rules_of(settings, target=wished, targets=targets))
        show(told, lambda told: typer.echo(replay_line(told)), as_json=as_json)
        return
    if embeddings is not None:
        data = Embeddings.read(embeddings)
    else:
        with library_reader.reading(settings) as reader:
            data = evaluation_data.embeddings_of(known(reader, settings), settings)
    plan = Plan(
        per_category=per_category,
        draws=10 if draws is None else draws,
        target=wished,
        outsiders=data.called(names),
        passed_over=passed_over,
        candidates=settings.train.candidates,
    )
    show(measured(data, plan), lambda told: typer.echo("\n".join(lines(told))), as_json=as_json)
