from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest

from sortd.disk.fingerprint import fingerprint
from sortd.disk.folder_rules import Role
from sortd.disk.library import Library
from sortd.domain.category import CategoryName, Location
from sortd.domain.errors import LibraryUnavailable
from sortd.domain.video import FileIdentity, Fingerprint, Sighting
from sortd.judgement.category_diff import Folder
from tests.folders import Tree, make

NOBODY = 65534


def library(root: Path, *, levels: int = 1, ignore: tuple[str, ...] = ()) -> Library:
    return Library(root, levels=levels, extensions=["mp4", "mkv"], ignore=ignore)


def seen(root: Path, **settings: Any) -> set[str]:
    return {str(path) for path in library(root, **settings).scan()}


def as_a_plain_user(story: Callable[[], bool]) -> bool:
    """Root may read everything; what happens to those who may not is found out in a child that is not root."""
    child = os.fork()
    if child == 0:
        held = False
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            held = story()
        finally:
            os._exit(0 if held else 1)
    return os.waitpid(child, 0)[1] == 0


@pytest.fixture
def open_to_all(tmp_path: Path) -> Path:
    """A root whose every parent folder a plain user may pass."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    return tmp_path


def test_every_video_below_the_root_is_found_whatever_the_case_of_its_extension(tmp_path: Path) -> None:
    make(tmp_path, {"new.mp4": b"", "NEW.MKV": b"", "notes.txt": b"", "cooking": {"2024": {"soup.Mp4": b""}}})

    assert seen(tmp_path) == {"new.mp4", "NEW.MKV", "cooking/2024/soup.Mp4"}


def test_what_is_hidden_or_a_systems_own_or_unfinished_is_left_alone(tmp_path: Path) -> None:
    clip: Tree = {"clip.mp4": b""}
    make(
        tmp_path,
        {
            ".sortd": clip,
            ".hidden.mp4": b"",
            ".mp4": b"",
            "@eaDir": clip,
            "#recycle": clip,
            "$Recycle.Bin": clip,
            "lost+found": clip,
            "System Volume Information": clip,
            "clip.mp4.part": b"",
            "clip.mp4.!qB": b"",
            "film.mp4.download": {"film.mp4": b""},
            "half.mp4": b"",
            "half.mp4.aria2": b"",
            "part.1.download.mp4": b"",
            "folder.mp4": clip,
        },
    )

    assert seen(tmp_path) == {"part.1.download.mp4", "folder.mp4/clip.mp4"}


def test_only_plain_files_are_videos_and_no_symlink_is_followed(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {"secret.mp4": b"secret"})
    root = make(
        tmp_path / "root",
        {
            "link.mp4": outside / "secret.mp4",
            "self.mp4": PurePath("self.mp4"),
            "gone.mp4": PurePath("nowhere"),
            "elsewhere": outside,
            "again": PurePath(),
            "real": {"clip.mp4": b"clip"},
        },
    )
    os.mkfifo(root / "fifo.mp4")
    os.mknod(root / "socket.mp4", stat.S_IFSOCK | 0o600)
    hers = library(root)

    assert seen(root) == {"real/clip.mp4"}
    for name in ("link.mp4", "self.mp4", "gone.mp4", "elsewhere/secret.mp4", "again/real/clip.mp4", "fifo.mp4"):
        assert hers.look(PurePath(name), None) is None
        assert hers.stat(PurePath(name)) is None
    assert list(hers.videos_below(PurePath("elsewhere"))) == []
    assert list(hers.videos_below(PurePath("again/real"))) == []
    assert hers.look(PurePath("socket.mp4"), None) is None


def test_a_root_that_is_itself_a_symlink_is_followed(tmp_path: Path) -> None:
    make(tmp_path / "disk", {"clip.mp4": b""})
    make(tmp_path, {"Videos": PurePath("disk")})

    assert seen(tmp_path / "Videos") == {"clip.mp4"}


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.mp4",
        b"\xff\xfe\x80.mp4",
        bytes(range(1, 32)) + b".mp4",
        b"-rf.mp4",
        b"a\nb.mp4",
        b"concat:a.mp4|b.mp4",
        b"*?[a-z]{x,y}.mp4",
        b"a" * 251 + b".mp4",
        "caf\u00e9.mp4".encode(),
        "cafe\u0301.mp4".encode(),
        b"CON.mp4",
        b"a..b...c.mp4",
        b"...and then.mp4",
        b"..\xc0\xaf..\xc0\xafetc.mp4",
    ],
    ids=ascii,
)
def test_a_name_is_kept_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"clip")
    hers = library(tmp_path)

    [path] = hers.scan()

    assert os.fsencode(path) == name
    sighting = hers.look(path, None)
    assert sighting
    assert sighting.path == path


@pytest.mark.parametrize("path", ["/etc/passwd.mp4", "../clip.mp4", "a/../../clip.mp4", "a\0b.mp4", "\ud800.mp4", ""])
def test_nothing_outside_the_root_and_nothing_impossible_is_looked_at(tmp_path: Path, path: str) -> None:
    make(tmp_path, {"clip.mp4": b"", "root": {}})
    hers = library(tmp_path / "root")

    assert not hers.is_video(PurePath(path)) or hers.stat(PurePath(path)) is None
    assert hers.look(PurePath(path), None) is None
    assert hers.stat(PurePath(path)) is None


def test_a_name_longer_than_any_file_system_takes_is_simply_not_there(tmp_path: Path) -> None:
    assert library(tmp_path).stat(PurePath("x" * 300 + ".mp4")) is None


def test_ignored_patterns_leave_out_files_and_whole_folders(tmp_path: Path) -> None:
    make(
        tmp_path, {"a.mkv": b"", "b.mp4": b"", "private": {"c.mp4": b"", "deep": {"d.mp4": b""}}, "pub": {"e.mkv": b""}}
    )

    assert seen(tmp_path, ignore=("private/", "*.mkv")) == {"b.mp4"}
    assert not library(tmp_path, ignore=("private",)).is_video(PurePath("private/deep/d.mp4"))


def test_a_missing_root_is_no_empty_library(tmp_path: Path) -> None:
    with pytest.raises(LibraryUnavailable):
        library(tmp_path / "gone").scan()


def test_an_unreadable_folder_hides_its_categories_and_no_others(open_to_all: Path) -> None:
    make(open_to_all, {"private": {"cats": {}}, "pets": {"dogs": {}}})
    (open_to_all / "private").chmod(0)

    def story() -> bool:
        seen = library(open_to_all, levels=2).folders()
        names = [folder.name for folder in seen.folders]
        return (
            names == ["pets/dogs"]
            and seen.hides(CategoryName("private/cats"))
            and not seen.hides(CategoryName("pets/birds"))
        )

    try:
        assert as_a_plain_user(story)
    finally:
        (open_to_all / "private").chmod(0o755)


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=oct)
def test_an_unreadable_folder_does_not_make_its_videos_look_deleted(open_to_all: Path, mode: int) -> None:
    make(open_to_all, {"cooking": {"soup.mp4": b""}, "new.mp4": b""})
    (open_to_all / "cooking").chmod(mode)
    hers = library(open_to_all)

    def story() -> bool:
        scan = hers.scan()
        soup = PurePath("cooking/soup.mp4")
        try:
            hers.look(soup, None)
        except LibraryUnavailable:
            return list(scan) == [PurePath("new.mp4")] and scan.hides(soup) and not scan.hides(PurePath("gone.mp4"))
        return False

    assert as_a_plain_user(story)
    (open_to_all / "cooking").chmod(0o755)


def test_a_video_that_cannot_be_read_is_seen_under_a_passing_name_and_tried_again(open_to_all: Path) -> None:
    make(open_to_all, {"locked.mp4": b"locked"})
    clip = open_to_all / "locked.mp4"
    clip.chmod(0)
    hers = library(open_to_all)
    status = clip.stat()
    passing = f"unreadable-{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"

    def story() -> bool:
        sighting = hers.look(PurePath("locked.mp4"), None)
        return sighting is not None and sighting.fingerprint == passing

    assert as_a_plain_user(story)
    clip.chmod(0o644)
    before = Sighting(PurePath("locked.mp4"), Fingerprint(passing), FileIdentity(status.st_ino, 6, status.st_mtime_ns))
    after = hers.look(PurePath("locked.mp4"), before)
    assert after
    assert after.fingerprint != passing


def test_an_unchanged_video_is_not_read_again(tmp_path: Path) -> None:
    make(tmp_path, {"clip.mp4": b"clip"})
    hers = library(tmp_path)
    identity = hers.stat(PurePath("clip.mp4"))
    assert identity
    known = Sighting(PurePath("old name.mp4"), Fingerprint("as known"), identity)

    assert hers.look(PurePath("clip.mp4"), known) == Sighting(PurePath("clip.mp4"), Fingerprint("as known"), identity)


def test_a_video_that_is_no_longer_what_was_looked_at_gets_no_fingerprint(tmp_path: Path) -> None:
    make(tmp_path, {"clip.mp4": b"clip", "other.mp4": b"clip"})
    identity = library(tmp_path).stat(PurePath("clip.mp4"))
    assert identity

    assert fingerprint(tmp_path / "clip.mp4", identity=identity)
    assert fingerprint(tmp_path / "other.mp4", identity=identity) is None


def fingerprint_of(root: Path, content: bytes, *, name: str = "clip.mp4") -> str:
    (root / name).write_bytes(content)
    sighting = library(root).look(PurePath(name), None)
    assert sighting
    return sighting.fingerprint


def test_a_fingerprint_is_of_the_content_and_not_of_the_name(tmp_path: Path) -> None:
    film = os.urandom(2_000_000)

    assert fingerprint_of(tmp_path, film) == fingerprint_of(tmp_path, film, name="other.mp4")


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 700_000, 786_432, 786_433, 2_000_000])
def test_a_fingerprint_tells_sizes_beginnings_middles_and_ends_apart(tmp_path: Path, size: int) -> None:
    film = bytearray(size)
    seen = {fingerprint_of(tmp_path, bytes(film)), fingerprint_of(tmp_path, bytes(film) + b"\0")}
    for place in sorted({0, size // 2, size - 1}) if size else []:
        changed = film.copy()
        changed[place] = 1
        seen.add(fingerprint_of(tmp_path, bytes(changed)))

    assert len(seen) == 2 + (len({0, size // 2, size - 1}) if size else 0)


def test_a_category_is_the_folder_as_many_levels_deep_as_configured(tmp_path: Path) -> None:
    one, two = library(tmp_path), library(tmp_path, levels=2)
    deep = PurePath("sports/soccer/2024/goal.mp4")

    assert one.place(deep) == Location(CategoryName("sports"), PurePath("soccer/2024/goal.mp4"))
    assert two.place(deep) == Location(CategoryName("sports/soccer"), PurePath("2024/goal.mp4"))
    assert two.place(PurePath("sports/goal.mp4")) == Location(CategoryName("sports"), PurePath("goal.mp4"))
    assert one.place(PurePath("goal.mp4")) == Location(None, PurePath("goal.mp4"))


def test_folders_are_categories_with_the_identity_of_their_folder(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "sports": {"soccer": {}, "own.mp4": b""},
            "music": {"jazz": {"deep": {"er.mp4": b""}}, "notes.txt": b""},
            ".hidden": {"x": {}},
            "link": PurePath("sports"),
        },
    )
    status = (tmp_path / "sports/soccer").stat()

    assert [folder.name for folder in library(tmp_path).folders().folders] == ["music", "sports"]
    two = library(tmp_path, levels=2).folders().folders
    assert [folder.name for folder in two] == ["music/jazz", "sports", "sports/soccer"]
    assert Folder(CategoryName("sports/soccer"), status.st_dev, status.st_ino) in two


def test_the_owners_rules_for_a_folder_are_read_and_the_nearest_wins(tmp_path: Path) -> None:
    rules: Tree = {".sortd.toml": b'describe = "pots"\nautomatic = false\ntarget_precision = 0.99\n'}
    make(tmp_path, {"cooking": {**rules, "cakes": {}, "soups": {".sortd.toml": b'describe = "hot"'}}, "pets": {}})
    hers = library(tmp_path, levels=2)

    assert hers.rules(CategoryName("cooking/soups")).describe == "hot"
    assert hers.rules(CategoryName("cooking/cakes")) == hers.rules(CategoryName("cooking"))
    assert hers.rules(CategoryName("cooking")).describe == "pots"
    assert hers.rules(CategoryName("cooking")).target_precision == 0.99
    assert not hers.rules(CategoryName("cooking")).automatic
    assert hers.rules(CategoryName("pets")).automatic


@pytest.mark.parametrize("name", ["..", "cooking/../..", "/x", "/"])
def test_the_rules_of_what_is_no_folder_of_the_library_are_read_nowhere(tmp_path: Path, name: str) -> None:
    make(tmp_path, {".sortd.toml": b"target_precision = 0.5", "videos": {"cooking": {}}})
    rules = library(tmp_path / "videos").rules(CategoryName(name))
    assert rules.problem == f"{name} is no folder of this library"
    assert not rules.automatic
    assert rules.target_precision is None


@pytest.mark.parametrize("rules", [b'describe = "for later"', b"role = "])
def test_rules_in_a_folder_below_an_unsorted_one_make_no_category_of_it(tmp_path: Path, rules: bytes) -> None:
    later: Tree = {".sortd.toml": rules, "x.mp4": b""}
    make(tmp_path, {"inbox": {".sortd.toml": b'role = "unsorted"', "later": later}, "sea": {"later": later}})
    hers = library(tmp_path)

    assert hers.category_of(PurePath("inbox/later/x.mp4")) is None
    assert hers.category_of(PurePath("sea/later/x.mp4")) == "sea"
    assert [folder.name for folder in hers.folders().folders] == ["sea"]
    (tmp_path / "sea/later/.sortd.toml").write_text('role = "unsorted"')
    assert hers.category_of(PurePath("sea/later/x.mp4")) is None


def test_changed_rules_count_at_once(tmp_path: Path) -> None:
    make(tmp_path, {"misc": {"clip.mp4": b"", ".sortd.toml": b'role = "unsorted"'}})
    hers = library(tmp_path)
    clip = PurePath("misc/clip.mp4")

    assert hers.category_of(clip) is None
    assert hers.folders().folders == []
    (tmp_path / "misc/.sortd.toml").write_text('role = "ignore"')
    assert not hers.is_video(clip)
    assert list(hers.scan()) == []
    (tmp_path / "misc/.sortd.toml").unlink()
    assert hers.category_of(clip) == "misc"
    assert list(hers.scan()) == [clip]


@pytest.mark.parametrize(
    "content",
    [
        b"role = ",
        b'role = "boss"',
        b"role = 3",
        b'roles = "ignore"',
        b"automatic = 0",
        b"target_precision = 2.0",
        b"\xff",
    ],
    ids=ascii,
)
def test_rules_that_cannot_be_used_are_one_clear_problem_and_stop_automatic_moves(
    tmp_path: Path, content: bytes
) -> None:
    make(tmp_path, {"cooking": {".sortd.toml": content}})

    rules = library(tmp_path).rules(CategoryName("cooking"))

    assert rules.problem.startswith("cooking/.sortd.toml: ")
    assert "\n" not in rules.problem
    assert not rules.automatic
    assert rules.role is Role.CATEGORY


def test_rules_that_are_no_plain_file_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, {"elsewhere.toml": b"", "cooking": {".sortd.toml": PurePath("../elsewhere.toml")}})

    assert library(tmp_path).rules(CategoryName("cooking")).problem == "cooking/.sortd.toml: not a plain file"


def test_a_nosort_file_keeps_hands_off_a_folder_or_one_video(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "cooking": {".nosort": b"", "2024": {"soup.mp4": b""}},
            "pets": {"cat.mp4": b"", "cat.mp4.nosort": b"", "dog.mp4": b""},
        },
    )
    hers = library(tmp_path)

    kept = [name for name in ("cooking/2024/soup.mp4", "cooking", "pets/cat.mp4") if hers.hands_off(PurePath(name))]
    assert kept == ["cooking/2024/soup.mp4", "cooking", "pets/cat.mp4"]
    assert not hers.hands_off(PurePath("pets/dog.mp4"))
    assert not hers.hands_off(PurePath("pets"))
    make(tmp_path, {".nosort": b""})
    assert hers.hands_off(PurePath("pets/dog.mp4"))


def test_companions_of_the_same_stem_travel_with_their_video(tmp_path: Path) -> None:
    files = [
        "clip.mp4",
        "clip.srt",
        "clip.en.srt",
        "clip.pt-BR.VTT",
        "clip.info.json",
        "clip.json",
        "clip.nfo",
        "clip.jpg",
    ]
    others = ["clip2.srt", "clip.part2.srt", "clip.exe", "cli.srt", "clip.txt.bak", "Clip.srt"]
    make(tmp_path, dict.fromkeys(files + others, b"") | {"clip.png": PurePath("clip.jpg"), "clip.webp": {}})

    assert {str(path) for path in library(tmp_path).companions(PurePath("clip.mp4"))} == set(files) - {"clip.mp4"}


def test_a_subtitle_goes_with_the_video_that_it_names_in_full(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys(["clip.mp4", "clip.srt", "clip.two.mp4", "clip.two.srt", "clip.two.en.srt"], b""))
    hers = library(tmp_path)

    assert hers.companions(PurePath("clip.mp4")) == (PurePath("clip.srt"),)
    assert hers.companions(PurePath("clip.two.mp4")) == (PurePath("clip.two.en.srt"), PurePath("clip.two.srt"))


def test_companions_that_two_videos_share_stay_until_the_last_of_them_goes(tmp_path: Path) -> None:
    make(tmp_path, {"new": dict.fromkeys(["clip.mp4", "clip.mkv", "clip.srt"], b"")})
    hers = library(tmp_path)

    assert hers.companions(PurePath("new/clip.mp4")) == ()
    (tmp_path / "new/clip.mp4").unlink()
    assert hers.companions(PurePath("new/clip.mkv")) == (PurePath("new/clip.srt"),)
