from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sortd.config.settings import LibrarySettings, Settings, load
from sortd.domain.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def write(file: Path, text: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def read(folder: Path, text: str | bytes, **environ: str) -> Settings:
    return load(write(folder / "mine.toml", text), environ={"HOME": str(folder / "home"), **environ})


def problems(folder: Path, text: str | bytes) -> list[str]:
    """What load says of this text, without the file's own name."""
    with pytest.raises(ConfigError) as refused:
        read(folder, text)
    return [problem.removeprefix(f"{folder / 'mine.toml'}:") for problem in refused.value.problems]


def settings(config: Settings) -> Mapping[str, Any]:
    return config.model_dump()


# Where the settings come from


def test_without_a_file_the_defaults_hold(home: Path) -> None:
    config = load(None, environ={"HOME": str(home)})
    assert config.path is None
    assert config.library.root == home / "Videos" / "Favorites"
    assert config.move.target_precision == 0.95
    assert config.state.dir is None
    assert config.log.file is None


def test_the_file_named_on_the_command_line_wins_over_the_environment_and_that_over_the_users_own(home: Path) -> None:
    own = write(home / ".config" / "sortd" / "config.toml", "[library]\nlevels = 2")
    exported = write(home / "exported.toml", "[library]\nlevels = 3")
    named = write(home / "named.toml", "[library]\nlevels = 4")
    environ = {"HOME": str(home)}
    assert load(None, environ=environ).library.levels == 2
    assert load(None, environ=environ).path == own
    environ["SORTD_CONFIG"] = "~/exported.toml"
    assert load(None, environ=environ).library.levels == 3
    assert load(None, environ=environ).path == exported
    assert load(named, environ=environ).library.levels == 4


def test_the_users_own_file_is_where_xdg_says(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "xdg" / "sortd" / "config.toml", "[library]\nlevels = 5")
    assert load(None, environ={"HOME": str(home), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}).library.levels == 5


@pytest.mark.parametrize("variable", ["argument", "SORTD_CONFIG"])
def test_a_file_asked_for_that_is_not_there_is_a_problem(home: Path, variable: str) -> None:
    missing = home / "missing.toml"
    environ = {"HOME": str(home)} | ({"SORTD_CONFIG": str(missing)} if variable == "SORTD_CONFIG" else {})
    with pytest.raises(ConfigError) as refused:
        load(missing if variable == "argument" else None, environ=environ)
    assert refused.value.problems == [f"{missing}: cannot be read: No such file or directory"]


def test_a_folder_in_place_of_the_file_is_a_problem(home: Path) -> None:
    (home / ".config" / "sortd" / "config.toml").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(None, environ={"HOME": str(home)})


def test_a_byte_order_mark_and_dos_line_ends_are_no_problem(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff[library]\r\nlevels = 2\r\n").library.levels == 2


def test_the_line_is_right_with_dos_line_ends_too(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "[library]\r\n\r\nlevels = 0\r\n")
    assert problem.startswith("3: library.levels:")


# What is said of a mistake


def test_text_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert problems(tmp_path, "[library]\nlevels = = 2") == ["2: Invalid value (column 10)"]


@pytest.mark.parametrize("text", ["a = " + "[" * 20_000, "a = " + "9" * 6_000])
def test_toml_beyond_all_measure_is_told_too(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{tmp_path / 'mine.toml'}: ")


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    assert problems(tmp_path, b'[library]\nroot = "caf\xe9"') == ["2: is not UTF-8 text (byte 0xe9)"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[library]\nlevls = 2", "2: library.levls: unknown key; the nearest is library.levels"),
        ("[libary]\n", "1: libary: unknown key; the nearest is library"),
        ("levels = 2", "1: levels: unknown key; the nearest is library.levels"),
        (
            "[library]\nsettle_seconds = 2",
            "2: library.settle_seconds: unknown key; the nearest is watch.settle_seconds",
        ),
        ("extract.visual.frame = 3", "1: extract.visual.frame: unknown key; the nearest is extract.visual.frames"),
        ("[extract]\nwith_ = []", "2: extract.with_: unknown key; the nearest is extract.with"),
        ("[state]\nzzz = 1", "2: state.zzz: unknown key; valid here: state.dir, state.keep_days"),
        ('[state]\n"a\\nb c" = 1', '2: state."a\\nb c": unknown key; valid here: state.dir, state.keep_days'),
        ("path = 1", "1: path: unknown key; the nearest is watch"),
        ("[notify]", "1: notify: unknown key; valid here: library, watch, extract, train, move, state, log"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_valid_one(tmp_path: Path, text: str, told: str) -> None:
    assert problems(tmp_path, text) == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("library = 3", "1: library: should be a table (given 3)"),
        ("[[library]]", "1: library: should be a table (given [{}])"),
        ('[library]\nlevels = "2"', '2: library.levels: should be a valid integer (given "2")'),
        ("[library]\nlevels = true", "2: library.levels: should be a valid integer (given true)"),
        ("[library]\nlevels = 0", "2: library.levels: should be greater than or equal to 1 (given 0)"),
        ("[library]\nroot = 3", "2: library.root: should be a path (given 3)"),
        ('[library]\nroot = ""', '2: library.root: should be a path (given "")'),
        ('[library]\nroot = "a\\u0000b"', '2: library.root: should hold no NUL character (given "a\\u0000b")'),
        ("[library]\nextensions = []", "2: library.extensions: should name at least one (given [])"),
        (
            '[library]\nextensions = ["mp4",\n"a/b"]',
            '2: library.extensions.1: should be a file\'s extension, such as mp4 (given "a/b")',
        ),
        ('[watch]\nmode = "pol"', "2: watch.mode: should be 'auto', 'events' or 'polling' (given \"pol\")"),
        ("[watch]\npoll_seconds = 0.05", "2: watch.poll_seconds: should be greater than or equal to 0.1 (given 0.05)"),
        ("[watch]\npoll_seconds = nan", "2: watch.poll_seconds: should be a finite number (given NaN)"),
        (
            "[watch]\npoll_seconds = 1e9",
            "2: watch.poll_seconds: should be less than or equal to 31622400 (given 1e+09)",
        ),
        (
            "[watch]\npoll_seconds = 07:32:00",
            '2: watch.poll_seconds: should be a valid number (given {"date": "07:32:00"})',
        ),
        (
            '[extract]\nencoder = "clop"',
            "2: extract.encoder: should be 'auto', 'clip' or 'builtin' (given \"clop\")",
        ),
        ("[extract]\nwith = []", "2: extract.with: should name at least one (given [])"),
        ("[extract.visual]\nframes = 0", "2: extract.visual.frames: should be greater than or equal to 1 (given 0)"),
        ("[train]\ncandidates = []", "2: train.candidates: should name at least one (given [])"),
        ("[move]\ntarget_precision = 1.0", "2: move.target_precision: should be less than 1 (given 1.0)"),
        ("[move]\ntarget_precision = 0.5", "2: move.target_precision: should be greater than 0.5 (given 0.5)"),
        ("[move]\nprobation = [10, 0]", "2: move.probation.1: should be greater than or equal to 1 (given 0)"),
        ("[move]\ncompanions = 1", "2: move.companions: should be a valid boolean (given 1)"),
        ("[state]\nkeep_days = -1", "2: state.keep_days: should be greater than or equal to 0 (given -1)"),
        ('[log]\nlevel = "loud"', "2: log.level: should be 'debug', 'info', 'warning' or 'error' (given \"loud\")"),
    ],
)
def test_a_wrong_value_is_told_with_its_line_its_key_and_what_was_given(tmp_path: Path, text: str, told: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.replace("1000000000.0", "1e+09") == told


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("soon", "Wrong number of fields; got 1, expected 5"),
        ("61 * * * *", "the last value (61) is higher than the maximum value (59)"),
        ("0 0 * * 8", "the last value (8) is higher than the maximum value (6)"),
        ("0 0 * * 5-1", "The minimum value in a range must not be higher than the maximum"),
        ("0 0 31 2 *", "should name a time that comes"),
    ],
)
def test_a_cron_line_that_means_nothing_is_told(tmp_path: Path, cron: str, told: str) -> None:
    (problem,) = problems(tmp_path, f'[train]\ncron = "{cron}"')
    assert problem.startswith("2: train.cron: ")
    assert told in problem


@pytest.mark.parametrize("pattern", ["", ".", "..", "/", "/cooking", "../other", "a/../../b", "a\\u0000b"])
def test_what_is_ignored_lies_below_the_root(tmp_path: Path, pattern: str) -> None:
    (problem,) = problems(tmp_path, f'[library]\nignore = ["raw/*", "{pattern}"]')
    assert problem.startswith("2: library.ignore.1: should be a name or a path below the root")


def test_every_problem_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
        move.mode = "off"            # 2
        [watch]
        settle_seconds = "2"
        notes = '''
        [library]
        root = "not a key: inside a string"
        '''
        [library]                    # 9
        root = "/"
        extensions = [
            "mp4",
            "m p 4",
        ]
        colour = "blue"              # 15
    """
    told = [problem.split(": ")[:2] for problem in problems(tmp_path, text)]
    assert told == [
        ["2", "move.mode"],
        ["4", "watch.settle_seconds"],
        ["5", "watch.notes"],
        ["10", "library.root"],
        ["11", "library.extensions.1"],
        ["15", "library.colour"],
    ]


def test_a_long_value_is_shown_in_part(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f'[watch]\nmode = "{"x" * 5000}"')
    assert len(problem) < 150
    assert "…" in problem


# What the values become


def test_times_down_to_a_tenth_of_a_second_are_accepted(tmp_path: Path) -> None:
    text = """
        watch = { settle_seconds = 0.1, rescan_seconds = 0.1, poll_seconds = 0.1 }
        extract = { timeout_seconds = 0.1, idle_seconds = 0.1 }
        train = { quiet_seconds = 0.1 }
        state = { keep_days = 0.000001 }
    """
    config = read(tmp_path, text)
    assert config.watch.settle_seconds == config.extract.idle_seconds == config.train.quiet_seconds == 0.1
    assert config.state.keep_days == 0.000001


def test_extensions_lose_their_dot_and_capitals_and_are_kept_once(tmp_path: Path) -> None:
    assert read(tmp_path, '[library]\nextensions = [".MP4", "mkv", "mp4"]').library.extensions == ("mp4", "mkv")


def test_ignored_paths_are_tidied(tmp_path: Path) -> None:
    assert read(tmp_path, '[library]\nignore = ["raw/", "a//b*", "./c"]').library.ignore == ("raw", "a/b*", "c")


def test_paths_become_absolute_from_home_or_from_the_files_folder(tmp_path: Path) -> None:
    text = '[library]\nroot = "~/Clips"\n[state]\ndir = "memory"\n[log]\nfile = "../sortd.log"'
    config = read(tmp_path, text)
    assert config.library.root == tmp_path / "home" / "Clips"
    assert config.state.dir == tmp_path / "memory"
    assert config.log.file == tmp_path.parent / "sortd.log"


def test_cron_counts_its_days_from_sunday(tmp_path: Path) -> None:
    def days(field: str) -> str:
        return read(tmp_path, f'[train]\ncron = "0 3 * * {field}"').train.cron.split()[-1]

    assert days("0") == days("7") == "sun"
    assert days("1-5") == "mon,tue,wed,thu,fri"
    assert days("0-2") == "sun,mon,tue"
    assert days("*/3") == "sun,wed,sat"
    assert days("*") == "*"
    assert days("mon-fri") == "mon-fri"


def test_no_cron_line_is_a_way_to_say_never(tmp_path: Path) -> None:
    assert read(tmp_path, '[train]\ncron = " "').train.cron == ""


def test_no_probation_is_a_way_to_say_at_once_free(tmp_path: Path) -> None:
    assert read(tmp_path, "[move]\nprobation = []").move.probation == ()


# What cannot be a library


@pytest.mark.parametrize("root", ["~", "~/", "~/.", "~/Videos/..", "/", "//", "/tmp/.."])  # noqa: S108 - a path
def test_neither_the_disk_nor_the_home_folder_can_be_the_root(tmp_path: Path, root: str) -> None:
    (problem,) = problems(tmp_path, f'[library]\nroot = "{root}"')
    assert problem.startswith("2: library.root: should be a folder of videos, not the whole ")


def test_nor_can_a_link_to_the_home_folder(tmp_path: Path, home: Path) -> None:
    (tmp_path / "videos").symlink_to(home)
    (problem,) = problems(tmp_path, '[library]\nroot = "videos"')
    assert "not the whole home folder" in problem


@pytest.mark.parametrize("folder", ["videos", "videos/cooking"])
def test_the_state_lies_outside_what_is_watched(tmp_path: Path, folder: str) -> None:
    (problem,) = problems(tmp_path, f'[library]\nroot = "videos"\n[state]\ndir = "{folder}"')
    assert problem.startswith(f"4: state.dir: should lie outside the root, {tmp_path / 'videos'}")


def test_the_same_settings_serve_another_root(tmp_path: Path) -> None:
    config = read(tmp_path, '[library]\nroot = "videos"\nlevels = 2\n[state]\ndir = "memory"')
    other = config.at(tmp_path / "other")
    assert other.library.root == tmp_path / "other"
    assert settings(other.at(config.library.root)) == settings(config)
    assert other.path == config.path == tmp_path / "mine.toml"


def test_another_root_may_be_given_from_here_from_home_and_in_any_bytes(tmp_path: Path) -> None:
    config = read(tmp_path, "")
    assert config.at(Path("videos")).library.root == Path.cwd() / "videos"
    assert config.at(Path("~/videos")).library.root == Path.home() / "videos"
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    assert config.at(odd).library.root == odd


def test_another_root_is_held_to_the_same_rules(tmp_path: Path) -> None:
    config = read(tmp_path, '[library]\nroot = "videos"\n[state]\ndir = "memory"')
    with pytest.raises(ConfigError, match="not the whole disk"):
        config.at(Path("/"))
    with pytest.raises(ConfigError, match="outside the root"):
        config.at(tmp_path)


def test_a_root_given_in_the_program_needs_no_file(tmp_path: Path) -> None:
    assert Settings(library=LibrarySettings(root=tmp_path)).library.root == tmp_path


def test_reading_the_settings_brings_in_neither_the_scheduler_nor_anything_heavy() -> None:
    heavy = "{'apscheduler', 'rich', 'typer', 'watchdog', 'torch'}"
    code = f"import sys, sortd.config.settings; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
