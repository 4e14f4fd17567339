"""Odd and hostile files under a video's name, each with what must become of it; made by FFmpeg's library alone.

python -m tests.faults.media FOLDER     writes them all
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from tests.clips import FORMATS, RATE, film, numbered, overwrite, packets

Sound = NDArray[np.float32]
"""Shape [samples], from -1 to 1."""

HZ = 48_000


@dataclass(frozen=True)
class Case:
    """One file. `outcome` is "ok" or the reason it is set aside with; of several, any will do."""

    name: str
    outcome: tuple[str, ...]
    why: str
    make: Callable[[Path], object]


CASES: list[Case] = []

Maker = Callable[[Path], object]


def case(name: str, outcome: str, why: str) -> Callable[[Maker], Maker]:
    def keep(make: Maker) -> Maker:
        CASES.append(Case(name, tuple(outcome.split("|")), why, make))
        return make

    return keep


def made(folder: Path, cases: Iterable[Case] = CASES) -> Mapping[str, Case]:
    """Write the files into a folder; name -> case."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in cases:
        one.make(folder / one.name)
    return {one.name: one for one in cases}


# How they are made


def tone(seconds: float, hertz: float = 300.0) -> Sound:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * HZ)) / HZ)).astype(np.float32)


def shoot(
    path: Path,
    codec: str = "libx264",
    *,
    size: tuple[int, int] = (160, 96),
    pixels: str = "yuv420p",
    rate: int = RATE,
    frames: int = RATE,
    sounds: Sequence[tuple[str, str, Sound]] = (),
    settings: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    cover: bool = False,
    form: str | None = None,
) -> Path:
    """Write a film of any kind; `sounds` are tracks of (codec, layout, what is heard)."""
    with av.open(str(path), "w", format=form) as output:
        output.metadata.update(tags or {})
        if cover:
            picture = output.add_stream("mjpeg")
            picture.disposition = Disposition.attached_pic
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        video = output.add_stream(codec, rate=rate, options=dict(settings or {}))
        video.width, video.height, video.pix_fmt = *size, pixels
        tracks = [(output.add_stream(name, rate=HZ, layout=layout), heard) for name, layout, heard in sounds]
        if cover:
            output.mux(picture.encode(_drawn(0, (64, 64), "yuvj420p")))
        for number in range(frames):
            frame = _drawn(number, size, pixels)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for track, heard in tracks:
            _play(output, track, heard)
    return path


def _drawn(number: int, size: tuple[int, int], pixels: str) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(numbered(number % 1024)).reformat(*size, format=pixels)


def _play(output: av.container.OutputContainer, track: av.AudioStream, heard: Sound) -> None:
    frame = av.AudioFrame.from_ndarray(np.stack([heard, heard]), format="fltp", layout="stereo")
    frame.sample_rate = HZ
    cut = av.AudioResampler(track.format, track.layout.name, HZ, frame_size=track.frame_size or None)
    for part in [*cut.resample(frame), *cut.resample(None)]:
        output.mux(track.encode(part))
    output.mux(track.encode(None))


def muxed(path: Path, codec: str, size: tuple[int, int], *contents: bytes) -> Path:
    """A film whose packets hold these very bytes."""
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=RATE)
        video.width, video.height = size
        video.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for number, content in enumerate(contents):
            packet = av.Packet(content)
            packet.stream, packet.time_base = video, Fraction(1, RATE)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            output.mux(packet)
    return path


def box(kind: bytes, content: bytes = b"") -> bytes:
    """A box of an MP4."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def patched(path: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """Wherever a mark stands, overwrite what follows at a distance from its beginning."""
    content = bytearray(path.read_bytes())
    for mark, distance, new in changes:
        at = content.find(mark)
        assert at >= 0, mark
        while at >= 0:
            content[at + distance : at + distance + len(new)] = new
            at = content.find(mark, at + 1)
    path.write_bytes(content)
    return path


def beside(path: Path, number: int) -> Path:
    """Where a part of a file is made."""
    return path.with_suffix(f".{number}{path.suffix}")


def joined(path: Path, *parts: Path) -> Path:
    """One file of several, which go."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return path


def cut(path: Path, share: float, *, filled: bool = False) -> Path:
    """The first share of a file; `filled`: at its full length, with zeros."""
    content = path.read_bytes()
    kept = content[: int(len(content) * share)]
    path.write_bytes(kept + bytes(len(content) - len(kept)) if filled else kept)
    return path


def png(width: int, height: int) -> bytes:
    """A black picture of one bit for each pixel: of any size in a few kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(
        [*(packer.compress(row * 256) for _ in range(height // 256)), packer.compress(row * (height % 256))]
    )
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", rows + packer.flush()),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def jpeg(width: int, height: int) -> bytes:
    """A small picture whose header tells of a large one."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuvj420p", Fraction(1, RATE)
    content = bytearray(bytes(encoder.encode(_drawn(5, (64, 64), "yuvj420p"))[0]))
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


def noise(seed: int, length: int) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def gif(width: int, height: int) -> bytes:
    """A canvas of any size with one painted pixel: 35 bytes."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"


# What must give features

for _name, _codecs in FORMATS.items():
    case(_name, "ok", "the usual codecs of each container")(lambda path, codecs=_codecs: film(path, codecs=codecs))

_ENCODED: list[tuple[str, str, Mapping[str, object]]] = [
    ("hevc.mp4", "libx265", {"settings": {"x265-params": "log-level=none:pools=1"}}),
    ("hevc-10-bit.mp4", "libx265", {"settings": {"x265-params": "log-level=none:pools=1"}, "pixels": "yuv420p10le"}),
    ("av1.mp4", "libsvtav1", {"settings": {"preset": "12"}}),
    ("vp9.mp4", "libvpx-vp9", {"settings": {"deadline": "realtime", "cpu-used": "8"}}),
    ("vp9-see-through.webm", "libvpx-vp9", {"settings": {"cpu-used": "8"}, "pixels": "yuva420p"}),
    ("camera.avi", "mjpeg", {"pixels": "yuvj420p"}),
    ("grey.mkv", "ffv1", {"pixels": "gray"}),
    ("odd-size.mkv", "libx264", {"size": (853, 479), "pixels": "yuv444p"}),
    ("no-loss.mkv", "ffv1", {"pixels": "yuv422p10le"}),
    ("animation.mov", "qtrle", {"pixels": "argb"}),
    ("sixteen-pixels.mp4", "libx264", {"size": (16, 16)}),
    ("a-ribbon.mp4", "libx264", {"size": (4000, 16)}),
    ("a-tower.mp4", "libx264", {"size": (16, 2000)}),
    ("240-a-second.mp4", "libx264", {"rate": 240, "frames": 240}),
    ("no-sound.mp4", "libx264", {}),
    ("one-frame.mp4", "libx264", {"frames": 1}),
    ("one-frame.gif", "gif", {"frames": 1, "pixels": "rgb8"}),
    ("one-key-frame.mp4", "libx264", {"frames": 480, "settings": {"g": "100000", "sc_threshold": "0"}}),
    ("interlaced.mpg", "mpeg2video", {"size": (720, 576), "settings": {"flags": "+ilme+ildct"}, "rate": 25}),
    ("the-cover-first.mp4", "libx264", {"cover": True}),
    ("silence.mp4", "libx264", {"sounds": [("aac", "stereo", tone(1) * 0)]}),
    ("six-channels.mkv", "libx264", {"sounds": [("ac3", "5.1", tone(1))]}),
    ("two-languages.mkv", "libx264", {"sounds": [("aac", "mono", tone(1)), ("aac", "stereo", tone(1, 500))]}),
    ("more-sound-than-picture.mp4", "libx264", {"frames": 5, "sounds": [("aac", "mono", tone(6))]}),
    ("matroska-by-another-name.mp4", "libx264", {"form": "matroska"}),
    ("IN-CAPITALS.MP4", "libx264", {"frames": 13}),
    ("15000-frames.mp4", "libx264", {"size": (16, 16), "frames": 15_000, "settings": {"preset": "ultrafast"}}),
    (
        "hostile-tags.mp4",
        "libx264",
        {
            "tags": {
                "title": "\x1b[2J\x1b]0;owned\x07\n2026-01-01 INFO a forged line",
                "artist": "'; DROP TABLE videos;--",
                "comment": "A" * 32_768,
            }
        },
    ),
]
for _name, _codec, _facts in _ENCODED:
    case(_name, "ok", _name)(lambda path, codec=_codec, facts=_facts: shoot(path, codec, **facts))

_TIMED: list[tuple[str, Iterable[int], Mapping[str, str]]] = [
    ("ten-hours.mp4", range(0, 36_000 * RATE + 1, 3600 * RATE), {}),
    ("a-hundred-days.mkv", [0, RATE, 100 * 86_400 * RATE], {}),
    ("from-one-hour-on.mkv", range(3600 * RATE, 3600 * RATE + 30), {}),
    ("unsteady.mp4", [0, 1, 2, 30, 31, 100, 400, 401], {}),
    ("in-fragments.mp4", range(30), {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ("index-first.mp4", range(30), {"movflags": "faststart"}),
    ("trimmed.mp4", range(-6, 24), {"avoid_negative_ts": "disabled", "use_editlist": "1"}),
]
for _name, _ticks, _container in _TIMED:
    case(_name, "ok", _name)(
        lambda path, ticks=_ticks, container=_container: film(
            path, ticks=ticks, codecs=("libx264", None), container=container
        )
    )

for _turn, (_a, _b, _c, _d) in {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0), 0: (-1, 0, 0, 1)}.items():
    _matrix = struct.pack(">5i", _a << 16, _b << 16, 0, _c << 16, _d << 16)
    case(f"turned-by-{_turn}.mp4" if _turn else "mirrored.mp4", "ok", "shown as a player turns it")(
        lambda path, matrix=_matrix: patched(film(path, codecs=("libx264", None)), (b"tkhd", 44, matrix))
    )


@case("broken-sound.mp4", "ok", "no packet of the sound decodes: the pictures still do")
def _(path: Path) -> object:
    return overwrite(film(path), packets(path, "audio"))


@case("flipped-bits.mp4", "ok|damaged", "what a bad disk does to a film")
def _(path: Path) -> object:
    spots = [
        slice(hurt.start + 30, hurt.start + 32)
        for hurt in packets(film(path), "video")[1:]
        if hurt.stop > hurt.start + 40
    ]
    return overwrite(path, spots)


@case("half.mkv", "ok", "half a download, whose index is not needed")
def _(path: Path) -> object:
    return cut(film(path, frames=60, codecs=("libx264", None)), 0.55)


@case("half-with-its-index.mp4", "ok", "half a download that began with its index")
def _(path: Path) -> object:
    whole = film(path, frames=200, codecs=("libx264", None), settings={"g": "10"}, container={"movflags": "faststart"})
    return cut(whole, 0.55)


@case("with-a-tail.mp4", "ok", "a megabyte of noise behind a good file")
def _(path: Path) -> object:
    return film(path).write_bytes(path.read_bytes() + noise(3, 1 << 20))


@case("padded-index.mp4", "ok", "64 MB of nothing within the index")
def _(path: Path) -> object:
    content, padding = film(path, codecs=("libx264", None)).read_bytes(), box(b"free", bytes(64 << 20))
    at = content.index(b"moov") - 4
    size = struct.unpack_from(">I", content, at)[0]
    index = struct.pack(">I", size + len(padding)) + content[at + 4 : at + size] + padding
    return path.write_bytes(content[:at] + index + content[at + size :])


@case("five-gigabytes.mp4", "ok", "longer than 32 bits can say, most of it a hole")
def _(path: Path) -> object:
    film(path, frames=20)
    with path.open("r+b") as file:
        file.seek(0, io.SEEK_END)
        file.write(struct.pack(">I4sQ", 1, b"free", 16 + (5 << 30)))
        return file.truncate(file.tell() + (5 << 30))


@case("claims-ten-hours.mp4", "ok", "its headers tell of ten hours, it holds two seconds")
def _(path: Path) -> object:
    long = struct.pack(">I", 36_000_000)
    return patched(film(path), (b"mvhd", 20, long), (b"tkhd", 24, long))


@case("no-time-scale.mp4", "ok|damaged", "its clock ticks nought times a second")
def _(path: Path) -> object:
    return patched(film(path), (b"mvhd", 16, bytes(4)))


@case("no-frame-rate.avi", "ok|damaged", "its frames have no length")
def _(path: Path) -> object:
    return patched(film(path, codecs=("mpeg4", None)), (b"strh", 28, bytes(8)), (b"avih", 8, bytes(4)))


@case("grows.ts", "ok", "its pictures change their size half-way")
def _(path: Path) -> object:
    return joined(path, shoot(beside(path, 1), size=(320, 240)), shoot(beside(path, 2), size=(640, 360)))


@case("late-captions.flv", "ok", "captions begin of which its header told nothing")
def _(path: Path) -> object:
    words = [struct.pack(">H", len(word)) + word for word in (b"onTextData", b"text", b"hello")]
    said = b"\x02" + words[0] + b"\x08\0\0\0\1" + words[1] + b"\x02" + words[2] + b"\0\0\x09"
    tag = b"\x12" + len(said).to_bytes(3) + b"\0\x07\0\0" + bytes(3) + said
    return film(path, codecs=FORMATS["clip.flv"]).write_bytes(path.read_bytes() + tag + struct.pack(">I", len(tag)))


# What must be refused


def raw(name: str, outcome: str, why: str, content: bytes) -> None:
    case(name, outcome, why)(lambda path: path.write_bytes(content))


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
NESTED = b""
for _ in range(10_000):
    NESTED = box(b"udta", NESTED)

raw("empty.mp4", "empty", "nothing at all", b"")
raw("one-byte.mp4", "not_a_video", "one byte", b"\0")
raw("noise.mp4", "not_a_video", "256 KB of noise", noise(1, 256 << 10))
raw("zeros.mp4", "not_a_video", "a download whose length is already final", bytes(1 << 20))
raw("page.mp4", "not_a_video", "an error page", b"<!doctype html><title>403 Forbidden</title>" + b"x" * 4096)
raw("only-a-beginning.mp4", "damaged", "one good box", FTYP)
raw("boxes-in-boxes.mp4", "damaged", "10,000 deep", FTYP + box(b"moov", NESTED))
raw(
    "lying-box.mp4",
    "damaged|no_video_stream",
    "4 KB that claim 2 GB",
    FTYP + struct.pack(">I4s", 0x7FFFFFF0, b"moov") + bytes(4096),
)
raw(
    "noise.mkv",
    "damaged",
    "a good beginning of no known length",
    bytes.fromhex("1a45dfa3ff") + noise(5, 65_536),
)
raw("noise.flv", "damaged", "a good beginning", b"FLV\x01\x05\0\0\0\x09\0\0\0\0" + noise(6, 65_536))
raw("noise.avi", "damaged|no_video_stream", "a good beginning", b"RIFF\xff\xff\xff\xffAVI LIST" + noise(7, 65_536))
raw("picture.mp4", "not_a_video", "a JPEG", jpeg(64, 64))
raw("picture.mov", "not_a_video", "a PNG", png(64, 64))
raw(
    "huge-picture.mp4",
    "not_a_video",
    "a PNG of 65,535 x 65,535 pixels without any",
    png(8, 8)[:16] + struct.pack(">II", 65_535, 65_535) + bytes(64),
)
# Texts that FFmpeg takes for play lists: it would open other files, or the network.
raw(
    "list-of-files.mp4",
    "not_a_video",
    "names a local file",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
)
raw(
    "list-of-addresses.ts",
    "not_a_video",
    "names an address",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
)
raw("script.mp4", "not_a_video", "names another file", b"ffconcat version 1.0\nfile 'clip.mp4'\n")
raw("script.mkv", "not_a_video", "names a system file", b"ffconcat version 1.0\nfile '/etc/hostname'\nduration 1\n")
raw(
    "session.mp4",
    "not_a_video",
    "would listen on a port",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
)
raw(
    "manifest.mp4",
    "not_a_video",
    "names an address",
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    b'<Representation id="1"><BaseURL>http://127.0.0.1:9/x.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
)
raw(
    "drawing.mp4",
    "not_a_video",
    "an SVG that includes a file",
    b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
)
raw("shortcut.avi", "not_a_video", "a link of another system", b"[InternetShortcut]\r\nURL=http://127.0.0.1:9/\r\n")


@case("other-files-track.mov", "damaged", "its pictures are said to lie in another file")
def _(path: Path) -> object:
    film(path, codecs=("libx264", None))
    url = struct.unpack(">I", b"url ")[0]
    alias = struct.pack(">II4sI", 28, url, b"\0\0\0\0", 0)
    elsewhere = alias[:12] + b"clip.mp4\0"
    return patched(path, (b"url \0\0\0\x01", 0, elsewhere[4:12]), (b"stco", 12, b"\x7f\xff\xff\xff"))


@case("no-index.mp4", "damaged", "a download whose index is still to come")
def _(path: Path) -> object:
    return cut(film(path), 0.6)


@case("no-index-yet.mp4", "damaged", "likewise, its length already final")
def _(path: Path) -> object:
    return cut(film(path), 0.6, filled=True)


@case("sound-alone.mp4", "no_video_stream", "nothing to see")
def _(path: Path) -> object:
    with av.open(str(path), "w") as output:
        _play(output, output.add_stream("aac", rate=HZ, layout="mono"), tone(1))
    return path


@case("song-with-cover.mp4", "no_video_stream", "its only picture is the cover")
def _(path: Path) -> object:
    with av.open(str(path), "w") as output:
        picture, track = output.add_stream("mjpeg"), output.add_stream("aac", rate=HZ, layout="mono")
        picture.disposition = Disposition.attached_pic
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        output.mux(picture.encode(_drawn(0, (64, 64), "yuvj420p")))
        _play(output, track, tone(1))
    return path


@case("only-the-start.mp4", "damaged", "the first part of a film in fragments: a track without samples")
def _(path: Path) -> object:
    content = film(path, codecs=("libx264", None), container={"movflags": "frag_keyframe+empty_moov"}).read_bytes()
    return path.write_bytes(content[: content.index(b"moof") - 4])


@case("locked.mp4", "unsupported", "encrypted, and nobody has the key")
def _(path: Path) -> object:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 32, "encryption_kid": "1" * 32}
    return film(path, codecs=("libx264", None), container=key)


@case("unknown-codec.mp4", "unsupported", "stored in a way that nobody knows")
def _(path: Path) -> object:
    return patched(film(path, codecs=("libx264", None)), (b"avc1", 0, b"xyz1"))


@case("all-noise.mp4", "damaged", "not one picture decodes")
def _(path: Path) -> object:
    return overwrite(film(path), packets(path, "video"))


@case(
    "lying-tables.mp4",
    "damaged|too_large|unsupported|no_video_stream",
    "its tables claim thousands of millions of entries",
)
def _(path: Path) -> object:
    many = b"\x0f\xff\xff\xff"
    film(path, codecs=("libx264", None))
    return patched(
        path, (b"stsz", 12, b"\x7f\xff\xff\xff"), *((table, 8, many) for table in (b"stts", b"stsc", b"stco"))
    )


# Bombs: small files that would fill the memory.

raw("canvas.gif", "too_large|damaged", "35 bytes that open to 1 GB", gif(16_000, 16_000))
raw("endless-canvas.gif", "too_large|damaged|not_a_video", "35 bytes that open to 17 GB", gif(65_535, 65_535))


@case("bomb.mov", "too_large|damaged", "a PNG of 33 KB that opens to 768 MB")
def _(path: Path) -> object:
    return muxed(path, "png", (16_000, 16_000), png(16_000, 16_000))


@case("bomb-in-hiding.mov", "ok|too_large|damaged", "its header is modest, its second picture is not")
def _(path: Path) -> object:
    return muxed(path, "png", (64, 64), png(64, 64), png(16_000, 16_000))


@case("bomb.avi", "too_large|damaged", "a JPEG that claims 65,500 pixels each way")
def _(path: Path) -> object:
    return muxed(path, "mjpeg", (64, 64), jpeg(65_500, 65_500))


@case("largest.avi", "ok|too_large|damaged", "a JPEG that claims all that is allowed")
def _(path: Path) -> object:
    return muxed(path, "mjpeg", (8_192, 8_192), jpeg(8_192, 8_192))


if __name__ == "__main__":
    made(Path(sys.argv[1]))
