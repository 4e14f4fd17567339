"""Names that a file may have and few programs stand, as the bytes they are; and things that are called videos."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

from tests.faults.media import box


def _bytes(*names: str | bytes) -> tuple[bytes, ...]:
    return tuple(name.encode() if isinstance(name, str) else name for name in names)


CONTROL = _bytes(
    b"first\nsecond.mp4",
    b"\n.mp4",
    b"true\rFALSE.mp4",  # overwrites the beginning of a line
    b"one\ttwo.mp4",
    b"\x1b[2J\x1b[31mred\x1b]0;title\x07.mp4",  # clears the terminal, renames its window
    b"seen\x08\x08\x08\x08hidden.mp4",
    bytes(range(1, 32)) + b".mp4",
    b"a\x7f\xc2\x9b31mz.mp4",  # DEL, and an escape of one byte
    b"x.mp4\n2026-01-01 00:00:00 INFO moved all files.mp4",
)
ENCODED = _bytes(
    b"d\xe9j\xe0 vu.mp4",  # Latin-1
    b"\xfe\xff\x81.mp4",
    b"..\xc0\xaf..\xc0\xafroot.mp4",  # a slash in too many bytes
    b"\xed\xa0\xbc\xed\xbe\x89.mp4",  # surrogates
    "r\u00e9sum\u00e9.mp4",
    "re\u0301sume\u0301.mp4",  # the same to a reader, another file
    "\U0001f469\u200d\U0001f680\U0001f3fd.mp4",
    "trailer\u202e4pm.exe.mp4",  # seems to end otherwise
    "\u2066\u2067bidi\u2069.mp4",
    "no\u200bth\ufeffi\u00adng.mp4",
    "one\u2028two\u2029three\u0085four.mp4",  # lines, to some
    "z" + "\u0336" * 90 + ".mp4",
    "..\uff0f..\uff0froot.mp4",
    "D\u0130YARBAKIR i\u0307.mp4",  # longer in small letters
    "Gru\u00df.mp4",  # longer in capitals
    "\u0441\u043e\u043d \u0634\u0643\u0631\u0627 \u732b.mp4",
    "twins of case.mp4",
    "TWINS OF CASE.mp4",
)
LONG = _bytes(
    b"n" * 251 + b".mp4",
    "\u00f8" * 125 + "n.mp4",
    "\U0001f41f" * 62 + "nnn.mp4",
    b"n." + b"x" * 200 + b".mp4",
)
SHELL = _bytes(
    b"-rf.mp4",
    b"--version.mp4",
    b"-y.mp4",
    b"$(touch OWNED).mp4",
    b"`touch OWNED`.mp4",
    b"x;touch OWNED;.mp4",
    b'it\'s "said".mp4',
    b"c\\d\\\\e.mp4",
    b"*?[!a]{b,c}.mp4",
    b"%s%n%d%f.mp4",
    b"shot%04d.mp4",
    b"{0}{self!r}.mp4",
    b"'; DELETE FROM files;--.mp4",
    b"50%_off.mp4",
    b"<img src=y onerror=alert(2)>.mp4",
    b'"}],[{"p":".mp4',
    b"=HYPERLINK(1).mp4",
    b"@list.mp4",
    b"# heading.mp4",
    b"~nobody.mp4",
    b"$PATH.mp4",
)
ADDRESSES = _bytes(
    b"https:127.0.0.1.mp4",
    b"concat:c.mp4|d.mp4",
    b"pipe:0.mp4",
    b"file:y.mp4",
    b"subfile,,start,0,end,9,,:y.mp4",
    b"data:video,y.mp4",
    b"rtmp:host.mp4",
    b"D:y.mp4",
)
WORDS = _bytes(
    b"  before.mp4",
    b"behind .mp4",
    "in\u00a0between.mp4",
    b"AUX.mp4",
    b"NUL.mp4",
    b"23:59:59.mp4",
    b"None.mp4",
    b"0.mp4",
    b"yes: {no, null}.mp4",
    b"c..d...e.mp4",
    b"LOUD.MP4",
    b"film.avi.mp4",
    b"part.2.download.mp4",
)
TRACKED = (*CONTROL, *ENCODED, *LONG, *SHELL, *ADDRESSES, *WORDS)
"""Videos like any other."""

IGNORED = _bytes(
    b".secret.mp4",
    b".mp4",
    b"._film.mp4",
    b"film.mp4.part",
    b"film.mp4.ytdl",
    b"film.f137.mp4.part-Frag7",
    b"film.mp4.crdownload",
    b"film.mp4.download",
    b"film.mp4.!qB",
    b"film.mp4.aria2",
    b"film.mp4.tmp",
    b".film.mp4.Qw3rTy",
    b".syncthing.film.mp4.tmp",
    b"~syncthing~film.mp4.tmp",
    b"film.mp4.0f1e2d3c.partial",
    b".nfs00000000076543210000001b",
    b".fuse_hidden0000003400000002",
    b"film.mp4~",
    b"film",
    b"film.mp4 ",
    b"film.mp4.",
    b"words.txt",
    b".DS_Store",
)
"""Never opened, never moved."""


def path_of(folder: Path, name: bytes) -> Path:
    return folder / os.fsdecode(name)


def drop(clips: Iterable[Path], names: Iterable[bytes], folder: Path) -> None:
    """A video under each of these names, by turns of these clips; each has a content of its own."""
    contents = [clip.read_bytes() for clip in clips]
    for number, name in enumerate(names):
        content = contents[number % len(contents)] + box(b"free", number.to_bytes(4))
        path_of(folder, name).write_bytes(content)


def make_special(clip: Path, folder: Path, outside: Path) -> dict[str, str]:
    """What is called a video and is none, or lies elsewhere; name -> what it is."""
    outside.mkdir(parents=True)
    secret = Path(shutil.copy(clip, outside / "secret.mp4"))
    os.mkfifo(folder / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(folder / "socket.mp4"))
    links = {
        "outside.mp4": secret,
        "dangling.mp4": outside / "missing.mp4",
        "itself.mp4": Path("itself.mp4"),
        "system.mp4": Path("/etc/hostname"),
        "there.mp4": Path("back.mp4"),
        "back.mp4": Path("there.mp4"),
        "folder outside": outside,
        "round": Path(),
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    made = {"pipe.mp4": "a pipe", "socket.mp4": "a socket"} | dict.fromkeys(links, "a link")
    if os.geteuid() == 0:
        os.mknod(folder / "zeros.mp4", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        made["zeros.mp4"] = "a device without end"
    return made
