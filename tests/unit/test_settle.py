from __future__ import annotations

from pathlib import PurePath

from sortd.domain.video import FileIdentity
from sortd.judgement.settle import Settler

CLIP = PurePath("clip.mp4")
OTHER = PurePath("other.mp4")


def test_a_file_passes_when_it_was_still_for_the_quiet_time():
    settler = Settler(2.0)
    assert not settler.observe(CLIP, FileIdentity(1, 10, 5), now=0.0)
    assert not settler.observe(CLIP, FileIdentity(1, 10, 5), now=1.9)
    assert settler.observe(CLIP, FileIdentity(1, 10, 5), now=2.0)
    assert settler.waiting() == ()


def test_a_growing_file_starts_its_wait_again():
    settler = Settler(2.0)
    settler.observe(CLIP, FileIdentity(1, 10, 5), now=0.0)
    assert not settler.observe(CLIP, FileIdentity(1, 20, 5), now=2.0)
    assert not settler.observe(CLIP, FileIdentity(1, 20, 5), now=3.9)
    assert settler.waiting() == (CLIP,)
    assert settler.waits_for(CLIP)
    assert settler.observe(CLIP, FileIdentity(1, 20, 5), now=4.0)
    assert not settler.waits_for(CLIP)


def test_a_file_that_is_gone_needs_no_wait():
    settler = Settler(2.0)
    settler.observe(CLIP, FileIdentity(1, 10, 5), now=0.0)
    assert settler.observe(CLIP, None, now=0.1)
    assert settler.waiting() == ()


def test_each_waiting_file_is_due_once_its_own_quiet_time_has_passed():
    settler = Settler(2.0)
    settler.observe(CLIP, FileIdentity(1, 10, 5), now=0.0)
    settler.observe(OTHER, FileIdentity(2, 10, 5), now=1.0)
    assert settler.due(1.9) == ()
    assert settler.due(2.0) == (CLIP,)
    settler.observe(CLIP, FileIdentity(1, 20, 5), now=2.0)
    assert settler.due(3.5) == (OTHER,)
    assert settler.due(4.0) == (OTHER, CLIP)
