"""What stands in a library and is none of sortd's business: systems' folders, unfinished files, other files' names."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest

from sortd.disk.library import Library
from tests.folders import Tree, make

CLIP: Tree = {"clip.mp4": b"clip"}


def library(root: Path, **settings: int) -> Library:
    return Library(root, **({"levels": 1} | settings), extensions=["mp4", "mkv", "webm", "ts"], ignore=())


def seen(root: Path) -> set[str]:
    return {str(path) for path in library(root).scan()}


SYSTEMS = [
    *("@Recycle", "#recycle", "#snapshot", "@tmp", "@Recently-Snapshot", "~snapshot", ".@__thumb", "@__thumb"),
    *("RECYCLER", "Recycled", "FOUND.000", "$RECYCLE.BIN", ".Trash-1000", ".Trashes", ".zfs", ".snapshots"),
    *("lost+found", "System Volume Information", "@eaDir", "Network Trash Folder", "Temporary Items", ".fseventsd"),
    *(".AppleDouble", ".Spotlight-V100", ".stversions", "LOST.DIR", "MSOCache", "WindowsImageBackup", "@anything"),
    *("#anything", "@GMT-2026.11.30-10.00.00", "Plex Versions", "clip.trickplay", "files_trashbin", "files_versions"),
    *("_gsdata_", "Backups.backupdb", "WPSystem", "recycle", "_recycle"),
]


@pytest.mark.fault("K9")
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_bin_or_a_snapshot_is_no_category_and_nothing_in_it_is_looked_at(tmp_path: Path, name: str) -> None:
    make(tmp_path, {name: CLIP, name.upper() + " ": {}, "cooking": {name: CLIP, "soup.mp4": b""}})
    hers = library(tmp_path)

    assert seen(tmp_path) == {"cooking/soup.mp4"}
    assert name not in [folder.name for folder in hers.folders().folders]
    assert not hers.is_video(PurePath(name, "clip.mp4"))
    assert hers.category_named(name) is None


@pytest.mark.fault("K9")
@pytest.mark.parametrize("name", ["@Recycle", "#snapshot", "RECYCLER", "@dogs"])
def test_a_folder_with_a_systems_name_is_a_category_where_the_owner_says_so(tmp_path: Path, name: str) -> None:
    make(tmp_path, {name: {**CLIP, ".sortd.toml": b'role = "category"'}})

    assert seen(tmp_path) == {f"{name}/clip.mp4"}
    assert [folder.name for folder in library(tmp_path).folders().folders] == [name]
    assert library(tmp_path).skipped() == []


@pytest.mark.fault("K9")
def test_files_may_begin_as_they_like(tmp_path: Path) -> None:
    names = {"@someone - clip.mp4", "#1 goal.mp4", "recycled.mp4", "$100.mp4"}
    make(tmp_path, dict.fromkeys(names, b""))

    assert seen(tmp_path) == names


@pytest.mark.fault("K9")
def test_what_is_skipped_is_named_but_for_hidden_folders(tmp_path: Path) -> None:
    make(tmp_path, {"@Recycle": CLIP, ".Trash-0": CLIP, "cooking": {"#snapshot": CLIP}, "$RECYCLE.BIN": {}})

    assert [str(folder) for folder in library(tmp_path).skipped()] == ["$RECYCLE.BIN", "@Recycle", "cooking/#snapshot"]


NEVER_FINISHED = [
    *("clip.mp4.part", "clip.mp4.part-Frag12", "clip.mp4.part-Frag12.part", "clip.mp4.ytdl", "clip.mp4.crdownload"),
    *("clip.mp4.download", "clip.mp4.opdownload", "Unconfirmed 12345.crdownload", "clip.mp4.!qB", "clip.mp4.!ut"),
    *("clip.mp4.bc!", "clip.mp4.aria2", "clip.mp4.partial~", "clip.mp4.fdmdownload", "clip.mp4.dctmp"),
    *("clip.mp4.filepart", "~syncthing~clip.mp4.tmp", ".syncthing.clip.mp4.tmp", ".clip.mp4.XyZ12a"),
    *("_UNPACK_clip.mp4", "INCOMPLETE~clip.mp4"),
]


@pytest.mark.fault("K11")
@pytest.mark.parametrize("name", NEVER_FINISHED)
def test_a_name_that_only_an_unfinished_file_has_is_left_as_file_and_as_folder(tmp_path: Path, name: str) -> None:
    make(tmp_path, {name: b"", "sub": {name: {"clip.mp4": b""}}})

    assert seen(tmp_path) == set()
    assert library(tmp_path).companions(PurePath("clip.mp4")) == ()


DOUBTFUL = [
    *("clip.temp.mp4", "clip.f137.mp4", "clip.f251-drc.webm", "clip.fhls-1080.mp4", "clip.fdash-video-1.mp4"),
    *("clip.tmp.mp4", "clip-TdarrCacheFile-a1B2c3.mkv", "clip.partial.mkv", "clip-WORKING-1-2.mkv"),
    *("clip.fdash-video=1604032.mp4", "clip.transcoding.mkv", "clip.downloading.mp4"),
]


@pytest.mark.fault("K11")
@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_name_that_a_finished_file_could_have_too_waits_while_anything_of_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make(tmp_path, {name: b"", "clipper.mp4": b""})
    hers = library(tmp_path)

    assert set(map(str, hers.scan())) == {"clipper.mp4"}
    assert hers.stat(PurePath(name)) is None
    assert hers.look(PurePath(name), None) is None

    # The owner's clip is not left for ever: when nothing of it changed for a while it is taken for finished.
    monkeypatch.setattr("sortd.disk.unfinished_files.QUIET_SECONDS", 0.0)
    assert set(map(str, hers.scan())) == {"clipper.mp4", name}
    assert hers.look(PurePath(name), None) is not None


@pytest.mark.fault("K11")
@pytest.mark.parametrize("name", ["clip.final.mp4", "clip.full.mp4", "clip.fr.mp4", "clip.template.mp4", "f1.mp4"])
def test_an_ordinary_name_waits_for_nothing(tmp_path: Path, name: str) -> None:
    make(tmp_path, {name: b""})
    assert seen(tmp_path) == {name}


@pytest.mark.fault("K11")
@pytest.mark.parametrize("beside", ["clip.mp4.part", "clip.mp4.ytdl", "clip.mp4.crdownload", "clip.mp4.st"])
def test_a_file_beside_its_own_unfinished_part_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    make(tmp_path, {"clip.mp4": b"", beside: b""})
    hers = library(tmp_path)
    assert list(hers.scan()) == []
    assert hers.stat(PurePath("clip.mp4")) is None
    monkeypatch.setattr("sortd.disk.unfinished_files.QUIET_SECONDS", 0.0)
    assert list(hers.scan()) == [PurePath("clip.mp4")]  # what was given up left it behind


TRAVEL = [
    *("clip.srt", "clip.en.srt", "clip.en.forced.srt", "clip.English.srt", "clip.2.en.srt", "clip.pt-BR.srt"),
    *("clip.zh-Hans.ass", "clip.eng.sdh.default.srt", "clip.en-orig.vtt", "clip.rm.vtt", "clip.idx", "clip.sub"),
    *("clip.sup", "clip.smi", "clip.ttml", "clip.lrc", "clip.nfo", "clip.json", "clip.info.json", "clip.en.hi.srt"),
    *("clip.live_chat.json", "clip.description", "clip.xmp", "clip.thm", "clip.THM", "clip.txt", "clip.jpg"),
    *("clip.jpeg", "clip.png", "clip.webp", "clip-thumb.jpg", "clip-poster.JPEG", "clip.mp4.json", "clip.mp4.xmp"),
    *("clip.mp4.supplemental-metadata.json", "clip.mp4.supplemental-me.json", "clip.SRT", "clipM01.XML", "clip.LRV"),
    *("clip-fanart.jpg", "clip-banner.png", "clip-clearlogo.png", "clip-backdrop2.jpg", "clip.mp4.vsmeta", "clip.AAE"),
    *("clip.bif", "clip-320-10.bif", "clip.url", "clip.webloc", "clip.desktop"),
    *(
        "clip.annotations.xml",
        "clip.en-eEY6OEpapPo.vtt",
        "clip.cc.srt",
        "clip.ssa",
        "clip.default.srt",
        "clip.es-419.srt",
    ),
]
STAY = [
    *("clip2.srt", "clip - part 2.srt", "clip.part2.srt", "clip (1).srt", "clip.exe", "clip.txt.bak", "cli.srt"),
    *("Clip.srt", "clip.mp4.nosort", "clip.mp4.part", "clip.mp4.aria2", "clips.en.srt", "clip-2.jpg", "clip.cd2.srt"),
    *("clip.a.b.c.d.e.srt", "clip.other video.srt", "clip..srt", ".clip.srt", "clip.mp3", "clip.en.", "clip.srt.en"),
]


@pytest.mark.fault("K10")
def test_what_is_written_beside_a_video_goes_along_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys(["clip.mp4", *TRAVEL, *STAY], b""))

    assert {str(path) for path in library(tmp_path).companions(PurePath("clip.mp4"))} == set(TRAVEL)


@pytest.mark.fault("K10")
def test_the_companions_of_a_video_whose_name_begins_like_anothers_are_its_own(tmp_path: Path) -> None:
    names = ["clip.srt", "clip.two.srt", "clip.two.en.forced.srt", "clip.two.mp4.json", "clip.mp4.json", "clip.en.srt"]
    make(tmp_path, dict.fromkeys(["clip.mp4", "clip.two.mp4", *names], b""))
    hers = library(tmp_path)

    two = {"clip.two.srt", "clip.two.en.forced.srt", "clip.two.mp4.json"}
    assert {str(path) for path in hers.companions(PurePath("clip.two.mp4"))} == two
    assert {str(path) for path in hers.companions(PurePath("clip.mp4"))} == set(names) - two


@pytest.mark.fault("K10")
def test_of_two_videos_of_one_stem_each_takes_what_has_its_whole_name(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys(["clip.mp4", "clip.mkv", "clip.en.srt", "clip.mp4.json", "clip.mkv.xmp"], b""))
    hers = library(tmp_path)

    assert hers.companions(PurePath("clip.mp4")) == (PurePath("clip.mp4.json"),)
    (tmp_path / "clip.mp4").unlink()
    assert set(map(str, hers.companions(PurePath("clip.mkv")))) == {"clip.en.srt", "clip.mkv.xmp"}


@pytest.mark.fault("S7")
@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 3000,
        b"a = " + b"[" * 3000 + b"]" * 3000,
        b"a = " + b"9" * 5000,
        b"a = " + b"{a=" * 2000 + b"1" + b"}" * 2000,
        b".".join([b"a"] * 3500) + b" = 1",
        b"[" + b".".join([b"a"] * 3500) + b"]",
        b"describe = '" + b"x" * 10_000 + b"'",
        b"\0" * 100,
        b"\xff\xfe\xff",
        os.urandom(4096),
        b'role = "ignore"\nrole = "ignore"',
        b"\x1b[2J = 1",
        b"role = 1979-05-27T07:32:00Z",
        b"target_precision = nan",
    ],
    ids=[str(n) for n in range(14)],
)
def test_whatever_is_wrong_with_a_rule_file_is_that_folders_problem(tmp_path: Path, content: bytes) -> None:
    make(tmp_path, {"bad": {".sortd.toml": content, **CLIP, "deep": CLIP}, "good": CLIP})
    hers = library(tmp_path)

    assert set(map(str, hers.scan())) == {"good/clip.mp4"}
    assert [folder.name for folder in hers.folders().folders] == ["bad", "good"]
    [(folder, why)] = hers.rule_problems().items()
    assert (str(folder), len(why) < 500, why.isprintable()) == ("bad", True, True)
    assert not hers.rules(hers.folders().folders[0].name).automatic

    (tmp_path / "bad/.sortd.toml").write_bytes(b"")
    assert len(seen(tmp_path)) == 3


@pytest.mark.fault("S7")
@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_rules_that_are_no_plain_file_keep_hands_off(tmp_path: Path, kind: str) -> None:
    make(tmp_path, {"bad": CLIP, "good": CLIP})
    place = tmp_path / "bad/.sortd.toml"
    {"fifo": lambda: os.mkfifo(place), "folder": place.mkdir, "link": lambda: place.symlink_to("nowhere")}[kind]()

    assert seen(tmp_path) == {"good/clip.mp4"}


@pytest.mark.fault("K7")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_rules_are_read_as_every_editor_writes_them(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(['role = "ignore"', 'describe = "B\u00e4ume"', ""])
    make(tmp_path, {"trees": {".sortd.toml": text.encode(encoding), **CLIP}})
    hers = library(tmp_path)

    assert list(hers.scan()) == []
    assert not hers.rule_problems()
    assert hers.rules(hers.place(PurePath("trees/clip.mp4")).category or hers.folders().folders[0].name).describe
