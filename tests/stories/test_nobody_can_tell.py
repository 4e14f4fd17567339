"""Videos of which nobody can tell whether they are being written."""

from __future__ import annotations

import os

import pytest

from sortd.disk.library import Library
from sortd.disk.open_writers import Writers
from sortd.engine.scanner import DOUBTED_TIMES


class Mute(Library):
    """A library on a disk that gives no leases, for a user who does not see others' processes."""

    def writers(self, _path):
        return Writers.UNKNOWN


@pytest.fixture
def mute(household):
    home = household(watch={"settle_seconds": 2.0})
    home.engine.scanner._library = Mute(home.root, levels=1, extensions=["mp4"], ignore=[])
    return home


@pytest.mark.fault("K13")
def test_what_nobody_can_tell_of_waits_longer_and_is_looked_at_then(mute):
    (mute.root / "clip.mp4").write_bytes(b"clip")
    mute.settle(seconds=2.0 * DOUBTED_TIMES)
    assert mute.extracted == []
    assert not mute.engine.idle()

    mute.wait(seconds=10)
    assert mute.extracted == [b"clip"]
    assert mute.engine.idle()


@pytest.mark.fault("K13")
def test_each_sign_of_a_writer_makes_the_long_wait_begin_again(mute):
    clip = mute.root / "clip.mp4"
    clip.write_bytes(b"half")
    mute.settle(seconds=2.0 * DOUBTED_TIMES)
    with clip.open("ab") as writer:  # as one does who paused
        writer.write(b" and half")
    mute.wait(seconds=2.0 * DOUBTED_TIMES)
    assert mute.extracted == []

    status = clip.stat()
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))  # the change time alone is a sign too
    mute.wait(seconds=2.0 * DOUBTED_TIMES)
    assert mute.extracted == []

    mute.wait(seconds=10)
    assert mute.extracted == [b"half and half"]
