"""Films that players show and hear, though little in them is usual. Rows V1 to V5 of the fault matrix."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault
from sortd.extract.media import frames
from sortd.extract.spec import Needs, Sample
from tests.clips import FORMATS, RATE, film, number_in, numbered
from tests.faults.media import beside, joined, patched, shoot, tone

EVERYTHING = Needs(frames=5, sound=True)
UNKNOWN_MATRICES = (3, 8, 11, 12, 13, 14, 15, 16, 17, 60, 255)
LOCKED = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 32, "encryption_kid": "1" * 32}


def read(path: Path, needs: Needs = EVERYTHING) -> Sample:
    with path.open("rb", buffering=0) as file:
        return frames.read(file, needs)


def refusal(path: Path) -> ExtractionError:
    with pytest.raises(ExtractionError) as refused:
        read(path)
    return refused.value


def pitch(sample: Sample) -> int:
    """The loudest frequency of a sound of a second or more, in hertz."""
    assert sample.sound is not None
    return int(np.argmax(np.abs(np.fft.rfft(sample.sound[:16_000]))))


# Colours


def described(path: Path, source: Path, settings: str) -> Path:
    """Copy an H.264 film with another description of its colours."""
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        stream = given.streams.video[0]
        copy = output.add_stream_from_template(stream)
        filtering = BitStreamFilterContext(f"h264_metadata={settings}", stream)
        for packet in given.demux(stream):
            for changed in filtering.filter(packet if packet.size else None):
                changed.stream = copy
                output.mux(changed)
    return path


@pytest.mark.fault("V1")
@pytest.mark.parametrize("matrix", UNKNOWN_MATRICES)
def test_colours_of_a_kind_that_nobody_converts_are_shown_as_most_films_are(tmp_path: Path, matrix: int) -> None:
    source = film(tmp_path / "source.ts", codecs=("libx264", None))
    usual = read(described(tmp_path / "usual.ts", source, "matrix_coefficients=2"))

    shown = read(described(tmp_path / "clip.ts", source, f"matrix_coefficients={matrix}"))

    assert all(map(np.array_equal, shown.frames, usual.frames))


@pytest.mark.fault("V1")
def test_both_kinds_of_wide_colours_are_shown_alike(tmp_path: Path) -> None:
    source = film(tmp_path / "source.ts", codecs=("libx264", None))
    usual = read(described(tmp_path / "usual.ts", source, "matrix_coefficients=9"))

    shown = read(described(tmp_path / "clip.ts", source, "matrix_coefficients=10"))

    assert all(map(np.array_equal, shown.frames, usual.frames))


@pytest.mark.fault("V1")
@pytest.mark.parametrize("number", [0, 3, 12, 18, 22, 255])
def test_unusual_primaries_transfers_and_ranges_change_no_picture(tmp_path: Path, number: int) -> None:
    source = film(tmp_path / "source.ts", codecs=("libx264", None))
    settings = f"colour_primaries={number}:transfer_characteristics={number}:video_full_range_flag=0:video_format=5"

    sample = read(described(tmp_path / "clip.ts", source, settings))

    assert [number_in(picture) for picture in sample.frames] == [0, 5, 11, 17, 23]


@pytest.mark.fault("V1")
@pytest.mark.parametrize(
    ("codec", "pixels"),
    [
        ("ffv1", "gray10le"),
        ("ffv1", "yuv410p"),
        ("ffv1", "yuva444p16le"),
        ("ffv1", "gbrp14le"),
        ("ffv1", "gbrap16le"),
        ("ffv1", "yuv440p12le"),
        ("rawvideo", "yuyv422"),
        ("png", "rgba64be"),
        ("png", "ya16be"),
        ("libx264", "yuv444p10le"),
        ("libx265", "gray12le"),
        ("mjpeg", "yuvj444p"),
        ("qtrle", "argb"),
    ],
)
@pytest.mark.parametrize("size", [(160, 96), (163, 97)])
def test_pixels_of_every_kind_are_shown(tmp_path: Path, codec: str, pixels: str, size: tuple[int, int]) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    name = "clip.mov" if codec in {"png", "qtrle"} else "clip.mkv"
    path = shoot(tmp_path / name, codec, pixels=pixels, size=size, frames=5, settings=quiet)

    sample = read(path)

    assert [number_in(picture) for picture in sample.frames] == [0, 1, 2, 3, 4]
    assert (sample.width, sample.height) == size


@pytest.mark.fault("V1")
@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1), (3, 2)])
def test_the_smallest_pictures_are_shown(tmp_path: Path, size: tuple[int, int]) -> None:
    path = shoot(tmp_path / "clip.mov", "png", pixels="rgb24", size=size, frames=5)

    assert {picture.shape for picture in read(path, Needs(frames=5, short_side=128)).frames} == {(*size[::-1], 3)}


@pytest.mark.fault("V1")
def test_colours_that_change_half_way_are_shown_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    halves = [
        film(beside(path, number), codecs=("libx264", None), settings={"x264-params": f"colormatrix={matrix}"})
        for number, matrix in enumerate(["bt709", "ICtCp"])
    ]

    shown = [number_in(picture) for picture in read(joined(path, *halves)).frames]

    assert shown == [0, 11, 23, 11, 23]


# What stands beside the pictures


def exif(orientation: int) -> bytes:
    """The least that tells how a picture lies."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def photographed(path: Path, orientation: int) -> Path:
    """A film of photographs, each with its EXIF data."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 160, 96, "yuvj420p", Fraction(1, RATE)
    told = b"Exif\0\0" + exif(orientation)
    with av.open(str(path), "w") as output:
        video = output.add_stream("mjpeg", rate=RATE)
        video.width, video.height, video.pix_fmt = 160, 96, "yuvj420p"
        for number in range(5):
            (taken,) = encoder.encode(av.VideoFrame.from_ndarray(numbered(number)).reformat(format="yuvj420p"))
            content = bytes(taken)
            packet = av.Packet(content[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(told)) + told + content[2:])
            packet.stream, packet.time_base, packet.pts, packet.dts = video, Fraction(1, RATE), number, number
            packet.is_keyframe = True
            output.mux(packet)
    return path


@pytest.mark.fault("V2")
@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv", "clip.mov"])
def test_exif_data_in_every_picture_is_passed_over(tmp_path: Path, name: str) -> None:
    sample = read(photographed(tmp_path / name, 1))

    assert [number_in(picture) for picture in sample.frames] == [0, 1, 2, 3, 4]


@pytest.mark.fault("V2")
@pytest.mark.parametrize(
    ("orientation", "back"),
    [
        (2, np.fliplr),
        (3, lambda picture: np.rot90(picture, 2)),
        (4, np.flipud),
        (5, lambda picture: picture.swapaxes(0, 1)),
        (6, np.rot90),
        (8, lambda picture: np.rot90(picture, -1)),
    ],
)
def test_photographs_are_turned_and_mirrored_as_they_say(tmp_path: Path, orientation: int, back) -> None:
    sample = read(photographed(tmp_path / "clip.mkv", orientation))

    assert [number_in(back(picture)) for picture in sample.frames] == [0, 1, 2, 3, 4]
    assert (sample.height, sample.width) == sample.frames[0].shape[:2]


@pytest.mark.fault("V2")
@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4", "clip.avi", "clip.flv"])
def test_words_in_any_encoding_are_no_matter(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    shoot(path, FORMATS[name][0], tags={"title": "MARKMARK", "MARKMARK": "value", "comment": "MARKMARK"})

    patched(path, (b"MARKMARK", 0, b"\xff\xe9\x80M\xc3\x28\xa0\xa1"))

    assert [number_in(picture) for picture in read(path).frames] == [0, 2, 5, 8, 11]


@pytest.mark.fault("V2")
def test_a_hundred_and_twenty_tracks_are_no_matter(tmp_path: Path) -> None:
    path = shoot(tmp_path / "clip.mkv", frames=5, sounds=[("pcm_s16le", "mono", tone(0.2))] * 120)

    assert [number_in(picture) for picture in read(path).frames] == [0, 1, 2, 3, 4]


# Sound


def channels(path: Path, layout: str, *, codec: str = "pcm_s16le", rate: int = 48_000, kind: str = "s16") -> Path:
    """A film whose sound has the same tone in every channel."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        track = output.add_stream(codec, rate=rate, layout=layout)
        count = track.layout.nb_channels
        for number in range(5):
            output.mux(video.encode(av.VideoFrame.from_ndarray(numbered(number)).reformat(format="yuv420p")))
        output.mux(video.encode(None))
        wave = 0.4 * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)
        whole = {"s16": (np.int16, 32767), "s32": (np.int32, 2**31 - 1), "flt": (np.float32, 1), "dbl": (float, 1)}
        dtype, scale = whole[kind]
        samples = np.repeat((wave * scale).astype(dtype), count)[None]
        frame = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout)
        frame.sample_rate = rate
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path


@pytest.mark.fault("V3")
@pytest.mark.parametrize("count", [9, 10, 11, 12, 13, 16, 17, 24, 32, 63])
def test_any_number_of_channels_is_heard(tmp_path: Path, count: int) -> None:
    sample = read(channels(tmp_path / "clip.mov", f"{count} channels"))

    assert sample.sound is not None
    assert len(sample.sound) == pytest.approx(16_000, abs=50)
    assert pitch(sample) == 300
    assert np.abs(sample.sound[4_000:12_000]).max() == pytest.approx(0.4, abs=0.05)


@pytest.mark.fault("V3")
@pytest.mark.parametrize(
    ("codec", "kind"), [("pcm_s32le", "s32"), ("pcm_f32le", "flt"), ("pcm_f64le", "dbl"), ("pcm_s16be", "s16")]
)
def test_many_channels_of_every_sample_format_are_heard(tmp_path: Path, codec: str, kind: str) -> None:
    assert pitch(read(channels(tmp_path / "clip.mov", "11 channels", codec=codec, kind=kind))) == 300


@pytest.mark.fault("V3")
@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 96_000, 192_000])
def test_every_rate_is_heard(tmp_path: Path, rate: int) -> None:
    sample = read(channels(tmp_path / "clip.mov", "stereo", rate=rate))

    assert sample.sound is not None
    assert len(sample.sound) == pytest.approx(16_000, abs=100)
    assert pitch(sample) == 300


@pytest.mark.fault("V3")
@pytest.mark.parametrize("order", [114, 121, 122, 123, 124, 147, 255])
def test_channels_in_any_order_are_heard(tmp_path: Path, order: int) -> None:
    path = channels(tmp_path / "clip.mov", "5.1")

    patched(path, (b"chan", 8, struct.pack(">I", order << 16 | 6)))

    assert pitch(read(path)) == 300


@pytest.mark.fault("V3")
@pytest.mark.parametrize("claim", [0, 1, 999, 2**31])
def test_a_rate_that_cannot_be_costs_no_picture(tmp_path: Path, claim: int) -> None:
    path = channels(tmp_path / "clip.mov", "stereo")

    patched(path, (b"sowt", 28, struct.pack(">I", claim % 2**32)))

    assert [number_in(picture) for picture in read(path).frames] == [0, 1, 2, 3, 4]


@pytest.mark.fault("V3")
def test_channels_that_change_half_way_are_heard_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    parts = [
        shoot(beside(path, number), sounds=[("aac", layout, tone(1))])
        for number, layout in enumerate(["mono", "stereo", "5.1"])
    ]

    sample = read(joined(path, *parts))

    assert sample.sound is not None
    assert len(sample.sound) == pytest.approx(3 * 16_000, rel=0.05)


# Streams that begin late


def late(
    path: Path, *, codecs: tuple[str, str], pictures_at: float = 0.0, sound_at: float = 0.0, seconds: float = 0.0
) -> Path:
    """A film whose pictures, or whose sound, begin late; the other goes on for some seconds."""
    with av.open(str(path), "w") as output:
        video = output.add_stream(codecs[0], rate=RATE)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        track = output.add_stream(codecs[1], rate=48_000, layout="mono")
        packets = []
        for number in range(int(max(seconds - pictures_at, 1) * RATE)):
            frame = av.VideoFrame.from_ndarray(numbered(number % 1024)).reformat(format="yuv420p")
            frame.pts, frame.time_base = int(pictures_at * RATE) + number, Fraction(1, RATE)
            packets += video.encode(frame)
        packets += video.encode(None)
        samples = np.repeat(tone(max(seconds - sound_at, 1))[None], 1, axis=0)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, int(sound_at * 48_000), Fraction(1, 48_000)
        cut = av.AudioResampler(track.format, "mono", 48_000, frame_size=track.frame_size or None)
        for part in [*cut.resample(frame), *cut.resample(None)]:
            packets += track.encode(part)
        packets += track.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return path


def flags_gone(path: Path) -> Path:
    """An FLV whose header tells of no stream."""
    content = bytearray(path.read_bytes())
    content[4] = 0
    path.write_bytes(content)
    return path


@pytest.mark.fault("V4")
@pytest.mark.parametrize("name", ["clip.flv", "clip.ts", "clip.mpg", "clip.mkv", "clip.mp4", "clip.avi", "clip.wmv"])
def test_pictures_that_begin_after_two_minutes_are_found(tmp_path: Path, name: str) -> None:
    codecs = {"clip.flv": ("flv1", "libmp3lame"), "clip.mpg": ("mpeg2video", "mp2")}.get(name, FORMATS[name])
    codecs = ("libx264", "aac") if name == "clip.mkv" else codecs
    sample = read(late(tmp_path / name, codecs=codecs, pictures_at=120, seconds=121))

    assert number_in(sample.frames[-1]) == 11
    assert sample.sound is not None
    assert len(sample.sound) > 115 * 16_000


@pytest.mark.fault("V4")
@pytest.mark.parametrize("seconds", [20, 100])
def test_pictures_of_which_the_header_is_silent_are_found(tmp_path: Path, seconds: int) -> None:
    path = late(tmp_path / "clip.flv", codecs=("flv1", "libmp3lame"), pictures_at=seconds, seconds=seconds + 1)

    sample = read(flags_gone(path))

    assert [number_in(picture) for picture in sample.frames] == [0, 2, 5, 8, 11]


@pytest.mark.fault("V4")
@pytest.mark.parametrize("name", ["clip.flv", "clip.ts", "clip.mpg"])
def test_sound_that_begins_late_is_heard(tmp_path: Path, name: str) -> None:
    codecs = ("mpeg2video", "mp2") if name == "clip.mpg" else FORMATS[name]
    path = late(tmp_path / name, codecs=codecs, sound_at=100, seconds=101)

    sample = read(flags_gone(path) if name == "clip.flv" else path)

    assert pitch(sample) == 300


# Encrypted films


def renamed(path: Path, *pairs: tuple[bytes, bytes]) -> Path:
    content = path.read_bytes()
    for was, name in pairs:
        assert was in content
        content = content.replace(was, name)
    path.write_bytes(content)
    return path


def in_fragments(path: Path) -> Path:
    return film(path, container={**LOCKED, "movflags": "frag_keyframe+empty_moov+default_base_moof"})


@pytest.mark.fault("V5")
@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(b"cenc", b"cbcs")],
        [(b"cenc", b"cbc1")],
        [(b"senc", b"free")],
        [(b"senc", b"free"), (b"saiz", b"free"), (b"saio", b"free")],
        [(b"frma", b"free")],
        [(b"sinf", b"free")],
        [(b"tenc", b"free")],
        [(b"saio", b"free")],
    ],
)
def test_a_film_under_common_encryption_is_told_as_that(tmp_path: Path, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    refused = refusal(renamed(film(tmp_path / "clip.mp4", container=LOCKED), *pairs))

    assert (refused.fault, "encrypted" in str(refused)) == (Fault.UNSUPPORTED, True)


@pytest.mark.fault("V5")
@pytest.mark.parametrize("entry", [b"encv", b"drmi"])
def test_an_entry_of_encrypted_pictures_is_enough(tmp_path: Path, entry: bytes) -> None:
    refused = refusal(renamed(film(tmp_path / "clip.m4v"), (b"avc1", entry)))

    assert (refused.fault, "encrypted" in str(refused)) == (Fault.UNSUPPORTED, True)


@pytest.mark.fault("V5")
@pytest.mark.parametrize("entry", [b"enca", b"drms"])
def test_where_only_the_sound_is_encrypted_the_pictures_serve(tmp_path: Path, entry: bytes) -> None:
    sample = read(renamed(film(tmp_path / "clip.mp4"), (b"mp4a", entry)))

    assert [number_in(picture) for picture in sample.frames] == [0, 5, 11, 17, 23]
    assert sample.sound is None


@pytest.mark.fault("V5")
def test_a_scrambled_recording_is_told_as_that(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.ts", frames=10 * RATE)
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for start in range(0, len(content), 188):
        if (content[start + 1] & 0x1F) << 8 | content[start + 2] in {0x100, 0x101} and content[start + 3] & 0x10:
            begin = start + 4 + (1 + content[start + 4] if content[start + 3] & 0x20 else 0)
            content[begin : start + 188] = noise.bytes(start + 188 - begin)
            content[start + 3] |= 0xC0
    path.write_bytes(content)

    refused = refusal(path)

    assert (refused.fault, "encrypted" in str(refused)) == (Fault.UNSUPPORTED, True)


@pytest.mark.fault("V5")
def test_a_protected_windows_film_is_told_as_that(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.wmv", codecs=FORMATS["clip.wmv"])
    content = path.read_bytes()
    size, count = struct.unpack_from("<QI", content, 16)
    locked = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + struct.pack("<Q", 40) + bytes(16)
    head = content[:16] + struct.pack("<QI", size + len(locked), count + 1) + content[28:30] + locked
    path.write_bytes(head + content[30:])

    refused = refusal(path)

    assert (refused.fault, "encrypted" in str(refused)) == (Fault.UNSUPPORTED, True)


def element(identity: str, content: bytes) -> bytes:
    """An element of a Matroska file."""
    return bytes.fromhex(identity) + (len(content) | 1 << 56).to_bytes(8) + content


ENCRYPTION = element("6d80", element("6240", element("5035", element("47e1", b"\5"))))


def matroska(path: Path, *, told: bytes, codec: bytes) -> Path:
    """A film of 600 KB of which no picture decodes; `told` stands in what is said of its track."""
    pictures = element("e0", element("b0", b"\0\xa0") + element("ba", b"\0\x60"))
    track = element("d7", b"\1") + element("73c5", b"\1") + element("83", b"\1") + element("86", codec) + pictures
    noise = np.random.default_rng(0).bytes(20_000)
    block = element("a3", b"\x81\0\0\x80" + noise)
    clusters = b"".join(element("1f43b675", element("e7", bytes([number])) + block) for number in range(30))
    head = element("1a45dfa3", element("4282", b"matroska"))
    path.write_bytes(head + element("18538067", element("1654ae6b", element("ae", track + told)) + clusters))
    return path


@pytest.mark.fault("V5")
@pytest.mark.parametrize("codec", [b"V_MPEG4/ISO/ASP", b"V_VP8", b"V_NOBODY_KNOWS"])
def test_a_matroska_film_is_encrypted_if_its_track_says_so(tmp_path: Path, codec: bytes) -> None:
    refused = refusal(matroska(tmp_path / "clip.mkv", told=ENCRYPTION, codec=codec))

    assert (refused.fault, "encrypted" in str(refused)) == (Fault.UNSUPPORTED, True)


@pytest.mark.fault("V5")
@pytest.mark.parametrize("codec", [b"V_MPEG4/ISO/ASP", b"V_VP8", b"V_NOBODY_KNOWS"])
def test_noise_in_a_matroska_film_is_no_encryption(tmp_path: Path, codec: bytes) -> None:
    assert "encrypted" not in str(refusal(matroska(tmp_path / "clip.mkv", told=b"", codec=codec)))
