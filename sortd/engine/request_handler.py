"""Carry out the owner's commands, by the same steps as the service's own work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import Any

from sortd.domain.category import CategoryName
from sortd.domain.decision_facts import PauseChanged, PlacementConfirmed, VideoForgotten
from sortd.domain.errors import IndexDamaged, IndexUnavailable, SortdError
from sortd.domain.messages import FilesCopied
from sortd.domain.requests import (
    AcceptGroup,
    Confirm,
    Forget,
    GetStatus,
    Pause,
    Resume,
    Retry,
    Rollback,
    Undo,
    decode,
)
from sortd.domain.video import Fingerprint, Placer
from sortd.engine.bulk_moves import BulkMoves, Reply
from sortd.engine.event_log import Note, Tell
from sortd.engine.group_acceptance import GroupAcceptance
from sortd.engine.journaled_moves import JournaledMoves
from sortd.engine.pending_decisions import PendingDecisions
from sortd.engine.retraining import Retraining
from sortd.engine.scanner import Scanner
from sortd.judgement.reconcile import Confirmed, apply
from sortd.store.journal import DONE, Move
from sortd.store.store import Store


class RequestRefused(SortdError):
    """The command cannot be carried out; the message says why."""


class RequestHandler:
    """Carries out requests, and answers each once."""

    def __init__(
        self,
        store: Store,
        moves: JournaledMoves,
        pending_decisions: PendingDecisions,
        scanner: Scanner,
        retraining: Retraining,
        *,
        note: Note,
        tell: Tell,
        away: Callable[[], str | None],
        status: Callable[[], Mapping[str, Any]],
        reload: Callable[[], None],
        group_acceptance: GroupAcceptance,
    ) -> None:
        self._store = store
        self._moves = moves
        self._pending_decisions = pending_decisions
        self._note = note
        self._tell = tell
        self._away = away
        self._status = status
        self._reload = reload
        self._scanner = scanner
        self._retraining = retraining
        self._bulk_moves = BulkMoves(store, moves, tell=tell)
        self._group_acceptance = group_acceptance

    def to(self, request: Mapping[str, Any], reply: Reply, *, now: float) -> None:
        """Carry out a request and reply once; `error` in the answer says why not. Only moves may reply later."""
        answer: Mapping[str, Any] | None = {"error": "the service could not do it; its log says why"}
        try:
            answer = self._carry_out(request, reply, now)
        except IndexDamaged:
            raise  # it is mended, and the asker asks again
        except IndexUnavailable as error:
            answer = {"error": str(error)}
            raise
        except SortdError as error:
            answer = {"error": str(error)}
        finally:
            if answer is not None:
                reply(answer)

    def land(self, copied: FilesCopied) -> None:
        """Finish a move that was asked for: its copies are made, or failed."""
        self._bulk_moves.land(copied)

    def step(self, *, now: float) -> None:
        """Make some of the moves asked for; reply to requests that are through by now, or have waited long enough."""
        self._bulk_moves.step(now=now, away=self._away())

    def stop(self) -> None:
        """Answer whoever still waits: the service ends."""
        self._bulk_moves.stop("the service was stopped before its turn came")

    def waiting(self) -> bool:
        """Tell whether a move that was asked for is still to be tried."""
        return self._bulk_moves.waiting()

    def _carry_out(self, wire: Mapping[str, Any], reply: Reply, now: float) -> Mapping[str, Any] | None:
        request, away = decode(wire), self._away()
        if away is not None and not isinstance(request, GetStatus):
            return {"error": away}
        match request:
            case Undo():
                self._undo(request, reply, now)
            case AcceptGroup():
                self._accept(request, reply, now)
            case _:
                return self._answer(request)
        return None  # moves are answered when they are made

    def _answer(self, request: GetStatus | Confirm | Forget | Pause | Resume | Retry | Rollback) -> Mapping[str, Any]:
        match request:
            case GetStatus():
                return self._status()
            case Confirm():
                return self._confirm(request)
            case Forget():
                return self._forget(request)
            case Pause():
                return self._pause()
            case Resume():
                return self._resume(request)
            case Retry():
                return self._retry()
            case Rollback():
                return self._roll_back()

    def _undo(self, undo: Undo, reply: Reply, now: float) -> None:
        entries = self._chosen(undo)
        if not entries:
            raise RequestRefused("there is no such move to undo")
        back = [(entry.steps[0].target, partial(self._moves.put_back, entry)) for entry in entries]
        self._bulk_moves.start(back, reply, now=now)

    def _accept(self, group: AcceptGroup, reply: Reply, now: float) -> None:
        category, wishes = self._group_acceptance.wishes(group.category, group.videos)
        self._tell("accepted", category=category, videos=len(wishes))
        self._bulk_moves.start(wishes, reply, now=now, category=category)

    def _chosen(self, undo: Undo) -> list[Move]:
        """Return the moves that are meant, the latest first."""
        entries = [entry for entry in self._store.journal.recent() if entry.state == DONE]
        if undo.path is not None:
            video = self._video_at(undo.path)
            return [entry for entry in entries if entry.fingerprint == video][:1]
        if undo.since is not None:
            entries = [entry for entry in entries if entry.at >= undo.since]
        if undo.category is not None:
            entries = [entry for entry in entries if entry.category == undo.category]
        if undo.count is None:
            return entries
        # "The last one" is the last that can be taken back: a video may be gone altogether.
        index = self._store.videos
        return [entry for entry in entries if index.sightings(entry.fingerprint)][: undo.count]

    def _confirm(self, request: Confirm) -> Mapping[str, Any]:
        index = self._store.videos
        confirmed = []
        with self._store.transaction():
            for video in self._meant(request, Placer.SORTD):
                record = index.record(video)
                if record.home is None:
                    raise RequestRefused(f"{request.path} stands in no category: there is nothing to confirm")
                if record.placed_by is Placer.OWNER:
                    raise RequestRefused(f"{request.path} is your label already")
                index.keep(apply(record, Confirmed(record.home)))
                self._store.track_record.confirmed(record.home)
                self._note(PlacementConfirmed(video, record.home))
                for sighting in index.sightings(video):
                    self._tell("confirmed", path=sighting.path, category=record.home)
                    confirmed.append(str(sighting.path))
            self._store.count_label_changes(len(confirmed))
        self._pending_decisions.add_all()
        return {"confirmed": confirmed}

    def _forget(self, request: Forget) -> Mapping[str, Any]:
        index = self._store.videos
        category = None if request.path is not None else self._category(request)
        forgotten: list[Fingerprint] = []
        with self._store.transaction():
            if request.what == "labels":
                for video in self._meant(request, Placer.OWNER):
                    record = index.record(video)
                    if record.placed_by is not Placer.OWNER:
                        raise RequestRefused(f"{request.path} has no label")
                    # It stays where it is and teaches nothing: what a placement does.
                    index.keep(replace(record, placed_by=Placer.SORTD))
                    forgotten.append(video)
            else:
                videos = index.vetoed(category) if category else self._meant(request, None)
                for video in videos:
                    record = index.record(video)
                    dropped = frozenset({category}) if category else record.vetoes
                    index.keep(replace(record, vetoes=record.vetoes - dropped))
                    forgotten.append(video)
            for video in forgotten:
                self._note(VideoForgotten(video, request.what, category))
            if request.what == "labels":
                self._store.count_label_changes(len(forgotten))
        self._pending_decisions.add(forgotten)
        return {"forgotten": len(forgotten)}

    def _meant(self, request: Confirm | Forget, placer: Placer | None) -> list[Fingerprint]:
        if request.path is not None:
            return [self._video_at(request.path)]
        return self._store.videos.fingerprints(home=self._category(request), placed_by=placer)

    def _category(self, request: Confirm | Forget) -> CategoryName:
        category = CategoryName(request.category or "")
        if category not in {known.name for known in self._store.categories.all()}:
            raise RequestRefused(f"there is no video and no category {category}")
        return category

    def _video_at(self, path: str) -> Fingerprint:
        sighting = self._store.videos.known(PurePath(path))
        if sighting is None:
            raise RequestRefused(f"{path} is no video that sortd knows")
        return sighting.fingerprint

    def _pause(self) -> Mapping[str, Any]:
        self._keep_wish(paused=True)
        return {"paused": True}

    def _roll_back(self) -> Mapping[str, Any]:
        """Let the previous classifier decide all the unsorted anew; what is filed stays."""
        self._retraining.roll_back()
        self._reload()
        serving = self._store.classifiers.serving()
        labels = serving.report.get("labels") if serving else None
        self._tell("rolled_back", labels=labels)
        return {"labels": labels}

    def _resume(self, request: Resume) -> Mapping[str, Any]:
        """End a pause; where many videos vanished, only if the request accepts that, and else nothing is ended."""
        if self._scanner.loss_guard.held and not request.vanished:
            vanished, stood = self._store.videos.vanished()
            raise RequestRefused(
                f"{vanished} of {stood} videos vanished, so nothing is resumed: bring them back, or accept that they"
                " are gone by `sortd resume --vanished`"
            )
        self._keep_wish(paused=False)
        return {"paused": False, "vanished": self._scanner.accept()}

    def _keep_wish(self, *, paused: bool) -> None:
        with self._store.transaction():
            self._pending_decisions.pause(paused=paused)
            self._note(PauseChanged(paused))
            self._tell("paused" if paused else "resumed")

    def _retry(self) -> Mapping[str, Any]:
        with self._store.transaction():
            return {"retried": self._store.backlog.retry()}
