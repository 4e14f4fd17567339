"""A state machine over the pure core: an owner, a sorter that crashes, and hints in any order."""

from __future__ import annotations

from pathlib import PurePath

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sortd.domain.category import CategoryName, Location
from sortd.domain.video import Fingerprint, Placer, Record
from sortd.judgement.reconcile import apply, reconcile

FOLDERS = [None, CategoryName("cats"), CategoryName("dogs")]
NAMES = ["a.mp4", "b.mp4"]
PLACES = [Location(folder, PurePath(name)) for folder in FOLDERS for name in NAMES]
CLIP = Fingerprint("clip")


class OwnerAndSorter(RuleBasedStateMachine):
    """`disk` is what stands, `looked` what the index saw, `open_move` a rename done that sortd died before noting."""

    def __init__(self) -> None:
        super().__init__()
        self.disk: set[Location] = {PLACES[0]}
        self.looked: frozenset[Location] = frozenset()
        self.record = Record(CLIP)
        self.open_move: tuple[Location, Location] | None = None

    def look(self) -> None:
        self.recover()
        now = frozenset(self.disk)
        home = self.record.home
        fact = reconcile(self.record, self.looked, now)
        if fact is not None:
            self.record = apply(self.record, fact)
        if home is not None and now and self.looked and home not in {place.category for place in now}:
            assert home in self.record.vetoes
        self.looked = now | (self.looked if not now else frozenset())

    @rule(start=st.sampled_from(PLACES), end=st.sampled_from(PLACES))
    def the_owner_moves_it(self, start: Location, end: Location) -> None:
        if start in self.disk and end not in self.disk:
            self.disk.remove(start)
            self.disk.add(end)

    @rule(start=st.sampled_from(PLACES), end=st.sampled_from(PLACES))
    def the_owner_copies_it(self, start: Location, end: Location) -> None:
        if start in self.disk:
            self.disk.add(end)

    @rule(place=st.sampled_from(PLACES))
    def the_owner_deletes_a_copy(self, place: Location) -> None:
        self.disk.discard(place)

    @rule()
    def sortd_looks(self) -> None:
        self.look()

    @rule()
    def a_whole_scan_passes(self) -> None:
        self.look()
        self.looked = frozenset(self.disk)

    @rule(folder=st.sampled_from(FOLDERS[1:]), crash=st.sampled_from(["no", "before", "after"]))
    def sortd_moves_it(self, folder: CategoryName, crash: str) -> None:
        self.look()
        unsorted = [place for place in sorted(self.disk, key=str) if place.category is None]
        target = Location(folder, PurePath("a.mp4"))
        if not unsorted or self.record.home is not None or folder in self.record.vetoes or target in self.disk:
            return
        if crash == "before":
            return
        self.disk.remove(unsorted[0])
        self.disk.add(target)
        if crash == "after":
            # The intent is found open at the next start and finished before the first look.
            self.open_move = (unsorted[0], target)
            return
        self.placed(unsorted[0], target)

    def recover(self) -> None:
        if self.open_move is None:
            return
        source, target = self.open_move
        self.open_move = None
        # Neither at its source alone (moved and put back: the clock of its last rename tells) nor at its target: the
        # owner acted meanwhile, and the next look finds out how.
        if source in self.disk or target in self.disk:
            self.placed(source, target)

    def placed(self, source: Location, target: Location) -> None:
        assert target.category not in self.record.vetoes
        self.record = Record(CLIP, target.category, Placer.SORTD, self.record.vetoes)
        self.looked = (self.looked - {source}) | {target}

    @invariant()
    def looking_twice_tells_nothing_new(self) -> None:
        now = frozenset(self.disk)
        fact = reconcile(self.record, self.looked, now)
        record = apply(self.record, fact) if fact else self.record
        if now:
            assert reconcile(record, now, now) is None

    @invariant()
    def no_home_is_vetoed(self) -> None:
        assert self.record.home not in self.record.vetoes

    @invariant()
    def a_home_has_its_placer(self) -> None:
        assert (self.record.home is None) == (self.record.placed_by is None)


TestOwnerAndSorter = OwnerAndSorter.TestCase
TestOwnerAndSorter.settings = settings(max_examples=200, stateful_step_count=40)
