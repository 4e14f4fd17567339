"""Decide the videos of which something new is known: each is moved, or left with a reason that is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePath

from sortd.domain.category import CategoryName
from sortd.domain.decision import Leave, MoveTo, Reason, Trust, Verdict
from sortd.domain.errors import Changed, FolderRefuses, IndexUnavailable, MoveRefused, SortdError
from sortd.domain.messages import FilesCopied
from sortd.domain.video import Fingerprint
from sortd.engine.decision_inputs import DecisionInputsReader
from sortd.engine.event_log import Tell
from sortd.engine.journaled_moves import JournaledMoves
from sortd.engine.move_backoff import MoveBackoff
from sortd.judgement.decide import verdict
from sortd.judgement.trust import CategoryFeedback
from sortd.store.database import DatabaseError
from sortd.store.journal import DONE, Move
from sortd.store.store import PAUSED, Store

AT_ONCE = 20
"""Videos that are decided before the loop looks into its inbox again."""

MAY_PASS = (Reason.ON_PROBATION, Reason.HANDS_OFF, Reason.MOVE_REFUSED)
"""Reasons that may end by themselves: with time, or by a change of folders."""

_STOPPED = "stopped_categories"


def is_paused(store: Store) -> bool:
    """Tell whether the owner paused this library; the pause outlasts the service."""
    return store.database.note(PAUSED) == "1"


@dataclass(frozen=True, slots=True)
class _Left:
    """A video that stays: `why` says so in words; `told` means that its folder's line has said it already."""

    leave: Leave
    why: str | None = None
    told: bool = False


class PendingDecisions:
    """Holds the videos that are to be decided.

    `observe`: make no moves. `held`: whether everything waits, because many videos vanished.

    Times named `now` are seconds on the monotonic clock.
    """

    def __init__(
        self,
        store: Store,
        decision_inputs: DecisionInputsReader,
        moves: JournaledMoves,
        *,
        observe: bool,
        held: Callable[[], bool],
        tell: Tell,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._decision_inputs = decision_inputs
        self._moves = moves
        self._observe = observe
        self._held = held
        self._tell = tell
        self._wall = wall
        self._refusals = MoveBackoff(store, tell)
        self._tried = False
        self._waiting: dict[Fingerprint, None] = {}
        self._unforeseen: dict[Fingerprint, str] = {}
        self._doubted: dict[int, tuple[CategoryName, CategoryFeedback]] = {}
        self._behind: dict[Fingerprint, None] = {}  # one copy into a category is made at a time

    def resync(self) -> None:
        """Decide every unsorted video anew, and look anew which categories stopped, as after a start."""
        self._behind.clear()
        self._doubted.clear()
        self.add_all()

    def add(self, videos: Iterable[Fingerprint]) -> None:
        """Have these videos decided anew: what is known of them changed."""
        self._waiting.update(dict.fromkeys(videos))

    def add_all(self) -> None:
        """Have every unsorted video decided anew: the classifier or the policy changed."""
        self.add(self._store.videos.fingerprints(home=None))

    def add_those_time_may_help(self) -> None:
        """Have those videos decided anew whose reason may have ended by itself."""
        self.add(self._store.videos.left_for(MAY_PASS))

    def retry(self) -> None:
        """Try at once the folders that refused files: the owner may have mended them."""
        self._refusals.forgive()
        self.add(self._store.videos.left_for((Reason.MOVE_REFUSED,)))

    def waiting(self) -> bool:
        """Tell whether a video is to be decided and can be decided now."""
        return bool(self._waiting or (self._behind and not self._moves.copies())) and not self._held()

    def step(self, now: float) -> None:
        """Decide the next few videos."""
        self._tell_of_stops()
        if self._held():
            return
        self._decision_inputs.refresh()
        self._refuse_unsafe(now)
        if self._refusals.end(now=now):
            self.add(self._store.videos.left_for((Reason.MOVE_REFUSED,)))
        if self._behind and not self._moves.copies():
            video = next(iter(self._behind))
            del self._behind[video]
            self.add([video])
        for video in [video for video, _ in zip(self._waiting, range(AT_ONCE), strict=False)]:
            del self._waiting[video]
            try:
                self._decide(video, now)
            except (SortdError, DatabaseError):
                raise
            except Exception as problem:  # noqa: BLE001 - whatever is wrong with one video is that video's problem
                self._tell_unforeseen(video, problem)

    def _tell_unforeseen(self, video: Fingerprint, problem: Exception) -> None:
        why = f"{type(problem).__name__}: {problem}"
        if self._unforeseen.get(video) != why:
            self._unforeseen[video] = why
            for sighting in self._store.videos.sightings(video):
                self._tell("not_looked_at", path=sighting.path, why=why)

    def land(self, copied: FilesCopied, entry: Move, now: float) -> None:
        """Finish a move whose copies are made, or failed, if the same would be decided now; else withdraw it."""
        self._decision_inputs.refresh()
        inputs = self._decision_inputs.read(entry.fingerprint, now=self._wall())
        decided = None if inputs is None else verdict(inputs)
        decision = None if decided is None or self.halted else decided.decision
        wanted = isinstance(decision, MoveTo) and decision.category == entry.category
        if copied.refused is None and not wanted:
            copied = replace(copied, refused=MoveRefused("it was decided otherwise while it was copied"))
        left = self._attempt(lambda: self._moves.land(copied), entry.category, now)
        if decided is None or not wanted:
            self.add([entry.fingerprint])
        elif left is not None:
            if not left.told:
                self._refusals.postpone(entry.steps[0].source, now=now)
            self._note(entry.fingerprint, decided, left)

    def _refuse_unsafe(self, now: float) -> None:
        """Tell at the start on which filesystems no move is safe, before a video waits for one."""
        if self._tried or self._observe:
            return
        self._tried = True
        with suppress(MoveRefused):
            for refused in self._moves.unsafe():
                self._refusals.refuse(refused, now=now)

    def _tell_of_stops(self) -> None:
        """Tell once that a category stopped, and once that it takes moves again."""
        doubted = self._store.track_record.doubted()
        if doubted == self._doubted:
            return
        self._doubted = doubted
        self._decision_inputs.refresh()
        now = self._wall()
        stopped = {
            number
            for number, (name, _) in doubted.items()
            if self._decision_inputs.trust_in(name, now=now) is Trust.STOPPED
        }
        before = set(map(int, (self._store.database.note(_STOPPED) or "").split()))
        with self._store.transaction():
            self._store.database.write_note(_STOPPED, " ".join(map(str, sorted(stopped))))
        for number in sorted(stopped - before):
            name, word = doubted[number]
            self._tell("category_stopped", category=name, confirmed=word.confirmed, corrected=word.corrected)
        for number in sorted((before - stopped) & doubted.keys()):
            self._tell("category_free", category=doubted[number][0])
            self.add(self._store.videos.left_for((Reason.CATEGORY_STOPPED,)))

    @property
    def paused(self) -> bool:
        """Tell whether the owner paused moves and extraction."""
        return is_paused(self._store)

    @property
    def halted(self) -> bool:
        """Tell whether nothing is moved, extracted or learned now: the owner paused it, or many videos vanished."""
        return self.paused or self._held()

    def pause(self, *, paused: bool) -> None:
        """Note that the owner pauses or resumes; it outlasts the service."""
        self._store.database.write_note(PAUSED, "1" if paused else "0")
        if not paused:
            self._refusals.forgive()
            self.add_all()

    def _decide(self, video: Fingerprint, now: float) -> None:
        if video in {entry.fingerprint for entry in self._moves.copies()}:
            return
        inputs = self._decision_inputs.read(video, now=self._wall())
        if inputs is None or inputs.fault is not None:
            return
        decided = verdict(inputs)
        if isinstance(decided.decision, MoveTo):
            left = self._move(video, decided.decision, now)
            if left is not None:
                self._note(video, decided, left)
        elif decided.decision.reason is not Reason.PENDING:
            self._note(video, decided, _Left(decided.decision))

    def _move(self, video: Fingerprint, move: MoveTo, now: float) -> _Left | None:
        """Make a move, or let it wait for its turn; return why it was not made, else None."""
        category = move.category
        if self.paused:
            return _Left(Leave(Reason.PAUSED, category))
        if self._observe:
            return _Left(Leave(Reason.OBSERVE_MODE, category))
        sighting = self._decision_inputs.unsorted(video)
        if sighting is None:
            return None
        if self._refusals.hold(sighting.path, sighting.path.parent, PurePath(category), now=now):
            return _Left(Leave(Reason.MOVE_REFUSED, category), told=True)
        if category in {entry.category for entry in self._moves.copies()}:
            self._behind[video] = None
            return None
        return self._attempt(lambda: self._moves.file(sighting, move), category, now)

    def _attempt(self, act: Callable[[], Move], category: CategoryName, now: float) -> _Left | None:
        """Make a move or begin it; return why not, else None. What a whole folder refuses is told of the folder."""
        try:
            entry = act()
        except Changed:
            return None  # what stands there now is looked at when it has settled
        except FolderRefuses as refused:
            self._refusals.refuse(refused, now=now)
            return _Left(Leave(Reason.MOVE_REFUSED, category), told=True)
        except IndexUnavailable:
            raise  # no fault of the move: it may have been made, and is taken up again when the index can be written
        except SortdError as refused:
            return _Left(Leave(Reason.MOVE_REFUSED, category), why=str(refused))
        if entry.state == DONE:
            source = entry.steps[0].source
            self._refusals.accept(source, source.parent, PurePath(category))
        return None

    def _note(self, video: Fingerprint, decided: Verdict, left: _Left) -> None:
        """Note why a video was left; tell it if the reason is new and its folder's line has not told it."""
        confidence = None if decided.prediction is None else round(decided.prediction.confidence, 4)
        facts = {"reason": left.leave.reason, "category": left.leave.category, "confidence": confidence}
        with self._store.transaction():
            news = self._store.videos.tell_left(video, left.leave.reason, left.leave.category)
            if news and not left.told:
                self._tell("left", path=decided.path, **facts, **({} if left.why is None else {"why": left.why}))
