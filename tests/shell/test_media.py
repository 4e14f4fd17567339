from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault, Image
from sortd.extract.media import frames
from sortd.extract.spec import Needs, Sample
from tests.clips import FORMATS, HEIGHT, RATE, WIDTH, film, number_in, numbered, overwrite, packets

FIVE = Needs(frames=5)
EVERYTHING = Needs(frames=5, following=True, short_side=48, sound=True)
CLOSED_GROUPS = {"g": str(RATE), "bf": "2"}
ENCODINGS = {
    "h264": ("libx264", CLOSED_GROUPS),
    "h264 whose groups lean on the one before": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "h264 without key frames but the first": ("libx264", {"x264-params": "intra-refresh=1:keyint=8"}),
    "h264 in frames that are used by none": ("libx264", {"g": "24", "bf": "8", "x264-params": "b-pyramid=none"}),
    "hevc": ("libx265", {"x265-params": "log-level=none:keyint=12"}),
    "hevc in layers": ("libx265", {"x265-params": "log-level=none:keyint=24:temporal-layers=3:bframes=7"}),
    "hevc whose groups lean on the one before": ("libx265", {"x265-params": "log-level=none:keyint=12:open-gop=1"}),
    "vp9": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "vp9 with hidden frames": ("libvpx-vp9", {"g": "24", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8"}),
    "av1": ("libsvtav1", {"preset": "12", "g": "12"}),
    "vp8": ("libvpx", {"g": "12", "lag-in-frames": "16", "auto-alt-ref": "1"}),
}


def read(path: Path, needs: Needs = FIVE) -> Sample:
    with path.open("rb") as file:
        return frames.read(file, needs)


def fault_of(path: Path) -> Fault:
    with pytest.raises(ExtractionError) as refusal:
        read(path)
    return refusal.value.fault


def all_frames(path: Path) -> list[Image]:
    """What a player shows, one after the other."""
    shown = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            shown += [frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray() for frame in frames]
    return shown


def evenly(frames: list[Image], count: int) -> list[Image]:
    return [frames[index] for index in np.linspace(0, len(frames) - 1, count).astype(int)]


def same(some: tuple[Image, ...] | list[Image], others: tuple[Image, ...] | list[Image]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))


@pytest.mark.parametrize("name", FORMATS)
def test_five_frames_from_the_first_to_the_last_of_any_kind_of_video(tmp_path: Path, name: str) -> None:
    sample = read(film(tmp_path / name, codecs=FORMATS[name]), EVERYTHING)

    assert [number_in(picture) for picture in sample.frames] == [0, 5, 11, 17, 23]
    assert [number_in(picture) for picture in sample.following] == [1, 6, 12, 18, 23]
    assert sample.times == pytest.approx([0, 5 / 12, 11 / 12, 17 / 12, 23 / 12], abs=0.02)
    assert sample.seconds == pytest.approx(2, abs=0.1)
    assert (sample.width, sample.height) == (WIDTH, HEIGHT)
    assert {picture.shape for picture in sample.frames + sample.following} == {(48, 80, 3)}
    if FORMATS[name][1] is None:
        assert sample.sound is None
    else:
        assert sample.sound is not None
        assert len(sample.sound) == pytest.approx(2 * 16_000, rel=0.03)
        assert np.argmax(np.abs(np.fft.rfft(sample.sound[8_000:24_000]))) == 440


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_frames_are_bit_for_bit_those_of_a_full_decode(tmp_path: Path, encoding: str) -> None:
    codec, options = ENCODINGS[encoding]
    path = film(tmp_path / "clip.mkv", frames=100, codecs=(codec, None), settings=options)
    frames = all_frames(path)

    for count in (1, 2, 5, 13, 100):
        sample = read(path, Needs(frames=count, following=True))
        assert same(sample.frames, evenly(frames, count))
        assert same(sample.following, [*evenly([*frames[1:], frames[-1]], count)[:-1], frames[-1 if count > 1 else 1]])


@settings(max_examples=15)
@given(
    ticks=st.sets(st.integers(0, 90), min_size=1, max_size=60).map(sorted),
    options=st.fixed_dictionaries({"g": st.integers(1, 30), "bf": st.integers(0, 5)}),
    wanted=st.integers(1, 12),
)
def test_however_it_was_encoded_the_frames_are_the_right_ones(
    tmp_path_factory: pytest.TempPathFactory, ticks: list[int], options: dict[str, int], wanted: int
) -> None:
    path = tmp_path_factory.mktemp("film") / "clip.mp4"
    film(path, ticks=ticks, codecs=("libx264", None), settings={name: str(value) for name, value in options.items()})

    sample = read(path, Needs(frames=wanted))

    expected = np.linspace(0, len(ticks) - 1, wanted).astype(int).tolist()
    assert [number_in(picture) for picture in sample.frames] == expected
    assert sample.times == pytest.approx([(ticks[k] - ticks[0]) / RATE for k in expected], abs=0.001)


def test_a_long_film_costs_a_fraction_of_decoding_it(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mp4", frames=1_000, codecs=("libx264", None), settings=CLOSED_GROUPS)

    began = time.process_time()
    all_frames(path)
    whole = time.process_time()
    read(path)

    assert time.process_time() - whole < (whole - began) / 3


def test_scaled_pictures_keep_their_shape_and_small_ones_their_size(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")

    assert read(path, Needs(frames=1, short_side=24)).frames[0].shape == (24, 40, 3)
    assert read(path, Needs(frames=1, short_side=500)).frames[0].shape == (HEIGHT, WIDTH, 3)


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    sample = read(film(tmp_path / "clip.mp4"), Needs(sound=True))

    assert (sample.frames, sample.following, sample.times) == ((), (), ())
    assert sample.sound is not None
    assert read(tmp_path / "clip.mp4").sound is None


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
        ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda picture: np.fliplr(np.rot90(picture, -1))),
        ((0, -1, -1, 0), lambda picture: np.fliplr(np.rot90(picture))),
    ],
)
def test_pictures_are_turned_and_mirrored_as_a_player_shows_them(
    tmp_path: Path, matrix: tuple[int, int, int, int], turned: Callable[[Image], Image]
) -> None:
    path = film(tmp_path / "clip.mp4", codecs=("libx264", None))
    upright = all_frames(path)
    across_x, across_y, down_x, down_y = (65_536 * entry for entry in matrix)
    entries = struct.pack(">9i", across_x, across_y, 0, down_x, down_y, 0, 0, 0, 1 << 30)
    content = path.read_bytes()
    place = content.index(b"tkhd") + 44
    path.write_bytes(content[:place] + entries + content[place + len(entries) :])

    sample = read(path)

    assert same(sample.frames, [turned(picture) for picture in evenly(upright, 5)])
    assert (sample.height, sample.width) == sample.frames[0].shape[:2]


def test_the_cover_is_not_the_film(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as output:
        cover, video = output.add_stream("mjpeg"), output.add_stream("libx264", rate=RATE)
        cover.disposition = Disposition.attached_pic
        for stream, pixels in ((cover, "yuvj420p"), (video, "yuv420p")):
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        output.mux(cover.encode(av.VideoFrame.from_ndarray(numbered(1023))))
        for number in range(24):
            output.mux(video.encode(av.VideoFrame.from_ndarray(numbered(number))))
        output.mux(video.encode(None))

    assert [number_in(picture) for picture in read(path).frames] == [0, 5, 11, 17, 23]


@pytest.mark.parametrize(
    ("name", "ticks", "container"),
    [
        ("one frame.mp4", [0], {}),
        ("one frame.gif", [0], {}),
        ("one hour before the first frame.mkv", range(3600 * RATE, 3600 * RATE + 30), {}),
        ("ten hours.mp4", range(0, 36_000 * RATE + 1, 3600 * RATE), {}),
        ("unsteady.mp4", [0, 1, 2, 30, 31, 100, 400, 401], {}),
        ("in fragments.mp4", range(30), {"movflags": "frag_keyframe+empty_moov"}),
        ("no length stated.webm", range(30), {"live": "1"}),
    ],
)
def test_any_time_line(tmp_path: Path, name: str, ticks: list[int], container: dict[str, str]) -> None:
    codec = "gif" if name.endswith("gif") else "libvpx" if name.endswith("webm") else "libx264"
    sample = read(film(tmp_path / name, ticks=ticks, codecs=(codec, None), container=container))

    wanted = np.linspace(0, len(ticks) - 1, 5).astype(int).tolist()
    assert [number_in(picture) for picture in sample.frames] == wanted
    assert sample.times == pytest.approx([(ticks[k] - ticks[0]) / RATE for k in wanted], abs=0.002)
    assert sample.seconds >= sample.times[-1]


def test_what_an_edit_list_hides_is_not_shown(tmp_path: Path) -> None:
    path = film(
        tmp_path / "trimmed.mp4",
        ticks=range(-6, 24),
        codecs=("libx264", None),
        settings={"g": "30", "bf": "0"},
        container={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    )

    assert [number_in(picture) for picture in read(path).frames] == [6, 11, 17, 23, 29]


def test_the_length_is_told_before_and_after_it_was_measured(tmp_path: Path) -> None:
    told: list[float] = []
    with film(tmp_path / "clip.mp4").open("rb") as file:
        frames.read(file, FIVE, on_length=told.append)

    assert told == pytest.approx([2.0, 2.0], abs=0.1)


def test_of_a_long_film_only_the_first_minutes_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sortd.extract.media.sound_track.SOUND_SECONDS", 1)

    sample = read(film(tmp_path / "clip.mp4", frames=4 * RATE), EVERYTHING)

    assert sample.sound is not None
    assert len(sample.sound) == 16_000
    assert number_in(sample.frames[-1]) == 4 * RATE - 1


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_broken_sound_leaves_the_pictures(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, codecs=FORMATS[name])
    whole = read(path, EVERYTHING)

    sample = read(overwrite(path, packets(path, "audio")), EVERYTHING)

    assert same(sample.frames, whole.frames)
    assert sample.sound is None or np.abs(sample.sound).max() <= 1


@pytest.mark.parametrize("hurt", [slice(40, 41), slice(20, 30), slice(99, 100), slice(0, 1), slice(50, 100)])
def test_a_film_with_holes_gives_what_a_player_would_show(tmp_path: Path, hurt: slice) -> None:
    path = film(tmp_path / "clip.mp4", frames=100, codecs=("libx264", None), settings={"g": "10", "bf": "2"})
    overwrite(path, packets(path, "video")[hurt])

    assert same(read(path, Needs(frames=100)).frames, evenly(all_frames(path), 100))


def test_key_frames_that_are_none_do_not_mislead(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", frames=100, codecs=("libx264", None), settings={"g": "50"})
    frames = all_frames(path)
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))  # without the list, all frames count as key frames

    assert same(read(path).frames, evenly(frames, 5))


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts"])
def test_half_a_download_counts_as_far_as_it_goes(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, frames=100, codecs=("libx264", None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    numbers = [number_in(picture) for picture in read(path).frames]

    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert 20 < numbers[-1] < 80


def test_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")

    assert fault_of(tmp_path / "clip.mp4") is Fault.EMPTY


@pytest.mark.parametrize(
    "content",
    [
        b"<!doctype html><title>404</title>",
        b"ffconcat version 1.0\nfile secret.mp4\n",
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        b"\xff\xd8\xff\xe0" + bytes(2_000),
        bytes(100_000),
        b"?",
    ],
)
def test_another_kind_of_file_under_a_videos_name(tmp_path: Path, content: bytes) -> None:
    film(tmp_path / "secret.mp4")
    (tmp_path / "clip.mp4").write_bytes(content)

    assert fault_of(tmp_path / "clip.mp4") is Fault.NOT_A_VIDEO


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as output:
        track = output.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        output.mux(track.encode(frame))
        output.mux(track.encode(None))

    assert fault_of(path) is Fault.NO_VIDEO_STREAM


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_download_whose_index_is_still_to_come(tmp_path: Path, share: float) -> None:
    path = film(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[: max(int(path.stat().st_size * share), 40)])

    assert fault_of(path) is Fault.DAMAGED


def test_a_film_of_which_no_frame_decodes(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", codecs=("libx264", None))

    assert fault_of(overwrite(path, packets(path, "video"))) is Fault.DAMAGED


def test_pictures_too_large_to_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "clip.mp4")
    monkeypatch.setattr("sortd.extract.media.probe.PIXEL_LIMIT", WIDTH * HEIGHT - 1)

    assert fault_of(path) is Fault.TOO_LARGE


def test_pictures_that_grow_too_large_after_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = film(tmp_path / "small.ts", codecs=("libx264", None)), tmp_path / "large.ts"
    with av.open(str(large), "w") as output:
        video = output.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = 4 * WIDTH, 4 * HEIGHT, "yuv420p"
        output.mux(video.encode(av.VideoFrame(4 * WIDTH, 4 * HEIGHT, "yuv420p")))
        output.mux(video.encode(None))
    grown = tmp_path / "grown.ts"
    grown.write_bytes(small.read_bytes() + large.read_bytes())
    assert read(grown).times  # it decodes as long as nothing forbids it
    monkeypatch.setattr("sortd.extract.media.probe.PIXEL_LIMIT", 2 * WIDTH * HEIGHT)

    assert [number_in(picture) for picture in read(grown).frames] == [0, 5, 11, 17, 23]


def test_a_codec_nobody_knows(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xyz1"))

    assert fault_of(path) is Fault.UNSUPPORTED


def test_locked_pictures(tmp_path: Path) -> None:
    locked = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 32, "encryption_kid": "1" * 32}

    assert fault_of(film(tmp_path / "clip.mp4", codecs=("libx264", None), container=locked)) is Fault.UNSUPPORTED


def test_a_disk_that_fails_half_way(tmp_path: Path) -> None:
    class FailingDisk(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 20_000:
                raise OSError(5, "Input/output error")
            return super().read(size or -1)

    with FailingDisk(film(tmp_path / "clip.mp4")) as file, pytest.raises(ExtractionError) as refusal:
        frames.read(file, EVERYTHING)

    assert refusal.value.fault is Fault.UNREADABLE
