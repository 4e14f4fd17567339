"""Kernels that lack something, by a filter of system calls that fail."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from sortd.extract.decoding.seccomp import ALLOW, ARGUMENTS, FAIL, IF_EQUAL, LOAD, MACHINES, NUMBER, RETURN, Program

_X86_64 = {
    "accept": 43, "clone": 56, "semget": 64, "msgget": 68, "shmget": 29, "syslog": 103, "setresuid": 117,
    "setresgid": 119, "setgroups": 116, "capset": 126, "personality": 135, "mlockall": 151, "prctl": 157,
    "chroot": 161, "mount": 165, "sethostname": 170, "tgkill": 234, "mq_open": 240, "add_key": 248,
    "epoll_create1": 291, "perf_event_open": 298, "prlimit64": 302, "open_by_handle_at": 304,
}  # fmt: skip
_AARCH64 = {
    "mount": 40, "chroot": 51, "epoll_create1": 20, "setresuid": 147, "setresgid": 149, "setgroups": 159,
    "sethostname": 161, "prctl": 167, "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194, "syslog": 116,
    "tgkill": 131, "capset": 91, "personality": 92, "add_key": 217, "clone": 220, "mlockall": 230,
    "perf_event_open": 241, "prlimit64": 261, "open_by_handle_at": 265,
}  # fmt: skip
NUMBERS = {
    **(MACHINES[os.uname().machine].calls if os.uname().machine in MACHINES else {}),
    **(_AARCH64 if os.uname().machine == "aarch64" else _X86_64),
    "pidfd_open": 434,
    "clone3": 435,
    "landlock_create_ruleset": 444,
}
"""Name of a system call -> its number on this machine."""


def lacking(calls: Iterable[tuple[str, int | None]]) -> None:
    """Let these system calls fail from now on, here and in every process that is started; prctl by its option."""
    program: Program = []
    for name, first in calls:
        body: Program = [(RETURN, 0, 0, FAIL | (errno.EINVAL if name == "prctl" else errno.EPERM))]
        if first is not None:
            body = [(LOAD, 0, 0, ARGUMENTS), (IF_EQUAL, 0, 1, first), *body, (LOAD, 0, 0, NUMBER)]
        program += [(LOAD, 0, 0, NUMBER), (IF_EQUAL, 0, len(body), NUMBERS[name]), *body]
    if not program:
        return
    program.append((RETURN, 0, 0, ALLOW))
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(packed, len(packed))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # the kernel wants no_new_privs of an ordinary user
    assert libc.prctl(22, 2, pointer, 0, 0) == 0, os.strerror(ctypes.get_errno())
