"""Follow hints: what was touched is looked at once it has settled, and what the owner did is worked out from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import PurePath

from sortd.disk.file_names import FOLDER_RULES
from sortd.disk.library import UNREADABLE, Library, Scan
from sortd.disk.library_marker import RootAway
from sortd.disk.open_writers import Writers
from sortd.disk.root_guard import RootGuard
from sortd.domain.decision_facts import VideosGone
from sortd.domain.errors import LibraryUnavailable, SortdError
from sortd.domain.video import FileIdentity, Fingerprint, Sighting
from sortd.engine.category_sync import CategorySync
from sortd.engine.event_log import Note, Tell
from sortd.engine.loss_guard import LossGuard
from sortd.engine.owner_actions import OwnerActions
from sortd.engine.replaced_videos import ReplacedVideos
from sortd.judgement.category_diff import Folder
from sortd.judgement.settle import Settler
from sortd.store.database import DatabaseError
from sortd.store.store import Store

MOST_HINTS = 20_000
"""Beyond so many hints a scan of everything is cheaper, and memory stays bounded."""

MOST_AT_ONCE = 100
"""Files that are looked at in one transaction, so that the loop soon comes back to its inbox."""

DOUBTED_TIMES = 10
"""Where nobody can tell whether a file is being written, it must be unchanged for so many times longer."""


class Scanner:
    """Holds the hints that were not followed yet. Times named `now` are seconds on the monotonic clock."""

    def __init__(
        self,
        store: Store,
        library: Library,
        guard: RootGuard,
        *,
        note: Note,
        settle_seconds: float,
        tell: Tell,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._library = library
        self._guard = guard
        self._note = note
        self._settler = Settler(settle_seconds)
        self._doubted = Settler(settle_seconds * DOUBTED_TIMES)
        self._folders = CategorySync(store, library, note=note, tell=tell)
        self._owner_actions = OwnerActions(store, library, note=note, tell=tell, wall=wall)
        self._replaced_videos = ReplacedVideos(store, note=note)
        self._tell = tell
        self._wall = wall
        self._touched: set[PurePath] = set()
        self._retouched: set[PurePath] = set()
        self._settled: dict[PurePath, FileIdentity | None] = {}
        self._spared: set[PurePath] = set()
        self._unforeseen: dict[PurePath, str] = {}
        self._scan_due = False
        self._scan_passed = False
        self._problems: dict[PurePath, str] = {}
        self._too_deep: set[PurePath] = set()
        self.loss_guard = LossGuard(store, tell)

    def touch(self, path: PurePath) -> None:
        """Follow a hint at the next step."""
        self._touched.add(path)
        if len(self._touched) > MOST_HINTS:
            self.rescan()

    def resync(self) -> None:
        """Scan everything: what was seen before a failure may not have been noted."""
        self.loss_guard.resync()
        self.rescan()

    def rescan(self) -> None:
        """Compare the whole tree with the index at the next step."""
        self._touched.clear()
        self._scan_due = True

    def spare(self, paths: set[PurePath]) -> None:
        """Do not look at these paths until others are named: an unfinished move would be taken for the owner's."""
        self._touched |= self._spared - paths
        self._spared = paths

    def busy(self) -> bool:
        """Tell whether anything is left to look at."""
        return bool(self._scan_due or self._scan_passed or self.unlooked())

    def unlooked(self) -> set[PurePath]:
        """Return the paths that were touched and not looked at yet."""
        return {*self._touched, *self._settled, *self._settler.waiting(), *self._doubted.waiting()}

    def crowded(self) -> bool:
        """Tell whether files have settled and can be looked at now."""
        return bool(self._settled)

    def scanning(self) -> bool:
        """Tell whether a scan is due, or the files that it found are still being looked at."""
        return bool(self._scan_due or self._settled)

    def settling(self, path: PurePath) -> bool:
        """Tell whether the file at this path was seen to change and is waited for."""
        return self._settler.waits_for(path) or self._doubted.waits_for(path)

    def step(self, now: float) -> set[Fingerprint]:
        """Look at what has settled; return the videos of which something new is known."""
        paths = self._scan() if self._scan_due else self._expand()
        for path in {*paths, *self._settler.due(now)}:
            identity = self._stat(path)
            if self._settler.observe(path, identity, now):
                self._settled[path] = identity
        self._settled |= {path: self._stat(path) for path in self._doubted.due(now)}
        batch = list(islice(self._settled, MOST_AT_ONCE))
        still = [path for path in batch if self._is_still(path, self._settled.pop(path), now)]
        still = [path for path in still if path not in self._spared]
        changed = self._look_at(still) if still else set()
        changed |= self._settle_heirs()
        if still:
            with self._store.transaction():
                self._weigh()
        if self._scan_passed and not self.unlooked():
            self._scan_passed = False
            with self._store.transaction():
                self._close_scan()
        return changed

    def _settle_heirs(self) -> set[Fingerprint]:
        """Return the videos of which it is now known whether they replace another; if not, the owner put them there."""
        # What is missing and not yet seen elsewhere may have been moved: nothing replaces it before that is known.
        if self.unlooked() or not self._store.replacements.candidates():
            return set()
        with self._store.transaction():
            settled = self._replaced_videos.settle()
            for video in settled:
                self._store.count_label_changes(self._owner_actions.record(video, frozenset()))
        return set(settled)

    def _is_still(self, path: PurePath, settled: FileIdentity | None, now: float) -> bool:
        """Tell whether a settled file may be looked at: among many its turn comes late, and it may be written again."""
        identity = self._stat(path)
        if identity is None:
            return True
        writers = self._library.writers(path) if identity == settled else Writers.SOME
        if writers is Writers.NONE:
            return True
        if writers is Writers.UNKNOWN:
            return self._doubted.observe(path, identity, now)
        # Its writer had only paused: the wait begins again.
        self._settler.observe(path, identity, now)
        return False

    def know(self, folder: Folder) -> None:
        """Know a folder as a category that was made for one at this moment."""
        with self._store.transaction():
            self._refresh_folders()
            self._folders.know(folder)

    def accept(self) -> int:
        """Note what vanished as gone, as the owner accepts; return how many if it was too many, else 0."""
        if not self.loss_guard.held:
            return 0
        vanished, _ = self._store.videos.vanished()
        with self._store.transaction():
            self._store.videos.begin_scan()
            self._forget_lost()
            self._weigh()
        return vanished

    def _close_scan(self) -> None:
        """End a whole scan, once nothing is left to settle: what it did not find is gone."""
        index = self._store.videos
        if not self.loss_guard.held:
            # What went missing since that scan began may be a move that was half seen: another scan tells.
            self._forget_lost()
            self._scan_due = index.lost_meanwhile()
            self._weigh()
        elif index.lost_meanwhile():
            self._scan_due = True
        else:
            self.loss_guard.tell()

    def _forget_lost(self) -> None:
        """Note as gone what was missing before the last scan, also in the decision log: an index is made from it."""
        gone = self._store.videos.forget_lost(now=self._wall())
        for start in range(0, len(gone), MOST_AT_ONCE):
            self._note(VideosGone(tuple(gone[start : start + MOST_AT_ONCE])))

    def _weigh(self) -> None:
        self._scan_due |= self.loss_guard.weigh()
        if self._folders.gone_unseen:
            self._refresh_folders()

    def _refresh_folders(self) -> None:
        self._store.count_label_changes(self._folders.refresh(would_hold=self.loss_guard.would_hold))

    def _stat(self, path: PurePath) -> FileIdentity | None:
        try:
            return self._library.stat(path) if self._library.is_video(path) else None
        except LibraryUnavailable:
            # A failing disk or a missing permission proves no absence: the file counts as unchanged.
            known = self._store.videos.known(path)
            return None if known is None else known.identity
        except SortdError:
            raise
        except Exception as problem:  # noqa: BLE001 - as above
            self._tell_unforeseen(path, problem)
            known = self._store.videos.known(path)
            return None if known is None else known.identity

    def _expand(self) -> Iterator[PurePath]:
        """Yield the paths that hints stand for: a folder stands for each known path below it and each file in it."""
        touched, self._touched = self._touched, set()
        for hint in touched:
            for path in {hint, *self._store.videos.paths_below(hint), *self._library.videos_below(hint)}:
                known = self._store.videos.known(path)
                if known is None or _changed(known, self._stat(path)):
                    yield path

    def _scan(self) -> Iterator[PurePath]:
        """Return every path whose file is not what the index knows."""
        with self._store.transaction():
            self._store.videos.begin_scan()
        known = self._store.videos.identities()
        scan = self._library.scan()
        self._scan_due = False
        paths = []
        kept_less = []
        for path, identity in scan.videos.items():
            sighting = known.pop(path, None)
            if sighting is None or _changed(sighting, identity):
                paths.append(path)
            elif sighting.identity != identity:
                kept_less.append((path, identity))
        if self._guard.here() is not None:
            # The disk went away meanwhile, and what was scanned is its empty mount point.
            return iter(())
        with self._store.transaction():
            for path, identity in kept_less:
                self._store.videos.complete(path, identity)
        self._scan_passed = True
        rested = (path for path in self._store.videos.resting() if path not in scan.videos)
        ended = [path for path in rested if not self._library.rests(path)]
        self._tell_problems(scan)
        return iter([*paths, *(path for path in (*known, *ended) if not scan.hides(path))])

    def _tell_problems(self, scan: Scan) -> None:
        """Tell once of each folder that is left alone, and why."""
        problems = dict(self._library.rule_problems())
        for folder, why in problems.items():
            if self._problems.get(folder) != why:
                self._tell("rules_unusable", path=folder / FOLDER_RULES, why=why)
        self._problems = problems
        news = [folder for folder in scan.too_deep if folder not in self._too_deep]
        if news:
            self._tell("folders_too_deep", path=news[0], count=len(news))
        self._too_deep = set(scan.too_deep)

    def _look_at(self, paths: list[PurePath]) -> set[Fingerprint]:
        """Look at these paths; an unforeseen error at one of them is told of that one, and the others go on."""
        try:
            return self._look(paths)
        except (SortdError, DatabaseError):
            raise
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with one file is that file's problem
            if len(paths) > 1:
                return {video for path in paths for video in self._look_at([path])}
            self._tell_unforeseen(paths[0], problem)
            return set()

    def _tell_unforeseen(self, path: PurePath, problem: Exception) -> None:
        why = f"{type(problem).__name__}: {problem}"
        if self._unforeseen.get(path) != why:
            self._unforeseen[path] = why
            self._tell("not_looked_at", path=path, why=why)

    def _look(self, paths: list[PurePath]) -> set[Fingerprint]:
        index = self._store.videos
        with self._store.transaction():
            self._refresh_folders()
            stood = {path: index.known(path, resting=True) for path in paths}
            stands = self._seen(stood)
            old = {path: sighting for path, sighting in stood.items() if sighting is not None and path in stands}
            affected = {s.fingerprint for s in (*old.values(), *stands.values()) if s is not None}
            before = {video: self._owner_actions.standing(index.sightings(video, lost=True)) for video in affected}
            found = {path: sighting for path, sighting in stands.items() if sighting is not None}
            namesakes = {path: self._store.replacements.namesakes(path) for path in found}
            for path, sighting in stands.items():
                if sighting is None:
                    self._lose(path)
                elif index.see(sighting, now=self._wall()):
                    self._tell("found", path=path)
            for video in affected:
                self._verify(video, looked_at=set(paths))
            for path, sighting in found.items():
                self._replaced_videos.find(sighting, namesakes[path])
            for video in affected:
                if not self._store.replacements.waits(video):
                    self._store.count_label_changes(self._owner_actions.record(video, before[video]))
            away = self._guard.here()
            if away is not None:
                # An empty mount point was seen, or another folder: nothing of it is noted.
                raise RootAway(away)
        return affected

    def _seen(self, stood: Mapping[PurePath, Sighting | None]) -> dict[PurePath, Sighting | None]:
        """Return what stands at each path now; where its folder changed at this moment, the next look tells."""
        folders = self._store.categories.standing()
        stands: dict[PurePath, Sighting | None] = {}
        for path, known in stood.items():
            sighting = self._library.look(path, known)
            category = self._library.category_of(path)
            if sighting is None or category is None or self._library.folder(category) in folders:
                stands[path] = sighting
            elif path not in self._retouched:
                self._touched.add(path)
                self._retouched.add(path)
                continue
            self._retouched.discard(path)  # after two tries only a rescan or another hint tries again
        return stands

    def _verify(self, video: Fingerprint, *, looked_at: set[PurePath]) -> None:
        """Look at the video's other copies as well, so that the order of hints does not matter."""
        index = self._store.videos
        for sighting in index.sightings(video, resting=True):
            if sighting.path in looked_at or not _changed(sighting, self._stat(sighting.path)):
                continue
            found = self._library.look(sighting.path, sighting)
            if found is not None and found.fingerprint == video:
                # Only a link was made to it, or its mode changed.
                index.see(found, now=self._wall())
            else:
                self._lose(sighting.path)
                self._touched.add(sighting.path)

    def _lose(self, path: PurePath) -> None:
        """Note that no video stands at this path: it is gone, or its folder is left out by the owner's rules."""
        if self._store.videos.known(path, resting=True) and self._library.rests(path):
            self._store.videos.rest(path)
        else:
            self._store.videos.lose(path)


def _changed(known: Sighting, identity: FileIdentity | None) -> bool:
    if identity is None or known.fingerprint.startswith(UNREADABLE):
        return True
    return not known.identity.agrees(identity)
