"""A network gives no numbers for a video: that part of that video is missing, and everything else goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sortd.domain.feature import Vector
from sortd.domain.messages import Extracted
from tests.stories.conftest import FAMILIES, Household, taught

pytestmark = pytest.mark.fault("G6")

NAN = np.full(512, np.nan, np.float32)


def give(house: Household, wrong: Mapping[bytes, Mapping[str, Vector]]) -> None:
    """Let the extractors give these vectors for videos of these contents."""
    right = house.extract

    def extract(job: Any) -> Any:
        told = right(job)
        assert isinstance(told, Extracted)
        spoilt = wrong.get((house.root / job.path).read_bytes(), {})
        return replace(
            told,
            features=tuple(
                replace(one, vector=spoilt[one.extractor]) if one.extractor in spoilt else one for one in told.features
            ),
        )

    house.extract = extract  # type: ignore[method-assign]


def vector_of(house: Household, path: str, extractor: str) -> Vector | None:
    sighting = house.store.videos.known(house.path(path))
    assert sighting is not None
    return house.store.features.of(sighting.fingerprint, house.space)[extractor].vector


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e38, 0.0])
def test_one_video_without_numbers_among_the_examples_stops_no_training(household, number):
    house = household()
    dim = house.space.parts[0].dim
    wrong = dict.fromkeys(("visual", "speech"), np.full(dim, number, np.float32))
    give(house, {b"cats 3": wrong})
    house.files(taught(8) | {"new.mp4": b"dogs 100"})

    assert house.events("trained")[-1]["adopted"]
    assert house.tree["dogs"]["new.mp4"] == b"dogs 100"
    told = {(str(line["path"]), line["extractor"]) for line in house.events("no_numbers")}
    assert told == {("cats/3.mp4", "visual"), ("cats/3.mp4", "speech")}
    assert house.events("left_out_of_training")[-1]["paths"] == ["cats/3.mp4"]
    assert house.events("set_aside") == []


def test_the_picture_is_kept_when_only_the_words_have_no_numbers(household):
    house = household()
    give(house, {b"cats 100": {"speech": np.full(house.space.parts[1].dim, np.nan, np.float32)}})
    house.files(taught(8))
    house.files({"new.mp4": b"cats 100"})

    assert vector_of(house, "new.mp4", "visual") is not None
    assert vector_of(house, "new.mp4", "speech") is None
    assert house.extracted.count(b"cats 100") == 1


def test_a_video_without_any_numbers_is_left_and_looked_at_once(household):
    house = household()
    house.files(taught(8))
    dims = {part.extractor: np.full(part.dim, np.nan, np.float32) for part in house.space.parts}
    give(house, {b"cats 100": dims})
    house.files({"new.mp4": b"cats 100"})

    assert house.reasons("new.mp4") == ["nothing_to_tell"]
    assert house.extracted.count(b"cats 100") == 1
    assert house.events("set_aside") == []


def test_what_an_older_sortd_kept_is_left_out_of_learning_and_named(household):
    house = household()
    house.files(taught(6, FAMILIES[:3]))
    trained = len(house.events("trained"))
    with house.store.transaction():
        house.store.database.execute(
            "UPDATE features SET vector = ? WHERE fingerprint = (SELECT fingerprint FROM files WHERE path = ?)",
            np.full(house.space.parts[0].dim, np.nan, "<f4").tobytes(),
            b"cats/3.mp4",
        )
    house.restart()
    house.files({family: {f"more {n}.mp4": f"{family} {n + 50}".encode() for n in range(6)} for family in FAMILIES[:3]})

    assert len(house.events("trained")) > trained
    assert house.events("trained")[-1]["adopted"]
    assert house.events("left_out_of_training")[-1]["paths"] == ["cats/3.mp4"]
