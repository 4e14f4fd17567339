"""Whose move was it? Rows L1 to L7 of the fault matrix."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from sortd.cli.demo_clips import FAMILIES
from tests.faults.conftest import TAUGHT, Library
from tests.faults.kit import another

RETRAININGS = 20


def placed(home: Library, clips: Path, name: str = "sea-6.mp4") -> Path:
    """A clip that the service filed by itself."""
    family, _, _ = name.partition("-")
    shutil.copy(clips / name, home.root)
    assert home.once().returncode == 0
    assert home.places(name) == [f"{family}/{name}"]
    return home.root / family / name


def teach(home: Library, clips: Path) -> None:
    """Enough new labels that it learns anew."""
    for number, family in enumerate([*FAMILIES, *FAMILIES]):
        another(clips / f"{family}-0.mp4", home.root / family / f"more-{number}.mp4", number)


def live(home: Library, category: str) -> dict[str, int]:
    return next(entry["live"] for entry in home.ask("status")["categories"] if entry["name"] == category)


@pytest.mark.fault("L2", sample=True)
def test_what_the_owner_takes_back_is_never_moved_there_again(fresh, clips):
    home = fresh()
    shutil.copy(clips / "sea-6.mp4", home.root)
    with home.nothing_lost():
        assert home.once().returncode == 0
        assert home.places("sea-6.mp4") == ["sea/sea-6.mp4"]
        (home.root / "sea" / "sea-6.mp4").rename(home.root / "sea-6.mp4")
        for _ in range(2):
            assert home.once().returncode == 0
            assert home.places("sea-6.mp4") == ["sea-6.mp4"]
    assert home.told("withdrawn", path="sea-6.mp4", category="sea")
    assert home.ask("explain", str(home.root / "sea-6.mp4"))["reason"] == "vetoed"


@pytest.mark.fault("L2")
def test_what_was_taken_back_stays_after_restarts_and_retrainings_and_counts_against_the_folder(fresh, clips):
    home = fresh()
    with_service = placed(home, clips)
    before = live(home, "sea")["corrected"]
    with home.nothing_lost():
        home.start()
        with_service.rename(home.root / "mine.mp4")
        home.await_told("withdrawn", path="mine.mp4", category="sea")
        assert live(home, "sea")["corrected"] == before + 1
        assert home.stop() == 0
    teach(home, clips)
    with home.nothing_lost():
        home.start()
        home.await_told("trained", adopted=True)
        home.process.send_signal(signal.SIGHUP)
        home.until(lambda: home.ask("status")["state"] == "idle")
        assert home.stop() == 0
        assert home.once().returncode == 0
        assert home.places("mine.mp4") == ["mine.mp4"]
    told = home.ask("explain", str(home.root / "mine.mp4"))
    assert (told["reason"], told["vetoes"], told["label"]) == ("vetoed", ["sea"], None)


@pytest.mark.fault("L3")
def test_what_the_owner_moves_on_is_their_label_and_stays_where_they_put_it(fresh, clips):
    home = fresh()
    path = placed(home, clips)
    with home.nothing_lost():
        path.rename(home.root / "city" / path.name)
        assert home.once().returncode == 0
    assert home.told("corrected", path="city/sea-6.mp4", was="sea", category="city")
    teach(home, clips)
    with home.nothing_lost():
        for _ in range(2):
            assert home.once().returncode == 0
            assert home.places("sea-6.mp4") == ["city/sea-6.mp4"]
    assert home.ask("explain", str(home.root / "city" / "sea-6.mp4"))["label"] == "city"
    assert live(home, "sea")["corrected"] == 1


@pytest.mark.fault("L4")
@pytest.mark.timeout(1800)
def test_twenty_retrainings_on_the_same_labels_change_nothing_and_placements_never_teach(fresh, clips):
    home = fresh()
    for family in FAMILIES:
        placed(home, clips, f"{family}-6.mp4")
    stands = sorted(path.relative_to(home.root) for path in home.root.rglob("*.mp4"))
    learned = []
    with home.nothing_lost():
        for _ in range(RETRAININGS):
            (file,) = home.state.glob("classifier-*.npz")
            with np.load(file) as arrays:
                learned.append((file.name, {name: arrays[name] for name in arrays.files}))
            file.unlink()
            assert home.once(timeout=600).returncode == 0
    assert [line["labels"] for line in home.told("trained")] == [TAUGHT * len(FAMILIES)] * RETRAININGS
    first, arrays = learned[0]
    for name, again in learned[1:]:
        assert name == first
        assert arrays.keys() == again.keys()
        assert all(np.array_equal(arrays[key], again[key]) for key in arrays if arrays[key].dtype.kind == "f")
    assert sorted(path.relative_to(home.root) for path in home.root.rglob("*.mp4")) == stands
    videos = home.ask("status")["videos"]
    assert (videos["labelled"], videos["placed"]) == (TAUGHT * len(FAMILIES), len(FAMILIES))


@pytest.mark.fault("L5")
@pytest.mark.parametrize("running", [False, True])
def test_taken_back_by_copy_and_delete_it_is_known_by_its_content(fresh, clips, running):
    home = fresh()
    path = placed(home, clips)
    with home.nothing_lost():
        if running:
            home.start()
        shutil.copyfile(path, home.root / "again.mp4")
        path.unlink()
        if running:
            home.await_told("withdrawn", path="again.mp4", category="sea")
            assert home.stop() == 0
        for _ in range(2):
            assert home.once().returncode == 0
            assert home.places("again.mp4") == ["again.mp4"]
    assert home.told("withdrawn", path="again.mp4", category="sea")
    assert home.ask("explain", str(home.root / "again.mp4"))["vetoes"] == ["sea"]
    assert len(home.told("extracted", path="again.mp4")) == 0


@pytest.mark.fault("L5")
def test_moved_on_by_copy_and_delete_it_is_the_owners_label(fresh, clips):
    home = fresh()
    path = placed(home, clips)
    with home.nothing_lost():
        shutil.copyfile(path, home.root / "city" / "again.mp4")
        path.unlink()
        assert home.once().returncode == 0
    assert home.told("corrected", path="city/again.mp4", was="sea", category="city")
    assert home.ask("explain", str(home.root / "city" / "again.mp4"))["label"] == "city"
