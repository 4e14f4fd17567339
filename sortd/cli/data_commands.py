"""`sortd export`."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sortd.cli.options import ConfigOption, RootOption, known, settings_from


class Format(StrEnum):
    """The forms in which `sortd export` writes."""

    PT = "pt"
    NPZ = "npz"
    CSV = "csv"


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
    from sortd.cli import export_folder  # noqa: PLC0415 - as above
    from sortd.cli.export_files import write  # noqa: PLC0415 - as above
    from sortd.views import library_reader  # noqa: PLC0415 - as above
    from sortd.views.dataset import dataset  # noqa: PLC0415 - as above

    place = folder.absolute()
    export_folder.check_place(place, settings.library.root, over_earlier=over_earlier)
    with library_reader.reading(settings) as reader:
        gathered = dataset(known(reader, settings), settings)
    published = partial(export_folder.note, place)
    for sentence in write(gathered, place, format=format_.value, relative=relative, published=published):
        typer.echo(sentence, err=True)
    typer.echo(
        f"{len(gathered.labelled_paths)} labelled and {len(gathered.unlabelled_paths)} other videos are in {folder}"
    )
