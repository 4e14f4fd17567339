"""A collection with no folder at all begins: sortd suggests, the owner names."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from sortd.cli.demo_clips import AMBIGUOUS, FAMILIES, make_clip
from tests.folders import read
from tests.stories.service import SORTD, Service
from tests.waiting import PATIENCE_SECONDS

EACH = 6
FILES = {f"{family} {number}.mp4" for family in FAMILIES for number in range(EACH)}


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """Clips of four families with no folder, looked at once, and no service."""
    home = Service(tmp_path_factory.mktemp("owner"), train={"after_labels": 1})
    for family in FAMILIES:
        for number in range(EACH):
            make_clip(home.root / f"{family} {number}.mp4", family, number, seconds=1.0)
    (home.root / "sea 0.srt").write_text("waves")
    assert home.run("run", "--once").returncode == 0
    return home


@pytest.fixture
def home(looked_at, tmp_path):
    """The same, restored from a backup to a place of its own."""
    shutil.copytree(looked_at.folder, tmp_path / "owner")
    own = Service(tmp_path / "owner", train={"after_labels": 1})
    (own.state / "root").write_bytes(bytes(own.root))
    yield own
    own.end()


def family(group):
    """The one family whose clips a group holds."""
    (name,) = {path.split()[0] for path in group["videos"]}
    return name


def test_each_family_is_suggested_under_its_name(home):
    groups = home.ask("suggest")
    assert [group["n"] for group in groups] == [1, 2, 3, 4]
    assert {path for group in groups for path in group["videos"]} == FILES
    for group in groups:
        assert sorted(group) == ["n", "names", "videos"]
        assert group["names"] == [family(group)]


def test_to_suggest_moves_and_makes_nothing(home):
    before = read(home.root)
    said = home.run("suggest").stdout
    assert "1  " in said
    assert "and 3 more" in said
    assert "--accept" in said
    assert read(home.root) == before


def test_it_suggests_the_same_beside_a_running_service(home):
    groups = home.ask("suggest")
    home.start()
    assert home.ask("suggest") == groups


def test_what_the_owner_asks_to_leave_alone_is_not_suggested(home):
    for number in range(EACH):
        (home.root / f"sea {number}.mp4.nosort").touch()
    assert {family(group) for group in home.ask("suggest")} == FAMILIES.keys() - {"sea"}


def test_what_the_owner_has_filed_is_no_new_kind(home):
    (home.root / "sea").mkdir()
    for number in range(3):
        (home.root / f"sea {number}.mp4").rename(home.root / "sea" / f"{number}.mp4")
    for number in range(3):
        make_clip(home.root / f"more sea {number}.mp4", "sea", 50 + number, seconds=1.0)
    assert home.run("run", "--once").returncode == 0
    assert {family(group) for group in home.ask("suggest")} == FAMILIES.keys() - {"sea"}


def test_where_nothing_is_alike_one_line_says_so(tmp_path):
    home = Service(tmp_path)
    for number, name in enumerate([*FAMILIES, AMBIGUOUS]):
        make_clip(home.root / f"{number}.mp4", name, number, seconds=1.0)
    assert home.run("run", "--once").returncode == 0
    done = home.run("suggest")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert done.stdout.startswith("nothing to suggest")
    assert json.loads(home.run("suggest", "--json").stdout) == []


def test_of_a_library_that_nobody_served_yet_nothing_is_known(tmp_path):
    done = Service(tmp_path).run("suggest")
    assert done.returncode == 1
    assert done.stderr.startswith("sortd: nothing is known of ")


# Accepted


def number_of(groups, name):
    return next(group["n"] for group in groups if family(group) == name)


def test_a_collection_without_a_folder_begins_and_the_next_clips_are_filed(home):
    home.start()
    groups = home.ask("suggest")
    for name in FAMILIES:
        # The numbers are those shown once, though what is left changes with each that is accepted.
        told = home.ask("suggest", "--accept", str(number_of(groups, name)), name)
        assert (told["category"], len(told["done"]), told["refused"]) == (name, EACH, [])
    home.await_told("trained", labels=EACH * len(FAMILIES))
    status = home.ask("status")
    assert {one["name"]: (one["labels"], one["placed"]) for one in status["categories"]} == dict.fromkeys(
        FAMILIES, (EACH, 0)
    )
    assert (home.root / "sea" / "sea 0.srt").read_text() == "waves"
    for name in FAMILIES:
        make_clip(home.folder / "new.mp4", name, 100, seconds=1.0)
        (home.folder / "new.mp4").rename(home.root / f"new {name}.mp4")
        home.await_told("moved", path=f"new {name}.mp4", to=f"{name}/new {name}.mp4")
    assert home.run("suggest").stdout.startswith("nothing to suggest")


def test_without_a_service_it_is_the_same_and_all_of_it_can_be_undone(home):
    before = read(home.root)
    done = home.run("suggest", "--accept", str(number_of(home.ask("suggest"), "sea")), "the sea")
    assert done.stdout == f"{EACH} videos are in the sea now, by your word\n"
    assert sorted(path.name for path in (home.root / "the sea").glob("*.mp4")) == [f"sea {n}.mp4" for n in range(EACH)]
    assert home.ask("status")["videos"]["labelled"] == EACH
    assert {move["to"] for move in home.ask("history")} == {f"the sea/sea {n}.mp4" for n in range(EACH)}
    assert home.run("history").stdout.count("  by your word  done ") == EACH
    assert len(home.ask("undo", "--category", "the sea")["done"]) == EACH
    assert read(home.root) == before | {"the sea": {}}
    assert home.ask("status")["videos"]["labelled"] == 0


def test_a_number_means_what_was_shown_whatever_came_since(home):
    number = number_of(home.ask("suggest"), "garden")
    for extra in range(10):
        make_clip(home.root / f"more city {extra}.mp4", "city", 50 + extra, seconds=1.0)
    assert home.run("run", "--once").returncode == 0
    (home.root / "garden 0.mp4").rename(home.folder / "garden 0.mp4")
    done = home.run("suggest", "--accept", str(number), "garden")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{EACH - 1} videos are in garden now, by your word",
        "garden 0.mp4 stays: it is not unsorted any more",
    ]
    assert len(list((home.root / "garden").iterdir())) == EACH - 1


def test_who_never_looked_accepts_what_would_be_shown(home):
    assert home.run("suggest", "--accept", "1", "first").returncode == 0
    assert home.ask("status")["videos"]["labelled"] == EACH


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("9", "sea"), 1, "there is no group 9 among those shown last"),
        (("1", ".sea"), 1, "'.sea' can be no category"),
        (("1", "sea/2026"), 1, "'sea/2026' can be no category"),
        (("one", "sea"), 2, "Invalid value for '--accept'"),
    ],
)
def test_what_cannot_be_accepted_is_refused_in_a_line(home, arguments, status, said):
    before = read(home.root)
    done = home.run("suggest", "--accept", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert read(home.root) == before


def test_killed_while_it_accepts_the_service_loses_nothing(home):
    home.start()
    number = str(number_of(home.ask("suggest"), "city"))
    asking = subprocess.Popen(
        [*SORTD, "suggest", "--accept", number, "city", "--config", str(home.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    home.until(lambda: any((home.root / "city").glob("*.mp4")))
    home.kill()
    asking.wait(timeout=PATIENCE_SECONDS)
    moved = {path.name for path in (home.root / "city").glob("*.mp4")}
    assert {path.name for path in home.root.rglob("*.mp4")} == FILES
    home.start()
    home.until(lambda: home.ask("status")["videos"]["labelled"] == len(moved))
    home.run("suggest", "--accept", number, "city")
    assert len(list((home.root / "city").glob("*.mp4"))) == EACH
    status = home.ask("status")
    assert (status["videos"]["labelled"], status["videos"]["placed"], status["open_moves"]) == (EACH, 0, 0)
