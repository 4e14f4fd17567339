from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from sortd.domain.errors import ExtractionError, SortdError
from sortd.domain.feature import Fault
from sortd.extract.decoding import decoder_pool as decoder_module
from sortd.extract.decoding.decoder_pool import DecoderPool
from sortd.extract.decoding.sandbox import LEAST_BYTES_PER_SECOND, believed_length
from sortd.extract.spec import Needs, Sample
from tests.clips import film, number_in
from tests.waiting import PATIENCE_SECONDS, until

THREE = Needs(frames=3)
EVERYTHING = Needs(frames=5, following=True, short_side=48, sound=True)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def made_to(reader: str, *, timeout_seconds: float = PATIENCE_SECONDS) -> DecoderPool:
    return DecoderPool(THREE, timeout_seconds=timeout_seconds, read=f"tests.shell.readers:{reader}")


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def decode(decoder: DecoderPool, path: Path) -> Sample:
    with opened(path) as descriptor:
        return decoder.decode(descriptor)


def refusal(decoder: DecoderPool, path: Path) -> ExtractionError:
    with pytest.raises(ExtractionError) as refused:
        decode(decoder, path)
    return refused.value


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def at_work(decoder: DecoderPool, pool: ThreadPoolExecutor, path: Path) -> Iterator[tuple[int, int]]:
    """The server and the child that has the file; both are gone afterwards."""
    earlier = children()
    decoding = pool.submit(decode, decoder, path)
    until(lambda: len(children() - earlier) == 1)
    (server,) = children() - earlier
    until(lambda: len(children(of=server)) == 1)
    (child,) = children(of=server)
    try:
        yield server, child
    finally:
        os.kill(server, signal.SIGKILL)
        with pytest.raises(ExtractionError):
            decoding.result()


def children(of: int | None = None) -> set[int]:
    """The children of a process (of this one, if not told), zombies included."""
    process = of or os.getpid()
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return {int(child) for listed in lists for child in listed.read_text("ascii").split()}


def open_descriptors() -> set[str]:
    return {str(descriptor) for descriptor in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "video.mp4").write_bytes(b"good")
    return tmp_path / "video.mp4"


def take_long(video: Path, seconds: float, *, holding: int) -> None:
    """Make a video that the reader of this name is slow over; it holds so many bytes more."""
    with video.open("wb") as file:
        file.write(f"{seconds:<16}".encode())
        file.write(bytes(holding))


@pytest.mark.parametrize("forks", [True, False])
def test_a_video_comes_through_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, forks: bool) -> None:
    monkeypatch.setattr(decoder_module, "FORKS", forks and decoder_module.FORKS)
    with DecoderPool(EVERYTHING, timeout_seconds=PATIENCE_SECONDS) as decoder:
        sample = decode(decoder, film(tmp_path / "clip.mp4"))
        again = decode(decoder, tmp_path / "clip.mp4")

    assert [number_in(picture) for picture in sample.frames] == [0, 5, 11, 17, 23]
    assert [number_in(picture) for picture in sample.following] == [1, 6, 12, 18, 23]
    assert sample.times == pytest.approx([0, 5 / 12, 11 / 12, 17 / 12, 23 / 12], abs=0.01)
    assert (sample.width, sample.height, sample.seconds) == (160, 96, pytest.approx(2, abs=0.1))
    assert sample.sound is not None
    assert sample.sound.dtype == np.float32
    assert len(sample.sound) == pytest.approx(32_000, rel=0.03)
    assert all(map(np.array_equal, sample.frames, again.frames))


def test_a_refusal_comes_through_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_bytes(b"<!doctype html>")
    with DecoderPool(EVERYTHING, timeout_seconds=PATIENCE_SECONDS) as decoder:
        assert refusal(decoder, tmp_path / "page.mp4").fault is Fault.NOT_A_VIDEO


def test_a_crash_costs_one_file_and_the_next_goes_on(tmp_path: Path, video: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"x")
    with made_to("crash_on_x") as decoder:
        assert refusal(decoder, tmp_path / "bad.mp4").fault is Fault.DECODER_CRASHED
        assert decode(decoder, video).frames[0][0, 0, 0] == ord("g")


@pytest.mark.parametrize("reader", ["crash", "stumble", "answer_too_little"])
def test_any_way_to_die_is_a_crash(video: Path, reader: str) -> None:
    with made_to(reader) as decoder:
        assert refusal(decoder, video).fault is Fault.DECODER_CRASHED


@LINUX
def test_a_decoder_that_hangs_ends_at_the_deadline(video: Path) -> None:
    with made_to("hang", timeout_seconds=1.0) as decoder:
        earlier = children()
        assert refusal(decoder, video).fault is Fault.TIMEOUT
        (server,) = children() - earlier
        until(lambda: not children(of=server))


@pytest.mark.fault("G7")
def test_a_long_video_of_few_bits_is_given_half_its_length(video: Path) -> None:
    def waited_for(seconds: float) -> bool:
        """Whether three times the timeout is spent on it; its length is twelve times that, at 100 kbit/s."""
        take_long(video, 3 * seconds, holding=int(12_500 * 12 * seconds))
        with made_to("take_long", timeout_seconds=seconds) as decoder, suppress(ExtractionError):
            return len(decode(decoder, video).frames) == 3
        return False

    assert any(map(waited_for, (0.5, 4.0, 30.0)))  # a busy machine lets the child begin only after a while


@pytest.mark.fault("G7")
@pytest.mark.parametrize("hole", [0, 12 * 3600 * LEAST_BYTES_PER_SECOND])
def test_a_small_file_that_claims_to_be_long_is_given_none(video: Path, hole: int) -> None:
    take_long(video, 1.5, holding=0)
    with video.open("r+b") as file:
        file.truncate(16 + hole)
    with made_to("take_long", timeout_seconds=0.5) as decoder:
        assert refusal(decoder, video).fault is Fault.TIMEOUT


@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    ("megabytes", "claimed_hours", "believed_seconds"),
    [
        (90, 2, 7200),  # a talk at 100 kbit/s
        (60, 2, 7200),  # sound and still pictures
        (346, 12, 12 * 3600),
        (11, 12, 88),  # each second would have 255 bytes
        (18, 12, 144),
        (18, 101, 144),
        (6000, 101, 12 * 3600),
        (0.5, 0.01, 36),
        (0, 12, 0),
    ],
)
def test_a_length_is_believed_as_far_as_the_bytes_can_hold_it(
    megabytes: float, claimed_hours: float, believed_seconds: float
) -> None:
    size = int(megabytes * 1e6)
    status = os.stat_result((0o100600, 1, 1, 1, 0, 0, size, 0, 0, 0), {"st_blocks": -(-size // 512)})

    assert believed_length(3600 * claimed_hours, status) == pytest.approx(believed_seconds)


@pytest.mark.fault("G7")
def test_lengths_without_end_earn_no_more_time_than_one(video: Path) -> None:
    with made_to("claim_and_claim", timeout_seconds=1.0) as decoder:
        assert refusal(decoder, video).fault in {Fault.TIMEOUT, Fault.DECODER_CRASHED}


def test_a_flood_of_words_is_not_heard(video: Path) -> None:
    with made_to("flood") as decoder:
        assert len(decode(decoder, video).frames) == 3


def message(**said: object) -> bytes:
    told = json.dumps(said).encode()
    return len(told).to_bytes(4) + told


HEADER = {"frames": [[2, 2]] * 3, "following": [], "times": [0, 1, 2], "sound": None}
HEADER |= {"seconds": 1, "width": 2, "height": 2}


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\x00",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\xff" * 100_000,
        b"\x00\x00\x00\x04null",
        b"\x00\x01\x00\x00" + b"[" * 0x10000,
        message(length="long"),
        message(fault="tired", message="of it"),
        message(**HEADER),
        message(**HEADER) + bytes(35),
        message(**HEADER) + bytes(37),
        message(**{**HEADER, "frames": [[2, 2]] * 4}) + bytes(48),
        message(**{**HEADER, "frames": [[2, 2], [2, 2], [-2, 2]]}) + bytes(36),
        message(**{**HEADER, "frames": [[100_000, 100_000]] * 3}) + bytes(1_000),
        message(**{**HEADER, "sound": 10**12}) + bytes(1_000),
        message(**{**HEADER, "times": None}) + bytes(36),
        message(**{**HEADER, "seconds": [1]}) + bytes(36),
        message(**{**HEADER, "seconds": float("inf")}) + bytes(36),
        message(**{**HEADER, "times": [0, 1, float("nan")]}) + bytes(36),
    ],
)
def test_nonsense_is_a_crash_too(tmp_path: Path, nonsense: bytes) -> None:
    (tmp_path / "video.mp4").write_bytes(nonsense)
    with made_to("talk_nonsense") as decoder:
        assert refusal(decoder, tmp_path / "video.mp4").fault is Fault.DECODER_CRASHED


def test_what_is_well_said_is_taken(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(message(**HEADER) + bytes(range(36)))
    with made_to("talk_nonsense") as decoder:
        assert decode(decoder, tmp_path / "video.mp4").frames[2].ravel().tolist() == list(range(24, 36))


def test_a_refusal_of_many_words_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(message(fault="damaged", message="a" * 500_000))
    with made_to("talk_nonsense") as decoder:
        assert len(str(refusal(decoder, tmp_path / "video.mp4"))) <= 1_000


def test_a_length_that_no_film_has_earns_no_endless_patience(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(message(length=float("nan")) + message(length=1e300) + message(length=-1e300))
    with made_to("talk_nonsense") as decoder:
        assert refusal(decoder, tmp_path / "video.mp4").fault is Fault.DECODER_CRASHED


@LINUX
def test_a_video_may_not_eat_all_memory(video: Path) -> None:
    with made_to("eat") as decoder:
        assert refusal(decoder, video).fault is Fault.TOO_LARGE


@LINUX
def test_a_child_is_left_with_what_decoding_takes(video: Path) -> None:
    with (
        made_to("hang", timeout_seconds=600) as decoder,
        ThreadPoolExecutor() as pool,
        at_work(decoder, pool, video) as (
            server,
            child,
        ),
    ):
        proc = Path(f"/proc/{child}")
        # The filter comes last: then all else is done.
        until(lambda: "Seccomp:\t2" in (proc / "status").read_text("ascii"))
        limits = {line[:26].strip(): line[26:].split()[0] for line in (proc / "limits").read_text("ascii").splitlines()}
        nothing = ["file size", "core file size", "processes", "open files", "locked memory", "pending signals"]
        assert {limits[f"Max {name}"] for name in nothing} == {"0"}
        assert 600 <= int(limits["Max cpu time"]) <= 601  # a file of a few bytes earns no more
        assert int((proc / "stat").read_text("ascii").rpartition(")")[2].split()[16]) >= 10  # niceness
        assert (proc / "oom_score_adj").read_text("ascii").strip() == "1000"
        assert os.getsid(child) == child != os.getsid(server)
        if os.geteuid() == 0:
            opened_there = [str(link.readlink()) for link in (proc / "fd").iterdir()]
            assert sorted(name.partition(":")[0] for name in opened_there if name != "/dev/null") == sorted(
                [str(video), "socket"]
            )
            assert not list(proc.joinpath("root").iterdir())
            assert {line.split(":")[0].strip() for line in (proc / "net/dev").read_text().splitlines()[2:]} <= {"lo"}


def test_two_threads_may_read_the_same_open_file_at_once(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")
    with (
        DecoderPool(EVERYTHING, timeout_seconds=PATIENCE_SECONDS) as decoder,
        ThreadPoolExecutor(4) as pool,
        opened(path) as descriptor,
    ):
        samples = list(pool.map(decoder.decode, [descriptor] * 12))

    assert {tuple(map(number_in, sample.frames)) for sample in samples} == {(0, 5, 11, 17, 23)}


@LINUX
def test_nothing_is_left_after_many_files(video: Path) -> None:
    with made_to("fine") as decoder:
        earlier = children()
        decode(decoder, video)
        threads = set(threading.enumerate())
        before = open_descriptors(), children()
        for _ in range(50):
            decode(decoder, video)

        assert (open_descriptors(), children()) == before
        assert set(threading.enumerate()) <= threads
        (server,) = children() - earlier
        until(lambda: not children(of=server))
    assert children() == earlier


@LINUX
def test_a_server_that_was_killed_is_replaced(video: Path) -> None:
    with made_to("fine") as decoder:
        earlier = children()
        decode(decoder, video)
        (server,) = children() - earlier
        os.kill(server, signal.SIGKILL)

        assert len(decode(decoder, video).frames) == 3


def test_a_decoder_that_cannot_start_is_no_video_s_fault(video: Path) -> None:
    with (
        DecoderPool(THREE, timeout_seconds=PATIENCE_SECONDS, read="tests.shell.missing:read") as decoder,
        opened(video) as descriptor,
        pytest.raises(SortdError, match=r"No module named 'tests\.shell\.missing'.*install sortd anew") as told,
    ):
        decoder.decode(descriptor)
    assert not isinstance(told.value, ExtractionError)


@LINUX
def test_no_child_outlives_its_owner(video: Path) -> None:
    program = (
        "import os; from sortd.extract.spec import Needs; from sortd.extract.decoding.decoder_pool import DecoderPool;"
        f"fd = os.open({str(video)!r}, os.O_RDONLY);"
        "DecoderPool(Needs(frames=3), timeout_seconds=600, read='tests.shell.readers:hang').decode(fd)"
    )
    root = Path(__file__).parents[2]
    code = f"import sys; sys.path.append({str(root)!r}); {program}"
    with subprocess.Popen([sys.executable, "-P", "-c", code]) as owner:
        until(lambda: len(children(of=owner.pid)) == 1)
        (server,) = children(of=owner.pid)
        until(lambda: len(children(of=server)) == 1)
        (child,) = children(of=server)
        owner.kill()

    until(lambda: gone(child) and gone(server))
