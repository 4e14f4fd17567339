"""Print plain values as text for people; lines have any length, for a name is never cut to fit a column."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console

from sortd.config.local_time import local
from sortd.config.printable_text import printable
from sortd.judgement.category_report import MOVES

Told = Mapping[str, Any]
Row = Sequence[str]


WAYS_OUT = {
    "no_classifier": "Nothing was learned yet; `sortd status` says why.",
    "too_few_examples": "{category} takes no automatic moves yet; `sortd status` says why.",
    "nothing_to_tell": "It shows and says nothing that could be compared.",
    "vetoed": "It was taken out of {category} before; `sortd forget --vetoes PATH` lets sortd try again.",
    "unfamiliar": "It is too unlike everything you filed in {category}.",
    "low_confidence": "{category} is the likeliest, but not likely enough for your target_precision.",
    "close_call": "Two categories are about as likely.",
    "on_probation": "The first moves into {category} wait for `sortd confirm {category}`, or for a quiet day.",
    "category_stopped": "Too many moves into {category} were wrong.",
    "hands_off": "A .nosort, or automatic = false in a .sortd.toml, asks to leave it alone.",
    "already_filed": "Another copy of it is filed in {category}.",
    "move_refused": "It belongs to {category}, but could not be moved there; `sortd status` and the log say why.",
    "pending": "It was not looked at yet.",
}
"""Why a video was left, and what the owner can do about it."""

SET_ASIDE = "`sortd status` says why; `sortd check --retry` tries again."

NO_CATEGORY = "none yet: move some videos into folders of your own, or see what `sortd suggest` shows"

LISTED = 3
"""Categories that `explain` names."""


def status(told: Told) -> None:
    """Print `sortd status`."""
    out, videos, watcher = _console(), told["videos"], told["watcher"]
    out.print(f"{printable(told['root'])} is {_because(told['state'], told['why'])}", style="bold")
    held = f"{videos['unsorted']} unsorted, {videos['labelled']} filed by you, {videos['placed']} by sortd"
    out.print(f"videos      {videos['total']}: {held}")
    if videos["pending"]:
        rate, ends_at = told["backlog"]["rate"], told["backlog"]["ends_at"]
        pace = f": {rate:.2f} a second, done about {_local(ends_at)}" if rate and ends_at else ""
        out.print(f"backlog     {videos['pending']} to be looked at{pace}")
    if told["open_moves"]:
        out.print(f"open moves  {told['open_moves']}")
    if watcher["why"] != told["why"]:
        out.print(f"watcher     {_because(watcher['mode'], watcher['why'])}")
    classifier = told["classifier"]
    if classifier:
        facts = f"{classifier['labels']} labels, accuracy {classifier['accuracy']:.2f}"
        out.print(
            f"classifier  {classifier['kind']} of {_local(classifier['trained_at'])}:"
            f" {facts}, coverage {classifier['coverage']:.2f}"
        )
    transcripts = f", {told['transcripts']} transcripts" if told["transcripts"] else ""
    out.print(f"encoder     {told['encoder']} on {told['device']}{transcripts}")
    if told["categories"]:
        _categories(out, told["categories"])
    elif told["state"] != "away":
        out.print(f"categories  {NO_CATEGORY}")
    for one in told["suspects"]:
        out.print(f"may be misfiled: {printable(one['path'])} looks like {printable(one['like'])}")
    if told["set_aside"]:
        out.print("\nset aside", style="bold")
        for aside in told["set_aside"]:
            out.print(f"{aside['reason']}  {printable(aside['path'])}")
            out.print(f"    {printable(aside['message'])}")


def _categories(out: Console, told: Sequence[Told]) -> None:
    rows = [(printable(c["name"]), f"{c['labels']:6}", f"{c['placed']:6}", _share(c["min_confidence"])) for c in told]
    header, *lines = _aligned([("category", "labels", "placed", "moves from"), *rows])
    out.print()
    out.print(header, style="bold")
    for line, category in zip(lines, told, strict=True):
        out.print(line)
        if category["why"] != MOVES:
            out.print(f"    {printable(category['why'])}")


def preview(told: Sequence[Told], *, none: str = "nothing is unsorted") -> None:
    """Print `sortd preview`."""
    rows = [
        (
            "move" if one["decision"] == "move" else f"leave: {one['reason']}",
            printable(one["category"] or "-"),
            _share(one["confidence"]),
            printable(one["path"]),
        )
        for one in told
    ]
    _table(("", "category", "sure", "video"), rows, none=none)


def explain(told: Told, *, names: Mapping[str, str]) -> None:
    """Print `sortd explain`; `names` are other names of features."""
    out, category, reason = _console(), printable(told["category"] or ""), told["reason"]
    verdict = f"stays: {reason}" if reason in WAYS_OUT else f"is set aside: {reason}"
    if told["decision"] == "filed":
        verdict = f"is filed in {category} by {'you' if told['label'] else 'sortd'}"
    elif told["decision"] == "move":
        verdict = f"moves to {category}"
    out.print(f"{printable(told['path'])} {verdict}", style="bold")
    if reason:
        out.print(WAYS_OUT.get(reason, SET_ASIDE).format(category=category))
    if told["suspect"]:
        out.print(f"looks more like {printable(told['suspect']['like'])} ({told['suspect']['confidence']:.2f})")
    rows = [("likely", _share(p), printable(name)) for name, p in told["ranking"][:LISTED]]
    for neighbour in told["neighbours"]:
        path = "(a video that is gone)" if neighbour["path"] is None else printable(neighbour["path"])
        by = ", ".join(f"{names.get(part, part)} {_share(like)}" for part, like in neighbour["by"].items())
        rows.append(("like", f"{neighbour['similarity']:.2f}", f"{path} in {printable(neighbour['category'])} ({by})"))
    for name, feature in told["features"].items():
        rows.append((names.get(name, name), "yes" if feature["present"] else "none", printable(feature["text"] or "")))
    rows += [("never to", "", printable(name)) for name in told["vetoes"]]
    for row in _aligned(rows):
        out.print(row)


def history(told: Sequence[Told], *, asked_for: Container[int]) -> None:
    """Print `sortd history`; a move that was asked for has no confidence of sortd's."""
    rows = [
        (
            str(move["id"]),
            _local(move["at"]),
            "by your word" if move["id"] in asked_for else _share(move["confidence"]),
            move["state"],
            f"{printable(move['from'])} -> {printable(move['to'])}",
        )
        for move in told
    ]
    _table(("id", "at", "sure", "state", "video"), rows, none="nothing was moved yet")


def undone(told: Told) -> None:
    """Print what `sortd undo` did."""
    out = _console()
    for move in told["done"]:
        out.print(f"{printable(move['from'])} is back as {printable(move['to'])}")
    under_way = told.get("copying", ())
    for move in under_way:
        if "id" in move:
            out.print(f"{printable(move['from'])} is being copied back; the log will say when it is there")
    if waiting := sum("id" not in move for move in under_way):
        out.print(f"{waiting} more are being put back; the log will say when each of them is")
    for refused in told["refused"]:
        out.print(f"{printable(refused['path'])} stays: {printable(refused['why'])}")


def confirmed(told: Told) -> None:
    """Print what `sortd confirm` did."""
    out = _console()
    for path in told["confirmed"]:
        out.print(f"{printable(path)} is your label now")
    if not told["confirmed"]:
        out.print("nothing there waited for a word of yours")


def forgotten(told: Told) -> None:
    """Print what `sortd forget` did."""
    for what, number in told.items():
        _console().print(f"{what} forgotten: of {_count(number, 'video')}")


def retried(told: Told) -> None:
    """Print what `sortd check --retry` did."""
    _console().print(f"{_count(told['retried'], 'video')} to be tried again")


def checked(told: Sequence[Told]) -> None:
    """Print `sortd check`."""
    out = _console()
    rows = _aligned([("ok" if one["ok"] else "fault", one["name"], printable(one["message"])) for one in told])
    for row, one in zip(rows, told, strict=True):
        out.print(row, style=None if one["ok"] else "bold red")
        if one["cure"]:
            out.print(f"       {printable(one['cure'])}")


def device(name: str) -> None:
    """Print what the networks run on, in the words of the seed documents."""
    _console().print(f"Using device: {name}")


def summary(told: Told) -> None:
    """Print what stands in the library, likewise."""
    out, videos = _console(), told["videos"]
    out.print("\nDataset summary:")
    out.print(f"  Labeled videos: {videos['labelled']}")
    out.print(f"  Unlabeled videos: {videos['unsorted'] + videos['placed']}")
    out.print(f"  Categories: {printable(str([category['name'] for category in told['categories']]))}")
    if videos["set_aside"]:
        out.print(f"  Set aside: {videos['set_aside']} (see `sortd status`)")
    if told["transcripts"]:
        out.print(f"\nSaved {told['transcripts']} transcripts")


def models(told: Sequence[Told]) -> None:
    """Print `sortd models`."""
    rows = [
        (
            one["name"],
            "present" if one["present"] else "missing",
            f"{one['bytes'] / 1e6:.0f} MB" if one["bytes"] else "",
            one["licence"] or "",
            one["path"],
        )
        for one in told
    ]
    _table(("weights", "", "size", "licence", "file"), rows, none="none are wanted")
    if not all(one["present"] for one in told):
        _console().print("`sortd models fetch` gets what is missing; until then the built-in encoder serves")


@contextmanager
def transfer(name: str, size: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar for one file that is fetched."""
    from rich import progress as bars  # noqa: PLC0415 - for `models fetch` alone

    columns = (bars.TextColumn(name), bars.BarColumn(), bars.DownloadColumn(), bars.TransferSpeedColumn())
    with bars.Progress(*columns, console=Console(stderr=True, soft_wrap=True)) as bar:
        task = bar.add_task(name, total=size)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def progress(stream: TextIO) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on a terminal, and nothing elsewhere."""
    if not stream.isatty():
        yield None
        return
    from rich import progress as bars  # noqa: PLC0415 - for `run --once` alone

    pace = bars.TextColumn("{task.fields[pace]}")
    columns = (
        bars.TextColumn("Extracting"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        pace,
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(file=stream, soft_wrap=True), transient=True) as bar:
        task = bar.add_task("extract", total=None, pace="")

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            speed = bar.tasks[0].speed
            bar.update(task, pace=f"{speed:.2f} videos/s" if speed else "")

        yield show


def _console() -> Console:
    # Names are printed as they are: no [markup], no :emoji:.
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def _table(header: Row, rows: Sequence[Row], *, none: str) -> None:
    out = _console()
    if not rows:
        out.print(none)
        return
    first, *rest = _aligned([header, *rows])
    out.print(first, style="bold")
    for row in rest:
        out.print(row)


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Print columns side by side; the last one has any length."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)][:-1]
    padded = (
        [cell + " " * (width - cell_len(cell)) for cell, width in zip(row[:-1], widths, strict=True)] for row in rows
    )
    return ["  ".join([*cells, row[-1]]).rstrip() for cells, row in zip(padded, rows, strict=True)]


def _because(fact: str, why: str) -> str:
    return fact + (f": {printable(why)}" if why else "")


def _share(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _local(moment: str) -> str:
    return local(datetime.fromisoformat(moment)).strftime("%Y-%m-%d %H:%M")
