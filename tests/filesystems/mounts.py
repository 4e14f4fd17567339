"""Filesystems of many kinds, mounted for a test and gone at its end; what cannot be had here says why."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


Mounting = Callable[[Path, Path], contextlib.AbstractContextManager[Path]]
"""Mounts at a folder; what is needed for that goes into an empty one."""


class CannotMount(Exception):
    """This machine has no such filesystem; the message says what it lacks."""


def run(*command: object, timeout: float = 60.0) -> str:
    """Run a command; what it printed. CannotMount: it failed or is not there."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError as missing:
        raise CannotMount(f"{words[0]} is not installed") from missing
    except subprocess.CalledProcessError as failed:
        said = (failed.stderr or failed.stdout or "").strip().splitlines()
        raise CannotMount(f"{' '.join(words[:4])}: {said[-1] if said else failed.returncode}") from failed
    return done.stdout


@contextlib.contextmanager
def mounted(where: Path, *command: object) -> Iterator[Path]:
    """Run a command that mounts something at a folder, and unmount it at the end."""
    where.mkdir(parents=True, exist_ok=True)
    run(*command)
    try:
        deadline = time.monotonic() + 20
        while not where.is_mount():
            if time.monotonic() > deadline:
                raise CannotMount(f"{command[0]} mounted nothing")
            time.sleep(0.05)
        yield where
    finally:
        unmount(where)


def unmount(where: Path) -> None:
    """Unmount as soon as nobody uses it any more; lazily in the end, so that nothing is ever left."""
    for _ in range(50):
        if subprocess.run(["umount", where], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", where], capture_output=True, check=False)


@contextlib.contextmanager
def image(kind: str, where: Path, scratch: Path, *, megabytes: int, make: tuple[str, ...]) -> Iterator[Path]:
    """A filesystem of a kind that the kernel knows, in a file."""
    known = [line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()]
    if kind not in known:
        raise CannotMount(f"this kernel has no {kind}")
    file = blank(scratch, megabytes)
    run(*make, file)
    with mounted(where, "mount", "-t", kind, "-o", "loop", file, where):
        yield where


def blank(scratch: Path, megabytes: int) -> Path:
    """A file of so many zeros."""
    file = scratch / "image"
    with file.open("wb") as new:
        new.truncate(megabytes * 1024 * 1024)
    return file


def folders_in(scratch: Path, *names: str) -> list[Path]:
    """Empty folders for what stacks on others."""
    folders = [scratch / name for name in names]
    for folder in folders:
        folder.mkdir()
    return folders


@contextlib.contextmanager
def ext4(where: Path, scratch: Path) -> Iterator[Path]:
    with image("ext4", where, scratch, megabytes=64, make=("mkfs.ext4", "-q", "-F")):
        yield where


@contextlib.contextmanager
def ext4_casefold(where: Path, scratch: Path) -> Iterator[Path]:
    if not Path("/sys/fs/ext4/features/casefold").exists():
        raise CannotMount("this kernel's ext4 folds no case (CONFIG_UNICODE is off)")
    with image("ext4", where, scratch, megabytes=64, make=("mkfs.ext4", "-q", "-F", "-O", "casefold")):
        run("chattr", "+F", where)
        yield where


@contextlib.contextmanager
def xfs(where: Path, scratch: Path) -> Iterator[Path]:
    with image("xfs", where, scratch, megabytes=400, make=("mkfs.xfs", "-q", "-f")):
        yield where


@contextlib.contextmanager
def btrfs(where: Path, scratch: Path) -> Iterator[Path]:
    with image("btrfs", where, scratch, megabytes=256, make=("mkfs.btrfs", "-q", "-f")):
        yield where


@contextlib.contextmanager
def vfat(where: Path, scratch: Path) -> Iterator[Path]:
    with image("vfat", where, scratch, megabytes=64, make=("mkfs.vfat",)):
        yield where


@contextlib.contextmanager
def vfat_by_fuse(where: Path, scratch: Path) -> Iterator[Path]:
    file = blank(scratch, 64)
    run("mkfs.vfat", "-F", "32", file)
    with mounted(where, "fusefat", "-o", "rw+", file, where):
        yield where


@contextlib.contextmanager
def overlay(where: Path, scratch: Path) -> Iterator[Path]:
    lower, upper, work = folders_in(scratch, "lower", "upper", "work")
    with mounted(
        where, "mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "o", where
    ):
        yield where


@contextlib.contextmanager
def tmpfs(where: Path, _: Path) -> Iterator[Path]:
    with mounted(where, "mount", "-t", "tmpfs", "-o", "size=128m", "none", where):
        yield where


@contextlib.contextmanager
def sshfs(where: Path, scratch: Path) -> Iterator[Path]:
    if not SFTP_SERVER.exists():
        raise CannotMount(f"{SFTP_SERVER} is not installed")
    (far,) = folders_in(scratch, "far")
    ssh = scratch / "ssh"
    ssh.write_text(f"#!/bin/sh\nexec {SFTP_SERVER}\n")  # what a server would start for us
    ssh.chmod(0o755)
    with mounted(where, "sshfs", "-o", f"ssh_command={ssh}", f"localhost:{far}", where):
        yield where


def mergerfs(*options: str, branches: int = 1) -> Mounting:
    @contextlib.contextmanager
    def mount(where: Path, scratch: Path) -> Iterator[Path]:
        folders = folders_in(scratch, *(f"branch{n}" for n in range(branches)))
        union = ":".join(map(str, folders))
        with mounted(where, "mergerfs", "-o", ",".join(("minfreespace=0", *options)), union, where):
            yield where

    return mount


@contextlib.contextmanager
def passthrough(where: Path, scratch: Path) -> Iterator[Path]:
    """A FUSE server of the tests' own, whose links show other inodes: it needs no package."""
    (behind,) = folders_in(scratch, "behind")
    where.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", str(Path(__file__).with_name("passthrough.py")), str(behind), str(where)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
        try:
            while not where.is_mount():
                if server.poll() is not None:
                    assert server.stderr is not None
                    raise CannotMount(f"no FUSE here: {server.stderr.read().decode().strip()}")
                time.sleep(0.02)
            yield where
        finally:
            unmount(where)
            server.kill()  # whoever still holds a file of it would keep it


@contextlib.contextmanager
def bindfs(where: Path, scratch: Path) -> Iterator[Path]:
    (behind,) = folders_in(scratch, "behind")
    with mounted(where, "bindfs", behind, where):
        yield where


@contextlib.contextmanager
def exfat(where: Path, scratch: Path) -> Iterator[Path]:
    file = blank(scratch, 64)
    run("mkfs.exfat", file)
    device = run("losetup", "--find", "--show", file).strip()  # it takes nothing but devices
    try:
        with mounted(where, "mount.exfat-fuse", device, where):
            yield where
    finally:
        run("losetup", "--detach", device)


@contextlib.contextmanager
def ntfs(where: Path, scratch: Path) -> Iterator[Path]:
    file = blank(scratch, 64)
    run("mkntfs", "-Q", "-F", "-q", file)
    with mounted(where, "ntfs-3g", file, where):
        yield where


KINDS: Mapping[str, Mounting] = {
    "ext4": ext4,
    "ext4 casefold": ext4_casefold,
    "xfs": xfs,
    "btrfs": btrfs,
    "overlay": overlay,
    "tmpfs": tmpfs,
    "sshfs": sshfs,
    "mergerfs": mergerfs(),
    "mergerfs path-hash": mergerfs("use_ino", "inodecalc=path-hash"),
    "mergerfs devino-hash": mergerfs("use_ino", "inodecalc=devino-hash"),
    "mergerfs of three": mergerfs("use_ino", "inodecalc=devino-hash", "category.create=eprand", branches=3),
    "fuse passthrough": passthrough,
    "bindfs": bindfs,
    "exfat by fuse": exfat,
    "ntfs by fuse": ntfs,
    "vfat": vfat,
    "vfat by fuse": vfat_by_fuse,
}
