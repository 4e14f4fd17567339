"""The commands as their owner and their scripts meet them: real processes on a small library of made-up clips."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sortd.cli.app import app
from sortd.cli.demo_clips import AMBIGUOUS, FAMILIES, make_clip
from tests.waiting import PATIENCE_SECONDS

PACKAGE = Path(__file__).parents[2]
TAUGHT = 6
NEW = {f"new {family}.mp4" for family in FAMILIES}
LATIN1, LINES, MARKUP, EMOJI, DASH = "caf\udce9.mp4", "a\nb\x1b[31m.mp4", "[bold]x[red].mp4", ":cat:.mp4", "-dash.mp4"
UNSURE = (LATIN1, LINES, MARKUP, EMOJI, DASH)
HEAVY = {"av", "cv2", "sklearn", "torch", "whisper", "clip", "apscheduler", "watchdog", "rich.progress"}
COMMANDS = [info.callback.__name__ for info in app.registered_commands if info.callback]
WITHOUT_FACTS = {"run", "pause", "resume", "rollback", "demo", "export", "service"}

Ended = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Home:
    """An owner's machine: a folder with the library in videos/, the settings and the state."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "videos"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(PACKAGE),
            "SORTD_CONFIG": str(self.folder / "config.toml"),
            "TZ": "UTC",
        }

    def sortd(self, *arguments: str | Path, cwd: Path | None = None, python: Sequence[str] = ()) -> Ended:
        return subprocess.run(
            [sys.executable, "-P", *python, "-m", "sortd", *arguments],
            cwd=cwd or self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def says(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """What a command that goes well prints."""
        ended = self.sortd(*arguments, cwd=cwd)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def tells(self, *arguments: str | Path, cwd: Path | None = None) -> Any:
        """The same as JSON."""
        return json.loads(self.says(*arguments, "--json", cwd=cwd))

    def fails(self, *arguments: str | Path, status: int = 1) -> str:
        """What a command says that cannot do what it should."""
        ended = self.sortd(*arguments)
        assert ended.returncode == status, (ended.stdout, ended.stderr)
        assert ended.stdout == ""
        assert "Traceback" not in ended.stderr
        return ended.stderr

    def unsorted(self) -> set[str]:
        return {path.name for path in self.root.iterdir() if path.is_file()}

    def moved(self) -> dict[str, str]:
        """The moves that stand: from -> to."""
        return {move["from"]: move["to"] for move in self.tells("history") if move["state"] == "done"}


@dataclass(frozen=True)
class Elsewhere(Home):
    more: Mapping[str, str]

    @property
    def environ(self) -> dict[str, str]:
        return super().environ | dict(self.more)


@pytest.fixture(scope="module")
def first_pass(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Ended]:
    """Four taught families, a new clip of each, some that are half this and half that, and a text; sorted once."""
    home = Home(tmp_path_factory.mktemp("owner"))
    home.root.mkdir()
    for family in FAMILIES:
        (home.root / family).mkdir()
        for number in range(TAUGHT):
            make_clip(home.root / family / f"{number}.mp4", family, number, seconds=1.0)
        make_clip(home.root / f"new {family}.mp4", family, 100, seconds=1.0)
    for number, name in enumerate(UNSURE):
        make_clip(home.root / name, AMBIGUOUS, number, seconds=1.0)
    (home.root / "notes.mp4").write_text("not a film")
    (home.folder / "config.toml").write_text(
        '[library]\nroot = "videos"\n[watch]\nsettle_seconds = 0.1\n[state]\ndir = "state"\n'
    )
    return home, home.sortd("run", "--once")


@pytest.fixture(scope="module")
def home(first_pass: tuple[Home, Ended]) -> Home:
    """That library, for tests that change nothing."""
    return first_pass[0]


@pytest.fixture
def own(home: Home, tmp_path: Path) -> Home:
    """A backup of it, without the text, restored to another place, for a test that changes things."""
    copy = Home(tmp_path / "owner")
    shutil.copytree(home.folder, copy.folder, ignore=shutil.ignore_patterns("notes.mp4"))
    (copy.folder / "state" / "root").write_bytes(os.fsencode(copy.root))
    return copy


def keys(told: Mapping[str, Any]) -> str:
    return " ".join(told)


# One pass


def test_one_pass_prints_the_dataset_as_the_seed_documents_do(first_pass: tuple[Home, Ended]) -> None:
    _, ended = first_pass
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "Using device: cpu",
        "",
        "Dataset summary:",
        "  Labeled videos: 24",
        "  Unlabeled videos: 10",
        "  Categories: ['city', 'cooking', 'garden', 'sea']",
        "  Set aside: 1 (see `sortd status`)",
    ]


def test_one_pass_logs_each_outcome_in_a_line_of_its_own(first_pass: tuple[Home, Ended]) -> None:
    events = [json.loads(line) for line in first_pass[1].stderr.splitlines()]
    assert len([event for event in events if event["event"] == "extracted"]) == 4 * TAUGHT + len(NEW) + len(UNSURE)
    moved = {event["path"]: event["to"] for event in events if event["event"] == "moved"}
    assert moved == {f"new {family}.mp4": f"{family}/new {family}.mp4" for family in FAMILIES}
    assert [event["reason"] for event in events if event["event"] == "set_aside"] == ["not_a_video"]


def test_watching_only_it_moves_nothing(own: Home) -> None:
    before = own.unsorted() | {"again.mp4"}
    make_clip(own.root / "again.mp4", "sea", 101, seconds=1.0)
    assert '"observe_mode"' in own.sortd("run", "--once", "--observe").stderr
    assert own.unsorted() == before
    (again,) = [one for one in own.tells("preview") if one["path"] == "again.mp4"]
    assert (again["decision"], again["category"], again["reason"]) == ("move", "sea", None)
    assert "\nmove                   sea" in own.says("preview")
    assert own.says("explain", "again.mp4").startswith("again.mp4 moves to sea\n")


# What scripts read


def test_status_tells_all_that_scripts_look_for(home: Home) -> None:
    told = home.tells("status")
    assert keys(told) == (
        "root state why watcher videos backlog categories classifier set_aside open_moves transcripts"
        " suspects encoder device versions"
    )
    assert (told["root"], told["state"], told["why"]) == (str(home.root), "stopped", "no service runs")
    assert told["watcher"] == {"mode": "events", "why": "no service runs"}
    assert told["videos"] == {
        "total": 34, "unsorted": 6, "labelled": 24, "placed": 4, "set_aside": 1, "pending": 0
    }  # fmt: skip
    assert told["backlog"] == {"rate": None, "ends_at": None}
    assert [category["name"] for category in told["categories"]] == sorted(FAMILIES)
    for category in told["categories"]:
        assert keys(category) == "name labels placed min_confidence precision live why"
        assert (category["labels"], category["placed"]) == (TAUGHT, 1)
        assert 0.5 < category["min_confidence"] < 1
        assert category["precision"] == 1
        assert category["live"] == {"confirmed": 0, "corrected": 0}
    assert keys(told["classifier"]) == "kind trained_at labels accuracy coverage"
    assert told["classifier"]["labels"] == 4 * TAUGHT
    assert datetime.fromisoformat(told["classifier"]["trained_at"]).tzinfo is not None
    (aside,) = told["set_aside"]
    assert keys(aside) == "path reason attempts message"
    assert (aside["path"], aside["reason"], aside["attempts"]) == ("notes.mp4", "not_a_video", 1)
    assert (told["open_moves"], told["encoder"], told["device"]) == (0, "builtin", "cpu")
    assert {"sortd", "python", "sqlite"} <= told["versions"].keys()


def test_preview_tells_of_every_unsorted_video_why_it_stays(home: Home) -> None:
    told = {one["path"]: one for one in home.tells("preview")}
    assert set(told) == {*UNSURE, "notes.mp4"}
    aside = told.pop("notes.mp4")
    assert aside == {
        "path": "notes.mp4", "decision": "leave", "category": None, "confidence": None, "margin": None,
        "reason": "not_a_video", "ranking": [],
    }  # fmt: skip
    for one in told.values():
        assert one.keys() == aside.keys()
        assert one["decision"] == "leave"
        assert one["reason"] in {"unfamiliar", "low_confidence", "close_call"}
        assert {name for name, _ in one["ranking"]} == set(FAMILIES)
        assert one["ranking"][0] == [one["category"], one["confidence"]]
        assert one["margin"] == pytest.approx(one["confidence"] - one["ranking"][1][1], abs=2e-4)


def test_those_whose_filing_would_teach_most_are_the_nearest_to_a_draw_first(home: Home) -> None:
    told = home.tells("preview", "--closest", "9")
    assert {one["path"] for one in told} == set(UNSURE)
    whole = {one["path"]: one for one in home.tells("preview")}
    assert told == [whole[one["path"]] for one in told]
    assert home.tells("preview", "--closest", "2") == told[:2]
    assert len(home.says("preview", "--closest", "2").splitlines()) == 3
    assert home.sortd("preview", "--closest", "0").returncode == 2


def test_explain_tells_all_that_is_known_of_a_filed_video(home: Home) -> None:
    told = home.tells("explain", "sea/0.mp4")
    assert keys(told) == (
        "path decision category confidence margin reason ranking fingerprint features neighbours label vetoes suspect"
    )
    facts = told["path"], told["decision"], told["category"], told["reason"], told["label"], told["vetoes"]
    assert facts == ("sea/0.mp4", "filed", "sea", None, "sea", [])
    part = {"present": True, "dim": 512, "text": None}
    assert told["features"] == {"visual": part, "speech": part}
    assert len(told["neighbours"]) == 5
    for neighbour in told["neighbours"]:
        assert keys(neighbour) == "path category similarity by"
        likes = list(neighbour["by"].values())
        assert neighbour["similarity"] == pytest.approx(sum(likes) / len(likes), abs=1e-4)
        assert (home.root / neighbour["path"]).exists()
        assert neighbour["path"] != "sea/0.mp4"
    likenesses = [neighbour["similarity"] for neighbour in told["neighbours"]]
    assert likenesses == sorted(likenesses, reverse=True)
    assert told["neighbours"][0]["category"] == "sea"


def test_explain_calls_sound_what_the_builtin_encoder_hears(home: Home) -> None:
    text = home.says("explain", "sea/0.mp4")
    assert re.search(r"^sound +yes$", text, re.MULTILINE)
    assert re.search(r"like .* in sea \(visual \d\.\d\d, sound \d\.\d\d\)$", text, re.MULTILINE)
    assert home.tells("explain", "sea/0.mp4")["features"]["speech"]["present"]


def test_explain_tells_a_placement_from_a_label(home: Home) -> None:
    told = home.tells("explain", "sea/new sea.mp4")
    assert (told["decision"], told["category"], told["label"]) == ("filed", "sea", None)
    assert home.says("explain", "sea/new sea.mp4").startswith("sea/new sea.mp4 is filed in sea by sortd\n")
    assert home.says("explain", "sea/0.mp4").startswith("sea/0.mp4 is filed in sea by you\n")


def test_history_tells_the_moves_the_latest_first(home: Home) -> None:
    told = home.tells("history")
    for move in told:
        assert keys(move) == "id at from to category confidence state"
        assert (move["from"], move["state"]) == (f"new {move['category']}.mp4", "done")
        assert (home.root / move["to"]).is_file()
        assert 0.5 < move["confidence"] <= 1
    assert {move["from"] for move in told} == NEW
    assert [move["id"] for move in told] == sorted((move["id"] for move in told), reverse=True)
    assert [datetime.fromisoformat(move["at"]).utcoffset() for move in told].count(None) == 0


def test_check_tells_of_all_that_is_needed_that_it_is_well(home: Home) -> None:
    told = home.tells("check")
    names = [finding["name"] for finding in told]
    of_the_root = ["watcher", "folders", "filesystems", "writers"]
    assert names == ["config", "root", "state", *of_the_root, "decoder", "weights", "device"]
    for finding in told:
        assert keys(finding) == "name ok message cure"
        assert (finding["ok"], finding["cure"]) == (True, ""), finding


def test_json_is_ascii_and_carries_every_byte_of_a_name(home: Home) -> None:
    text = home.says("preview", "--json")
    assert text.isascii()
    assert r"caf\udce9.mp4" in text
    assert LATIN1 in {one["path"] for one in json.loads(text)}
    assert home.tells("explain", LATIN1)["path"] == LATIN1


def test_a_replay_counts_every_video_that_is_filed_or_stands_unsorted_once(home: Home) -> None:
    told = home.tells("evaluate", "--replay")
    assert keys(told) == "filed wrongly left outsiders_moved"
    assert told["filed"] + told["left"] == 4 * TAUGHT + len(UNSURE)
    assert told["outsiders_moved"] == 0
    line = f"would have filed {told['filed']}, {told['wrongly']} wrongly and 0 that belong nowhere; "
    assert home.says("evaluate", "--replay").startswith(line)


@pytest.mark.parametrize("option", ["--draws", "--per-category", "--passed-over", "--outsiders"])
def test_a_replay_refuses_what_has_no_meaning_for_it(home: Home, option: str) -> None:
    assert "leaves nothing to draw" in home.fails("evaluate", "--replay", option, "1", status=2)


# What people read


@pytest.mark.parametrize("command", [["status"], ["preview"], *(["explain", f"./{name}"] for name in UNSURE[:3])])
def test_no_name_breaks_a_line_or_speaks_to_the_terminal(home: Home, command: list[str]) -> None:
    text = home.says(*command, cwd=home.root)
    assert all(line.isprintable() for line in text.splitlines())
    shown = {r"caf\udce9.mp4", r"a\nb\x1b[31m.mp4", "[bold]x[red].mp4", ":cat:.mp4", "-dash.mp4"}
    lines = text.splitlines()
    if command[0] == "preview":
        assert {line.rpartition("  ")[2] for line in lines[1:]} == {*shown, "notes.mp4"}
    elif command[0] == "explain":
        assert lines[0].partition(" stays: ")[0] in shown


def test_a_name_that_the_terminal_cannot_show_is_spelt(own: Home) -> None:
    (own.root / "new sea.mp4").symlink_to("elsewhere")  # so that nothing but the name below is news
    (own.root / DASH).rename(own.root / "猫.mp4")
    own.sortd("run", "--once")
    spelt = Elsewhere(own.folder, {"PYTHONIOENCODING": "ascii"}).says("preview")
    assert r"  \u732b.mp4" in spelt
    assert "  猫.mp4" in own.says("preview")


def test_a_long_name_is_never_cut(own: Home) -> None:
    name = "a very long name " * 12 + ".mp4"
    (own.root / DASH).rename(own.root / name)
    own.sortd("run", "--once")
    assert name in {line.rpartition("  ")[2] for line in own.says("preview").splitlines()}


def test_a_category_that_does_not_move_says_why_below_its_row(own: Home) -> None:
    (own.root / "sea" / ".sortd.toml").write_text("automatic = false\n")
    (own.root / "city" / ".nosort").touch()
    for name in ("1.mp4", "2.mp4"):
        (own.root / "pets").mkdir(exist_ok=True)
        (own.root / "garden" / name).rename(own.root / "pets" / name)
    (own.root / "pets" / ".sortd.toml").write_text("automatic = perhaps\n")
    own.sortd("run", "--once")
    lines = own.says("status").splitlines()
    below = {line.split()[0]: why for line, why in pairwise(lines) if line}
    assert below["sea"] == "    its .sortd.toml says automatic = false"
    assert below["city"] == "    a .nosort lies in it"
    assert "pets/.sortd.toml" in below["pets"]
    limits = {category["name"]: category["min_confidence"] for category in own.tells("status")["categories"]}
    assert [limits[name] for name in ("sea", "city", "pets")] == [None] * 3


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_in_80_columns_how_it_is_used(home: Home, command: str) -> None:
    text = home.says(command, "--help")
    assert text.startswith(f"Usage: sortd {command} [OPTIONS]")
    assert max(map(len, text.splitlines())) <= 80
    options = {line.split()[0] for line in text.splitlines() if line.lstrip().startswith("--")}
    assert command == "demo" or {"--config", "--root"} <= options
    assert ("--json" in options) == (command not in WITHOUT_FACTS)


def test_the_first_help_names_every_command_in_a_line(home: Home) -> None:
    lines = home.says("--help").splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[0] for line in listed] == COMMANDS
    assert not any("..." in line for line in listed)


def test_whoever_has_read_enough_ends_it_quietly(home: Home) -> None:
    for options in ([], ["--json"]):
        command = [sys.executable, "-P", "-m", "sortd", "history", *options]
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(command, env=home.environ, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writer)
        assert ended.stderr == ""


# Which library, which video


@pytest.mark.parametrize(
    ("path", "cwd"),
    [
        ("sea/0.mp4", ""),
        ("videos/sea/0.mp4", ""),
        ("0.mp4", "videos/sea"),
        ("../sea/0.mp4", "videos/city"),
        ("sea/0.mp4", "videos/sea"),
        ("sea/0.mp4", "home"),
        ("{root}/sea/0.mp4", "home"),
        ("{folder}/link/sea/0.mp4", "home"),
    ],
)
def test_a_video_is_named_from_where_one_stands_or_from_the_root(own: Home, path: str, cwd: str) -> None:
    (own.folder / "home").mkdir()
    (own.folder / "link").symlink_to(own.root)
    video = path.format(root=own.root, folder=own.folder)
    assert own.tells("explain", video, cwd=own.folder / cwd)["path"] == "sea/0.mp4"


def test_a_video_finds_its_library_by_the_marker_whatever_the_settings_say(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    (tmp_path / "films").mkdir()
    other.write_text('[library]\nroot = "films"\n[state]\ndir = "state of films"\n')
    stranger = Elsewhere(home.folder, {"SORTD_CONFIG": str(other)})
    assert stranger.tells("explain", home.root / "sea" / "0.mp4")["category"] == "sea"
    assert stranger.tells("explain", "0.mp4", cwd=home.root / "sea")["category"] == "sea"
    assert "does not lie in" in stranger.fails("explain", "/etc/hosts")


def test_the_root_is_named_as_argument_as_option_or_in_the_settings(home: Home, tmp_path: Path) -> None:
    stranger = Elsewhere(home.folder, {"SORTD_CONFIG": os.devnull})
    for named in ([home.root], ["--root", home.root], ["--config", home.folder / "config.toml"]):
        assert stranger.tells("status", *named)["videos"]["total"] == 34
    assert "twice" in stranger.fails("status", home.root, "--root", tmp_path, status=2)


def test_a_video_that_it_does_not_know_is_said_so(home: Home) -> None:
    assert home.fails("explain", "sea/none.mp4") == (
        f"sortd: sea/none.mp4 is no video that sortd knows in {home.root}\n"
    )
    evil = home.fails("explain", "no\nsuch\x1b[31m.mp4")
    assert evil.count("\n") == 1
    assert "\x1b" not in evil


# Exit statuses


@pytest.mark.parametrize("command", ["run --once", "preview", "history", "undo"])
def test_a_root_that_is_not_there_fails(home: Home, command: str) -> None:
    missing = home.folder / "no such folder"
    ended = home.sortd(*command.split(), "--root", missing)
    assert (ended.returncode, ended.stderr) == (1, f"sortd: {missing} is not there\n")


def test_the_status_of_a_root_that_is_not_there_is_away(own: Home) -> None:
    (own.root / ".sortd" / "library.json").rename(own.folder / "kept.json")
    assert own.tells("status")["state"] == "away"
    assert "without its marker" in own.fails("preview")
    own.root.rename(own.folder / "unplugged")
    told = own.tells("status")
    assert (told["state"], told["why"]) == ("away", f"{own.root} is not there")
    assert told["videos"]["total"] == 34
    never = own.tells("status", "--root", own.folder / "never")
    assert (never["state"], never["videos"]["total"]) == ("away", 0)


def test_check_says_what_to_do_about_a_root_that_is_not_there(home: Home) -> None:
    ended = home.sortd("check", "--root", home.folder / "no such folder", "--json")
    assert ended.returncode == 1
    (fault,) = [finding for finding in json.loads(ended.stdout) if not finding["ok"]]
    assert (fault["name"], fault["cure"]) == ("root", "make it, mount it, or name another")


def test_a_library_where_it_never_ran_is_told_from_an_empty_one(home: Home, tmp_path: Path) -> None:
    stranger = Elsewhere(home.folder, {"SORTD_CONFIG": os.devnull})
    assert stranger.tells("status", tmp_path)["state"] == "stopped"
    assert "categories  none yet: move some videos into folders of your own" in stranger.says("status", tmp_path)
    assert stranger.says("history", tmp_path) == "nothing was moved yet\n"
    assert "`sortd run` makes it a library" in stranger.fails("preview", tmp_path)
    assert "`sortd run` makes it a library" in stranger.fails("pause", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "status", "explain sea/0.mp4", "confirm sea"])
def test_settings_that_cannot_be_used_are_told_all_at_once(home: Home, tmp_path: Path, command: str) -> None:
    wrong = tmp_path / "config.toml"
    wrong.write_text("[move]\ntarget_precison = 0.9\n[watch]\nsettle_seconds = 'long'\n")
    first, second = home.fails(*command.split(), "--config", wrong, status=78).splitlines()
    assert first == f"sortd: {wrong}:2: move.target_precison: unknown key; the nearest is move.target_precision"
    assert second.startswith(f"sortd: {wrong}:4: watch.settle_seconds: ")


def test_settings_that_cannot_be_read_are_told(home: Home, tmp_path: Path) -> None:
    assert "cannot be read" in home.fails("status", "--config", tmp_path / "none.toml", status=78)
    (tmp_path / "bad.toml").write_bytes(b"root = \xff")
    assert "is not UTF-8 text" in home.fails("status", "--config", tmp_path / "bad.toml", status=78)
    (tmp_path / "bad.toml").write_bytes(b"[library\nroot = 3")
    assert "bad.toml:1:" in home.fails("status", "--config", tmp_path / "bad.toml", status=78)


def test_nobody_means_the_whole_disk_or_the_home_folder(own: Home) -> None:
    (own.folder / "home").mkdir()
    for command, root in (("run", "/"), ("status", own.folder / "home"), ("check", "~")):
        assert "folder of videos" in own.fails(command, root, status=78)


def test_bad_usage_is_told_from_a_failure(home: Home) -> None:
    for wrong in (["undo", "--since", "yesterday"], ["dance"], ["status", "--colour"], ["explain"], []):
        assert home.sortd(*wrong).returncode == 2


def test_a_damaged_index_is_one_line(own: Home) -> None:
    (own.folder / "state" / "index.db").write_bytes(b"not a database at all" * 400)
    for command in ("status", "preview", "pause"):
        assert re.match(r"sortd: the index\b.* cannot be used: .*\n$", own.fails(command))
    told = own.sortd("check", "--json")
    assert told.returncode == 1
    assert [finding["name"] for finding in json.loads(told.stdout) if not finding["ok"]] == ["state"]


# Nothing heavy


@pytest.mark.parametrize("command", ["status", "preview", "explain sea/0.mp4", "undo --help"])
def test_a_command_answers_without_what_only_the_service_needs(home: Home, command: str) -> None:
    ended = home.sortd(*command.split(), python=["-X", "importtime"])
    assert ended.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "sortd.cli.app" in imported
    assert imported & HEAVY == set()


# Changing things


@pytest.mark.parametrize("asked", ["", "2", "PATH", "--category", "--since", "--all"])
def test_undo_puts_back_what_was_asked_and_never_moves_it_there_again(own: Home, asked: str) -> None:
    moves = own.tells("history")
    meant = {
        "": moves[:1],
        "2": moves[:2],
        "PATH": moves[2:3],
        "--category": moves[1:2],
        "--since": moves[:3],
        "--all": moves,
    }[asked]
    words = {
        "": [],
        "PATH": [meant[0]["to"]],
        "--category": [asked, meant[0]["category"]],
        "--since": [asked, meant[-1]["at"]],
    }
    told = own.tells("undo", *words.get(asked, [asked]))
    assert told == {
        "done": [{"id": move["id"], "from": move["to"], "to": move["from"]} for move in meant],
        "refused": [],
    }
    back = {move["from"] for move in meant}
    assert own.moved().keys() == NEW - back
    if asked == "--all":
        own.sortd("run", "--once")
    reasons = {one["path"]: one["reason"] for one in own.tells("preview")}
    assert {reasons[path] for path in back} == {"vetoed"}


def test_undo_says_what_it_did_and_what_it_could_not(own: Home) -> None:
    (own.root / "sea" / "new sea.mp4").unlink()
    ended = own.sortd("undo", "--all")
    assert ended.returncode == 1
    assert "city/new city.mp4 is back as new city.mp4\n" in ended.stdout
    assert "sea/new sea.mp4 stays: " in ended.stdout
    for nothing in (["0.mp4"], ["sea/0.mp4"], ["--since", "2999-01-01"], ["--category", "none"]):
        assert own.fails("undo", *nothing).startswith("sortd: ")


def test_a_confirmed_placement_is_a_label(own: Home) -> None:
    assert own.tells("confirm", "sea/new sea.mp4") == {"confirmed": ["sea/new sea.mp4"]}
    assert own.tells("explain", "sea/new sea.mp4")["label"] == "sea"
    assert own.says("confirm", "city", cwd=own.root / "city") == "city/new city.mp4 is your label now\n"
    assert own.says("confirm", own.root / "city") == "nothing there waited for a word of yours\n"
    videos = own.tells("status")["videos"]
    assert (videos["labelled"], videos["placed"]) == (26, 2)
    live = {category["name"]: category["live"] for category in own.tells("status")["categories"]}
    assert live["sea"] == {"confirmed": 1, "corrected": 0}
    assert "sea/0.mp4 is your label already" in own.fails("confirm", "sea/0.mp4")
    assert "sea/new sea.mp4 is your label already" in own.fails("confirm", "sea/new sea.mp4")
    assert "stands in no category" in own.fails("confirm", UNSURE[0])
    assert "no category" in own.fails("confirm", "dragons")


def test_forgetting_a_veto_lets_sortd_move_there_again(own: Home) -> None:
    own.says("undo", "sea/new sea.mp4")
    assert own.tells("explain", "new sea.mp4")["vetoes"] == ["sea"]
    assert own.says("forget", "new sea.mp4") == "vetoes forgotten: of 1 video\n"
    assert own.tells("explain", "new sea.mp4")["vetoes"] == []
    own.sortd("run", "--once")
    assert own.moved()["new sea.mp4"] == "sea/new sea.mp4"


def test_forgotten_labels_stay_where_they_are_and_teach_nothing(own: Home) -> None:
    assert own.tells("forget", "--labels", "sea") == {"labels": TAUGHT}
    assert (own.root / "sea" / "0.mp4").is_file()
    assert own.tells("explain", "sea/0.mp4")["label"] is None
    assert own.tells("forget", "--labels", "--vetoes", "city/0.mp4") == {"vetoes": 1, "labels": 1}


def test_paused_without_a_service_it_stays_paused_until_resumed(own: Home) -> None:
    make_clip(own.root / "later.mp4", "sea", 101, seconds=1.0)
    assert own.says("pause") == "paused: nothing is moved or extracted until `sortd resume`\n"
    own.sortd("run", "--once")
    assert "later.mp4" in own.unsorted()
    assert own.says("explain", "later.mp4").startswith("later.mp4 stays: pending\n")
    assert own.says("resume") == "resumed\n"
    own.sortd("run", "--once")
    assert own.moved()["later.mp4"] == "sea/later.mp4"


def test_a_command_does_not_wait_for_what_is_being_written(own: Home) -> None:
    with (own.root / "download.mp4").open("wb") as writer:
        writer.write(b"its beginning")
        writer.flush()
        (own.root / "new.mp4").write_bytes((own.root / "sea/0.mp4").read_bytes() + b"tagged")
        own.says("pause")
        assert "is no video that sortd knows" in own.fails("explain", "download.mp4")
        assert own.tells("explain", "new.mp4")["path"] == "new.mp4"


def test_what_was_set_aside_is_tried_again_when_asked(own: Home) -> None:
    (own.root / "new.mp4").write_text("not a film")
    own.sortd("run", "--once")
    assert [aside["path"] for aside in own.tells("status")["set_aside"]] == ["new.mp4"]
    assert own.says("check", "--retry") == "1 video to be tried again\n"
    assert own.tells("status")["set_aside"] == []
    assert own.tells("check", "--retry") == {"retried": 0}
