from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path, PurePath

import pytest

from sortd.disk.move import FileMover, RecoveryState, plan_move
from sortd.disk.regular_file import identity_of
from sortd.domain.errors import Elsewhere, MoveRefused, MoveUnfinished, NameTaken
from sortd.domain.move_plan import MovePlan
from sortd.domain.video import FileIdentity, Fingerprint
from tests.folders import Tree, make, read
from tests.waiting import PATIENCE_SECONDS

CLIP, SUBTITLES = PurePath("clip.mp4"), PurePath("clip.srt")
CATS = PurePath("cats")
CONTENT = Fingerprint(hashlib.blake2b((4).to_bytes(8, "little") + b"clip", digest_size=16).hexdigest())
BEFORE: Tree = {"clip.mp4": b"clip", "clip.srt": b"words", "cats": {}}
AFTER: Tree = {"cats": {"clip.mp4": b"clip", "clip.srt": b"words"}}

MOVE = """
import sys
from pathlib import Path, PurePath
from sortd.disk.filesystem_probe import Filesystems
from sortd.disk.dirfd import opened
from sortd.disk.move import FileMover, plan_move
from sortd.disk.regular_file import identity_of
from sortd.judgement.move_method import MoveMethod
class Known(Filesystems):
    # Tried before, so that only the calls of the move itself are counted.
    def method(self, folders, folder):
        return MoveMethod[sys.argv[2]]
root = Path(sys.argv[1])
group = [PurePath("clip.mp4"), PurePath("clip.srt")]
expected = {path: identity_of((root / path).lstat()) for path in group}
plan = plan_move(group[0], group[1:], folder=PurePath("cats"), taken=())
print("ready", flush=True)
try:
    FileMover(root, Filesystems() if sys.argv[2] == "PROBED" else Known()).move(plan, expected=expected)
except Exception as problem:
    print(type(problem).__name__, problem)
else:
    print("moved")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "root", {**BEFORE, ".sortd": {}})


def identities(root: Path, *paths: PurePath) -> dict[PurePath, FileIdentity]:
    return {path: identity_of((root / path).lstat()) for path in paths}


def move(root: Path, *, to: PurePath = CATS, names: tuple[str, str] = ("clip.mp4", "clip.srt")) -> None:
    plan = MovePlan(((CLIP, to / names[0]), (SUBTITLES, to / names[1])))
    FileMover(root).move(plan, expected=identities(root, CLIP, SUBTITLES))


def straced(root: Path, *injections: str, method: str = "RENAME") -> subprocess.Popen[str]:
    """The move in a process of its own, in which chosen system calls fail, wait or kill."""
    options = [option for injection in injections for option in ("-e", f"inject={injection}")]
    traced = ",".join(injection.split(":")[0] for injection in injections)
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={traced}", *options]
    if (
        shutil.which("strace") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("strace cannot trace here")
    return subprocess.Popen([*command, sys.executable, "-c", MOVE, root, method], stdout=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return said.removeprefix("ready\n").strip()


def test_a_video_and_its_companions_move_together(root: Path) -> None:
    before = identities(root, CLIP)[CLIP]

    move(root)

    assert read(root) == AFTER
    assert identities(root, CATS / CLIP)[CATS / CLIP].lasting == before.lasting


@pytest.mark.parametrize(
    "name", [b"caf\xe9.mp4", bytes(range(1, 32)) + b".mp4", b"-rf.mp4", b"a" * 251 + b".mp4"], ids=ascii
)
def test_hostile_names_arrive_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    root = make(tmp_path, {os.fsdecode(name): b"clip", "cats": {}})
    video = PurePath(os.fsdecode(name))
    mover = FileMover(root)
    make(root / "cats", {os.fsdecode(name): b"another"})

    plan = plan_move(video, [], folder=CATS, taken=mover.taken(CATS))
    mover.move(plan, expected=identities(root, video))

    assert {os.fsencode(path.name) for path in (root / "cats").iterdir()} == {name, os.fsencode(plan.steps[0][1].name)}
    assert (root / plan.steps[0][1]).read_bytes() == b"clip"


@pytest.mark.parametrize(
    "squatter",
    [b"another", b"words", {}, PurePath("nowhere"), PurePath("../clip.srt")],
    ids=["a file", "the same content", "a folder", "a dangling symlink", "a symlink to the very file"],
)
def test_a_taken_name_is_never_replaced_and_the_whole_group_stays(
    root: Path, squatter: Tree | bytes | PurePath
) -> None:
    make(root / "cats", {"clip.srt": squatter})
    before = read(root)

    assert "clip.srt" in FileMover(root).taken(CATS)
    with pytest.raises(NameTaken):
        move(root)

    assert read(root) == before


def test_a_name_taken_by_another_link_of_the_same_file_loses_no_link(root: Path) -> None:
    (root / "cats/clip.mp4").hardlink_to(root / "clip.mp4")

    with pytest.raises(NameTaken):
        move(root)

    assert (root / "clip.mp4").stat().st_nlink == 2


def test_a_file_that_changed_since_the_decision_stays(root: Path) -> None:
    expected = identities(root, CLIP, SUBTITLES)
    (root / SUBTITLES).write_bytes(b"more words")
    plan = plan_move(CLIP, [SUBTITLES], folder=CATS, taken=())

    with pytest.raises(MoveRefused, match=r"clip\.srt changed"):
        FileMover(root).move(plan, expected=expected)

    assert read(root) == {**BEFORE, "clip.srt": b"more words"}


def test_a_file_that_the_owner_took_away_is_not_looked_for(root: Path) -> None:
    expected = identities(root, CLIP)
    (root / CLIP).rename(root / "mine.mp4")

    with pytest.raises(MoveRefused, match="No such file"):
        FileMover(root).move(MovePlan(((CLIP, CATS / CLIP),)), expected=expected)


def test_a_deleted_category_is_not_made_again(root: Path) -> None:
    (root / "cats").rmdir()

    with pytest.raises(MoveRefused, match="cats"):
        move(root)

    assert read(root) == {"clip.mp4": b"clip", "clip.srt": b"words"}


def test_a_category_that_became_a_symlink_leads_nowhere(root: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {"deep": {}})
    (root / "cats").rmdir()
    (root / "cats").symlink_to(outside)

    for folder in (CATS, CATS / "deep"):
        with pytest.raises(MoveRefused):
            move(root, to=folder)

    assert read(outside) == {"deep": {}}


@pytest.mark.parametrize("folder", ["..", "/", "cats/..", "cats/../..", "a\0b", "x" * 256])
def test_a_category_that_is_no_name_is_refused(root: Path, folder: str) -> None:
    with pytest.raises(MoveRefused):
        move(root, to=PurePath(folder))

    assert read(root) == BEFORE


def test_a_symlink_is_never_moved(root: Path) -> None:
    make(root, {"link.mp4": PurePath("clip.mp4")})
    link = PurePath("link.mp4")

    with pytest.raises(MoveRefused):
        FileMover(root).move(MovePlan(((link, CATS / link),)), expected=identities(root, link))


def test_a_root_that_is_gone_moves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MoveRefused):
        FileMover(tmp_path / "gone").move(MovePlan(((CLIP, CATS / CLIP),)), expected={})


def test_another_filesystem_is_noticed_by_trying(root: Path) -> None:
    if subprocess.run(["mount", "--bind", root / "cats", root / "cats"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        assert (root / "cats").stat().st_dev == root.stat().st_dev
        with pytest.raises(Elsewhere, match="another filesystem"):
            move(root)
        assert read(root) == BEFORE
    finally:
        subprocess.run(["umount", root / "cats"], check=True)


def test_a_category_swapped_for_a_symlink_in_a_race_lets_nothing_out(root: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {})
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "cats").rename(root / "aside")
            (root / "cats").symlink_to(outside)
            (root / "cats").unlink()
            (root / "aside").rename(root / "cats")
            time.sleep(0.0005)  # so that some moves come through

    swapper = threading.Thread(target=swap)
    swapper.start()
    moved = 0
    try:
        for turn in range(5000):
            if turn >= 300 and moved:
                break
            with suppress(MoveRefused):
                move(root)
                moved += 1
                bring_back(root)
    finally:
        stop.set()
        swapper.join()

    assert moved
    assert read(outside) == {}
    assert sorted(path.name for path in root.rglob("clip.*")) == ["clip.mp4", "clip.srt"]


def bring_back(root: Path) -> None:
    """From the category, whatever it is called at this moment."""
    for name in ("clip.mp4", "clip.srt"):
        while not (root / name).exists():
            for folder in ("cats", "aside"):
                with suppress(FileNotFoundError):
                    (root / folder / name).rename(root / name)


def test_a_name_that_the_owner_takes_at_the_last_moment_is_the_owners(root: Path) -> None:
    with straced(root, "renameat2:delay_enter=3600000000") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        make(root / "cats", {"clip.srt": b"the owner's"})
        process.kill()  # the tracer only, which does not wait for the hour to end: the move goes on

        assert outcome(process).startswith("NameTaken")
    assert read(root) == {**BEFORE, "cats": {"clip.srt": b"the owner's"}}


@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
def test_a_filesystem_that_cannot_refuse_to_replace_links_instead(root: Path, error: str) -> None:
    with straced(root, f"renameat2:error={error}", method="PROBED") as process:
        assert outcome(process) == "moved"
    assert read(root) == AFTER


def test_linking_refuses_to_replace_too(root: Path) -> None:
    make(root / "cats", {"clip.srt": b"another"})
    with straced(root, "renameat2:error=EINVAL", method="PROBED") as process:
        assert outcome(process).startswith("NameTaken")
    assert read(root) == {**BEFORE, "cats": {"clip.srt": b"another"}}


@pytest.mark.parametrize(
    ("method", "injections", "said"),
    [
        ("PROBED", ["renameat2:error=EINVAL", "linkat:error=EPERM"], "FolderRefuses the root: this file"),
        ("LINK", ["unlinkat:error=EACCES:when=1"], "MoveRefused clip.mp4: Permission denied"),
        ("LINK", ["linkat:error=ENOSPC:when=2"], "FolderRefuses cats: No space left"),
        ("RENAME", ["renameat2:error=EACCES:when=2"], "MoveRefused cats/clip.srt: Permission denied"),
        ("RENAME", ["renameat2:error=EXDEV"], "Elsewhere cats/clip.mp4 is on another filesystem"),
        ("RENAME", ["fsync:error=EIO"], "MoveRefused a folder: Input/output error"),
    ],
    ids=[
        "no links either",
        "a source that stays",
        "full in the middle",
        "refused in the middle",
        "elsewhere",
        "bad disk",
    ],
)
def test_a_step_that_fails_takes_back_those_before_it(
    root: Path, method: str, injections: list[str], said: str
) -> None:
    with straced(root, *injections, method=method) as process:
        assert outcome(process).startswith(said)
    assert read(root) == BEFORE


def test_a_network_filesystem_that_syncs_no_folders_is_no_reason_to_stop(root: Path) -> None:
    with straced(root, "fsync:error=EINVAL") as process:
        assert outcome(process) == "moved"
    assert read(root) == AFTER


def test_a_move_that_cannot_be_taken_back_says_so(root: Path) -> None:
    with straced(root, "renameat2:error=EIO:when=2+") as process:
        assert outcome(process).startswith("MoveUnfinished cats/clip.mp4 could be neither left nor put back")
    assert read(root) == {"clip.srt": b"words", "cats": {"clip.mp4": b"clip"}}


@pytest.mark.parametrize("linking", [False, True], ids=["renaming", "linking"])
def test_a_move_killed_at_any_call_is_told_and_finished_at_the_next_start(tmp_path: Path, *, linking: bool) -> None:
    calls = ["linkat", "unlinkat", "fsync"] if linking else ["renameat2", "fsync"]
    method = "LINK" if linking else "RENAME"
    stood = []
    for call in calls:
        for number in (1, 2):
            root = make(tmp_path / f"{call}{number}", BEFORE)
            expected = identities(root, CLIP, SUBTITLES)
            with straced(root, f"{call}:signal=SIGKILL:when={number}", method=method) as process:
                assert outcome(process) == ""
            mover, places = FileMover(root), []
            for path in (CLIP, SUBTITLES):
                standing = mover.recover(path, CATS / path, identity=expected[path])
                places.append(standing)
                standing_at = CATS / path if standing is RecoveryState.MOVED else path
                assert identities(root, standing_at)[standing_at].lasting == expected[path].lasting
            assert sorted(path.name for path in root.rglob("clip.*")) == ["clip.mp4", "clip.srt"]
            stood.append(tuple(places))

    assert (RecoveryState.MOVED, RecoveryState.NOT_MOVED) in stood
    assert stood[0] == (RecoveryState.NOT_MOVED, RecoveryState.NOT_MOVED)
    assert stood[-1] == (RecoveryState.MOVED, RecoveryState.MOVED)


def recovered(root: Path, identity: FileIdentity, *, began_ns: int | None = None) -> RecoveryState:
    return FileMover(root).recover(
        CLIP, CATS / CLIP, identity=identity, fingerprint=CONTENT, began_ns=began_ns or FileMover(root).clock(CLIP)
    )


def test_an_intent_tells_the_owners_doings_from_its_own(root: Path) -> None:
    identity = identities(root, CLIP)[CLIP]
    assert recovered(root, identity) is RecoveryState.NOT_MOVED

    make(root / "cats", {"clip.mp4": b"the owner's"})
    assert recovered(root, identity) is RecoveryState.NOT_MOVED
    (root / "cats/clip.mp4").unlink()

    begun = FileMover(root).clock(CLIP)
    time.sleep(0.02)  # the kernel's clock goes in steps
    (root / CLIP).rename(root / "cats/clip.mp4")
    (root / "cats/clip.mp4").rename(root / CLIP)
    assert recovered(root, identity, began_ns=begun) is RecoveryState.PUT_BACK

    (root / CLIP).rename(root / "cats/clip.mp4")
    make(root, {"clip.mp4": b"a new download"})
    assert recovered(root, identity) is RecoveryState.MOVED
    assert (root / CLIP).read_bytes() == b"a new download"

    shutil.rmtree(root / "cats")
    assert recovered(root, identity) is RecoveryState.GONE


def test_a_file_found_under_both_names_keeps_the_new_one(root: Path) -> None:
    identity = identities(root, CLIP)[CLIP]
    (root / "cats/clip.mp4").hardlink_to(root / CLIP)

    assert recovered(root, identity) is RecoveryState.MOVED
    assert read(root) == {"clip.srt": b"words", "cats": {"clip.mp4": b"clip"}}


def test_where_nothing_can_be_told_the_intent_stays_open(tmp_path: Path) -> None:
    with pytest.raises(MoveUnfinished):
        recovered(tmp_path / "gone", FileIdentity(1, 2, 3))
