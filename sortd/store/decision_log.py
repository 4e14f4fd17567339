"""The append-only log in ROOT/.sortd/: what cannot be worked out again from the folders, in a portable form.

A line is first kept in the index, in the transaction of the decision itself (`outbox`), and then appended here: a kill
in between costs nothing, and at worst writes a line twice, which its number tells. The number goes on over backups
and new indexes, so an index that is older than the log knows which lines it lacks.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sortd.domain.decision_facts import DecisionFact, encode
from sortd.domain.video import Fingerprint, Placer
from sortd.store.database import Database, make_private, parsed

DECISION_LOG = Path(".sortd") / "decisions.jsonl"
"""Relative to the root."""

LONGEST = 1 << 20
"""Bytes of a line; no decision comes near it."""

_WORDS = ("labelled", "corrected", "confirmed", "withdrawn", "undone")

_HIGHEST = 10**12
"""A line's number; anything above it is damage, and would leave no numbers for those to come."""


@dataclass(frozen=True, slots=True)
class Line:
    """One decision as it was written down."""

    number: int
    at: float
    did: str
    facts: Mapping[str, Any]


class DecisionLog:
    """One JSON object a line, ASCII, with `n` its number, `at` seconds since the epoch, and `did`."""

    def __init__(self, database: Database, path: Path) -> None:
        self._db = database
        self._path = path

    def note(self, fact: DecisionFact, *, at: float) -> None:
        """Keep a decision with the transaction that makes it; `at` is seconds since the epoch."""
        self._db.execute("INSERT INTO outbox (line) VALUES (?)", json.dumps({"at": round(at, 3), **encode(fact)}))

    def flush(self) -> None:
        """Append what was kept since the last time. OSError: the root cannot be written; it stays kept."""
        rows = self._db.execute("SELECT id, line FROM outbox ORDER BY id").fetchall()
        if not rows:
            return
        lines = "".join(json.dumps({"n": number, **parsed(line)}) + "\n" for number, line in rows)
        with _open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b") as file:
            end = os.fstat(file.fileno()).st_size
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                # A full disk or a power cut tore the last line: it must not spoil the next one too.
                file.write(b"\n")
            file.write(lines.encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        with self._db.transaction():
            self._db.execute("DELETE FROM outbox WHERE id <= ?", rows[-1][0])

    def known(self) -> int:
        """The number of the last decision that this index was told of; 0: none yet."""
        row = self._db.one("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        return 0 if row is None else int(row[0])

    def go_on_after(self, number: int) -> None:
        """The decisions up to this one are known now; the next one gets a higher number."""
        if not self._db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'outbox'", number).rowcount:
            self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)", number)


def read_after(path: Path, known: int) -> tuple[list[Line], int]:
    """The lines written after those that are known, and how many more were torn, doubled or no lines at all.

    OSError: there is a log, and it cannot be read.
    """
    lines: list[Line] = []
    seen: set[int] = set()
    skipped = 0
    try:
        file = _open(path, os.O_RDONLY, "rb")
    except FileNotFoundError:
        return [], 0
    with file:
        while raw := file.readline(LONGEST):
            line = _parsed(raw)
            while len(raw) == LONGEST and not raw.endswith(b"\n"):
                line, raw = None, file.readline(LONGEST)
            if line is None or hash(raw) in seen:
                # A backup may hold lines not yet appended then, and append them again behind newer ones.
                skipped += 1
                continue
            seen.add(hash(raw))
            if line.number > known:
                lines.append(line)
            else:
                # An index lost under an earlier sortd began to count anew, so only what comes after this is later.
                lines.clear()
                skipped = 0
    return lines, skipped


def last_words(lines: Iterable[Line]) -> dict[Fingerprint, float]:
    """When the owner last said of each video where it belongs, or that it does not belong where it was."""
    said: dict[Fingerprint, float] = {}
    for line in lines:
        video, was = line.facts.get("video"), line.facts.get("was")
        if not isinstance(video, str):
            continue
        if line.did in _WORDS or (line.did == "placed" and line.facts.get("by") == Placer.OWNER):
            said[Fingerprint(video)] = line.at
        elif line.did == "changed" and was in said:
            said[Fingerprint(video)] = said[was]
    return said


def _parsed(raw: bytes) -> Line | None:
    try:
        facts = json.loads(raw.decode("ascii"))
        number, at, did = facts.pop("n"), facts.pop("at"), facts.pop("did")
        if type(number) is int and 0 < number <= _HIGHEST and isinstance(did, str) and math.isfinite(at):
            return Line(number, float(at), did, facts)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        pass
    return None


def _open(path: Path, flags: int, mode: str) -> BinaryIO:
    """Open the log, which is a plain file in a plain folder: whatever else stands there is not followed or written."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if flags & os.O_CREAT:
            make_private(path.name, dir_fd=folder)
        descriptor = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no plain file", str(path))
    if flags & os.O_CREAT and status.st_uid == os.geteuid() and status.st_mode & 0o077:
        with suppress(PermissionError):  # filesystems that keep no modes
            os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, mode)  # type: ignore[return-value]  # a mode with "b"
