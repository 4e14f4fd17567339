from __future__ import annotations

from pathlib import PurePath

import pytest

from sortd.domain.category import CategoryName, Location
from sortd.domain.video import Fingerprint, Placer, Record
from sortd.judgement.reconcile import Confirmed, Labelled, Returned, Withdrawn, apply, reconcile

CLIP = Fingerprint("clip")
CATS, DOGS = CategoryName("cats"), CategoryName("dogs")
NEW = Record(CLIP)
LABEL = Record(CLIP, CATS, Placer.OWNER)
PLACEMENT = Record(CLIP, CATS, Placer.SORTD)


def standing(*paths: str) -> frozenset[Location]:
    places = (PurePath(path) for path in paths)
    return frozenset(
        Location(
            CategoryName(p.parts[0]) if len(p.parts) > 1 else None,
            PurePath(*p.parts[-1:] if len(p.parts) == 1 else p.parts[1:]),
        )
        for p in places
    )


@pytest.mark.parametrize(
    ("story", "record", "before", "now", "fact"),
    [
        ("dropped into the root", NEW, [], ["a.mp4"], None),
        ("put into a folder", NEW, ["a.mp4"], ["cats/a.mp4"], Labelled(CATS)),
        ("found in a folder at the first start", NEW, [], ["cats/a.mp4"], Labelled(CATS)),
        ("copied into two folders", NEW, [], ["dogs/a.mp4", "cats/a.mp4"], Labelled(CATS)),
        ("still at home", LABEL, ["cats/a.mp4"], ["cats/a.mp4"], None),
        ("renamed at home", LABEL, ["cats/a.mp4"], ["cats/b.mp4"], None),
        ("moved on", LABEL, ["cats/a.mp4"], ["dogs/a.mp4"], Labelled(DOGS, was=CATS, was_placed_by=Placer.OWNER)),
        ("placed wrongly", PLACEMENT, ["cats/a.mp4"], ["dogs/a.mp4"], Labelled(DOGS, CATS, Placer.SORTD)),
        ("taken back", PLACEMENT, ["cats/a.mp4"], ["a.mp4"], Withdrawn(CATS, Placer.SORTD)),
        ("its label taken back", LABEL, ["cats/a.mp4"], ["a.mp4"], Withdrawn(CATS, Placer.OWNER)),
        ("a placement arranged at home", PLACEMENT, ["cats/a.mp4"], ["cats/2024/a.mp4"], Confirmed(CATS)),
        ("a placement copied at home", PLACEMENT, ["cats/a.mp4"], ["cats/a.mp4", "cats/b.mp4"], None),
        ("just placed by sortd", PLACEMENT, ["cats/a.mp4"], ["cats/a.mp4"], None),
        ("a copy dropped beside", LABEL, ["cats/a.mp4"], ["cats/a.mp4", "a.mp4"], None),
        ("the filed one of two went", LABEL, ["cats/a.mp4", "a.mp4"], ["a.mp4"], Withdrawn(CATS, Placer.OWNER)),
        ("deleted", LABEL, ["cats/a.mp4"], [], None),
        ("deleted, then dropped again", LABEL, [], ["a.mp4"], Returned()),
    ],
)
def test_what_the_owner_did(story, record, before, now, fact):
    assert reconcile(record, standing(*before), standing(*now)) == fact, story


def test_a_video_taken_out_is_vetoed_until_the_owner_files_it_there():
    withdrawn = apply(PLACEMENT, Withdrawn(CATS, Placer.SORTD))
    assert withdrawn == Record(CLIP, vetoes=frozenset({CATS}))
    assert apply(withdrawn, Labelled(CATS)) == LABEL


def test_a_corrected_video_never_goes_back_to_where_it_was_wrong():
    corrected = apply(PLACEMENT, Labelled(DOGS, was=CATS, was_placed_by=Placer.SORTD))
    assert corrected == Record(CLIP, DOGS, Placer.OWNER, frozenset({CATS}))


def test_a_video_dropped_again_keeps_its_vetoes():
    record = Record(CLIP, CATS, Placer.SORTD, frozenset({DOGS}))
    assert apply(record, Returned()) == Record(CLIP, vetoes=frozenset({DOGS}))
