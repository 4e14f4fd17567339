"""The owner changes what a folder is to be: no video was moved, so nothing is labelled, withdrawn or vetoed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest

from sortd.domain.video import Placer
from tests.stories.conftest import Household, taught

New = Callable[..., Household]


def state(hers: Household) -> dict[str, Any]:
    """What is held of every video of two categories, by its path in the index whether or not it rests."""
    rows = hers.store.database.execute(
        "SELECT f.path, c.name, v.placed_by FROM files f JOIN videos v ON v.fingerprint = f.fingerprint"
        " LEFT JOIN categories c ON c.id = v.home ORDER BY f.path"
    )
    return {row[0].decode(): (row[1] and row[1].decode(), row[2]) for row in rows}


def vetoes(hers: Household) -> int:
    return int(hers.store.database.execute("SELECT count(*) FROM vetoes").fetchone()[0])


def teaching(hers: Household) -> set[str]:
    return {name for _, _, name in hers.store.features.labels(hers.store.space)}


def lose_index(hers: Household) -> None:
    hers.kill()
    for file in (hers.config.state.dir or Path()).glob("index*"):
        file.unlink()
    for file in (hers.config.state.dir or Path()).glob("backup*"):
        file.unlink() if file.is_file() else None
    hers.start()
    hers.settle()


def touch_all(hers: Household) -> None:
    for path in hers.root.rglob("*.mp4"):
        path.touch()
    hers.settle()


RULES = [
    b'role = "unsorted"',
    b'role = "ignore"',
    b'role = "other"',
    b'\xef\xbb\xbfrole = "ignore"',
    b'role = "unsorted"\r\n',
    b'role = "unsor',
    b"\xff\xff",
    b"a = " + b"[" * 2000,
]


@pytest.mark.fault("K7")
@pytest.mark.parametrize("meanwhile", ["nothing", "restart", "all anew", "index lost"])
@pytest.mark.parametrize("rules", RULES, ids=[str(n) for n in range(8)])
def test_labels_rest_while_a_rule_stands_and_come_back_when_it_goes(
    household: New, rules: bytes, meanwhile: str
) -> None:
    hers = household(taught(3, ("cats", "dogs")))
    before = state(hers)
    assert set(before.values()) == {("cats", "owner"), ("dogs", "owner")}

    (hers.root / "cats/.sortd.toml").write_bytes(rules)
    hers.settle()
    {
        "nothing": lambda: None,
        "restart": hers.restart,
        "all anew": lambda: touch_all(hers),
        "index lost": lambda: lose_index(hers),
    }[meanwhile]()
    hers.restart()
    if b"other" not in rules and b"unsorted" not in rules:  # a lesson leaves those out by their role
        assert teaching(hers) == {"dogs"}
    assert not hers.events("videos_vanished")
    assert not hers.engine.pending_decisions.halted

    (hers.root / "cats/.sortd.toml").unlink()
    hers.settle()
    touch_all(hers)

    assert state(hers) == before
    assert teaching(hers) == {"cats", "dogs"}
    assert vetoes(hers) == 0
    assert not hers.events("withdrawn")
    assert not hers.events("corrected")


@pytest.mark.fault("K7")
@pytest.mark.parametrize(
    "settings",
    [{"levels": 2}, {"ignore": ["cats"]}, {"ignore": ["*1.mp4"]}, {"extensions": ["mkv"]}],
    ids=str,
)
def test_labels_rest_while_the_settings_leave_their_files_out(household: New, settings: dict[str, Any]) -> None:
    hers = household({"cats": {"old": {f"{n}.mp4": f"cats {n}".encode() for n in range(60)}}, "sea": {}})
    before = state(hers)

    usual = hers.config
    hers.kill()
    hers.config = usual.model_copy(update={"library": usual.library.model_copy(update=settings)})
    hers.start()
    hers.settle()
    touch_all(hers)
    assert not hers.events("videos_vanished")
    assert not hers.engine.pending_decisions.halted
    hers.kill()
    hers.config = usual
    hers.start()
    hers.settle()
    touch_all(hers)

    assert state(hers) == before
    assert vetoes(hers) == 0


@pytest.mark.fault("K7")
def test_what_stood_in_a_folder_that_was_unsorted_is_no_label_when_it_becomes_a_category(household: New) -> None:
    hers = household({"inbox": {".sortd.toml": b'role = "unsorted"', "a.mp4": b"cats 1", "b.mp4": b"cats 2"}})
    (hers.root / "inbox/.sortd.toml").unlink()
    hers.settle()
    touch_all(hers)
    assert not hers.events("labelled")

    hers.move("inbox/a.mp4", "inbox/mine.mp4")  # the owner's hand
    assert hers.home_of("inbox/mine.mp4") == ("inbox", "owner")
    assert hers.home_of("inbox/b.mp4") == (None, None)


@pytest.mark.fault("K7")
def test_the_owner_taking_a_video_out_of_a_resting_folder_is_a_withdrawal(household: New) -> None:
    hers = household(taught(3, ("cats", "dogs")))
    (hers.root / "cats/.sortd.toml").write_bytes(b'role = "ignore"')
    hers.settle()
    hers.move("cats/1.mp4", "1.mp4")
    assert [str(line["path"]) for line in hers.events("withdrawn")] == ["1.mp4"]

    (hers.root / "cats/2.mp4").unlink()  # and deleting one there is no more than that
    hers.settle()
    assert "cats/2.mp4" not in state(hers)


@pytest.mark.fault("S7")
def test_a_rule_file_that_cannot_be_used_is_told_once_and_again_only_when_it_was_mended(household: New) -> None:
    hers = household(taught(3, ("cats", "dogs")))
    for _ in range(2):
        (hers.root / "cats/.sortd.toml").write_bytes(b"a = " + b"[" * 3000)
        hers.settle()
        hers.settle()
        hers.files({f"new{len(hers.log)}.mp4": f"dogs {len(hers.log)}".encode()})
        (hers.root / "cats/.sortd.toml").unlink()
        hers.settle()
    told = hers.events("rules_unusable")
    assert [str(line["path"]) for line in told] == ["cats/.sortd.toml"] * 2
    assert len(hers.events("found")) == 8


@pytest.mark.fault("K9")
def test_a_folder_with_a_doubtful_name_that_holds_labels_stays_a_category(household: New) -> None:
    hers = household({"dogs": {"a.mp4": b"dogs 1", "b.mp4": b"dogs 2"}, "#tmp": {"x.mp4": b"junk"}})
    (hers.root / "dogs").rename(hers.root / "#dogs")
    hers.settle()
    assert hers.home_of("#dogs/a.mp4") == ("#dogs", "owner")
    hers.files({"#dogs": {"c.mp4": b"dogs 3"}})
    assert hers.home_of("#dogs/c.mp4") == ("#dogs", "owner")
    lose_index(hers)
    assert hers.home_of("#dogs/c.mp4") == ("#dogs", "owner")
    assert set(state(hers)) == {"#dogs/a.mp4", "#dogs/b.mp4", "#dogs/c.mp4"}


@pytest.mark.fault("K9")
def test_a_video_taken_into_a_bin_is_deleted_and_no_label(household: New) -> None:
    hers = household(taught(3, ("cats", "dogs")))
    hers.move("cats/1.mp4", "@Recycle/1.mp4")
    hers.move("cats/2.mp4", "#recycle/cats/2.mp4")
    assert not hers.events("corrected")
    assert set(state(hers)) == {"cats/0.mp4", "dogs/0.mp4", "dogs/1.mp4", "dogs/2.mp4"}
    hers.move("@Recycle/1.mp4", "cats/1.mp4")
    assert hers.home_of("cats/1.mp4") == ("cats", "owner")
    assert vetoes(hers) == 0


@pytest.mark.fault("K7")
@pytest.mark.parametrize("when", ["while it runs", "while it is off, and the rule goes too", "index lost"])
@pytest.mark.parametrize("role", ["unsorted", "ignore", "other"])
def test_a_folder_that_is_renamed_while_a_rule_stands_in_it_keeps_all_that_was_held_to_it(
    household: New, role: str, when: str
) -> None:
    hers = household(taught(6, ("cats", "dogs")))
    with hers.store.transaction():  # one of them was placed by sortd
        record = hers.store.videos.record(hers.store.videos.known(PurePath("cats/1.mp4")).fingerprint)  # type: ignore[union-attr]
        hers.store.videos.keep(replace(record, placed_by=Placer.SORTD))
    expected = {path.replace("cats/", "felines/"): held for path, held in state(hers).items() if "cats" in path}
    expected = {path: ("felines", placer) for path, (_, placer) in expected.items()}

    (hers.root / "cats/.sortd.toml").write_text(f'role = "{role}"')
    hers.settle()
    if when == "while it runs":
        (hers.root / "cats").rename(hers.root / "felines")
        hers.settle()
        (hers.root / "felines/.sortd.toml").unlink()
    elif when == "index lost":
        (hers.root / "cats").rename(hers.root / "felines")
        hers.settle()
        expected["felines/1.mp4"] = ("felines", "owner")  # of what was placed nothing stands in this log
        lose_index(hers)
        (hers.root / "felines/.sortd.toml").unlink()
    else:
        hers.kill()
        (hers.root / "cats").rename(hers.root / "felines")
        (hers.root / "felines/.sortd.toml").unlink()
        hers.start()
    hers.settle()
    touch_all(hers)

    assert {path: held for path, held in state(hers).items() if "felines" in path} == expected
    assert vetoes(hers) == 0
    assert not [line for line in hers.log if line["event"] in {"withdrawn", "corrected"}]
    assert teaching(hers) == {"felines", "dogs"}
