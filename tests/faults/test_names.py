"""Hostile names and what only looks like a video. Rows N1, N2 and N5 of the fault matrix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.kit import WITHOUT_PRIVILEGES, as_root, tracing, under_strace
from tests.faults.names import IGNORED, TRACKED, drop, make_special, path_of

HARDEST = (b"\n.mp4", b"\x1b[2J\x1b[31mred\x1b]0;title\x07.mp4", b"\xfe\xff\x81.mp4", b"-rf.mp4", b"{0}{self!r}.mp4")


def names_below(folder: Path) -> dict[bytes, bytes]:
    """Each plain file's name -> the folder it stands in; both as the bytes they are."""
    found = {}
    for above, _, names in os.walk(os.fsencode(folder)):
        if b"/.sortd" not in above:
            found |= {name: os.path.relpath(above, os.fsencode(folder)) for name in names}
    return found


def exact(path: str) -> bytes:
    """The bytes of a path that came through JSON."""
    return os.fsencode(path)


def clean(said: bytes) -> bool:
    """Whether lines of text hold nothing that moves a cursor, rings a bell or turns the writing round."""
    return all(char == "\n" or char.isprintable() for char in said.decode())


def spare(clips: Path) -> list[Path]:
    return [clips / f"{family}-6.mp4" for family in ("sea", "city", "garden")]


def tell(home, *command: str) -> bytes:
    done = home.run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout.encode("utf-8", "surrogateescape") + done.stderr.encode("utf-8", "surrogateescape")


@pytest.mark.fault("N1", sample=True)
def test_a_hostile_name_is_kept_byte_for_byte(fresh, clips):
    home = fresh()
    drop(spare(clips), HARDEST, home.root)
    with home.nothing_lost():
        assert home.once().returncode == 0
        filed = names_below(home.root)
        assert {filed[name] for name in HARDEST} <= {b"sea", b"city", b"garden"}
        assert {exact(move["to"]) for move in home.ask("history")} == {filed[name] + b"/" + name for name in HARDEST}
        home.ask("undo", "--all")
        assert {names_below(home.root)[name] for name in HARDEST} == {b"."}


@pytest.mark.fault("N1")
def test_names_of_all_kinds_are_sorted_found_again_and_put_back(fresh, clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = fresh(move={"mode": "observe"})
    drop(spare(clips), TRACKED, home.root)
    taught = names_below(home.root).keys() - set(TRACKED)
    with home.nothing_lost():
        assert home.once().returncode == 0
        preview = {exact(one["path"]): one for one in home.ask("preview")}
        assert preview.keys() == set(TRACKED)
        assert {one["decision"] for one in preview.values()} == {"move"}
        assert clean(tell(home, "preview"))

        home.configure("config.toml", move={"probation": []})
        assert home.once().returncode == 0
        filed = names_below(home.root)
        assert filed.keys() == {*taught, *TRACKED}
        assert {name: filed[name] for name in TRACKED} == {name: exact(preview[name]["category"]) for name in TRACKED}
        targets = {filed[name] + b"/" + name for name in TRACKED}
        assert {exact(move["to"]) for move in home.ask("history")} == targets
        assert {exact(move["from"]) for move in home.ask("history")} == set(TRACKED)
        assert clean(tell(home, "history"))
        for name in HARDEST:
            path = str(path_of(home.root, filed[name] + b"/" + name))
            assert exact(home.ask("explain", path)["path"]) == filed[name] + b"/" + name
            assert clean(tell(home, "explain", path))

        assert home.once().returncode == 0  # they are known again
        assert names_below(home.root) == filed
        status = home.ask("status")
        assert (status["videos"]["pending"], status["set_aside"], status["open_moves"]) == (0, [], 0)

        home.ask("undo", "--all")
        assert {names_below(home.root)[name] for name in TRACKED} == {b"."}
        assert [move["state"] for move in home.ask("history")] == ["undone"] * len(TRACKED)
    for event in ("found", "extracted", "moved", "undone"):
        assert {exact(line["path"]).rpartition(b"/")[2] for line in home.told(event)} == set(TRACKED), event
    assert clean(home.log.read_bytes())
    assert [*tmp_path.rglob("OWNED"), *home.folder.rglob("OWNED")] == []


@pytest.mark.fault("N1")
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_damaged_file_of_any_name_is_told_of_in_one_clean_line(home, form):
    home.configure("config.toml", log={"format": form})
    for name in TRACKED:
        path_of(home.root, name).write_bytes(b"no video: " + name)
    with home.nothing_lost():
        done = home.once()
        assert done.returncode == 0
        assert {exact(aside["path"]) for aside in home.ask("status")["set_aside"]} == set(TRACKED)
        assert clean(tell(home, "status"))
        assert clean(tell(home, "preview"))
    for said in (home.log.read_bytes(), done.stderr.encode()):
        assert clean(said)
        assert len([line for line in said.split(b"\n") if b"set_aside" in line]) == len(TRACKED)


@pytest.mark.fault("N2")
@under_strace
def test_what_is_hidden_or_unfinished_is_never_opened(fresh, clips, tmp_path):
    home = fresh()
    drop(spare(clips), (*IGNORED, b"plain.mp4"), home.root)
    with home.nothing_lost():
        assert home.once(*tracing("open,openat,openat2", tmp_path / "calls")).returncode == 0
        calls = (tmp_path / "calls").read_text()
        assert "plain.mp4" in calls
        for name in IGNORED:
            assert f'/{name.decode()}"' not in calls
            assert f'"{name.decode()}"' not in calls
            assert names_below(home.root)[name] == b"."
        assert {line["path"] for line in home.told("found")} == {"plain.mp4"}


@pytest.mark.fault("N5")
@under_strace
def test_pipes_devices_and_links_are_left_alone(fresh, clips, tmp_path):
    home = fresh()
    special = make_special(spare(clips)[0], home.root, tmp_path / "outside")
    (home.root / "folder.mp4").mkdir()
    drop(spare(clips), [b"plain.mp4"], home.root)
    drop(spare(clips)[1:], [b"inside.mp4"], home.root / "folder.mp4")
    before = {name: os.lstat(home.root / name).st_ino for name in special}
    with home.nothing_lost():
        assert home.once(*tracing("open,openat,openat2", tmp_path / "calls")).returncode == 0
        assert {name: os.lstat(home.root / name).st_ino for name in special} == before
        assert {line["path"] for line in home.told("found")} == {"plain.mp4", "folder.mp4/inside.mp4"}
        assert home.places("inside.mp4") == ["folder.mp4/inside.mp4"]
    calls = (tmp_path / "calls").read_text()
    assert str(tmp_path / "outside") not in calls
    assert "secret.mp4" not in calls
    for name in special:
        assert f'/{name}"' not in calls


@pytest.mark.fault("N5")
@as_root
def test_a_video_that_may_not_be_read_is_told_of_and_left(fresh, clips):
    home = fresh()
    drop(spare(clips), [b"locked.mp4"], home.root)
    drop(spare(clips), [b"read only.mp4"], home.root)
    (home.root / "locked.mp4").chmod(0)
    (home.root / "read only.mp4").chmod(0o400)
    with home.nothing_lost():
        assert home.once(*WITHOUT_PRIVILEGES).returncode == 0
        assert home.places("locked.mp4") == ["locked.mp4"]
        assert home.places("read only.mp4") == ["sea/read only.mp4"]
        assert "locked.mp4" in home.log.read_text()
