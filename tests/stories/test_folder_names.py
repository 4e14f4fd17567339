"""With an encoder that reads, what a folder is called counts as a first example of it."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from sortd.engine.zero_shot_prompts import reading_part
from tests.checkpoints import random_clip, save_archive, save_whisper, talking_whisper
from tests.stories.conftest import FAMILIES, taught

NAMES = [f"a video of {family}" for family in FAMILIES]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Settings for pretrained networks."""
    folder = tmp_path_factory.mktemp("weights")
    model = save_archive(folder / "clip.pt", random_clip())
    heard = save_whisper(folder / "whisper.pt", talking_whisper(""))
    return {"encoder": "clip", "visual": {"model": str(model)}, "speech": {"model": str(heard)}}


def words_of(home):
    return sorted(home.store.text_embeddings.of(reading_part(home.space)))


def best_of(home, name):
    """The folder that a video in the root belongs to most likely."""
    return home.engine.decision_inputs.read(
        home.store.videos.known(PurePath(name)).fingerprint, now=home.clock()
    ).prediction.best


def test_each_name_is_read_once_and_known_over_restarts(household, clip):
    home = household(taught(), extract=clip)
    assert sorted(home.read) == sorted(NAMES)
    home.restart()
    home.files({"new.mp4": b"cats 100"})
    assert sorted(home.read) == sorted(NAMES)
    assert "new.mp4" in home.tree["cats"]


def test_the_built_in_encoder_reads_nothing(household):
    home = household(taught())
    assert home.read == []


def test_a_folder_with_another_name_or_description_is_read_again_and_the_old_words_are_forgotten(household, clip):
    home = household(taught(), extract=clip)
    (home.root / "sea").rename(home.root / "Sea_side-2024")
    home.files({"city": {".sortd.toml": b'describe = "streets at night"'}})
    assert home.read[len(NAMES) :] == ["a video of Sea side 2024", "a video of city: streets at night"]
    assert words_of(home) == sorted({*NAMES, *home.read} - {"a video of sea", "a video of city"})


def test_a_folder_whose_videos_tell_nothing_yet_is_known_by_what_it_is_said_to_hold(household, clip):
    home = household(taught(), extract=clip)
    kinds = {"one": "weddings", "two": "concerts"}
    rules = {folder: {".sortd.toml": f'describe = "{kind}"'.encode()} for folder, kind in kinds.items()}
    home.files({folder: rules[folder] | {f"{n}.mp4": f"{folder}{n}".encode() for n in range(3)} for folder in kinds})
    new = {f"{kind} {n}.mp4": f"{kind} {n}".encode() for kind in kinds.values() for n in range(4)}
    home.files(new)
    best = {name: best_of(home, name) for name in new}
    assert best == {name: "one" if name.startswith("weddings") else "two" for name in new}
    assert new.keys() <= home.tree.keys()


def test_names_that_cannot_be_read_keep_nothing_waiting_and_are_tried_by_the_next_run(household, clip):
    home = household(extract=clip)
    home.cannot_read = True
    home.files(taught() | {"new.mp4": b"cats 100"})
    assert "new.mp4" in home.tree["cats"]
    assert (sorted(home.read), words_of(home)) == (sorted(NAMES), [])
    home.cannot_read = False
    home.restart()
    assert words_of(home) == sorted(NAMES)
