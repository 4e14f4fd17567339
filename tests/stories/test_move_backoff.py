"""A category takes no files for a while; its owner hears of it once, and nothing is tried in vain for each video."""

from __future__ import annotations

from sortd.disk.move import FileMover
from sortd.domain.errors import Elsewhere, FolderRefuses, MoveRefused
from sortd.domain.messages import FilesCopied, RescanDue, RetryDue
from tests.stories.conftest import taught

DROPPED = {f"new{n}.mp4": f"cats {100 + n}".encode() for n in range(5)}


class FullDisk(FileMover):
    """Has no room until it is told so."""

    def __init__(self, root):
        super().__init__(root)
        self.tries = 0
        self.full = True

    def move(self, plan, *, expected, **how):
        self.tries += 1
        if self.full:
            raise FolderRefuses(plan.steps[0][1].parent, "No space left on device")
        super().move(plan, expected=expected, **how)


def with_a_full_disk(household):
    home = household(taught(), move={"probation": []})
    home.disk = home.engine.moves._mover = FullDisk(home.root)
    for name, content in DROPPED.items():
        (home.root / name).write_bytes(content)
    home.settle(seconds=10)
    assert home.disk.tries == 1
    return home


def test_a_full_disk_is_told_once_and_tried_less_and_less(household):
    home = with_a_full_disk(household)
    home.wait(seconds=600)
    assert home.disk.tries == 1 + 3  # after 1, 2 and 4 minutes; a rescan tries nothing
    assert [line["category"] for line in home.events("folder_refuses")] == ["cats"]
    assert home.events("left") == []


def test_when_there_is_room_again_all_are_moved_and_that_is_told_once(household):
    home = with_a_full_disk(household)
    home.disk.full = False
    home.wait(seconds=50)
    assert home.events("moved") == []
    home.wait(seconds=15)
    assert len(home.events("moved")) == len(DROPPED)
    assert [line["category"] for line in home.events("folder_accepts")] == ["cats"]


def test_the_owner_who_made_room_need_not_wait(household):
    for mended in (lambda home: home.ask(do="resume"), lambda home: home.tell(RetryDue())):
        home = with_a_full_disk(household)
        home.disk.full = False
        mended(home)
        home.wait(seconds=2)
        assert len(home.events("moved")) == len(DROPPED)


def test_other_categories_go_on(household):
    home = with_a_full_disk(household)
    home.disk.full = False
    home.files({"rex.mp4": b"dogs 100"})
    assert home.events("moved")[0]["category"] == "dogs"


def test_a_video_that_is_refused_when_it_was_copied_is_not_copied_at_every_rescan(household):
    class OtherDisk(FileMover):
        def move(self, plan, **_):
            raise Elsewhere(f"{plan.steps[0][1]} is on another filesystem")

    def too_large(order):
        copies.append(str(order.steps[0].source))
        home.tell(FilesCopied(order.number, (), MoveRefused("cats: File too large")))

    copies: list[str] = []
    home = household(taught(), move={"probation": []})
    home.engine.moves._mover = OtherDisk(home.root)
    home.copy = too_large
    home.files({"large.mp4": b"cats 100"})
    for _ in range(40):
        home.tell(RescanDue("a test"))
        home.wait(seconds=10)
    assert len(copies) <= 5  # at once, and after 1, 2, 4 and 8 minutes
    assert home.reasons("large.mp4") == ["move_refused"]
    before = len(copies)
    del home.copy
    home.tell(RetryDue())
    home.wait(seconds=2)
    assert len(copies) == before
    assert "large.mp4" in home.tree["cats"]


class LateTaker(FileMover):
    """Just before the first move somebody takes the name that its companion is to get."""

    def move(self, plan, *, expected, **how):
        (_, _), (_, subtitles) = plan.steps
        if "(2)" not in subtitles.name:
            (self._root / subtitles).write_bytes(b"somebody else's")
        super().move(plan, expected=expected, **how)


def test_a_name_that_is_taken_from_a_companion_at_the_last_moment_costs_the_group_only_its_name(household):
    home = household(taught(), move={"probation": []})
    home.engine.moves._mover = LateTaker(home.root)
    (home.root / "new.mp4").write_bytes(b"cats 100")
    (home.root / "new.srt").write_bytes(b"mine")
    home.settle(seconds=10)
    names = {path.name: path.read_bytes() for path in (home.root / "cats").glob("new*")}
    assert names == {"new.srt": b"somebody else's", "new (2).mp4": b"cats 100", "new (2).srt": b"mine"}
    assert [str(line["to"]) for line in home.events("moved")] == ["cats/new (2).mp4"]
    assert home.events("left") == []
