"""The commands that only read: status, preview, explain, history."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated

import typer

from sortd.cli.options import (
    ConfigOption,
    JsonOption,
    PathArgument,
    RootArgument,
    RootOption,
    known,
    settings_from,
    show,
)
from sortd.cli.resolve import locate


def status(
    library: RootArgument = None, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Tell what is going on, and why each category moves or not."""
    settings = settings_from(config, library, root)
    from sortd.cli import text_output  # noqa: PLC0415 - as above
    from sortd.daemon.control_socket import ask  # noqa: PLC0415 - as above
    from sortd.views.library_status import status as look  # noqa: PLC0415 - as above

    show(look(settings, ask=ask), text_output.status, as_json=as_json)


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
    from sortd.cli import text_output  # noqa: PLC0415 - as above
    from sortd.views import library_reader  # noqa: PLC0415 - as above
    from sortd.views import preview as previews  # noqa: PLC0415 - as above
    from sortd.views.most_instructive_videos import closest as teaching_most  # noqa: PLC0415 - as above

    with library_reader.reading(settings) as reader:
        if closest is None:
            told = previews.preview(known(reader, settings), now=time.time())
        else:
            told = teaching_most(known(reader, settings), closest, now=time.time())
    none = "nothing is unsorted" if closest is None else "no unsorted video is in doubt"
    show(told, lambda told: text_output.preview(told, none=none), as_json=as_json)


def explain(
    path: PathArgument, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """Tell all that is known of one video, and what decided."""
    settings, inside = locate(path, config, root)
    from sortd.cli import text_output  # noqa: PLC0415 - as above
    from sortd.views import library_reader, video_details  # noqa: PLC0415 - as above

    with library_reader.reading(settings) as reader:
        told = video_details.explain(known(reader, settings), inside, now=time.time())
    show(told, partial(text_output.explain, names=video_details.spoken_names(settings)), as_json=as_json)


def history(
    library: RootArgument = None, *, as_json: JsonOption = False, config: ConfigOption = None, root: RootOption = None
) -> None:
    """List the moves made, the latest first."""
    settings = settings_from(config, library, root)
    from sortd.cli import text_output  # noqa: PLC0415 - as above
    from sortd.views import library_reader, move_history  # noqa: PLC0415 - as above

    with library_reader.reading(settings) as reader:
        moves = [] if reader is None else reader.store.journal.recent()
    asked_for = {move.number for move in moves if move.asked_for}
    show(move_history.history(moves), partial(text_output.history, asked_for=asked_for), as_json=as_json)
