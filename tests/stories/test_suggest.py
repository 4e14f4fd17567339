"""A collection with no folder at all begins: sortd suggests, the owner names."""

from __future__ import annotations

import json
import shutil

import pytest

from sortd.commands.demo_clips import AMBIGUOUS, FAMILIES, make_clip
from tests.folders import read
from tests.stories.service import Service

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
