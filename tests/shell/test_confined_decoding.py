"""What comes out of a confined decoder is what comes out of any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sortd.extract.decoding.decoder_pool import DecoderPool
from sortd.extract.media.frames import read
from sortd.extract.spec import Needs, Sample
from tests.clips import FORMATS, film

NEEDS = Needs(frames=3, following=True, sound=True)


def facts(sample: Sample) -> tuple[object, ...]:
    pictures = [picture.tobytes() for picture in (*sample.frames, *sample.following)]
    sound = None if sample.sound is None else np.asarray(sample.sound).tobytes()
    return (pictures, sound, sample.times, sample.seconds, sample.width, sample.height)


@pytest.mark.fault("S2")
def test_every_container_decodes_inside_as_outside(tmp_path: Path) -> None:
    with DecoderPool(NEEDS, timeout_seconds=120) as decoder:
        for name, codecs in FORMATS.items():
            path = film(tmp_path / name, frames=8, codecs=codecs)
            with path.open("rb", buffering=0) as file:
                inside = decoder.decode(file.fileno())
                assert facts(inside) == facts(read(file, NEEDS)), name
