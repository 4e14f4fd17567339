"""Turn filesystem events into hints: a hint only says where to look, and a rescan finds what no event told.

watchdog 7.1 keeps some failures to itself, so the inotify instance that it uses is made here, where they are seen: a
watch that cannot be added (the tree is half blind then, without a word), a queue that overflowed (only logged), two
folders taken for one, a filesystem that was unmounted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePath
from queue import SimpleQueue
from typing import Self

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserverVFS

from sortd.disk import file_names
from sortd.disk.atomic_file import beside, opened
from sortd.disk.folder_walk import DEEPEST
from sortd.disk.io_timeout import TimedIO
from sortd.disk.library_marker import RootAway
from sortd.disk.mounts import Mount, mounts_of
from sortd.disk.unfinished_files import CONTROL_FILE
from sortd.domain.messages import Message, RescanDue, Touched

_ARRANGED: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
_PROBE = "sortd-probe"
"""The unfinished file that is made in the root, and never finished."""

OVERFLOW = "more happened at once than the system keeps events of"


def hint(path: str, *, folder: bool) -> Message | None:
    """What an event at `path` gives the inbox; relative to the root, "" for the root itself. None: nothing."""
    above, _, name = path.rpartition("/")
    if not name:
        return RescanDue("the root itself changed")
    if any(file_names.is_left_alone(part) for part in above.split("/") if part):
        return None
    if name in {file_names.HANDS_OFF, file_names.FOLDER_RULES}:
        return RescanDue(f"{path} changed")
    for mark in (file_names.HANDS_OFF, CONTROL_FILE):
        if name.endswith(mark):
            return hint(path.removesuffix(mark), folder=False)
    worth_a_look = not file_names.is_left_alone(name) if folder else file_names.may_be_video(name)
    return Touched(PurePath(path)) if worth_a_look else None


def watch(root: Path, inbox: SimpleQueue[Message], *, mode: str, poll_seconds: float) -> Watcher:
    """Watch the tree below `root` for as long as the watcher is entered.

    `mode`: "events", "polling" (every `poll_seconds`), or "auto", which is events where they can be trusted.
    """
    return Watcher(root, inbox, mode=mode, poll_seconds=poll_seconds)


class Watcher:
    """`mode` says how it watches ("events" or "polling") and `why`, a sentence, what speaks against events.

    It never raises for a root that cannot be watched: then it is lost, and can be restarted.
    """

    def __init__(self, root: Path, inbox: SimpleQueue[Message], *, mode: str, poll_seconds: float) -> None:
        self.mode = "events"
        self.why = ""
        self._root = root
        self._inbox = inbox
        self._wish = mode
        self._poll_seconds = poll_seconds
        self._observer: BaseObserver | None = None
        self._trouble = ""
        self._stale = ""
        self._standing = _standing(root)
        self._probed = threading.Event()

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self._stop()

    def lost(self) -> str:
        """Why not every folder is watched any more, as a sentence; empty while all of them are."""
        observer = self._observer
        if self._trouble or self._stale:
            return self._trouble or self._stale
        if observer is None:
            return self.why or "nobody listens"
        if not all(thread.is_alive() for thread in (observer, *observer.emitters)):
            return "the thread that listens ended"
        if self._standing != _standing(self._root):
            return "the root was made anew, or a filesystem came or went"
        return ""

    def restart(self) -> None:
        """Begin anew; what happened meanwhile only a rescan tells."""
        self._stop()
        self._start()

    def probe(self, *, timeout_seconds: float) -> bool:
        """Tell whether a file made in the root (hidden, and gone again at once) is told of in time. Raises OSError."""
        self._probed.clear()
        with opened(self._root) as folder, beside(folder, _PROBE, b""):
            return self._probed.wait(timeout_seconds)

    def _start(self) -> None:
        self._stale = ""
        self._standing = _standing(self._root)
        remote = next((mount.kind for mount in self._standing[1] if mount.is_remote), None)
        if self._wish == "polling":
            self._poll("the configuration asks for polling")
        elif self._wish == "auto" and remote is not None:
            self._poll(f"{remote} does not tell of changes made by others")
        else:
            self._listen()

    def _listen(self) -> None:
        self.mode, self.why, self._trouble = "events", "", ""
        try:
            self._begin(*self._events())
        except OSError as problem:
            self._note_trouble(problem)
        except RecursionError:  # watchdog goes down the tree by os.walk, which calls itself
            self._trouble = "folders are nested too deeply for events"
        if self._trouble:
            self._stop()
            self._poll(self._trouble)

    def _poll(self, why: str) -> None:
        self.mode, self.why, self._trouble = "polling", why, ""
        try:
            self._begin(
                PollingObserverVFS(
                    os.lstat, partial(_listing, len(self._root.parts)), polling_interval=self._poll_seconds
                ),
                FileModifiedEvent,
            )
        except OSError as problem:
            self._stop()
            self.why = f"{self._root} cannot be watched: {problem.strerror}"

    def _events(self) -> tuple[BaseObserver, type[FileSystemEvent]]:
        """The observer, and the event by which it tells that a file was written."""
        if sys.platform == "linux":
            return _Events(_Inotify(self._note_trouble, self._note_stale)), FileClosedEvent
        return Observer(), FileModifiedEvent

    def _begin(self, observer: BaseObserver, written: type[FileSystemEvent]) -> None:
        self._observer = observer
        # Without a filter an instance with thousands of folders never comes to rest: it overflows on its own reading.
        observer.schedule(_Handler(self._tell), str(self._root), recursive=True, event_filter=[*_ARRANGED, written])
        observer.start()

    def _stop(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            ends = [observer.stop] if observer.ident is None else [observer.stop, observer.join]
            with contextlib.suppress(RootAway):  # a thread that hangs on the disk is left behind
                for end in ends:
                    TimedIO().ask(end)

    def _tell(self, path: str, *, folder: bool) -> None:
        relative = path.removeprefix(str(self._root)).removeprefix("/")
        if relative.startswith(f".{_PROBE}."):
            self._probed.set()
        message = hint(relative, folder=folder)
        if message is not None:
            self._inbox.put(message)

    def _note_stale(self, why: str) -> None:
        if not self._stale:
            self._stale = why
            self._inbox.put(RescanDue(why))

    def _note_trouble(self, problem: OSError) -> None:
        limit = _LIMITS.get(problem.errno or 0)
        self._trouble = f"{limit[0]}; raise the sysctl {limit[1]}" if limit else f"no events: {problem.strerror}"


_LIMITS = {
    errno.ENOSPC: ("more folders than may be watched", "fs.inotify.max_user_watches"),
    errno.EMFILE: ("more watchers than may be at once", "fs.inotify.max_user_instances"),
}


def _standing(root: Path) -> tuple[tuple[int, int] | None, tuple[Mount, ...]]:
    """What must stay the same for the watches to be worth anything."""
    try:
        status = root.stat()
    except OSError:
        return None, ()
    return (status.st_dev, status.st_ino), mounts_of(root)


class _Handler(FileSystemEventHandler):
    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.is_synthetic:
            return  # the folder's own event stands for all below it
        for path in (event.src_path, event.dest_path):
            if path:
                self._tell(os.fsdecode(path), folder=event.is_directory)


def _listing(above: int, folder: str | None) -> Iterator[os.DirEntry[str]]:
    """What a polling round looks at: no symlinked folders, nothing left alone but the marks that speak of others.

    Nor what stands too deep; `above`: how many folders lead to the root.
    """
    if folder is not None and len(PurePath(folder).parts) - above > DEEPEST:
        return iter(())
    with os.scandir(folder) as entries:
        return iter([entry for entry in entries if not file_names.is_left_alone(entry.name) or _is_mark(entry.name)])


def _is_mark(name: str) -> bool:
    marks = (file_names.HANDS_OFF, file_names.FOLDER_RULES, CONTROL_FILE)
    return name.endswith(marks) or name.startswith(f".{_PROBE}.")


if sys.platform == "linux":
    from watchdog.observers.inotify import InotifyEmitter
    from watchdog.observers.inotify_c import (
        CallbackId,
        InotifyConstants,
        InotifyEvent,
        InotifyFD,
        Mask,
        WatchCallback,
        WatchDescriptor,
    )

    _GONE_MEANWHILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}

    class _Inotify(InotifyFD):
        """An inotify instance that tells of its failures; the callbacks are called from watchdog's threads."""

        def __init__(self, note_trouble: Callable[[OSError], None], note_stale: Callable[[str], None]) -> None:
            super().__init__()
            self._note_trouble = note_trouble
            self._note_stale = note_stale

        def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
            if not os.access(path, os.R_OK):  # watchdog takes a refusal for a watch; what cannot be read needs none
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            try:
                watch = self._get_or_create_watch(path, mask)
            except OSError as problem:
                if problem.errno not in _GONE_MEANWHILE:
                    self._note_trouble(problem)
                raise
            # A folder made under the name of one just renamed is at times taken for it, and the other is not watched.
            if getattr(callback, "_active_callbacks_by_watch", {}).get(watch.wd, path) != path:
                self._note_stale("two folders were taken for one")
            watch.callbacks[id_] = callback
            return watch.wd

        def handle_event(self, event: InotifyEvent) -> None:
            if event.is_queue_overflow:
                # watchdog would renew its watches in place, which overflows the queue again where folders are many.
                self._note_stale(OVERFLOW)
            else:
                super().handle_event(event)
            if event.mask & InotifyConstants.IN_UNMOUNT:
                self._note_stale("a filesystem was unmounted")

    class _Events(BaseObserver):
        """watchdog's inotify observer on an instance of ours."""

        def __init__(self, inotify: _Inotify) -> None:
            super().__init__(InotifyEmitter, inotify_fd=inotify)
            self._inotify = inotify
            inotify.start()

        def is_alive(self) -> bool:
            return super().is_alive() and self._inotify.is_alive()

        def on_thread_stop(self) -> None:
            super().on_thread_stop()
            self._inotify.stop()
            self._inotify.join()
