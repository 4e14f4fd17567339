"""What tells that a file is unchanged, and numbers that no ordinary disk gives."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from sortd.disk.library import Library
from sortd.domain.category import CategoryName
from sortd.domain.decision import MoveTo
from sortd.domain.feature import Fault, FeatureSpace, SpacePart
from sortd.domain.move_plan import MovePlan
from sortd.domain.video import FileIdentity, Fingerprint, Sighting
from sortd.judgement.category_diff import Folder
from sortd.store.store import Store
from tests.stories.conftest import taught

FAR = [
    -(2**63) * 10**9,
    -1,
    0,
    2**31 * 10**9,
    15_032_385_535 * 10**9,  # May 2446: the last that ext4 can hold
    2**63,
    2**64 - 1,
    (2**63 - 1) * 10**9,
]
"""Nanoseconds, inodes and devices."""


def mend_in_place(path: Path, content: bytes) -> None:
    """Another content of the same length, and the old time: only the change time tells."""
    before = path.stat()
    assert len(content) == before.st_size
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.fault("K12")
def test_a_damaged_file_that_is_mended_in_place_with_its_time_kept_is_looked_at_again(household):
    home = household()
    home.broken[b"damaged!"] = Fault.DAMAGED
    home.files({"clip.mp4": b"damaged!"})
    assert home.store.backlog.set_aside()

    mend_in_place(home.root / "clip.mp4", b"mended!!")
    home.settle()

    assert home.store.backlog.set_aside() == []
    assert home.extracted == [b"damaged!", b"mended!!"]


@pytest.mark.fault("K12")
def test_what_is_mended_where_no_fingerprint_reads_is_tried_again_too(household):
    home = household()
    size = 4 * 1024 * 1024
    content = b"\0" * size
    home.broken[content] = Fault.DAMAGED
    home.files({"clip.mp4": content})
    before = home.store.backlog.set_aside()[0].fingerprint

    mended = content[:400_000] + b"mended" + content[400_006:]
    mend_in_place(home.root / "clip.mp4", mended)
    home.settle()

    assert home.store.videos.known(PurePath("clip.mp4")).fingerprint == before
    assert home.store.backlog.set_aside() == []
    assert home.extracted == [content, mended]


@pytest.mark.fault("K12")
def test_a_new_name_mode_or_link_costs_no_second_extraction_and_teaches_nothing(household):
    home = household(taught(3, ("cats",)))
    home.broken[b"damaged"] = Fault.DAMAGED
    home.files({"clip.mp4": b"clip", "bad.mp4": b"damaged"})
    extracted, labels = list(home.extracted), home.events("labelled")

    (home.root / "clip.mp4").rename(home.root / "other.mp4")
    (home.root / "bad.mp4").rename(home.root / "worse.mp4")
    (home.root / "cats/0.mp4").chmod(0o600)
    (home.root / "link.mp4").hardlink_to(home.root / "cats/1.mp4")
    home.settle()
    home.restart()

    assert home.extracted == extracted
    assert home.events("labelled") == labels
    assert not any(home.events(event) for event in ("corrected", "withdrawn", "confirmed"))
    assert [aside.path for aside in home.store.backlog.set_aside()] == [PurePath("worse.mp4")]


@pytest.mark.fault("K12")
def test_a_copy_whose_status_alone_changed_still_stands_where_it_stood(household):
    home = household(taught(3, ("cats",)))
    (home.root / "copy.mp4").write_bytes(b"cats 0")
    home.settle()

    (home.root / "cats/0.mp4").chmod(0o600)
    (home.root / "copy.mp4").unlink()
    home.engine.scanner.touch(PurePath("copy.mp4"))
    home.wait(seconds=20)

    assert home.home_of("cats/0.mp4") == ("cats", "owner")
    assert not home.events("withdrawn")


@pytest.mark.fault("K12")
@pytest.mark.parametrize("other", [{"device": 2**40}, {"ctime_ns": 5}, {"device": 7, "ctime_ns": 2**63}])
def test_a_mount_that_gives_other_numbers_costs_no_extraction_and_teaches_nothing(household, other):
    home = household(taught(3, ("cats",)))
    home.files({"clip.mp4": b"clip"})
    extracted, told = list(home.extracted), len(home.log)
    with home.store.transaction():
        for path, seen in home.store.videos.identities().items():
            home.store.videos.complete(path, replace(seen.identity, **other))

    home.restart()

    assert home.extracted == extracted
    assert home.log[told:] == []
    path = PurePath("clip.mp4")
    assert home.store.videos.known(path).identity == home.library.stat(path)


@pytest.mark.fault("K12")
def test_an_index_from_before_is_completed_without_a_look_at_any_video(household):
    home = household(taught(3, ("cats",)))
    extracted = list(home.extracted)
    home.kill()
    with closing(sqlite3.connect(home.guard.state / "index.db")) as index:
        index.execute("UPDATE files SET ctime_ns = NULL, device = NULL")
        index.commit()
    mend_in_place(home.root / "cats/0.mp4", b"dogs 0")  # would be told, were it read
    home.start()
    home.settle()

    assert home.extracted == extracted
    path = PurePath("cats/0.mp4")
    assert home.store.videos.known(path).identity == home.library.stat(path)


@pytest.mark.fault("G1")
@pytest.mark.parametrize("value", FAR)
def test_any_number_that_a_filesystem_can_give_is_kept(tmp_path, value):
    store = Store.open(tmp_path, FeatureSpace((SpacePart("visual", "1", 3),)))
    identity = FileIdentity(value, 2**63 - 1, value, value, value)
    clip, cats = Fingerprint("clip"), CategoryName("cats")
    with store.transaction():
        store.categories.add(Folder(cats, value, value))
        store.videos.see(Sighting(PurePath("clip.mp4"), clip, identity), now=1.0)
        (job,) = store.backlog.next_jobs(1, labelled_first=True)
        store.backlog.begin([job])
        plan = MovePlan(((PurePath("clip.mp4"), PurePath("cats/clip.mp4")),))
        of = {PurePath("clip.mp4"): identity}
        number = store.journal.intend(clip, plan, MoveTo(cats, 1.0), identities=of, now=1.0, began_ns=value)

    assert job.identity == identity
    assert store.videos.known(PurePath("clip.mp4")).identity == identity
    assert store.categories.stands(Folder(cats, value, value))
    assert store.categories.standing() == {Folder(cats, value, value)}
    entry = store.journal.entry(number)
    assert (entry.steps[0].identity, entry.began_ns) == (identity, value)
    store.database.close()


class Strange(Library):
    """A library on a filesystem whose numbers are other ones for some names."""

    def stat(self, path):
        if path.name == "worst.mp4":
            raise OverflowError("Python int too large to convert to C int")
        return super().stat(path)

    def look(self, path, known):
        found = super().look(path, known)
        if found is not None and path.name == "huge.mp4":
            return replace(found, identity=replace(found.identity, inode=2**200))
        return found


@pytest.mark.fault("G1")
def test_what_nobody_foresaw_of_one_file_is_told_once_and_the_others_go_on(household):
    home = household(taught(3, ("cats",)))
    home.library = Strange(home.root, levels=1, extensions=["mp4"], ignore=[])
    home.engine.scanner._library = home.library
    home.engine.scanner._owner_actions._library = home.library

    home.files({"huge.mp4": b"huge", "worst.mp4": b"worst", "clip.mp4": b"clip", "cats": {"new.mp4": b"new"}})
    home.settle()

    assert {b"clip", b"new"} <= set(home.extracted)
    assert home.home_of("cats/new.mp4") == ("cats", "owner")
    told = home.events("not_looked_at")
    assert sorted(str(line["path"]) for line in told) == ["huge.mp4", "worst.mp4"]
    assert all("OverflowError" in line["why"] and "\n" not in line["why"] for line in told)


@pytest.mark.fault("G1")
def test_a_video_from_the_year_2446_is_filed_away_like_any_other(household):
    home = household(taught(3, ("cats",)))
    (home.root / "clip.mp4").write_bytes(b"clip")
    os.utime(home.root / "clip.mp4", ns=(0, 15_032_385_535 * 10**9))
    if (home.root / "clip.mp4").stat().st_mtime_ns < 2**63:
        pytest.skip("this filesystem does not reach that year")
    home.settle()

    home.move("clip.mp4", "cats/clip.mp4")

    assert home.home_of("cats/clip.mp4") == ("cats", "owner")
    assert home.extracted.count(b"clip") == 1
