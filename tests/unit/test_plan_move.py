from __future__ import annotations

import os
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.disk.move import plan_move
from sortd.domain.errors import MoveRefused

TAILS = [".srt", ".en.srt", ".info.json", ".description", ".jpg"]


def names(longest: int) -> st.SearchStrategy[str]:
    """Stems as a disk may hold them: any bytes but "/" and NUL, UTF-8 or not."""
    raw = st.one_of(
        st.binary(min_size=1, max_size=longest),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda text: text.encode()[:longest]),
        st.sampled_from([b"a" * longest, ("\U0001f600" * 64).encode()[:longest], b"\xff" * longest]),
    )
    return raw.map(lambda stem: b"x" + stem[1:].translate(None, b"/\0.")).map(os.fsdecode)


stems = names(255 - len(".description"))
tails = st.lists(st.sampled_from(TAILS), unique=True)


def group(stem: str, tails: list[str]) -> tuple[PurePath, list[PurePath]]:
    return PurePath("new", f"{stem}.mp4"), [PurePath("new", stem + tail) for tail in tails]


@given(stem=stems, tails=tails, numbers=st.sets(st.integers(1, 12)), data=st.data())
def test_a_plan_never_takes_a_taken_name_and_keeps_the_group_together(
    stem: str, tails: list[str], numbers: set[int], data: st.DataObject
) -> None:
    video, companions = group(stem, tails)
    free = plan_move(video, companions, folder=PurePath("cats"), taken=())
    assert [target.name for _, target in free.steps] == [video.name, *(path.name for path in companions)]

    taken: set[str] = set()
    for _ in numbers:
        plan = plan_move(video, companions, folder=PurePath("cats"), taken=taken)
        taken.add(data.draw(st.sampled_from([target.name for _, target in plan.steps])))
    plan = plan_move(video, companions, folder=PurePath("cats"), taken=taken)

    assert [source for source, _ in plan.steps] == [video, *companions]
    assert all(target.parent == PurePath("cats") for _, target in plan.steps)
    targets = [target.name for _, target in plan.steps]
    assert not taken & set(targets)
    assert all(len(os.fsencode(name)) <= 255 for name in targets)
    starts = {name[: -len(tail)] for name, tail in zip(targets, [".mp4", *tails], strict=True)}
    assert len(starts) == 1
    assert [name.endswith(tail) for name, tail in zip(targets, [".mp4", *tails], strict=True)] == [True] * len(targets)
    assert starts == {stem} if not taken else starts.pop().endswith(f" ({len(taken) + 1})")


@given(stem=stems, tails=tails)
def test_a_shortened_stem_is_the_beginning_of_the_old_one(stem: str, tails: list[str]) -> None:
    video, companions = group(stem, tails)

    plan = plan_move(video, companions, folder=PurePath(), taken={video.name})

    kept = plan.steps[0][1].name.removesuffix(" (2).mp4")
    assert stem.startswith(kept)
    assert os.fsdecode(os.fsencode(kept)) == kept
    room = 255 - max(len(tail) for tail in [".mp4", *tails]) - len(" (2)")
    assert kept == stem or len(os.fsencode(kept)) > room - 4


def test_a_plan_back_to_the_root_is_a_plan_like_any_other() -> None:
    plan = plan_move(PurePath("cats/a.mp4"), [PurePath("cats/a.srt")], folder=PurePath(), taken={"a.srt"})

    assert plan.steps == (
        (PurePath("cats/a.mp4"), PurePath("a (2).mp4")),
        (PurePath("cats/a.srt"), PurePath("a (2).srt")),
    )


def test_a_group_that_no_number_fits_is_refused() -> None:
    with pytest.raises(MoveRefused):
        plan_move(PurePath("a.mp4"), [PurePath("a." + "x" * 252)], folder=PurePath("cats"), taken={"a.mp4"})
