"""List the system calls that a decoding process may make, as a program for Linux's seccomp filter.

The kernel runs the program for each call. What decoding needs is allowed, what only an attacker would try ends the
process, and all else fails with EPERM, as on a system that lacks it: a newer FFmpeg or libc that probes goes on.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux. The program's form:
Documentation/userspace-api/seccomp_filter.rst, and struct sock_filter of linux/filter.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

# What struct seccomp_data holds at which offset; of each argument the low half stands first.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16

# BPF's operations on 32-bit words.
LOAD, AND, RETURN = 0x20, 0x54, 0x06
IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT = 0x15, 0x35, 0x45

ALLOW, KILL_PROCESS, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
EPERM = 1

PROT_EXEC = 4
FUTEX_OPERATION = 0x7F
"""Of a futex's operation; what is beside says whether it is private, and by which clock it waits."""
FUTEX_OPERATIONS = (0, 1, 9, 10)
"""Wait and wake, each also by a mask: none of those that change another thread's priority."""

X32 = 0x40000000
"""x86-64 numbers from here on are its 32-bit twin's, which no decoder uses."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the kernel calls an architecture, and the numbers of its system calls."""

    audit: int
    """AUDIT_ARCH_* of linux/audit.h: a program in another mode of the processor has other numbers."""
    calls: Mapping[str, int]
    has_x32: bool = False


PLAIN = (
    # What the decoding of a few hundred files of all kinds was seen to make.
    "read",
    "lseek",
    "munmap",
    "brk",
    "mremap",
    "close",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",  # how many cores there are
    "exit_group",
    # What the allocator, the C library and Python make at other times, or on other machines.
    "madvise",
    "rt_sigreturn",
    "sigaltstack",
    "sched_yield",
    "getpid",
    "gettid",
    "getrandom",
    "clock_gettime",  # where the clock cannot be read without a call
    "gettimeofday",
    "nanosleep",
    "clock_nanosleep",
    "restart_syscall",
    "exit",
)
"""Allowed whatever the arguments."""

HOSTILE = (
    # FFmpeg asks for none of these: whoever does is not decoding.
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "connect",
    "unshare",
    "setns",
    "bpf",
    "io_uring_setup",
    "keyctl",
    "userfaultfd",
)

MACHINES: Mapping[str, Machine] = {
    "x86_64": Machine(
        0xC000003E,
        {
            "read": 0,
            "close": 3,
            "lseek": 8,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "nanosleep": 35,
            "getpid": 39,
            "connect": 42,
            "sendto": 44,
            "execve": 59,
            "exit": 60,
            "gettimeofday": 96,
            "ptrace": 101,
            "sigaltstack": 131,
            "gettid": 186,
            "futex": 202,
            "sched_getaffinity": 204,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "clock_nanosleep": 230,
            "exit_group": 231,
            "keyctl": 250,
            "unshare": 272,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "getrandom": 318,
            "bpf": 321,
            "execveat": 322,
            "userfaultfd": 323,
            "io_uring_setup": 425,
        },
        has_x32=True,
    ),
    "aarch64": Machine(
        0xC00000B7,
        {
            "close": 57,
            "lseek": 62,
            "read": 63,
            "exit": 93,
            "exit_group": 94,
            "unshare": 97,
            "futex": 98,
            "nanosleep": 101,
            "clock_gettime": 113,
            "clock_nanosleep": 115,
            "ptrace": 117,
            "sched_getaffinity": 123,
            "sched_yield": 124,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "gettimeofday": 169,
            "getpid": 172,
            "gettid": 178,
            "connect": 203,
            "sendto": 206,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "keyctl": 219,
            "execve": 221,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "setns": 268,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "getrandom": 278,
            "bpf": 280,
            "execveat": 281,
            "userfaultfd": 282,
            "io_uring_setup": 425,
        },
    ),
}

Program = list[tuple[int, int, int, int]]
"""Instructions: the operation, how many to skip if it is true, and if not, and its operand."""


def decoding_filter(machine: Machine, answer: int) -> bytes:
    """Assemble the program for a process that reads what it has open and sends to the socket `answer`, no more.

    The result is an array of struct sock_filter, in the order of bytes of this machine.
    """
    number = machine.calls
    program: Program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (IF_EQUAL, 1, 0, machine.audit),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
    ]
    if machine.has_x32:
        program += _if(IF_AT_LEAST, X32, KILL_PROCESS)
    for name in PLAIN:
        program += _if(IF_EQUAL, number[name], ALLOW)
    for name in HOSTILE:
        program += _if(IF_EQUAL, number[name], KILL_PROCESS)
    # What is written into memory must not be run.
    not_executable = [*_argument(2), (IF_ANY_BIT, 1, 0, PROT_EXEC), (RETURN, 0, 0, ALLOW)]
    program += _call(number["mmap"], not_executable) + _call(number["mprotect"], not_executable)
    harmless = [*_argument(1), (AND, 0, 0, FUTEX_OPERATION)]
    for operation in FUTEX_OPERATIONS:
        harmless += _if(IF_EQUAL, operation, ALLOW)
    program += _call(number["futex"], harmless)
    # The answer's socket is connected: whoever names an address wants to reach somebody else.
    program += _call(
        number["sendto"],
        [
            *_argument(0),
            (IF_EQUAL, 0, 5, answer),
            *_argument(4),
            (IF_EQUAL, 0, 3, 0),
            *_argument(4, high=True),
            (IF_EQUAL, 0, 1, 0),
            (RETURN, 0, 0, ALLOW),
        ],
    )
    program.append((RETURN, 0, 0, FAIL | EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _if(comparison: int, operand: int, verdict: int) -> Program:
    """Decide, if the word that was loaded compares so."""
    return [(comparison, 0, 1, operand), (RETURN, 0, 0, verdict)]


def _call(number: int, body: Program) -> Program:
    """Run `body` for this system call; what it does not allow fails."""
    return [(IF_EQUAL, 0, len(body) + 1, number), *body, (RETURN, 0, 0, FAIL | EPERM)]


def _argument(place: int, *, high: bool = False) -> Program:
    """Load half of an argument."""
    return [(LOAD, 0, 0, ARGUMENTS + 8 * place + (4 if high else 0))]
