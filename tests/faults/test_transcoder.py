"""A transcoder at work beside the real service, on real clips. Row K8 of the fault matrix."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.faults.test_labels import placed


def transcode(source: Path, target: Path) -> None:
    """Write the pictures anew: another codec, half the size, no sound."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        pictures = old.streams.video[0]
        stream = new.add_stream("mpeg4", rate=pictures.average_rate)
        stream.width, stream.height = pictures.width // 4 * 2, pictures.height // 4 * 2
        stream.pix_fmt, stream.bit_rate = "yuv420p", 400_000
        for frame in old.decode(pictures):
            smaller = frame.reformat(stream.width, stream.height, "yuv420p")
            smaller.pict_type = 0
            new.mux(stream.encode(smaller))
        new.mux(stream.encode())


@pytest.mark.fault("K8")
def test_what_was_taken_out_or_placed_stays_that_when_it_is_transcoded(fresh, clips):
    home = fresh()
    path = placed(home, clips)
    taken = placed(home, clips, "city-6.mp4")
    taken.rename(home.root / taken.name)
    assert home.once().returncode == 0
    assert home.told("withdrawn", path=taken.name)
    home.start()
    for old in (path, home.root / taken.name):
        transcode(old, old.with_suffix(".mkv"))
        old.unlink()
    stayed = home.root / "city-6.mkv"
    home.until(lambda: home.told("found", path=stayed.name) and home.ask("status")["state"] == "idle")
    assert home.ask("explain", str(stayed))["reason"] == "vetoed"
    told = home.ask("explain", str(path.with_suffix(".mkv")))
    assert (told["category"], told["label"]) == ("sea", None)
    assert home.stop() == 0
    assert home.once().returncode == 0
    assert home.places(stayed.name) == [stayed.name]
    assert not home.told("labelled", path="sea/sea-6.mkv")
