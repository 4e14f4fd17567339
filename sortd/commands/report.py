"""From plain values to text for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Told = Mapping[str, Any]


def status(told: Told) -> None:
    """`sortd status`."""
    out = _console()
    state = told["state"] + (f": {told['why']}" if told["why"] else "")
    out.print(f"[bold]{_text(told['root'])}[/] is {_text(state)}")
    watcher = told["watcher"]
    out.print(f"watching by {watcher['mode']}" + (f" ({_text(watcher['why'])})" if watcher["why"] else ""))
    videos = told["videos"]
    out.print(", ".join(f"{videos[name]} {name.replace('_', ' ')}" for name in videos))
    rate, ends_at = told["backlog"]["rate"], told["backlog"]["ends_at"]
    if rate and ends_at:
        out.print(f"{rate:.2f} videos a second, done about {ends_at}")
    if told["categories"]:
        table = _table("category", "labels", "placed", "from", "")
        for category in told["categories"]:
            limit = "-" if category["min_confidence"] is None else f"{category['min_confidence']:.2f}"
            table.add_row(
                _text(category["name"]), str(category["labels"]), str(category["placed"]), limit, _text(category["why"])
            )
        out.print(table)
    classifier = told["classifier"]
    if classifier:
        out.print(
            f"classifier: {classifier['kind']} on {classifier['labels']} labels, accuracy {classifier['accuracy']:.2f},"
            f" coverage {classifier['coverage']:.2f}, trained {classifier['trained_at']}"
        )
    for aside in told["set_aside"]:
        out.print(f"set aside: {_text(aside['path'])}: {aside['reason']} ({_text(aside['message'])})")
    if told["open_moves"]:
        out.print(f"{told['open_moves']} moves are open")
    out.print(f"encoder {told['encoder']} on {told['device']}")


def preview(told: Sequence[Told]) -> None:
    """`sortd preview`."""
    table = _table("video", "", "category", "confidence", "reason")
    for one in told:
        confidence = "" if one["confidence"] is None else f"{one['confidence']:.2f}"
        verb = "move" if one["decision"] == "move" else "leave"
        table.add_row(_text(one["path"]), verb, _text(one["category"] or ""), confidence, one["reason"] or "")
    _console().print(table if told else "nothing is unsorted")


def explain(told: Told) -> None:
    """`sortd explain`."""
    out = _console()
    reason = f" ({told['reason']})" if told["reason"] else ""
    where = f" in {_text(told['category'])}" if told["decision"] == "filed" else ""
    out.print(f"[bold]{_text(told['path'])}[/]: {told['decision']}{where}{reason}")
    for category, probability in told["ranking"][:3]:
        out.print(f"  {probability:.2f} {_text(category)}")
    for name, feature in told["features"].items():
        text = f": {_text(feature['text'])}" if feature["text"] else ""
        out.print(f"{name}: {'present' if feature['present'] else 'none'}{text}")
    for neighbour in told["neighbours"]:
        path = neighbour["path"] or "(a video that is gone)"
        out.print(f"  {neighbour['similarity']:.2f} like {_text(path)} in {_text(neighbour['category'])}")
    if told["label"]:
        out.print(f"your label: {_text(told['label'])}")
    if told["vetoes"]:
        out.print(f"never moved to: {_text(', '.join(told['vetoes']))}")


def history(told: Sequence[Told]) -> None:
    """`sortd history`."""
    table = _table("id", "at", "from", "to", "confidence", "state")
    for move in told:
        names = _text(move["from"]), _text(move["to"])
        table.add_row(str(move["id"]), move["at"], *names, f"{move['confidence']:.2f}", move["state"])
    _console().print(table if told else "nothing was moved yet")


def undone(told: Told) -> None:
    """`sortd undo`."""
    out = _console()
    for move in told["done"]:
        out.print(f"{_text(move['from'])} is back as {_text(move['to'])}")
    for refused in told["refused"]:
        out.print(f"{_text(refused['path'])} stays: {_text(refused['why'])}")


def confirmed(told: Told) -> None:
    """`sortd confirm`."""
    _console().print(f"{len(told['confirmed'])} confirmed")


def forgotten(told: Told) -> None:
    """`sortd forget`."""
    _console().print(", ".join(f"{what} of {count} videos forgotten" for what, count in told.items()))


def checked(told: Sequence[Told]) -> None:
    """`sortd check`."""
    out = _console()
    for finding in told:
        mark = "[green]ok[/]   " if finding["ok"] else "[red]fault[/]"
        out.print(f"{mark} {finding['name']}: {_text(finding['message'])}")
        if finding["cure"]:
            out.print(f"      {_text(finding['cure'])}")


def summary(told: Told) -> None:
    """What stands in the library, in the words of the seed documents."""
    videos = told["videos"]
    out = _console()
    out.print("Dataset summary:")
    out.print(f"  Labeled videos: {videos['labelled']}")
    out.print(f"  Unlabeled videos: {videos['unsorted'] + videos['placed']}")
    out.print(f"  Categories: {_text(str([category['name'] for category in told['categories']]))}")
    if videos["set_aside"]:
        out.print(f"  Set aside: {videos['set_aside']} (see `sortd status`)")


@contextmanager
def progress(stream: TextIO) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal; elsewhere nothing but the log."""
    if not stream.isatty():
        yield None
        return
    columns = (TextColumn("Extracting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("extract", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _text(name: str) -> str:
    """A name as a terminal may show it: no control characters, no markup, no bytes that are not text."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    return escape(shown)
