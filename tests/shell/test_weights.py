from __future__ import annotations

import ast
import hashlib
import os
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from sortd.cli.model_files import facts, fetch_all
from sortd.domain.errors import ConfigError, SortdError
from sortd.extract.models.weights import (
    CLIP,
    WHISPER,
    Weights,
    address_of,
    clip_weights,
    download,
    fetch,
    whisper_weights,
)
from sortd.extract.registry import EncoderSettings
from tests.waiting import PATIENCE_SECONDS, once_within

CONTENT = bytes(range(256)) * 12_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in (
        "XDG_CACHE_HOME",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def small():
    """A published Whisper, but small."""
    return Weights("small", "whisper", len(CONTENT), SHA256, "MIT", "small.pt")


def left_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if not file.is_dir())


# What is published


def table_in(package: str, file: str) -> dict[str, str]:
    """A library's `_MODELS`, without importing what the library needs."""
    source = Path(find_spec(package).origin).with_name(file).read_text("utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "_MODELS":
            return ast.literal_eval(statement.value)
    raise AssertionError(f"{package} has no table")


@pytest.mark.parametrize(
    ("ours", "package", "file"),
    [(CLIP, "clip", "clip.py"), (WHISPER, "whisper", "__init__.py")],
    ids=["clip", "whisper"],
)
def test_every_published_name_is_known_with_its_file_and_what_it_must_hold(ours, package, file):
    theirs = table_in(package, file)
    assert {name: (weights.sha256, weights.file) for name, weights in ours.items()} == {
        name: tuple(address.split("/")[-2:]) for name, address in theirs.items()
    }
    assert {name: address_of(weights) for name, weights in ours.items()} == theirs
    assert all(weights.bytes > 70e6 and weights.licence == "MIT" for weights in ours.values())


def test_published_clips_know_the_width_of_their_vectors():
    assert {name: weights.dim() for name, weights in CLIP.items()} == {
        "RN50": 1024,
        "RN101": 512,
        "RN50x4": 640,
        "RN50x16": 768,
        "RN50x64": 1024,
        "ViT-B/32": 512,
        "ViT-B/16": 512,
        "ViT-L/14": 768,
        "ViT-L/14@336px": 768,
    }


def test_the_files_are_looked_for_where_the_libraries_keep_them(home, monkeypatch):
    assert clip_weights("ViT-L/14@336px").path() == home / ".cache/clip/ViT-L-14-336px.pt"
    assert whisper_weights("turbo").path() == home / ".cache/whisper/large-v3-turbo.pt"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert clip_weights("RN50").path() == home / ".cache/clip/RN50.pt"
    assert whisper_weights("base").path() == Path("/elsewhere/whisper/base.pt")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert whisper_weights("base").path() == home / ".cache/whisper/base.pt"


@pytest.mark.parametrize(
    ("find", "wrong", "nearest"),
    [
        (clip_weights, "vit-b/32", "ViT-B/32"),
        (clip_weights, "ViT-L-14", "ViT-L/14"),
        (whisper_weights, "Base", "base"),
        (whisper_weights, "large-v4", "large-v3"),
        (whisper_weights, "tiny.eng", "tiny.en"),
    ],
)
def test_of_an_unknown_name_the_nearest_is_told(find, wrong, nearest):
    with pytest.raises(ConfigError) as refused:
        find(wrong)
    (problem,) = refused.value.problems
    assert problem.startswith(f'"{wrong}" is neither')
    assert problem.endswith(f"the nearest is {nearest}")


def test_asking_costs_no_heavy_import():
    code = (
        "import sys; from sortd.extract.registry import EncoderSettings, encoder;"
        "encoder(EncoderSettings());"
        "print([name for name in ('torch', 'clip', 'whisper', 'urllib.request') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Whether they are there


def test_only_a_plain_file_of_the_published_size_counts_as_there(small):
    place = small.path()
    place.parent.mkdir(parents=True)
    assert not small.present()
    place.write_bytes(CONTENT[:-1])
    assert not small.present()
    place.write_bytes(CONTENT)
    assert small.present()
    place.unlink()
    os.mkfifo(place)
    assert not small.present()
    place.unlink()
    place.mkdir()
    assert not small.present()


def test_a_cache_folder_that_is_a_link_to_another_disk_will_do(small, tmp_path, home):
    (tmp_path / "disk").mkdir()
    (home / ".cache").mkdir()
    (home / ".cache/whisper").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/small.pt").write_bytes(CONTENT)
    assert small.present()


@pytest.mark.parametrize("model", ["/models/mine.pt", "~/mine.pt", "./mine", "../mine", "mine.pt", "folder/mine.pt"])
def test_a_path_stands_for_the_owners_own_checkpoint(model, home):
    weights = clip_weights(model)
    assert weights.path() == Path(model.replace("~", str(home)))
    assert weights.name == model
    assert (weights.bytes, weights.sha256, weights.licence) == (None, None, None)
    assert not weights.present()


def test_an_own_checkpoint_is_there_once_it_is_not_empty(tmp_path):
    mine = whisper_weights(str(tmp_path / "mine.pt"))
    mine.path().touch()
    assert not mine.present()
    mine.path().write_bytes(b"x")
    assert mine.present()
    assert not whisper_weights("/with\0nul.pt").present()


# What they hold


def test_the_digest_of_a_published_file_is_known_before_it_is_there():
    assert clip_weights("ViT-B/32").digest() == "40d365715913"
    assert whisper_weights("large").digest() == whisper_weights("large-v3").digest() != whisper_weights("base").digest()


@pytest.mark.parametrize("size", [1, 300_000, 1_000_000])
def test_the_digest_of_an_own_checkpoint_changes_with_its_content(size, tmp_path):
    mine, copy = clip_weights(str(tmp_path / "mine.pt")), clip_weights(str(tmp_path / "copy.pt"))
    for weights in (mine, copy):
        weights.path().write_bytes(b"a" * size)
    first = mine.digest()
    assert len(first) == 12
    assert copy.digest() == first
    told = set()
    for place in {0, size // 2, size - 1}:
        changed = bytearray(b"a" * size)
        changed[place] = ord("b")
        mine.path().write_bytes(changed)
        os.utime(mine.path(), ns=(0, place))
        told.add(mine.digest())
    assert len(told | {first}) == len({0, size // 2, size - 1}) + 1


def test_a_large_checkpoint_is_digested_at_once(tmp_path):
    with (tmp_path / "huge.pt").open("wb") as file:
        file.truncate(1 << 40)
    once_within(1, clip_weights(str(tmp_path / "huge.pt")).digest)


@pytest.mark.parametrize("ask", [Weights.digest, Weights.dim])
def test_a_checkpoint_that_is_not_there_is_told_in_one_line(ask, tmp_path):
    with pytest.raises(SortdError, match=r"nowhere\.pt: the checkpoint cannot be read: No such file or directory$"):
        ask(clip_weights(str(tmp_path / "nowhere.pt")))


def numbers(width: int):
    import torch  # noqa: PLC0415 - takes seconds

    return {"logit_scale": torch.tensor(1.0), "text_projection": torch.zeros(8, width).half()}


def test_the_width_of_an_own_clip_is_read_from_its_archive(tmp_path):
    from tests.checkpoints import TINY_CLIP, random_clip, save_archive  # noqa: PLC0415 - as above

    for width in (24, 64):
        place = save_archive(tmp_path / f"{width}.pt", random_clip((width, *TINY_CLIP[1:])))
        assert clip_weights(str(place)).dim() == width


@pytest.mark.parametrize("kind", ["numbers", "parameters", "state of a module"])
def test_the_width_of_an_own_clip_is_read_from_its_saved_numbers(kind, tmp_path):
    import torch  # noqa: PLC0415 - as above

    place = tmp_path / "mine.pt"
    for width in (24, 640):
        saved = numbers(width)
        if kind != "numbers":
            saved = torch.nn.ParameterDict(saved)
        torch.save(saved.state_dict() if kind == "state of a module" else dict(saved), place)
        os.utime(place, ns=(0, width))
        assert clip_weights(str(place)).dim() == width


def test_a_checkpoint_of_the_old_format_is_refused_in_one_line(tmp_path):
    import torch  # noqa: PLC0415 - as above

    torch.save(numbers(24), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(SortdError, match=r"torch writes them since version 1.6: save it anew$"):
        clip_weights(str(tmp_path / "old.pt")).dim()


class Hostile:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def archive(place: Path, structure: bytes, name: str = "archive/data.pkl") -> Weights:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, structure)
    return clip_weights(str(place))


def test_a_hostile_checkpoint_runs_nothing(tmp_path):
    trap = tmp_path / "sprung"
    structure = pickle.dumps({"text_projection": Hostile(f"touch {trap}")}, protocol=2)
    with pytest.raises(SortdError, match=r"holds no text_projection"):
        archive(tmp_path / "hostile.pt", structure).dim()
    assert not trap.exists()
    pickle.loads(structure)  # noqa: S301 - the trap would spring
    assert trap.exists()


@pytest.mark.parametrize(
    "structure",
    [
        b"",
        b"\x80\x02",
        b"not a pickle",
        pickle.dumps(12),
        pickle.dumps({}),
        pickle.dumps({"text_projection": 12}),
        pickle.dumps({"text_projection": Hostile("")}),
        b"\x80\x02cbuiltins\ndict\n.",
        b"(" * 100_000,
        b"\x00" * (65 << 20),
    ],
    ids=range(10),
)
def test_whatever_else_the_structure_is_it_is_refused_in_one_line(structure, tmp_path):
    with pytest.raises(SortdError, match="is no CLIP checkpoint"):
        archive(tmp_path / "odd.pt", structure).dim()


def test_a_zip_of_other_things_is_refused_in_one_line(tmp_path):
    with pytest.raises(SortdError, match="is no CLIP checkpoint"):
        archive(tmp_path / "photos.pt", b"", "photos/summer/data.pkl").dim()


# Fetching, from a server on this machine


@contextmanager
def serving(*answers):
    """A server that gives its answers in turn, the last one for ever; an answer is (status, headers, content)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = answers[min(len(asked), len(answers)) - 1]
            if callable(answer):
                answer(self)
                return
            status, length, content = answer
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/small.pt", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


WHOLE = (200, len(CONTENT), CONTENT)
CUT = (200, len(CONTENT), CONTENT[:1_500_000])
WRONG = (200, len(CONTENT), CONTENT[::-1])
PORTAL = (200, 24, b"<html>Please log in</htm")
ENDLESS = (200, 10 * len(CONTENT), CONTENT * 10)


def nothing(_received: int) -> None:
    pass


def test_what_is_fetched_is_put_in_place_whole_and_its_progress_told(small, home):
    told = []
    with serving(WHOLE) as (address, _):
        download(small, address, progress=told.append)
    assert small.path().read_bytes() == CONTENT
    assert small.present()
    assert left_in(home) == ["small.pt"]
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert len(told) > 2


@pytest.mark.parametrize("first", [CUT, WRONG, PORTAL, ENDLESS], ids=["cut", "wrong", "portal", "endless"])
def test_what_comes_cut_or_wrong_is_fetched_once_more_from_the_start(first, small, home):
    with serving(first, WHOLE) as (address, asked):
        download(small, address, progress=nothing)
    assert len(asked) == 2
    assert small.path().read_bytes() == CONTENT
    assert left_in(home) == ["small.pt"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (CUT, r"sent 1,500,000 of 3,072,000 bytes; try again$"),
        (WRONG, "sent something else than the published file$"),
        (PORTAL, "sent 24 of 3,072,000 bytes; try again$"),
        (ENDLESS, "sent something else than the published file$"),
        ((404, 0, b""), "answers 404 Not Found$"),
    ],
    ids=["cut", "wrong", "portal", "endless", "absent"],
)
def test_what_cannot_be_had_is_told_in_one_line_and_leaves_nothing_behind(answer, told, small, home):
    with (
        serving(answer) as (address, _),
        pytest.raises(SortdError, match=rf"^small: 127\.0\.0\.1:\d+ {told}") as refused,
    ):
        download(small, address, progress=nothing)
    assert "\n" not in str(refused.value)
    assert left_in(home) == []


def test_a_file_that_was_there_stays_until_a_whole_one_replaces_it(small):
    small.path().parent.mkdir(parents=True)
    small.path().write_bytes(b"an older one")
    with serving(WRONG, WRONG, WHOLE) as (address, _):
        with pytest.raises(SortdError):
            download(small, address, progress=nothing)
        assert small.path().read_bytes() == b"an older one"
        download(small, address, progress=nothing)
    assert small.present()


def test_a_server_that_falls_silent_is_not_waited_for(small, home):
    woken = threading.Event()

    def fall_silent(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:1000])
        woken.wait(PATIENCE_SECONDS)

    with serving(fall_silent) as (address, asked):
        with pytest.raises(SortdError, match=r"^small: the connection to .* broke: timed out; try again$"):
            download(small, address, progress=nothing, timeout_seconds=0.2)
        woken.set()
    assert len(asked) == 2
    assert left_in(home) == []


def test_a_slow_server_is_waited_for(small):
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        for first in range(0, len(CONTENT), 400_000):
            handler.wfile.write(CONTENT[first : first + 400_000])
            time.sleep(0.2)

    with serving(drip) as (address, _):
        download(small, address, progress=nothing, timeout_seconds=1.2)
    assert small.present()


def test_a_connection_broken_before_the_answer_is_tried_once_more(small):
    with serving(lambda handler: handler.connection.close(), WHOLE) as (address, _):
        download(small, address, progress=nothing)
    assert small.present()


def test_without_a_network_it_says_what_could_not_be_reached(home, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    base = whisper_weights("base")
    with pytest.raises(SortdError, match=r"^base: [a-z.]+ cannot be reached: Connection refused$"):
        fetch(base, progress=nothing)
    assert left_in(home) == []


def test_an_own_checkpoint_is_never_fetched(tmp_path):
    with pytest.raises(SortdError, match="being your own, it cannot be fetched"):
        fetch(clip_weights(str(tmp_path / "mine.pt")), progress=nothing)


def test_what_is_there_and_right_is_not_fetched_again(small):
    small.path().parent.mkdir(parents=True)
    small.path().write_bytes(CONTENT)
    fetch(small, progress=pytest.fail)


def test_what_is_there_but_damaged_is_fetched_again(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    base = whisper_weights("base")
    base.path().parent.mkdir(parents=True)
    with base.path().open("wb") as file:
        file.truncate(base.bytes)
    assert base.present()
    with pytest.raises(SortdError, match="cannot be reached"):
        fetch(base, progress=nothing)


def test_two_fetches_at_once_do_not_clobber_each_other(small, home):
    begun, go_on = threading.Event(), threading.Event()

    def wait_midway(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT[:2_000_000])
        begun.set()
        assert go_on.wait(20)
        handler.wfile.write(CONTENT[2_000_000:])

    with serving(wait_midway) as (address, asked):
        first = threading.Thread(target=download, args=(small, address), kwargs={"progress": nothing})
        first.start()
        assert begun.wait(20)
        with pytest.raises(SortdError, match=r"is being fetched already$"):
            download(small, address, progress=nothing)
        go_on.set()
        first.join()
    assert len(asked) == 1
    assert small.path().read_bytes() == CONTENT
    assert left_in(home) == ["small.pt"]


def test_what_a_killed_fetch_left_is_taken_over(small, home):
    unfinished = small.path().with_name(".small.pt.part")
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half a file" * 1_000_000)
    with serving(WHOLE) as (address, _):
        download(small, address, progress=nothing)
    assert small.path().read_bytes() == CONTENT
    assert left_in(home) == ["small.pt"]


def test_an_interrupted_fetch_leaves_nothing_behind(small, home):
    def interrupt(_received):
        raise KeyboardInterrupt

    with serving(WHOLE) as (address, _), pytest.raises(KeyboardInterrupt):
        download(small, address, progress=interrupt)
    assert left_in(home) == []


def test_a_cache_folder_that_cannot_be_written_is_told_in_one_line(small, home):
    (home / ".cache").write_text("a file in its place")
    with pytest.raises(SortdError, match=r"small\.pt cannot be written: Not a directory$"):
        download(small, "http://127.0.0.1:9/", progress=nothing)


# What `sortd models` tells and fetches


def test_models_tells_of_each_file_that_is_wanted(tmp_path, home):
    mine = tmp_path / "mine.pt"
    settings = EncoderSettings(clip_model=str(mine))
    assert facts(settings) == [
        {"name": str(mine), "present": False, "path": str(mine), "bytes": None, "sha256": None, "licence": None},
        {
            "name": "base",
            "present": False,
            "path": str(home / ".cache/whisper/base.pt"),
            "bytes": 145_262_807,
            "sha256": "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
            "licence": "MIT",
        },
    ]
    mine.write_bytes(b"12345")
    told, _ = facts(settings)
    assert (told["present"], told["bytes"]) == (True, 5)


def test_fetching_offline_says_one_line_for_each_file_and_goes_on_with_the_next(home, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    shown = []

    @contextmanager
    def bar(name, size):
        shown.append((name, size))
        yield pytest.fail

    problems = fetch_all(EncoderSettings(), bar=bar)
    assert shown == [("ViT-B/32", 353_976_522), ("base", 145_262_807)]
    assert [problem.partition(":")[0] for problem in problems] == ["ViT-B/32", "base"]
    assert all(problem.endswith("cannot be reached: Connection refused") for problem in problems)
    assert left_in(home) == []


def test_a_checkpoint_of_the_owners_is_not_fetched_and_not_missed(tmp_path):
    for name in ("clip.pt", "whisper.pt"):
        (tmp_path / name).write_bytes(b"x")

    @contextmanager
    def bar(_name, _size):
        yield pytest.fail

    there = EncoderSettings(clip_model=str(tmp_path / "clip.pt"), whisper_model=str(tmp_path / "whisper.pt"))
    assert fetch_all(there, bar=bar) == []
    (tmp_path / "clip.pt").unlink()
    assert fetch_all(there, bar=bar) == [f"{tmp_path}/clip.pt is not there; being your own, it cannot be fetched"]
