"""What a decoder that was taken over would try, played in the very child that decodes.

`main` takes a folder, what the kernel lacks (a list of system calls, each with its first argument or null), and whether
the attacks are wanted, and prints as JSON what succeeded.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Fault
from sortd.extract.decoding.decoder_pool import DecoderPool
from sortd.extract.spec import Needs, Sample
from tests.shell.kernels import NUMBERS, lacking
from tests.shell.readers import OnLength, fine

libc = ctypes.CDLL(None, use_errno=True)

CONTROL = "nothing"
"""An attack that must succeed, or nothing is learned of the others."""

Facts = dict[str, Any]
Attack = Callable[[Facts], object]


def call(name: str, *arguments: Any) -> int:
    """Make a system call. Raises OSError."""
    numbers = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *numbers)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def read_file(path: str) -> bool:
    return bool(Path(path).read_bytes())


def map_over(descriptor: int) -> None:
    with mmap.mmap(descriptor, 4, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as store:
        store[:4] = b"EVIL"


def open_again_for_writing(facts: Facts) -> None:
    map_over(os.open(f"/proc/self/fd/{facts['video']}", os.O_RDWR))


def leave_a_grandchild(_: Facts) -> None:
    if not os.fork():
        os.setsid()
        if not os.fork():
            time.sleep(2)
        os._exit(0)


def start_by(name: str, *arguments: int) -> Attack:
    def start(_: Facts) -> bool:
        if not call(name, *arguments):
            os._exit(0)
        return True

    return start


def clone3(_: Facts) -> bool:
    arguments = (ctypes.c_uint64 * 11)()
    arguments[4] = signal.SIGCHLD
    if not call("clone3", arguments, ctypes.sizeof(arguments)):
        os._exit(0)
    return True


def start_thread(_: Facts) -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def connect_to(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)


def send_a_descriptor(facts: Facts) -> int:
    with socket.socket(fileno=facts["answer"]) as connection:
        return socket.send_fds(connection, [b"x"], [facts["video"]])


def send_elsewhere(facts: Facts) -> int:
    address = ctypes.create_string_buffer(b"\1\0" + facts["socket"].encode() + b"\0")
    return call("sendto", facts["answer"], ctypes.c_char_p(b"x"), 1, 0, address, len(address))


def read_memory_of_server(facts: Facts) -> None:
    with Path(f"/proc/{facts['server']}/mem").open("rb") as store:
        store.seek(facts["address"])
        store.read(1)


def cross_memory(name: str) -> Attack:
    def reach(facts: Facts) -> int:
        buffer = ctypes.create_string_buffer(8)
        ours = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 8)
        theirs = (ctypes.c_uint64 * 2)(facts["address"], 8)
        return call(name, facts["server"], ours, 1, theirs, 1, 0)

    return reach


def run_from_memory(_: Facts) -> None:
    descriptor = os.memfd_create("x")
    os.write(descriptor, Path("/bin/true").read_bytes())
    os.execv(f"/proc/self/fd/{descriptor}", ["x"])


def write_and_run(_: Facts) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def make_executable(_: Facts) -> int:
    page = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page)) & ~4095
    return call("mprotect", address, 4096, mmap.PROT_READ | mmap.PROT_EXEC)


def write_over_standard_error(_: Facts) -> None:
    target = os.readlink("/proc/self/fd/2")
    assert target != os.devnull
    os.write(2, b"x")


def raise_limit(_: Facts) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def everything(facts: Facts) -> dict[str, Attack]:
    """Name -> what is tried: it has succeeded if it returns, unless with False."""
    secret, folder = facts["secret"], Path(facts["folder"])
    new, witness = str(folder / "new"), facts["witness"]
    video, answer, server, bystander = (facts[name] for name in ("video", "answer", "server", "bystander"))
    shell = ["/bin/sh", "-c", f"echo > {witness}"]
    return {
        CONTROL: lambda _: True,
        "read a file": lambda _: read_file(secret),
        "read the users": lambda _: read_file("/etc/passwd"),
        "read its own status": lambda _: read_file("/proc/self/status"),
        "open a device": lambda _: os.open(os.devnull, os.O_RDWR),
        "list a folder": lambda _: os.listdir(folder),
        "list the root": lambda _: os.listdir("/"),
        "leave its root": lambda _: (os.chdir(".."), os.chroot("..")),
        "look at a file": lambda _: os.stat(secret),
        "ask for access": lambda _: os.access(secret, os.R_OK),
        "write a file": lambda _: Path(secret).write_bytes(b"EVIL"),
        "make a file": lambda _: Path(new).write_bytes(b"EVIL"),
        "make a file here": lambda _: Path("new").write_bytes(b"EVIL"),
        "truncate a file": lambda _: os.truncate(secret, 0),
        "unlink": lambda _: os.unlink(secret),
        "rename": lambda _: os.rename(secret, new),
        "make a folder": lambda _: os.mkdir(new),
        "link": lambda _: os.link(secret, new),
        "make a symbolic link": lambda _: os.symlink(secret, new),
        "make a pipe with a name": lambda _: os.mkfifo(new),
        "change a mode": lambda _: os.chmod(secret, 0o777),
        "change an owner": lambda _: os.chown(secret, os.getuid(), -1),
        "change times": lambda _: os.utime(secret, (0, 0)),
        "set an attribute": lambda _: os.setxattr(secret, "user.x", b"x"),
        "watch a folder": lambda _: libc.inotify_init1(0) >= 0,
        "open a file by its handle": lambda _: call("open_by_handle_at", -100, ctypes.create_string_buffer(128), 0),
        "open the video for writing": open_again_for_writing,
        "map the video for writing": lambda _: map_over(video),
        "write into the video": lambda _: os.pwrite(video, b"EVIL", 0),
        "truncate the video": lambda _: os.ftruncate(video, 0),
        "change the video's mode": lambda _: os.fchmod(video, 0o777),
        "change the video's times": lambda _: os.utime(video, (0, 0)),
        "set an attribute of the video": lambda _: os.setxattr(video, "user.x", b"x"),
        "lock the video": lambda _: fcntl.flock(video, fcntl.LOCK_EX | fcntl.LOCK_NB),
        "copy a descriptor": lambda _: os.dup(video),
        "connect to a socket": lambda _: connect_to(facts["socket"]),
        "connect to an abstract socket": lambda _: connect_to("\0" + facts["abstract"]),
        "make a socket": lambda _: socket.socket(socket.AF_INET),
        "make a pair of sockets": lambda _: socket.socketpair(),
        "listen": lambda _: socket.create_server(("127.0.0.1", 0)),
        "ask the kernel for routes": lambda _: socket.socket(16, socket.SOCK_RAW),
        "send a descriptor": send_a_descriptor,
        "send elsewhere": send_elsewhere,
        "run a shell": lambda _: os.execv("/bin/sh", shell),
        "run a program": lambda _: subprocess.run(shell, check=True),
        "run a program from memory": run_from_memory,
        "run what it wrote": write_and_run,
        "make what it wrote executable": make_executable,
        "fork": start_by("clone", signal.SIGCHLD, 0, 0, 0, 0),
        "vfork": start_by("clone", 0x4000 | 0x100 | signal.SIGCHLD, 0, 0, 0, 0),
        "clone3": clone3,
        "start a thread": start_thread,
        "leave a grandchild": leave_a_grandchild,
        "lead another session": lambda _: os.setsid(),
        "live on without its server": lambda _: call("prctl", 1, 0, 0, 0, 0),
        "be readable": lambda _: call("prctl", 4, 1, 0, 0, 0),
        "read the server's memory": read_memory_of_server,
        "read across": cross_memory("process_vm_readv"),
        "write across": cross_memory("process_vm_writev"),
        "trace the server": lambda _: call("ptrace", 0x4206, server, 0, 0),
        "trace a bystander": lambda _: call("ptrace", 0x4206, bystander, 0, 0),
        "signal the server": lambda _: os.kill(server, 0),
        "end a bystander": lambda _: os.kill(bystander, signal.SIGTERM),
        "end a bystander's thread": lambda _: call("tgkill", bystander, bystander, signal.SIGTERM),
        "end everything": lambda _: os.kill(-1, 0),
        "hold on to a process": lambda _: call("pidfd_open", bystander, 0),
        "limit a bystander": lambda _: resource.prlimit(bystander, resource.RLIMIT_NOFILE, (1, 1)),
        "slow a bystander": lambda _: os.setpriority(os.PRIO_PROCESS, bystander, 19),
        "pin a bystander": lambda _: os.sched_setaffinity(bystander, {0}),
        "have signals sent": lambda _: fcntl.fcntl(answer, fcntl.F_SETOWN, bystander),
        "have a lease": lambda _: fcntl.fcntl(video, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        "type into a terminal": lambda _: fcntl.ioctl(answer, 0x5412, b"x"),
        "ask the socket": lambda _: fcntl.ioctl(answer, 0x541B, b"\0" * 4),
        "raise its limits": raise_limit,
        "come before others": lambda _: os.setpriority(os.PRIO_PROCESS, 0, -20),
        "keep memory": lambda _: call("mlockall", 2),
        "become root": lambda _: (os.setuid(0), os.setgid(0), os.chown(secret, 0, 0)),
        "make a namespace": lambda _: call("unshare", 0x10000000),
        "enter a namespace": lambda _: call("setns", video, 0),
        "io_uring": lambda _: call("io_uring_setup", 1, ctypes.create_string_buffer(120)),
        "keep a key": lambda _: call("keyctl", 0, -3, 1),
        "add a key": lambda _: call("add_key", ctypes.c_char_p(b"user"), ctypes.c_char_p(b"x"), b"x", 1, -3),
        "userfaultfd": lambda _: call("userfaultfd", 1),
        "bpf": lambda _: call("bpf", 0, ctypes.create_string_buffer(64), 64),
        "perf": lambda _: call("perf_event_open", ctypes.create_string_buffer(b"\1\0\0\0\x70", 112), 0, -1, -1, 0),
        "memfd": lambda _: os.memfd_create("x"),
        "shared memory": lambda _: call("shmget", 0, 4096, 0o1600),
        "semaphores": lambda _: call("semget", 0, 1, 0o1600),
        "message queue": lambda _: call("msgget", 0, 0o1600),
        "posix queue": lambda _: call("mq_open", ctypes.c_char_p(b"sortd-attack"), 0o102, 0o600, None),
        "pipe": lambda _: os.pipe(),
        "poll": lambda _: call("epoll_create1", 0),
        "another personality": lambda _: call("personality", 0x0400000),
        "the kernel's log": lambda _: call("syslog", 10, None, 0),
        "name the machine": lambda _: call("sethostname", os.uname().nodename.encode(), len(os.uname().nodename)),
        "write to what stands open": write_over_standard_error,
    }


def attack(file: BinaryIO, needs: Needs, *, on_length: OnLength) -> Sample:
    """Answer only if the attack that the file names succeeds."""
    facts = json.loads(file.read())
    facts["video"] = file.fileno()
    facts["answer"] = next(
        fd for fd in range(3, 64) if fd != file.fileno() and libc.sendto(fd, b"", 0, 0, None, 0) == 0
    )
    try:
        succeeded = everything(facts)[facts["attack"]](facts)
    except Exception as error:
        raise ExtractionError(Fault.UNSUPPORTED, f"refused: {error!r}") from error
    if succeeded is False:
        raise ExtractionError(Fault.UNSUPPORTED, "refused")
    file.seek(0)
    return fine(file, needs, on_length=on_length)


def is_real(facts: Facts) -> bool:
    """Whether an attack succeeds in a process that gave up nothing."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return status == 0
    os.setsid()
    with Path(facts["path"]).open("rb", buffering=0) as video:
        _, theirs = socket.socketpair()
        facts |= {"video": video.fileno(), "answer": theirs.fileno()}
        try:
            os._exit(1 if everything(facts)[facts["attack"]](facts) is False else 0)
        except BaseException:  # noqa: BLE001 - whatever it is, it did not succeed
            os._exit(1)


class Scene:
    """What there is to attack: files, sockets, a bystander."""

    def __init__(self, folder: Path) -> None:
        self.video, self.secret, self.witness = folder / "video.mp4", folder / "secret", folder / "witness"
        self.new = folder / "new"
        self.listeners = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        for listener, address in zip(self.listeners, (str(folder / "socket"), f"\0{folder}"), strict=True):
            listener.bind(address)
            listener.listen()
        self._target = ctypes.create_string_buffer(8)
        self.facts: Facts = {"folder": str(folder), "secret": str(self.secret), "witness": str(self.witness)}
        self.facts |= {"path": str(self.video), "socket": str(folder / "socket"), "abstract": str(folder)}
        self.facts |= {"address": ctypes.addressof(self._target), "server": os.getpid(), "video": 0, "answer": 0}
        self.set_up(CONTROL)

    def set_up(self, attack: str) -> None:
        if self.new.is_dir() and not self.new.is_symlink():
            self.new.rmdir()
        for path in (self.new, self.witness, self.video, self.secret):
            path.unlink(missing_ok=True)
        if "bystander" not in self.facts or self.bystander.poll() is not None:
            self.bystander = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        self.facts |= {"attack": attack, "bystander": self.bystander.pid}
        self.secret.write_bytes(b"secret")
        self.video.write_text(json.dumps(self.facts), "utf-8")
        for path in (self.secret, self.video):
            path.chmod(0o644)

    def state(self) -> list[Any]:
        files = [(path.read_bytes(), path.stat()[:3], path.stat().st_mtime_ns) for path in (self.secret, self.video)]
        marks = [os.listxattr(self.secret), os.listxattr(self.video), self.new.exists(), self.witness.exists()]
        return [*files, *marks, self.bystander.poll()]


def main() -> None:
    folder, kernel, wanted = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "attack"
    scene = Scene(folder)
    names = list(everything(scene.facts)) if wanted else []
    told: dict[str, Any] = {"real": [], "succeeded": [], "harmed": []}
    for name in [] if kernel else names:
        scene.set_up(name)
        if is_real(scene.facts):
            told["real"].append(name)
    lacking([(name, first) for name, first in kernel])
    scene.set_up(CONTROL)
    try:
        with DecoderPool(Needs(frames=1), timeout_seconds=60, read="tests.shell.attacks:attack") as decoder:
            held = decoder.confinement()
            assert decoder._server is not None
            scene.facts["server"] = decoder._server._process.pid
            for name in names:
                scene.set_up(name)
                before = scene.state()
                descriptor = os.open(scene.video, os.O_RDONLY)
                try:
                    decoder.decode(descriptor)
                    told["succeeded"].append(name)
                except ExtractionError as refused:
                    told.setdefault(str(refused.fault), []).append(name)
                finally:
                    os.close(descriptor)
                if scene.state() != before:
                    told["harmed"].append(name)
    finally:
        scene.bystander.kill()
        scene.bystander.wait()
    sys.stdout.write(json.dumps(told | {"missing": held.missing, "landlock": held.landlock, "possible": held.possible}))
