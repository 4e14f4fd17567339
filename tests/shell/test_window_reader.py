"""Whatever a child says, its owner hears a sample that was asked for, or one reason."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault
from sortd.extract.decoding.window_reader import (
    MOST_LENGTHS,
    PICTURE_PIXELS,
    SAID_CHARACTERS,
    SOUND_SECONDS,
    Nonsense,
    WindowReader,
)
from sortd.extract.spec import Needs, Sample

NEEDS = Needs(frames=2, following=True, sound=True, sound_seconds=1.0)
GOOD: dict[str, Any] = {
    "frames": [[2, 3]] * 2,
    "following": [[2, 3]] * 2,
    "times": [0, 0.5],
    "sound": 4,
    "seconds": 1.5,
    "width": 3,
    "height": 2,
}
CONTENT = bytes(4 * 18) + bytes(16)
EXPECTED = (ExtractionError, EOFError, OSError, ValueError)
"""What `DecoderPool.decode` makes one reason of; TimeoutError is an OSError."""


def told(message: object) -> bytes:
    text = json.dumps(message).encode()
    return len(text).to_bytes(4) + text


def hear(said: bytes, needs: Needs = NEEDS, *, seconds: float = 20.0) -> Sample:
    """What comes of it; the child is gone once it has said it."""
    ours, theirs = socket.socketpair()

    def say() -> None:
        with theirs:
            try:
                theirs.sendall(said)
            except OSError:
                return

    speaker = threading.Thread(target=say)
    speaker.start()
    try:
        with ours:
            return WindowReader(ours, needs, seconds).sample()
    finally:
        speaker.join()


def test_what_was_asked_for_is_taken() -> None:
    sample = hear(told({"length": 1.5}) + told(GOOD) + CONTENT)
    assert [picture.shape for picture in (*sample.frames, *sample.following)] == [(2, 3, 3)] * 4
    assert sample.sound is not None
    assert (sample.times, sample.seconds, len(sample.sound)) == ((0, 0.5), 1.5, 4)


HUGE = 10**18
NUMBERS = [-1, HUGE, -HUGE, True, "4", 1.5, None, [1], {}, float("nan"), float("inf")]
LIES = [
    *({"frames": [[side, 3], [2, 3]]} for side in [0, *NUMBERS]),
    *({"following": [[2, 3], [2, side]]} for side in [0, *NUMBERS]),
    *({"width": side} for side in [0, *NUMBERS]),
    *({"height": side} for side in [0, *NUMBERS]),
    *({"sound": samples} for samples in NUMBERS if samples is not None),
    *({"seconds": seconds} for seconds in NUMBERS if type(seconds) is not int and seconds != 1.5),
    *({"times": [0, shown]} for shown in NUMBERS if type(shown) is not int and shown != 1.5),
    {"frames": [[2, 3]] * 3},
    {"frames": [[2, 3]]},
    {"frames": [[2, 3, 3]] * 2},
    {"frames": "[]"},
    {"frames": {}},
    {"following": []},
    {"times": [0]},
    {"times": None},
    {"frames": [[40_000, 40_000]] * 2, "sound": -(10**12)},
    {"frames": [[PICTURE_PIXELS, 2]] * 2},
    {"sound": 16_001},
    {"seconds": 10**400},
    {"more": 1},
    {"fault": "damaged"},
]


@pytest.mark.fault("S3")
@pytest.mark.parametrize("lie", LIES, ids=str)
def test_nothing_is_taken_of_what_no_decoder_gives(lie: dict[str, Any]) -> None:
    # Whoever takes a byte of it finds the end of what was said, instead of the lie.
    with pytest.raises(Nonsense):
        hear(told({**GOOD, **lie}))


@pytest.mark.fault("S3")
def test_what_was_not_asked_for_is_not_taken() -> None:
    for needs in (Needs(frames=2), Needs(frames=2, following=True), Needs(frames=2, sound=True), Needs()):
        with pytest.raises(ValueError, match=r"asked for|cannot be"):
            hear(told(GOOD) + CONTENT, needs)
    everything = Needs(frames=0, sound=True)
    header = {**GOOD, "frames": [], "following": [], "times": [], "sound": 16_000 * SOUND_SECONDS + 1}
    with pytest.raises(ValueError, match="cannot be"):
        hear(told(header), everything)


@pytest.mark.fault("S3")
def test_the_sum_of_what_is_announced_is_bounded() -> None:
    # Each picture is one that there could be; all of them no decoder could hold.
    header = {**GOOD, "frames": [[8192, 8192]] * 8, "following": [[8192, 8192]] * 8, "times": [0] * 8, "sound": None}
    with pytest.raises(ValueError, match="more than a decoder can hold"):
        hear(told(header), Needs(frames=8, following=True))


@pytest.mark.fault("S3")
def test_words_without_end_are_not_listened_to() -> None:
    with pytest.raises(ValueError, match="never comes to the point"):
        hear(told({"length": 3600 * 12}) * (MOST_LENGTHS + 1) + told(GOOD) + CONTENT)


@pytest.mark.fault("S3")
def test_a_sound_that_is_none_is_not_taken() -> None:
    with pytest.raises(ValueError, match="no sound"):
        hear(told(GOOD) + CONTENT[:-4] + np.float32("nan").tobytes())


@pytest.mark.fault("S4")
@pytest.mark.parametrize(
    "said",
    [
        rb'{"fault": "damaged", "message": "\ud800 \udfff \u0000 \u001b[2J \u202e \r\n"}',
        json.dumps({"fault": "damaged", "message": "\udcff" * 100_000}).encode(),
        '{"fault": "damaged", "message": "\x7f\u2028"}'.encode(),
    ],
)
def test_a_reason_is_words_that_can_be_stored_and_shown(said: bytes) -> None:
    with pytest.raises(ExtractionError) as refused:
        hear(len(said).to_bytes(4) + said)
    assert refused.value.fault is Fault.DAMAGED
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) <= SAID_CHARACTERS
    str(refused.value).encode()


@pytest.mark.fault("S4")
@pytest.mark.parametrize(
    "said",
    [
        b'{"fault": "tired", "message": "of it"}',
        b'{"fault": ["damaged"], "message": "of it"}',
        b'{"fault": "damaged", "message": ["of it"]}',
        b'{"fault": "damaged", "message": null}',
        b'{"fault": "damaged", "fault": "empty", "message": "x"}',
        b'{"fault": "damaged", "message": "\xff"}',
        b'{"length": ' + b"9" * 5_000 + b"}",
        b'{"length": 1e999}',
        b'{"length": NaN}',
        b'{"length": true}',
        b'{"length": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[]",
        b"7",
        b"",
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda said: str(said[:40]),
)
def test_words_that_make_no_sense_are_one_reason(said: bytes) -> None:
    with pytest.raises(Nonsense):
        hear(len(said).to_bytes(4) + said)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3))
keys = st.sampled_from([*GOOD, "length", "fault", "message", "else"])
headers = st.dictionaries(keys, values, max_size=4).flatmap(lambda lie: st.sampled_from([lie, {**GOOD, **lie}]))


@pytest.mark.fault("S3", "S4")
@given(header=headers, content=st.binary(max_size=200), lengths=st.lists(values, max_size=3))
def test_whatever_a_child_says_is_a_sample_or_one_reason(header: Any, content: bytes, lengths: list[Any]) -> None:
    said = b"".join(told({"length": length}) for length in lengths) + told(header) + content
    try:
        sample = hear(said)
    except EXPECTED as refused:
        assert not isinstance(refused, ExtractionError) or str(refused).isprintable()  # noqa: PT017 - one of two ends
    else:
        assert len(sample.frames) == len(sample.following) == len(sample.times) == NEEDS.frames
        assert sample.sound is None or len(sample.sound) <= 16_000


@pytest.mark.fault("S3", "S4")
@given(said=st.binary(max_size=300))
def test_whatever_bytes_come_are_one_reason(said: bytes) -> None:
    with pytest.raises(EXPECTED):
        hear(said)
