from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sortd.cli.demo_clips import AMBIGUOUS, FAMILIES, make_clip
from sortd.domain.feature import Image, Waveform

Numbers = NDArray[np.float64]


def watch(path: Path) -> tuple[list[Image], Waveform]:
    """Every frame, and the sound."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        container.seek(0)
        heard = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return frames, np.concatenate(heard)


def looks_and_sounds(path: Path) -> Numbers:
    """Colours, texture and movement; loudness and pitch."""
    frames, heard = watch(path)
    film = np.stack(frames) / 255
    edges = np.abs(np.diff(film, axis=2)).mean()
    movement = np.abs(np.diff(film, axis=0)).mean()
    crossings = np.mean(np.diff(np.sign(heard)) != 0)
    return np.array([*film.mean(axis=(0, 1, 2)), *film.std(axis=(0, 1, 2)), edges, movement, crossings, heard.std()])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("clips")
    made = {family: [folder / f"{family} {number}.mp4" for number in range(3)] for family in (*FAMILIES, AMBIGUOUS)}
    for family, paths in made.items():
        for number, path in enumerate(paths):
            make_clip(path, family, number, seconds=2.0)
    return made


def test_a_clip_is_small_and_has_the_length_asked_for(clips: dict[str, list[Path]]) -> None:
    for path in (path for paths in clips.values() for path in paths):
        assert path.stat().st_size < 150_000
        frames, heard = watch(path)
        assert len(frames) == 24
        assert frames[0].shape == (284, 160, 3)
        assert len(heard) / 16_000 == pytest.approx(2.0, abs=0.15)
        assert 0.01 < np.abs(heard).mean() < 0.5


def test_the_families_look_and_sound_plainly_different(clips: dict[str, list[Path]]) -> None:
    named = [(family, looks_and_sounds(path)) for family in FAMILIES for path in clips[family]]
    numbers = np.stack([described for _, described in named])
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    apart = np.linalg.norm(numbers[:, np.newaxis] - numbers, axis=2)
    within = np.array([[one == other for other, _ in named] for one, _ in named])
    assert apart[within].max() < apart[~within].min()


def test_an_ambiguous_clip_lies_between_two_families(clips: dict[str, list[Path]]) -> None:
    (cooking, *_), (sea, *_), (both, *_) = clips["cooking"], clips["sea"], clips[AMBIGUOUS]
    left, right, mixed = (watch(path)[0][0].astype(float) for path in (cooking, sea, both))
    assert np.abs(mixed[:, :70] - left[:, :70]).mean() < 5
    assert np.abs(mixed[:, 90:] - right[:, 90:]).mean() < 5


def test_each_number_is_a_clip_of_its_own_and_always_the_same(clips: dict[str, list[Path]], tmp_path: Path) -> None:
    again = tmp_path / "again.mp4"
    make_clip(again, "sea", 1, seconds=2.0)
    assert again.read_bytes() == clips["sea"][1].read_bytes()
    assert len({path.read_bytes() for path in clips["sea"]}) == 3


def test_a_video_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "mine.mp4"
    mine.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        make_clip(mine, "sea", 1)
    assert mine.read_bytes() == b"mine"


def test_any_name_will_do(tmp_path: Path) -> None:
    path = tmp_path / "concat:a|b\n#%é.mp4"
    make_clip(path, "city", 0, seconds=1.0)
    assert path.stat().st_size > 1000
