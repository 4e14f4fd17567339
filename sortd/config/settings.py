"""Read the owner's settings: `config.toml` becomes frozen tables, or every problem in it with file, line and key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

import tomli
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from sortd.config.config_problems import describe
from sortd.config.path_containment import lies_in
from sortd.domain.errors import ConfigError

Item = TypeVar("Item")

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONGEST_WAIT = 366 * 86_400.0
"""Seconds: beyond some years the waits of the standard library overflow."""


def _expanded(text: str, home: Path) -> str:
    return f"{home}{text[1:]}" if text == "~" or text.startswith("~/") else text


def _absolute(path: Path, info: ValidationInfo) -> Path:
    """Expand `~`; a relative path starts from the folder of the file it stands in."""
    context = info.context or {}
    file: Path | None = context.get("file")
    text = _expanded(str(path), context.get("home") or Path.home())
    if "\0" in text:
        raise ValueError("should hold no NUL character")
    return Path(os.path.abspath(file.parent / text if file else text))  # noqa: PTH100 - resolve() would follow links


def _path(value: object) -> str:
    if not isinstance(value, str | Path) or value == "":
        raise ValueError("should be a path")
    return str(value)


def _extension(text: str) -> str:
    if not re.fullmatch(r"\.?[^\s./\\\0]+", text):
        raise ValueError("should be a file's extension, such as mp4")
    return text.removeprefix(".").lower()


def _below_root(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in text:
        raise ValueError("should be a name or a path below the root")
    return str(path)


def _weekdays(field: str) -> str:
    """Spell the days out: cron counts them from Sunday (0 and 7), APScheduler from Monday; both know the names."""
    part = r"(\*|[0-7](-[0-7])?)(/[1-9])?"
    if field == "*" or not re.fullmatch(f"{part}(,{part})*", field):
        return field
    days: set[int] = set()
    for days_named in field.split(","):
        span, _, step = days_named.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        days.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return ",".join(WEEKDAYS[day % 7] for day in sorted(days)) or field


def _cron(line: str) -> str:
    if not line.strip():
        return ""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - only who sets a line of his own pays for it

    *fields, days = line.split()
    spelt = " ".join([*fields, _weekdays(days)])
    if CronTrigger.from_crontab(spelt, timezone=UTC).get_next_fire_time(None, datetime.now(UTC)) is None:
        raise ValueError("should name a time that comes")
    return spelt


def _some(items: tuple[Item, ...]) -> tuple[Item, ...]:
    if not items:
        raise ValueError("should name at least one")
    return tuple(dict.fromkeys(items))


def _model(text: str, info: ValidationInfo) -> str:
    """Keep a published name as it is; make what looks like a checkpoint's path absolute."""
    return str(_absolute(Path(text), info)) if text.startswith(("~", "/", ".")) or text.endswith(".pt") else text


Model = Annotated[str, Field(min_length=1), AfterValidator(_model)]
Seconds = Annotated[float, Field(ge=0.1, le=LONGEST_WAIT, allow_inf_nan=False)]
AbsolutePath = Annotated[Path, Field(strict=False), BeforeValidator(_path), AfterValidator(_absolute)]
OptionalPath = Annotated[AbsolutePath | None, BeforeValidator(lambda path: None if path == "" else path)]
Extensions = Annotated[tuple[Annotated[str, AfterValidator(_extension)], ...], AfterValidator(_some)]


class SettingsTable(BaseModel):
    """One table of the file. Nothing is guessed: "3" is no number and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class LibrarySettings(SettingsTable):
    """Where the videos are, and which files count."""

    root: AbsolutePath = Path("~/Videos/Favorites")
    levels: int = Field(default=1, ge=1, le=100)
    extensions: Extensions = (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "flv", "wmv", "3gp", "mpg", "mpeg", "ogv", "gif"),
    )
    ignore: tuple[Annotated[str, AfterValidator(_below_root)], ...] = ()

    @field_validator("root")
    @classmethod
    def _not_everything(cls, root: Path, info: ValidationInfo) -> Path:
        real = Path(os.path.realpath(root))
        if real == Path(real.anchor):
            raise ValueError("should be a folder of videos, not the whole disk")
        if real == Path(os.path.realpath((info.context or {}).get("home") or Path.home())):
            raise ValueError("should be a folder of videos, not the whole home folder")
        return root


class WatchSettings(SettingsTable):
    """How changes are noticed."""

    mode: Literal["auto", "events", "polling"] = "auto"
    settle_seconds: Seconds = 2.0
    rescan_seconds: Seconds = 300.0
    poll_seconds: Seconds = 10.0


class VisualSettings(SettingsTable):
    """How a video's pictures become a vector."""

    frames: int = Field(default=5, ge=1, le=1000)
    model: Model = "ViT-B/32"


class SpeechSettings(SettingsTable):
    """How a video's speech becomes a vector."""

    model: Model = "base"
    language: Annotated[str, Field(pattern=r"^[a-z]{0,3}$")] = ""
    task: Literal["transcribe", "translate"] = "transcribe"
    transcript: Literal["full"] = "full"


class ExtractSettings(SettingsTable):
    """How a video becomes a vector."""

    encoder: Literal["auto", "clip", "builtin"] = "auto"
    with_: Annotated[tuple[Literal["visual", "speech"], ...], AfterValidator(_some)] = Field(
        default=("visual", "speech"), alias="with"
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    precision: Literal["auto", "exact", "fast"] = "auto"
    timeout_seconds: Seconds = 120.0
    idle_seconds: Seconds = 300.0
    visual: VisualSettings = VisualSettings()
    speech: SpeechSettings = SpeechSettings()


class TrainSettings(SettingsTable):
    """When and what to learn."""

    after_labels: int = Field(default=5, ge=1)
    quiet_seconds: Seconds = 60.0
    cron: Annotated[str, AfterValidator(_cron)] = Field(default="30 4 * * *", validate_default=False)
    candidates: Annotated[tuple[Literal["knn", "logreg", "mlp"], ...], AfterValidator(_some)] = Field(
        default=("knn", "logreg", "mlp")
    )


class MoveSettings(SettingsTable):
    """When a video is filed without being asked."""

    mode: Literal["auto", "observe"] = "auto"
    target_precision: float = Field(default=0.95, gt=0.5, lt=1.0)
    companions: bool = True
    probation: tuple[Annotated[int, Field(ge=1)], ...] = (10, 100)


class StateSettings(SettingsTable):
    """Where sortd keeps what it knows."""

    dir: OptionalPath = None
    """None: the service's own choice."""
    keep_days: float = Field(default=90.0, ge=0.0, le=36_525.0)


class LogSettings(SettingsTable):
    """What sortd says, and where."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    file: OptionalPath = None


class Settings(SettingsTable):
    """All settings; `path` is the file they came from, None where there was none."""

    library: LibrarySettings = Field(default_factory=LibrarySettings)
    watch: WatchSettings = WatchSettings()
    extract: ExtractSettings = ExtractSettings()
    train: TrainSettings = TrainSettings()
    move: MoveSettings = MoveSettings()
    state: StateSettings = StateSettings()
    log: LogSettings = LogSettings()
    _path: Path | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """Return the file that these settings came from; None: they are the defaults."""
        return self._path

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's signature
        """Remember the file."""
        self._path = (context or {}).get("file")

    @field_validator("state")
    @classmethod
    def _outside_the_root(cls, state: StateSettings, info: ValidationInfo) -> StateSettings:
        library = info.data.get("library")
        if library and state.dir and lies_in(state.dir, library.root):
            raise ValueError(f"dir should lie outside the root, {library.root}")
        return state

    @field_validator("log")
    @classmethod
    def _beside_the_root(cls, log: LogSettings, info: ValidationInfo) -> LogSettings:
        library = info.data.get("library")
        if library and log.file and lies_in(log.file, library.root):
            raise ValueError(f"file should lie outside the root, {library.root}")
        return log

    def at(self, root: Path) -> Self:
        """Take the same settings for another root, as `--root` asks. Raises ConfigError."""
        place = Path(_expanded(str(root), Path.home())).absolute()  # shells leave the tilde of --root=~/Videos to us
        tables = {**dict(self), "library": {**dict(self.library), "root": place}}
        try:
            return self.model_validate(tables, context={"file": self.path})
        except ValidationError as error:
            raise ConfigError(describe(error, Settings, file=None, text="")) from None


def load(explicit: Path | None, *, environ: Mapping[str, str]) -> Settings:
    """Read `--config`, else $SORTD_CONFIG, else the user's own file, else the defaults. Raises ConfigError."""
    home = Path(environ.get("HOME") or Path.home())
    file, text = _found(explicit, environ, home)
    try:
        tree = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError([f"{file}:{error.lineno}: {error.msg} (column {error.colno})"]) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, hundreds of nested lists
        raise ConfigError([f"{file}: {error}"]) from None
    # Each table is validated, an absent one too: only so do its defaults see the context. And as JSON, where a list
    # may be a tuple and a string a path though types are strict; a date, which JSON lacks, must not pass for a string.
    tables = {name: {} for name in Settings.model_fields} | tree
    given = json.dumps(tables, default=lambda date: {"date": str(date)})
    try:
        return Settings.model_validate_json(given, context={"file": file, "home": home})
    except ValidationError as error:
        raise ConfigError(describe(error, Settings, file=file, text=text)) from None


def _found(explicit: Path | None, environ: Mapping[str, str], home: Path) -> tuple[Path | None, str]:
    """Find the file and its text: (None, "") where the owner has none."""
    named = explicit or environ.get("SORTD_CONFIG")
    settings = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    file = Path(_expanded(str(named or settings / "sortd" / "config.toml"), home)).absolute()
    try:
        content = file.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not named:
            return None, ""
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    try:
        return file, content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{file}:{line}: is not UTF-8 text (byte 0x{content[error.start]:02x})"]) from None
