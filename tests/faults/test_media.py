"""Odd and hostile files: what they give, what they cost, and what they may touch. Rows D1 to D9 of the fault matrix."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.checkpoints import random_clip, save_archive, save_whisper, talking_whisper
from tests.faults import conftest
from tests.faults.kit import delaying, installation, memory_of, tracing, under_strace
from tests.faults.media import CASES, Case, made, shoot, tone

BUILT_IN = {"extract": {"encoder": "builtin", "timeout_seconds": 30}, "move": {"mode": "observe"}}
GIGABYTE = 1 << 30

A_FEW = {
    "the-cover-first.mp4",
    "broken-sound.mp4",
    "a-hundred-days.mkv",
    "empty.mp4",
    "page.mp4",
    "script.mp4",
    "no-index.mp4",
    "canvas.gif",
    "lying-tables.mp4",
}


def outcome(home, name: str) -> str:
    """What became of a file: "ok", its reason, or nothing yet."""
    if home.told("extracted", path=name):
        return "ok"
    return "".join(line["reason"] for line in home.told("set_aside", path=name))


def arrive(home, cases: Iterable[Case], folder) -> None:
    """Make the files outside, then move them in, each whole."""
    for name in made(folder, cases):
        shutil.move(folder / name, home.root / name)


def judge(home, cases: Iterable[Case]) -> None:
    """Each gives what it should, once."""
    told = {one.name: outcome(home, one.name) for one in cases}
    assert {one.name: told[one.name] for one in cases if told[one.name] not in one.outcome} == {}
    aside = {one["path"]: (one["reason"], one["attempts"]) for one in home.ask("status")["set_aside"]}
    assert aside == {name: (word, 1) for name, word in told.items() if word != "ok"}
    assert home.ask("status")["videos"]["pending"] == 0


@pytest.mark.fault("D1", "D2", "D3", sample=True)
def test_a_hostile_file_costs_one_try_and_gives_one_reason(home, tmp_path):
    cases = [one for one in CASES if one.name in A_FEW]
    home.configure("config.toml", **BUILT_IN)
    arrive(home, cases, tmp_path / "making")
    with home.nothing_lost():
        home.start()
        home.until(lambda: all(outcome(home, one.name) for one in cases))
        judge(home, cases)


@pytest.mark.fault("D1", "D2", "D3", "D4")
def test_of_a_hundred_odd_and_hostile_files_each_gives_what_it_should_within_its_bounds(home, tmp_path):
    home.configure("config.toml", **BUILT_IN)
    arrive(home, CASES, tmp_path / "making")
    with home.nothing_lost(), memory_of(lambda: [home.process.pid, *home.children()] if home.runs() else []) as store:
        home.start()
        home.until(lambda: all(outcome(home, one.name) for one in CASES), seconds=180)
        judge(home, CASES)
        length = home.log.stat().st_size
        assert home.stop() == 0
        assert home.once().returncode == 0  # nothing is tried again, nothing told twice
        assert not [name for name in (one.name for one in CASES) if len(home.told("extracted", path=name)) > 1]
        assert not [name for name in (one.name for one in CASES) if len(home.told("set_aside", path=name)) > 1]
    assert max(store.values()) < GIGABYTE
    assert length < 1_000 * len(CASES)


@pytest.mark.fault("D4")
@under_strace
def test_a_play_list_in_disguise_opens_no_other_file_and_no_connection(home, tmp_path):
    home.configure("config.toml", **BUILT_IN)
    lists = [one for one in CASES if one.outcome == ("not_a_video",)]
    disguised = [*lists, *(one for one in CASES if one.name in {"other-files-track.mov", "clip.mp4"})]
    arrive(home, disguised, tmp_path / "making")
    with home.nothing_lost():
        assert home.once(*tracing("openat,open,connect,bind,listen,socket", tmp_path / "calls")).returncode == 0
        judge(home, disguised)
    calls = (tmp_path / "calls").read_text(errors="replace").splitlines()
    trying = {line.split()[0] for line in calls if f'"{sys.executable}"' in line}  # what a confined child can do
    decoders = {line.split()[0] for line in calls if '"/dev/fd/' in line} - trying
    assert len(decoders) >= len(disguised)
    own = re.compile(r'openat\(AT_FDCWD(<[^>]*>)?, "(/dev/null|/dev/fd/\d+|/proc/self/(statm|oom_score_adj))"')
    begun = [line for line in calls if line.split()[0] in decoders and re.match(r"\d+ +\w+\(", line)]
    assert [line for line in begun if not own.search(line)] == []


# The decoder's process itself


@pytest.fixture(scope="module")
def slow(tmp_path_factory) -> Path:
    """A film that takes so long to decode that its decoder can be met."""
    path = tmp_path_factory.mktemp("slow") / "slow.avi"
    return shoot(path, "mpeg4", size=(1280, 960), rate=240, frames=1500)


def decoder_of(home, name: str) -> int | None:
    """The process that decodes this file now."""
    for process in home.children():
        folder = Path(f"/proc/{process}")
        try:
            if is_expendable(process) and is_expendable(parent_of(process)):  # the server has it open while it forks
                opened = {str(link.readlink()) for link in (folder / "fd").iterdir()}
                if str(home.root / name) in opened:
                    return process
        except OSError:
            continue  # it ended while we looked
    return None


def is_expendable(process: int) -> bool:
    return Path(f"/proc/{process}/oom_score_adj").read_text().strip() == "1000"


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def gone(process: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True


@pytest.mark.fault("D5", "D6")
@pytest.mark.parametrize(
    ("fate", "reason"),
    [(signal.SIGSTOP, "timeout"), (signal.SIGSEGV, "decoder_crashed"), (signal.SIGKILL, "decoder_crashed")],
)
def test_a_decoder_that_hangs_or_dies_costs_its_file_three_tries_and_the_others_none(home, clips, slow, fate, reason):
    home.configure("config.toml", extract={"encoder": "builtin", "timeout_seconds": 10})
    shutil.copy(slow, home.root)
    for number in range(3):
        shutil.copy(clips / f"sea-{number}.mp4", home.root)
    met: set[int] = set()

    def strike() -> bool:
        decoder = decoder_of(home, "slow.avi")
        if decoder is not None and decoder not in met:
            os.kill(decoder, fate)
            met.add(decoder)
        return bool(home.told("set_aside", path="slow.avi"))

    with home.nothing_lost():
        home.start()
        home.until(strike, seconds=120)
        assert [line["reason"] for line in home.told("set_aside")] == [reason]
        assert len(met) == 3
        home.until(lambda: all(map(gone, met)))
        home.await_told("extracted", 3)
        assert [(aside["path"], aside["attempts"]) for aside in home.ask("status")["set_aside"]] == [("slow.avi", 3)]


def kill_with_its_children(home) -> None:
    """As the kernel does where a whole unit has taken too much memory."""
    os.kill(home.process.pid, signal.SIGSTOP)  # it sees nothing of the end of its children
    for process in home.children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    home.kill()


@pytest.mark.fault("D8")
def test_a_file_that_kills_sortd_itself_is_set_aside_and_the_others_go_on(home, clips, slow):
    home.configure("config.toml", extract={"encoder": "builtin"})
    shutil.copy(slow, home.root)
    for number in range(3):
        shutil.copy(clips / f"sea-{number}.mp4", home.root)
    kills = 0

    def decoding_or_set_aside() -> bool:
        return decoder_of(home, "slow.avi") is not None or bool(home.told("set_aside"))

    with home.nothing_lost():
        while not home.told("set_aside"):
            home.start()
            home.until(decoding_or_set_aside)
            if not home.told("set_aside"):
                kill_with_its_children(home)
                kills += 1
            assert kills <= 4
        home.await_told("extracted", 3)
        assert [(line["path"], line["reason"]) for line in home.told("set_aside")] == [("slow.avi", "decoder_crashed")]
    assert kills in {3, 4}  # in a batch nobody was counted yet


@pytest.mark.fault("D7", "G5")
@pytest.mark.parametrize(
    "missing",
    [
        ("av", "libavcodec.so.62", "install sortd anew, with its package av"),
        ("cv2", "libGL.so.1", "install sortd anew, with all that it needs"),
    ],
)
def test_without_a_library_one_line_says_what_to_install_and_no_video_pays(home, clips, tmp_path, monkeypatch, missing):
    package, library, cure = missing
    home.configure("config.toml", extract={"encoder": "builtin"})
    for number in range(3):
        shutil.copy(clips / f"sea-{number}.mp4", home.root)
    error = f"raise ImportError('{library}: cannot open shared object file')"
    python = installation(tmp_path / "broken", {f"{package}/__init__.py": error})
    with home.nothing_lost():
        with monkeypatch.context() as patch:
            patch.setattr(conftest, "SORTD", (python, "-P", "-m", "sortd"))
            home.once()
        (line,) = home.told("extraction_stalled")
        assert library in line["why"]
        assert cure in line["why"]
        assert home.ask("status")["set_aside"] == []
        assert home.once().returncode == 0
        assert len(home.told("extracted")) == 3


@pytest.mark.fault("D5")
@under_strace
def test_however_short_the_timeout_a_good_video_is_not_blamed_for_a_slow_start(home, clips):
    home.configure("config.toml", extract={"encoder": "builtin", "timeout_seconds": 1})
    shutil.copy(clips / "sea-0.mp4", home.root)
    with home.nothing_lost():
        assert home.once(*delaying("execve", 1.5)).returncode == 0
        assert len(home.told("extracted")) == 1
        assert home.told("set_aside") == []


@pytest.mark.fault("D9")
def test_a_long_transcript_is_cut_where_clip_ends_and_silence_says_nothing(home, tmp_path):
    there = (
        "one two three four five six seven eight nine ten red blue green white black house tree water fire wind"
        " snow rain sun moon star dog cat bird fish horse day night week month year man woman child friend king"
    )
    sentence = " ".join([there, *reversed(there.split())])  # 80 tokens, and few enough of them different
    save_archive(tmp_path / "clip.pt", random_clip())
    save_whisper(tmp_path / "whisper.pt", talking_whisper(sentence))
    models = {"extract.visual": {"model": str(tmp_path / "clip.pt")}}
    models |= {"extract.speech": {"model": str(tmp_path / "whisper.pt")}}
    home.configure("config.toml", **models)
    for name, loudness in (("talk.mp4", 1), ("silence.mp4", 0)):
        shoot(home.root / name, sounds=[("aac", "mono", tone(0.5) * loudness)])
    with home.nothing_lost():
        assert home.once(timeout=600).returncode == 0
        talk, silence = (
            home.ask("explain", str(home.root / name))["features"]["speech"] for name in ("talk.mp4", "silence.mp4")
        )
    assert (talk["present"], talk["text"]) == (True, sentence)
    assert (silence["present"], silence["text"]) == (False, "")
