"""Ways to provoke faults around a program: mounts, limits, system calls that fail or kill, races; and the census.

Most of them need root on Linux; every mount and limit is undone at the end of its `with` block.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_SECONDS

INOTIFY = Path("/proc/sys/fs/inotify")

IS_ROOT = sys.platform == "linux" and os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="mounts and limits need root on Linux")
under_strace = pytest.mark.skipif(not (IS_ROOT and shutil.which("strace")), reason="needs strace, as root on Linux")

MOVE_CALLS = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,copy_file_range,sendfile,pwrite64"
DATABASE_CALLS = "pwrite64,fsync,fdatasync,ftruncate,unlink"

WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Runs what follows as a user whom permissions bind, though the files are root's."""

# Nothing is lost


def census(*folders: Path) -> Counter[tuple[str, object]]:
    """Each content below the folders with its number of names; sortd's own folder and its parts of copies count too.

    Names do not matter: a file may be moved, never vanish, change or lose its last copy.
    """
    seen: Counter[tuple[str, object]] = Counter()
    for folder in folders:
        for above, folders_here, names in os.walk(folder):
            if Path(above).name == ".sortd":
                folders_here.clear()
                continue
            paths = [Path(above, name) for name in (*names, *folders_here)]
            seen.update(_content(path) for path in paths if path.is_symlink() or not path.is_dir())
    return seen


def _content(path: Path) -> tuple[str, object]:
    if path.is_symlink():
        return "link", path.readlink()
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        return "special", stat.S_IFMT(mode)
    with path.open("rb") as file:
        return "file", hashlib.file_digest(file, "sha256").hexdigest()


# Arrivals


def slow_copy(source: Path, target: Path, *, seconds: float, preallocate: bool = False, reopen: bool = False) -> None:
    """Write in 20 chunks; `preallocate`: at its full length from the start; `reopen`: closed after each chunk."""
    content = source.read_bytes()
    step = max(1, len(content) // 20)
    with target.open("wb") as file:
        file.truncate(len(content) if preallocate else 0)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(target.open("r+b"))
        for start in range(0, len(content), step):
            file.seek(start)
            file.write(content[start : start + step])
            file.flush()
            if reopen:
                file.close()
            time.sleep(seconds / 20)
            if reopen:
                file = stack.enter_context(target.open("r+b"))


def another(clip: Path, target: Path, number: int) -> Path:
    """The same film under another content: with a box at its end that players skip."""
    padding = number.to_bytes(8, "big")
    target.write_bytes(clip.read_bytes() + (8 + len(padding)).to_bytes(4, "big") + b"free" + padding)
    return target


# Processes


@contextlib.contextmanager
def stopped(process: int) -> Iterator[None]:
    """A process stands still while the block runs."""
    os.kill(process, signal.SIGSTOP)
    try:
        while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "Tt":
            time.sleep(0.01)
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def called(process: int) -> str:
    """The command line of a process; nothing where it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def have_open(processes: Sequence[int], path: Path) -> bool:
    """Whether one of the processes has this file open."""
    for process in processes:
        with contextlib.suppress(OSError):
            if any(path.samefile(descriptor) for descriptor in Path(f"/proc/{process}/fd").iterdir()):
                return True
    return False


def doing(words: str, among: Iterable[int]) -> list[int]:
    """Those of the processes whose command line holds these words."""
    return [process for process in among if words in called(process)]


def alive(process: int) -> bool:
    """Whether it runs, or could."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False  # it ended while we looked


# Installations


def installation(folder: Path, modules: dict[str, str], *, imports: str = "") -> str:
    """A Python that has all that this one has, and these modules (path -> source) before them; its path.

    It imports `imports` whenever it starts.
    """
    site = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    for name, source in modules.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(source, "utf-8")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n", "utf-8")
    lines = [f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})", f"import {imports}" if imports else ""]
    (site / "all.pth").write_text("\n".join(lines), "utf-8")
    return str(python)


# Filesystems


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def tmpfs(where: Path, size: str = "64m", *options: str) -> Iterator[Path]:
    """A filesystem of its own: another device, small enough to fill. nr_inodes=N runs out of inodes instead."""
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", ",".join((f"size={size}", *options)), "none", where)
    try:
        yield where
    finally:
        _run("umount", "-l", where)


@contextlib.contextmanager
def bind(source: Path, where: Path, *, read_only: bool = False) -> Iterator[Path]:
    """The same filesystem at a second place: an equal device number, and still rename and link answer EXDEV."""
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "--bind", source, where)
    try:
        if read_only:
            _run("mount", "-o", "remount,bind,ro", where)
        yield where
    finally:
        _run("umount", "-l", where)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Fill the filesystem of a folder up to `leave` bytes; what fills it."""
    filler = folder / ".filler"
    status = os.statvfs(folder)
    with filler.open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - leave))
    return filler


# System calls


def killing(calls: str, *, at: int, path: Path | None = None) -> Sequence[str]:
    """Words that run what follows them, killed at the n-th of these system calls; `path`: of those that name it."""
    return _strace(calls, f"signal=SIGKILL:when={at}", path)


def failing(calls: str, error: str, *, when: str = "1+", path: Path | None = None) -> Sequence[str]:
    """Words that run what follows them, with these system calls answered by an error."""
    return _strace(calls, f"error={error}:when={when}", path)


def delaying(calls: str, seconds: float, *, when: str = "1+", path: Path | None = None) -> Sequence[str]:
    """Words that run what follows them, with these system calls begun late."""
    return _strace(calls, f"delay_enter={int(seconds * 1_000_000)}:when={when}", path)


def pretending(calls: str, value: int, *, when: str = "1+") -> Sequence[str]:
    """Words that run what follows them, with these system calls answered by a value and never made."""
    return _strace(calls, f"retval={value}:when={when}", None)


def tracing(calls: str, into: Path) -> Sequence[str]:
    """Words that run what follows them, with these system calls, children's too, and the files they meet noted."""
    return ["strace", "-f", "-y", "-qq", "-s", "4096", "-o", str(into), "-e", f"trace={calls}", "--"]


def together(first: Sequence[str], *others: Sequence[str]) -> Sequence[str]:
    """Words that do what several of these do to all their calls; what is written down is what the first says."""
    calls = [word.removeprefix("trace=") for words in (first, *others) for word in words if word.startswith("trace=")]
    faults = [word for words in (first, *others) for word in words if word.startswith("inject=")]
    start = list(first[: first.index("-e")])
    return [*start, "-e", f"trace={','.join(calls)}", *(option for fault in faults for option in ("-e", fault)), "--"]


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of a trace: the how manieth of its name in its thread it was, and all that was written of it."""

    name: str
    number: int
    text: str


def calls_of_the_mover(trace: Path) -> list[Call]:
    """The calls of the thread that moves files, in their order; not those by which it tries a filesystem."""
    found = [match for line in trace.read_text().splitlines() if (match := re.match(r"(\d+) +(\w+)\(", line))]
    mover = next(match[1] for match in found if match[2] in {"renameat2", "linkat"})
    numbers: Counter[str] = Counter()
    calls = []
    for match in found:
        if match[1] == mover:
            numbers[match[2]] += 1
            if ".sortd-probe-" not in match.string:
                calls.append(Call(match[2], numbers[match[2]], match.string))
    return calls


@contextlib.contextmanager
def hanging(process: int, path: Path) -> Iterator[None]:
    """Let whoever in this process opens or looks at a path wait, as for a disk that does not answer."""
    hour = "delay_enter=3600000000"
    calls = "openat,newfstatat,statx,lstat,stat"
    command = ["strace", "-f", "-o", "/dev/null", "-P", str(path), "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:{hour}", "-p", str(process)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        assert b"attached" in tracer.stderr.readline()
        try:
            yield
        finally:
            tracer.kill()  # asked nicely it waits for the hour to end


def drawing_zeros() -> Sequence[str]:
    """Words that run the sortd that follows them with names of its copies that are known: chance gives nothing else."""
    code = (
        "import runpy, secrets, sys; secrets.token_hex = lambda size: '00' * size;"
        " sys.argv = sys.argv[4:]; runpy.run_module('sortd', run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-c", code]


def _strace(calls: str, fault: str, path: Path | None) -> Sequence[str]:
    only = [] if path is None else ["-P", str(path)]
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    return ["strace", "-f", "-qq", "-o", "/dev/null", *only, *inject, "--"]


def aside(words: Sequence[str]) -> Sequence[str]:
    """The same strace beside the service instead of above it, so that the service gets the signals meant for it."""
    return [words[0], "-D", *words[1:]]


# Measures


@contextlib.contextmanager
def memory_of(processes: Callable[[], Iterable[int]]) -> Iterator[dict[int, int]]:
    """The most bytes that each process held in its life, as far as a look every few milliseconds sees them."""
    most: dict[int, int] = {}

    def look() -> None:
        for process in processes():
            with contextlib.suppress(OSError):
                told = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
                most[process] = max(most.get(process, 0), 1024 * int(told[1]) if told else 0)

    with racing(look, pause=0.005):
        yield most


# Races


@contextlib.contextmanager
def racing(action: Callable[[], object], *, pause: float = 0.0) -> Iterator[None]:
    """Repeat an action in a thread while the block runs; that it fails at times is its nature."""
    done = threading.Event()

    def loop() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                action()
            if pause:
                time.sleep(pause)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(10)
