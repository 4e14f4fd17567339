from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sortd.domain.feature import Matrix, SpacePart, Vector, Waveform
from sortd.extract.extractors.builtin_visual import build
from sortd.extract.registry import BUILTIN_DIM, EncoderSettings, load, space
from sortd.extract.spec import Extractor, Sample
from sortd.judgement.late_fusion import fuse

BUILTIN = EncoderSettings(encoder="builtin")
SPACE = space(BUILTIN)
LOOK, LISTEN = (load(part, BUILTIN, None) for part in SPACE.parts)
RATE = 16_000
EXAM = range(100, 106)


@dataclass(frozen=True, slots=True)
class Family:
    """Clips that belong together: one palette, shape, motion and tone; each clip varies all of them a little."""

    ground: tuple[int, int, int]
    colour: tuple[int, int, int]
    corners: int
    step: tuple[float, float]
    tone: float
    beat: float

    def clip(self, seed: int, *, seconds: float = 3.0) -> Sample:
        """Make one of the family's clips, 160 x 120 pixels at 25 frames a second."""
        chance = np.random.default_rng(seed)
        size, start = chance.uniform(14, 22), chance.uniform(30, 90, 2)
        shade = np.array(self.colour) + chance.normal(0, 8, 3)
        grain = chance.normal(0, 4, (120, 160, 1))

        def frame(number: int) -> np.ndarray:
            x, y = (start + np.array(self.step) * number) % (160, 120)
            turns = np.arange(self.corners) * 2 * np.pi / self.corners + chance.uniform(0, 0.2)
            points = np.stack([x + size * np.cos(turns), y + size * np.sin(turns)], axis=1).astype(np.int32)
            picture = np.full((120, 160, 3), self.ground, np.float32)
            cv2.fillPoly(picture, [points], shade.tolist())
            return np.clip(picture + grain + chance.normal(0, 2, (120, 160, 1)), 0, 255).astype(np.uint8)

        numbers = np.linspace(0, seconds * 25 - 1, 5).astype(int)
        return Sample(
            frames=tuple(frame(number) for number in numbers),
            following=tuple(frame(number + 1) for number in numbers),
            times=tuple(float(number / 25) for number in numbers),
            sound=self._sound(chance, seconds),
            seconds=seconds,
            width=160,
            height=120,
        )

    def _sound(self, chance: np.random.Generator, seconds: float) -> Waveform:
        time = np.arange(int(seconds * RATE)) / RATE
        tone = self.tone * chance.uniform(0.97, 1.03)
        loud = chance.uniform(0.1, 0.5) * (0.6 + 0.4 * np.sin(2 * np.pi * self.beat * time))
        wave = loud * (np.sin(2 * np.pi * tone * time) + 0.4 * np.sin(4 * np.pi * tone * time))
        return (wave + chance.normal(0, 0.01, time.size)).astype(np.float32)


FAMILIES = (
    Family((30, 60, 120), (240, 220, 40), 3, (2, 0), 220, 2),
    Family((20, 90, 40), (230, 60, 50), 4, (0, 2), 440, 4),
    Family((200, 190, 180), (40, 40, 60), 6, (0, 0), 880, 1),
    Family((120, 40, 110), (90, 230, 220), 40, (-3, 1), 1500, 6),
    Family((70, 60, 50), (250, 250, 250), 5, (1, -2), 3000, 3),
)
STRANGERS = (
    Family((180, 120, 60), (30, 20, 90), 7, (-1, -3), 620, 8),
    Family((10, 10, 14), (60, 160, 90), 3, (4, 3), 2200, 0.5),
)


def fused(sample: Sample) -> Vector:
    features = {extractor.name: extractor.extract([sample])[0] for extractor in (LOOK, LISTEN)}
    vector = fuse(features, SPACE)
    return vector / np.linalg.norm(vector)


def flat(shade: int, *, height: int = 120, width: int = 160, frames: int = 5) -> Sample:
    picture = np.full((height, width, 3), shade, np.uint8)
    return Sample((picture,) * frames, (picture,) * frames, (0.0,) * frames, None, 1.0, width, height)


def seen(sample: Sample) -> Vector:
    (feature,) = LOOK.extract([sample])
    assert feature.vector is not None
    return feature.vector


def heard(sound: Waveform | None) -> Vector | None:
    (feature,) = LISTEN.extract([replace(flat(0), sound=sound)])
    return feature.vector


def is_usable(vector: Vector | None) -> bool:
    if vector is None or vector.shape != (BUILTIN_DIM,) or vector.dtype != np.float32:
        return False
    return bool(np.isfinite(vector).all() and vector.any())


def cosine(one: Vector, other: Vector) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.fixture(scope="module")
def taught() -> Matrix:
    """Ten clips of each family: [5 * 10, 1024]."""
    return np.array([fused(family.clip(seed)) for family in FAMILIES for seed in range(10)])


@pytest.fixture(scope="module")
def later() -> Matrix:
    """Six more of each: [5 * 6, 1024]."""
    return np.array([fused(family.clip(seed)) for family in FAMILIES for seed in EXAM])


@pytest.fixture(scope="module")
def strange() -> Matrix:
    """Clips of families that nobody taught: [12, 1024]."""
    return np.array([fused(family.clip(seed)) for family in STRANGERS for seed in range(6)])


def test_ten_clips_of_each_family_and_the_next_ones_are_told_with_high_confidence(
    taught: Matrix, later: Matrix
) -> None:
    families, expected = np.repeat(np.arange(5), 10), np.repeat(np.arange(5), 6)
    chances = LogisticRegression(C=100, max_iter=1000).fit(taught, families).predict_proba(later)
    assert (chances.argmax(axis=1) == expected).all()
    assert chances.max(axis=1).min() > 0.95


def test_three_clips_of_each_family_are_enough_for_the_nearest_one(taught: Matrix, later: Matrix) -> None:
    few = taught.reshape(5, 10, -1)[:, :3].reshape(15, -1)
    assert ((later @ few.T).argmax(axis=1) // 3 == np.repeat(np.arange(5), 6)).all()


def test_a_clip_of_no_known_family_is_farther_than_any_of_a_known_one(
    taught: Matrix, later: Matrix, strange: Matrix
) -> None:
    known, unknown = (later @ taught.T).max(axis=1), (strange @ taught.T).max(axis=1)
    assert known.min() > 0.85
    assert unknown.max() < 0.7


def test_clips_of_different_families_do_not_all_point_the_same_way(taught: Matrix) -> None:
    centres = taught.reshape(5, 10, -1).mean(axis=1)
    assert (centres @ centres.T)[np.triu_indices(5, 1)].mean() < 0.4


@pytest.mark.parametrize("extractor", [LOOK, LISTEN], ids=["visual", "speech"])
def test_a_clip_gives_the_same_numbers_whatever_else_is_in_the_batch(extractor: Extractor) -> None:
    clips = [family.clip(0) for family in FAMILIES[:3]]
    together = extractor.extract(clips)
    alone = [extractor.extract([clip])[0] for clip in clips]
    assert [one.vector.tobytes() for one in together] == [one.vector.tobytes() for one in alone]
    assert {(one.extractor, one.version) for one in together} == {(extractor.name, extractor.version)}
    assert all(is_usable(one.vector) for one in together)


def test_no_sound_track_silence_and_an_empty_track_are_known_absences() -> None:
    hum = 1e-4 * np.sin(np.arange(RATE)).astype(np.float32)
    assert [heard(sound) for sound in (None, np.zeros(RATE, np.float32), np.zeros(0, np.float32), hum)] == [None] * 4


def test_no_picture_at_all_is_a_known_absence() -> None:
    assert LOOK.extract([flat(0, frames=0)])[0].vector is None


@pytest.mark.parametrize("length", [1, 2, 511, 1024, 1537, 5000, 200 * RATE])
def test_a_sound_of_any_length_is_heard(length: int) -> None:
    assert is_usable(heard(np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)))


def test_clipped_and_broken_sound_is_heard() -> None:
    noise = np.random.default_rng(0).normal(0, 3, RATE).astype(np.float32)
    broken = noise.copy()
    broken[::100], broken[1::100], broken[2::100] = np.nan, np.inf, -np.inf
    assert is_usable(heard(noise))
    assert is_usable(heard(broken))
    assert is_usable(heard(np.ones(RATE, np.float32)))


def test_how_loud_a_sound_was_recorded_hardly_changes_what_it_is() -> None:
    sound = FAMILIES[0].clip(0).sound
    assert sound is not None
    loud, soft, other = heard(sound), heard(sound / 8), heard(FAMILIES[3].clip(0).sound)
    assert cosine(loud, soft) > 0.8
    assert cosine(loud, other) < 0.5


@settings(max_examples=40)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    frames=st.integers(1, 5),
    following=st.integers(0, 5),
    shades=st.sampled_from([(0, 1), (128, 129), (255, 256), (0, 256)]),
)
def test_pictures_of_any_size_number_and_shade_are_seen(
    height: int, width: int, frames: int, following: int, shades: tuple[int, int]
) -> None:
    picture = np.random.default_rng(0).integers(*shades, (height, width, 3), dtype=np.uint8)
    sample = Sample((picture,) * frames, (picture,) * min(frames, following), (0.0,) * frames, None, 0.0, width, height)
    assert is_usable(seen(sample))


@pytest.mark.parametrize("size", [(4320, 7680), (1, 4000), (4000, 1)])
def test_huge_and_endless_pictures_are_seen(size: tuple[int, int]) -> None:
    assert is_usable(seen(flat(90, height=size[0], width=size[1], frames=1)))


def test_the_same_clip_at_another_size_is_nearly_the_same() -> None:
    clip = FAMILIES[1].clip(0)
    larger = replace(
        clip,
        frames=tuple(cv2.resize(frame, (640, 480)) for frame in clip.frames),
        following=tuple(cv2.resize(frame, (640, 480)) for frame in clip.following),
    )
    assert cosine(seen(clip), seen(larger)) > 0.9


@pytest.mark.parametrize("steps", [((0, 0), (4, 0)), ((-3, 0), (3, 0)), ((0, 3), (3, 0))])
def test_clips_that_differ_in_motion_alone_are_told_apart(steps: tuple[tuple[float, float], ...]) -> None:
    ways = [replace(FAMILIES[0], step=step) for step in steps]
    taught, later = (np.array([seen(way.clip(seed)) for way in ways for seed in seeds]) for seeds in (range(10), EXAM))
    learned = LogisticRegression(C=100, max_iter=1000).fit(taught, np.repeat((0, 1), 10))
    assert (learned.predict(later) == np.repeat((0, 1), len(EXAM))).mean() >= 0.9


def test_a_clip_that_begins_and_ends_in_black_is_still_itself() -> None:
    clip = FAMILIES[1].clip(0)
    black = np.zeros_like(clip.frames[0])
    faded = replace(clip, frames=(black, *clip.frames[1:4], black), following=(black, *clip.following[1:4], black))
    assert cosine(seen(clip), seen(faded)) > 0.75


def test_an_unknown_half_is_refused() -> None:
    with pytest.raises(KeyError):
        build(SpacePart("smell", "builtin-2", BUILTIN_DIM), BUILTIN, None)
