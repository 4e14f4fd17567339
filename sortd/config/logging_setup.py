"""Set up the log: one line for each outcome, in colour on a terminal, as JSON anywhere else."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from io import FileIO, TextIOWrapper
from logging.handlers import WatchedFileHandler
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from sortd.config.file_owner import hand_over
from sortd.config.local_time import local
from sortd.config.printable_text import printable
from sortd.domain.errors import ConfigError

Format = Literal["auto", "console", "json"]
Level = Literal["debug", "info", "warning", "error"]

NAME = "sortd"

_LINE = re.compile(rb'\{"event": "|(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d \[(debug|info|warning|error|critical) *\] ')
"""How each line of a log begins, as JSON and for people."""

_LOOKED_AT = 1 << 16
"""Bytes, at either end of a file that is to be a log."""


def get() -> FilteringBoundLogger:
    """Give the logger: `log.info("moved", path=..., to=..., category=..., confidence=...)`."""
    return cast("FilteringBoundLogger", structlog.get_logger(NAME))


def configure(*, format: Format, level: Level, file: Path | None, stream: TextIO | None = None) -> None:  # noqa: A002 - the key's name
    """Send everything to `stream` (None: stderr), and to `file` as well. ConfigError: that file cannot be written.

    Libraries speak the same way, from warnings up.
    """
    handlers = [_to_file(file, format)] if file else []
    if stream := stream or sys.stderr:  # there is none where the service was started without
        handlers.append(_to_stream(stream, format))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Enduring)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    number = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(logging.WARNING, number))
    logging.getLogger(NAME).setLevel(number)
    structlog.configure(
        processors=[*_CHAIN, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


class _Enduring(logging.Handler):
    """A handler for which a full disk or a closed terminal costs lines, and never the service."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exception(), OSError | ValueError):  # ValueError: the stream is closed
            super().handleError(record)


class _StreamHandler(_Enduring, logging.StreamHandler[TextIO]):
    pass


class _FileHandler(_Enduring, WatchedFileHandler):
    def _open(self) -> TextIOWrapper:
        """Open it for its owner alone, and only if it is a log of ours, or nothing yet: after a rotation too."""
        name = os.path.realpath(self.baseFilename)
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            descriptor = os.open(name, flags)
        else:
            hand_over(descriptor, Path(name).parent.stat())
        status = os.fstat(descriptor)
        why = ""
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode)):
            why = "it is no plain file"
        elif stat.S_ISREG(status.st_mode) and status.st_uid not in {os.geteuid(), 0} and os.geteuid():
            why = "it belongs to another account"
        elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            why = "it has another name too, under which it may be something else"
        elif stat.S_ISREG(status.st_mode) and status.st_size and not _is_log(descriptor, status.st_size):
            why = "it holds something else than sortd's log"
        if why:
            os.close(descriptor)
            raise OSError(errno.EINVAL, why, name)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # WatchedFileHandler looks for the file, and reopens it, before it starts to guard
            super().emit(record)


def _is_log(descriptor: int, size: int) -> bool:
    """Tell whether a file begins or ends with lines of ours, whatever was torn or cut off between."""
    ends = os.pread(descriptor, _LOOKED_AT, 0), os.pread(descriptor, _LOOKED_AT, max(0, size - _LOOKED_AT))
    return any(_LINE.match(line) for end in ends for line in end.split(b"\n"))


def _to_stream(stream: TextIO, form: Format) -> logging.Handler:
    terminal = not stream.closed and stream.isatty()
    handler = _StreamHandler(_unbuffered(stream))
    handler.setFormatter(_formatter(console=terminal if form == "auto" else form == "console", colors=terminal))
    return handler


def _unbuffered(stream: TextIO) -> TextIO:
    """Give the same outlet without a buffer, where it has a descriptor.

    A buffer keeps a line that could not be written, tries it again at the end of the process, and a failure there makes
    the exit status 120: a service that ended well would count as failed.
    """
    try:
        raw = FileIO(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return stream
    return TextIOWrapper(raw, encoding=stream.encoding, errors="backslashreplace", write_through=True)


def _to_file(file: Path, form: Format) -> logging.Handler:
    try:
        handler = _FileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError([f"log.file: {file}: cannot be written: {error.strerror}"]) from None
    handler.setFormatter(_formatter(console=form == "console", colors=False))
    return handler


def _formatter(*, console: bool, colors: bool) -> logging.Formatter:
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    renderers: list[Processor] = [
        _for_people,
        structlog.dev.ConsoleRenderer(
            colors=colors and "NO_COLOR" not in os.environ,
            repr_native_str=True,
            sort_keys=False,
            timestamp_key="at",
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]
    return structlog.stdlib.ProcessorFormatter(
        processors=[remove_meta, *(renderers if console else [_as_json])],
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *_CHAIN],
    )


def _plain_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: _plain(value) for key, value in event.items()}


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON knows
    """Give what JSON knows: paths and bytes as text, one surrogate for each byte that is not UTF-8."""
    match value:
        case None | bool():
            return value
        case str() | PurePath():
            return str(value)
        case bytes():
            return os.fsdecode(value)
        case Integral():
            return int(value)
        case Real():
            return float(value) if math.isfinite(value) else str(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def _as_json(_logger: object, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("event", "at", "level")}
    return json.dumps({**first, **event})


def _for_people(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Show local time, and nothing that could break the line or the terminal; ConsoleRenderer quotes other values."""
    event["at"] = local(datetime.fromisoformat(event["at"])).strftime("%H:%M:%S")
    event["event"] = printable(event["event"])
    if "exception" in event:
        event["exception"] = "\n".join(printable(line) for line in event["exception"].split("\n"))
    return event


_CHAIN: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    structlog.processors.format_exc_info,  # the plain traceback: the other forms show local variables, and so names
    _plain_values,
]
