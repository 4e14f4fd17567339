"""Take from a decoding process, step by step, all that it does not need before it reads a stranger's file.

A process of nobody else's could take the file over. Then it can still use its processor and memory up to its limits,
read this one file and lie in its answer; nothing else. Each step closes what others close too, so that a kernel that
lacks one leaves the rest: a step that fails is noted, and the next is taken.

`prepare` is for the server, once; `confine` for each child that it forks. Steps without a name of Python's are made
by system calls through ctypes. Numbers: linux/prctl.h, linux/capability.h, linux/landlock.h, linux/sched.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import itertools
import math
import os
import pkgutil
import resource
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from sortd.extract.decoding.seccomp import MACHINES, decoding_filter

MEMORY_BYTES = 2 << 30
"""On top of what an idle child maps; 8K video takes half of it."""
NICENESS = 10
NOTHING_OF = ("FSIZE", "CORE", "MEMLOCK", "MSGQUEUE", "SIGPENDING", "NICE", "RTPRIO")
"""Limits that are 0 for the server already; those that would keep it from serving are set by its children."""
SPARE_DESCRIPTORS = 64

PACKAGES_LOADED_WHOLE = ("av",)
"""They import parts of themselves only when a file needs them, which a confined child cannot."""
NO_PARTS_OF_DECODING = ("av.__main__", "av.datasets")
"""A program, and downloads with all that the network takes: every child would be larger for it."""
ENCODINGS = ((b"UTF-8", b"ISO-8859-1"), (b"UTF-8", b"UTF-16LE"))
"""FFmpeg asks the C library to convert subtitles and tags between these; it loads a converter on first use."""

CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_SET_MDWE = 38, 47, 65
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_MDWE_REFUSE_EXEC_GAIN = 1
SECCOMP_MODE_FILTER = 2

CAPABILITY_VERSION = 0x20080522
CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7
NOBODY = 65534

LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
"""The same numbers on every machine."""
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""ABI -> how many kinds of access to files it knows; those after 5 know no more."""
LANDLOCK_NETWORK = 3
"""Binding and connecting TCP, from ABI 4 on."""
LANDLOCK_SCOPES = 3
"""Abstract unix sockets and signals, from ABI 6 on."""

_libc = ctypes.CDLL(None, use_errno=True)

_CAPABILITY_HEADER = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION, 0))
_NO_CAPABILITIES = ctypes.create_string_buffer(24)

Missing = dict[str, str]
"""Name of a step that does not hold -> why."""


@dataclass(slots=True)
class Shelter:
    """What a server has ready for its children."""

    becomes_nobody: bool
    """The server is root and may give that up in its children."""
    null: int
    """/dev/null, open."""
    dead_folder: int | None = None
    """A folder that was deleted, open: it is empty, and nothing can be made in it."""
    mapped: int = 0
    """Bytes that it maps, and each of its children before it decodes."""
    highest: int = 0
    """No descriptor that it has open for itself is higher."""
    missing: Missing = field(default_factory=dict)


def prepare() -> Shelter:
    """Make a server ready to fork children; in a process of one thread that has loaded what it needs.

    Whatever children inherit is done here, once.
    """
    _load_lazy_parts()
    shelter = Shelter(becomes_nobody=_can_become_nobody(), null=os.open(os.devnull, os.O_RDWR))
    shelter.mapped = _step_back()  # now, as a process that left the system does not own what tells of it in /proc
    if sys.platform == "linux":
        _leave_the_system(shelter)
    with _step("limits", shelter.missing):
        _limit(dict.fromkeys(NOTHING_OF, 0))
    shelter.highest = max(_descriptors())
    if sys.platform == "linux":
        # A child of the same user must not reach the server's memory. Last, as unshare sets it anew.
        with _step("undumpable", shelter.missing):
            _prctl(PR_SET_DUMPABLE, 0)
    # What stands in memory now is looked at by no collection of a child's, which would copy the pages it lies on.
    gc.freeze()
    return shelter


def _leave_the_system(shelter: Shelter) -> None:
    with _step("empty root", shelter.missing):
        shelter.dead_folder = _dead_folder()
    with _step("own network", shelter.missing):
        # It holds no interface, not even that of the machine itself. Who has no privileges gets them in a user
        # namespace alone; one who has them becomes nobody instead, which a user namespace would not allow.
        try:
            _call(_libc.unshare, CLONE_NEWNET | CLONE_NEWIPC)
        except OSError:
            if shelter.becomes_nobody:
                raise
            _call(_libc.unshare, CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC)
    # No program that it starts could give it back what it drops; it makes the filter possible, too.
    with _step("no new privileges", shelter.missing):
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
    # Without new privileges this is a second lock on the same door, and only for those who hold the key to it.
    with contextlib.suppress(OSError):
        for capability in range(64):
            _prctl(PR_CAPBSET_DROP, capability)


def anticipate(answer: int) -> None:
    """Do in the server what each child with this answer's socket would else do for itself."""
    with contextlib.suppress(LookupError):
        _calls_allowed(answer)


def reveal() -> None:
    """Let this child see itself in /proc again, as long as it has read nothing."""
    with contextlib.suppress(OSError, AttributeError):
        _prctl(PR_SET_DUMPABLE, 1)


def confine(shelter: Shelter, *, server: int, keep: tuple[int, int], cpu_seconds: float) -> tuple[Missing, int]:
    """Leave this process what decoding takes; give the steps that do not hold, and the Landlock version that does.

    `server` is the process that forked this one, or this process itself. `keep`: the descriptors of the file and of
    the answer's socket. Whatever needs another descriptor, a file or a name must be there already.
    """
    missing = dict(shelter.missing)
    if sys.platform != "linux":
        missing |= dict.fromkeys(("seccomp", "landlock"), "only Linux has it")
    landlock = 0
    if sys.platform == "linux":
        with _step("empty root", missing):
            if shelter.dead_folder is not None:
                os.fchdir(shelter.dead_folder)
                os.chroot(".")
        if shelter.becomes_nobody:
            # Root's files are root's also for a root without privileges, and no limit of processes binds it.
            with _step("nobody", missing):
                _become_nobody()
        with _step("no privileges", missing):
            _drop_privileges()
        with _step("undumpable", missing):
            _prctl(PR_SET_DUMPABLE, 0)
    if os.getpid() != server:
        _belong_to(server, missing)
    if sys.platform == "linux":
        # Memory that was ever written is never run; the filter says the same of fewer ways to it.
        with _step("no new code", missing):
            _prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)
        # No file, no TCP, no abstract socket, no signal to anybody outside.
        with _step("landlock", missing):
            landlock = _restrict_by_landlock()
    _close_all_but(keep, shelter)
    with _step("limits", missing):
        _limit({"AS": shelter.mapped + MEMORY_BYTES, "CPU": math.ceil(cpu_seconds), "NPROC": 0, "NOFILE": 0})
    if sys.platform == "linux":
        # Last, as most of what stands above is forbidden by it.
        with _step("seccomp", missing):
            _filter_calls(answer=keep[1])
    return missing, landlock


@contextlib.contextmanager
def _step(name: str, missing: Missing) -> Iterator[None]:
    """Note of a step that fails why; the rest goes on."""
    try:
        yield
    except (OSError, ValueError, AttributeError, LookupError) as error:
        missing.setdefault(name, str(getattr(error, "strerror", None) or error))


def _call(function: Callable[..., int], *arguments: object) -> int:
    """Call a function of the C library. Raises OSError."""
    numbers = [ctypes.c_ulong(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = function(*numbers)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, *arguments: object) -> None:
    # The kernel wants those that it does not use to be 0.
    _call(_libc.prctl, *(option, *arguments, 0, 0, 0, 0)[:5])


def _load_lazy_parts() -> None:
    """Import and load what a child could not once it is confined."""
    for name in PACKAGES_LOADED_WHOLE:
        package = sys.modules.get(name)
        if package is not None:
            for part in pkgutil.walk_packages(package.__path__, f"{name}.", onerror=lambda _: None):
                if part.name not in NO_PARTS_OF_DECODING:
                    with contextlib.suppress(Exception):  # a part that does not load here is none that a file can need
                        importlib.import_module(part.name)
    # Where the system has no such function there is no converter to load.
    with contextlib.suppress(AttributeError):
        _libc.iconv_open.restype = ctypes.c_void_p
        for into, out_of in ENCODINGS:
            _libc.iconv_open(into, out_of)


def _capabilities() -> int:
    """Tell this process's effective capabilities, one bit each."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION, 0))
    data = ctypes.create_string_buffer(24)
    _call(_libc.capget, header, data)
    low, _, _, high, _, _ = struct.unpack("=6I", data.raw[:24])
    return int(low | high << 32)


def _can_become_nobody() -> bool:
    """Tell whether this is root with the privileges that it takes.

    CAP_KILL too: the kernel lets a process end with its parent only if the parent might have killed it.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    wanted = 1 << CAP_KILL | 1 << CAP_SETUID | 1 << CAP_SETGID
    try:
        return _capabilities() & wanted == wanted
    except (OSError, AttributeError):
        return False


def _dead_folder() -> int:
    folder = tempfile.mkdtemp(prefix="sortd-")
    try:
        return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        Path(folder).rmdir()


def _step_back() -> int:
    """Leave processor and memory to others first; give the bytes that are mapped now."""
    os.nice(NICENESS)
    mapped = 0
    with contextlib.suppress(OSError):
        with _opened("/proc/self/statm", os.O_RDONLY) as statm:
            mapped = int(os.read(statm, 1000).split()[0]) * resource.getpagesize()
        with _opened("/proc/self/oom_score_adj", os.O_WRONLY) as score:
            os.write(score, b"1000")
    return mapped


@contextlib.contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _become_nobody() -> None:
    with contextlib.suppress(OSError):
        os.setgroups([])  # forbidden in some namespaces, where there are none to lose
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _drop_privileges() -> None:
    """Give up all capabilities, in a user namespace of one's own too: they open much of the kernel to attacks."""
    with contextlib.suppress(OSError):  # kernels before 4.3 know none that are kept so
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _call(_libc.capset, _CAPABILITY_HEADER, _NO_CAPABILITIES)


def _belong_to(server: int, missing: Missing) -> None:
    """Lead a group of its own, which the owner can end as a whole, and end with the server."""
    os.setsid()
    if sys.platform == "linux":
        # After all changes of user, each of which clears it.
        with _step("ends with its server", missing):
            _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != server:
        os._exit(0)


def _restrict_by_landlock() -> int:
    """Forbid every access that this kernel's Landlock knows, without exception; give the version of its interface."""
    version = _syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    files = (1 << LANDLOCK_FILES.get(version, max(LANDLOCK_FILES.values()))) - 1
    attributes = [files]
    if version >= 4:  # noqa: PLR2004 - the versions stand with the constants
        attributes.append(LANDLOCK_NETWORK)
    if version >= 6:  # noqa: PLR2004 - likewise
        attributes.append(LANDLOCK_SCOPES)
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    ruleset = _syscall(LANDLOCK_CREATE_RULESET, ctypes.create_string_buffer(packed, len(packed)), len(packed), 0)
    try:
        _syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _syscall(number: int, *arguments: object) -> int:
    _libc.syscall.restype = ctypes.c_long
    return _call(_libc.syscall, number, *arguments)


def _descriptors() -> list[int]:
    """Tell what is open, or where that cannot be seen, what could be."""
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - names are what is wanted
    with contextlib.suppress(OSError):
        return list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    return list(range(1024))


def _close_all_but(keep: tuple[int, int], shelter: Shelter) -> None:
    """Leave no way to the server or to what its owner had open; the standard streams lead nowhere."""
    for standard in range(3):
        os.dup2(shelter.null, standard)
    # What a child opens, or is given, gets the lowest number that is free: no more than a few are above these.
    bounds = (2, *sorted(keep), max(shelter.highest, *keep) + SPARE_DESCRIPTORS)
    for below, above in itertools.pairwise(bounds):
        os.closerange(below + 1, above)


def _limit(limits: Mapping[str, int]) -> None:
    """Bound what this process can use up; descriptors that are open stay open. Raises OSError."""
    failed = []
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        try:
            hard = resource.getrlimit(kind)[1]  # it may be held tighter already
            bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (bound, bound))
        except (OSError, ValueError):
            failed.append(name)
    if failed:
        raise OSError(None, f"not of {', '.join(failed)}")


def _filter_calls(*, answer: int) -> None:
    """Allow the system calls that decoding takes. By prctl: some service managers' own filters refuse seccomp(2)."""
    program = _calls_allowed(answer)
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are.
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions)))
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, pointer)


@lru_cache(maxsize=8)
def _calls_allowed(answer: int) -> bytes:
    """The filter's program. Raises LookupError on a kind of machine for which there is none."""
    name = os.uname().machine
    machine = MACHINES.get(name)
    if machine is None or struct.calcsize("P") != 8:  # noqa: PLR2004 - bytes of a 64-bit pointer
        raise LookupError(f"no list of system calls for {name}")
    return decoding_filter(machine, answer)
