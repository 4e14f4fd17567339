"""A plain FUSE filesystem: what is behind it, shown as libfuse does by default, where each name has its own inode.

    python passthrough.py BEHIND WHERE

It knows no rename flags, as most do not. It speaks the kernel's protocol itself (linux/fuse.h), so that a test needs
neither a package nor a compiler; it ends when it is unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Callable

LONGEST_WRITE = 128 * 1024
SECONDS_VALID = 1
(NO_REPLY, INIT, RENAME2) = ((2, 42), 26, 45)
MODE, UID, GID, SIZE, ATIME, MTIME, ATIME_NOW, MTIME_NOW = 1, 2, 4, 8, 16, 32, 128, 256


class Passthrough:
    """Names of one folder, each with a number of its own; a rename takes the number along, a link does not."""

    def __init__(self, behind: str) -> None:
        self._paths = {1: os.fsencode(behind)}
        self._numbers = {os.fsencode(behind): 1}
        self._last = 1
        self._calls: dict[int, Callable[[int, bytes], bytes]] = {
            1: lambda node, body: self._entry(self._below(node, body)),
            3: lambda node, _: self._attributes(node),
            4: self._set_attributes,
            9: self._make_folder,
            10: self._unlink,
            11: lambda node, body: self._nothing(os.rmdir(self._below(node, body))),
            12: lambda node, body: self._rename(node, *struct.unpack_from("<Q", body), body[8:]),
            13: self._link,
            14: lambda node, body: self._opened(os.open(self._paths[node], self._flags(body))),
            15: self._read,
            16: self._write,
            17: self._statfs,
            18: self._close,
            20: lambda _, body: self._nothing(os.fsync(struct.unpack_from("<Q", body)[0])),
            25: lambda *_: b"",
            27: lambda *_: self._opened(0),
            28: self._list,
            29: lambda *_: b"",
            30: lambda *_: b"",
            35: self._create,
        }

    def serve(self, device: int) -> None:
        """Answer the kernel until it is unmounted."""
        while True:
            try:
                request = os.read(device, LONGEST_WRITE + 4096)
            except OSError as problem:
                if problem.errno in {errno.EINTR, errno.ENOENT}:
                    continue
                return
            _, call, unique, node = struct.unpack_from("<IIQQ", request)
            if call in NO_REPLY:
                continue
            answer, number = b"", 0
            try:
                if call == INIT:
                    answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, 0, 16, 12, LONGEST_WRITE, 1, 0, 0, 0)
                elif call in self._calls:
                    answer = self._calls[call](node, request[40:])
                else:
                    number = errno.ENOSYS
            except OSError as problem:
                answer, number = b"", problem.errno or errno.EIO
            os.write(device, struct.pack("<IiQ", 16 + len(answer), -number, unique) + answer)

    # Names and their numbers

    def _below(self, node: int, body: bytes) -> bytes:
        return self._paths[node] + b"/" + body.split(b"\0")[0]

    def _number(self, path: bytes) -> int:
        if path not in self._numbers:
            self._last += 1
            self._numbers[path] = self._last
            self._paths[self._last] = path
        return self._numbers[path]

    def _attribute(self, path: bytes) -> bytes:
        seen = os.lstat(path)
        times = (seen.st_atime_ns, seen.st_mtime_ns, seen.st_ctime_ns)
        seconds, rest = [at // 10**9 for at in times], [at % 10**9 for at in times]
        counts = (self._number(path), seen.st_size, seen.st_blocks)
        owner = (seen.st_mode, seen.st_nlink, seen.st_uid, seen.st_gid, 0, seen.st_blksize, 0)
        return struct.pack("<6Q10I", *counts, *seconds, *rest, *owner)

    def _entry(self, path: bytes) -> bytes:
        attribute = self._attribute(path)
        return struct.pack("<QQQQII", self._number(path), 0, SECONDS_VALID, SECONDS_VALID, 0, 0) + attribute

    def _attributes(self, node: int) -> bytes:
        return struct.pack("<QII", SECONDS_VALID, 0, 0) + self._attribute(self._paths[node])

    @staticmethod
    def _nothing(_: object) -> bytes:
        return b""

    # What is done to them

    def _set_attributes(self, node: int, body: bytes) -> bytes:
        valid, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = struct.unpack_from(
            "<I4xQQQQQQIIIIIIII", body
        )
        path = self._paths[node]
        if valid & MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & (UID | GID):
            os.chown(path, uid if valid & UID else -1, gid if valid & GID else -1)
        if valid & SIZE:
            os.truncate(path, size)
        if valid & (ATIME | MTIME):
            before = os.stat(path)
            at = atime * 10**9 + atime_ns if valid & ATIME and not valid & ATIME_NOW else before.st_atime_ns
            modified = mtime * 10**9 + mtime_ns if valid & MTIME and not valid & MTIME_NOW else before.st_mtime_ns
            os.utime(path, ns=(at, modified))
        return self._attributes(node)

    def _make_folder(self, node: int, body: bytes) -> bytes:
        path = self._below(node, body[8:])
        os.mkdir(path, struct.unpack_from("<I", body)[0] & 0o7777)
        return self._entry(path)

    def _unlink(self, node: int, body: bytes) -> bytes:
        path = self._below(node, body)
        os.unlink(path)
        self._forget(path)
        return b""

    def _forget(self, path: bytes) -> None:
        self._numbers.pop(path, None)

    def _rename(self, node: int, folder: int, names: bytes) -> bytes:
        old, new, _ = names.split(b"\0", 2)
        source, target = self._below(node, old), self._below(folder, new)
        os.rename(source, target)
        self._forget(target)
        for path in [path for path in self._numbers if path == source or path.startswith(source + b"/")]:
            number = self._numbers.pop(path)
            moved = target + path[len(source) :]
            self._numbers[moved], self._paths[number] = number, moved
        return b""

    def _link(self, node: int, body: bytes) -> bytes:
        path = self._below(node, body[8:])
        os.link(self._paths[struct.unpack_from("<Q", body)[0]], path)
        return self._entry(path)

    # Files

    @staticmethod
    def _flags(body: bytes) -> int:
        return int(struct.unpack_from("<I", body)[0]) & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_DIRECT)

    @staticmethod
    def _opened(handle: int) -> bytes:
        return struct.pack("<QII", handle, 0, 0)

    def _create(self, node: int, body: bytes) -> bytes:
        path = self._below(node, body[16:])
        _, mode = struct.unpack_from("<II", body)
        handle = os.open(path, self._flags(body) | os.O_CREAT | os.O_EXCL, mode & 0o7777)
        return self._entry(path) + self._opened(handle)

    def _read(self, _: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def _write(self, _: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    def _close(self, _: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _statfs(self, node: int, _: bytes) -> bytes:
        seen = os.statvfs(self._paths[node])
        counts = (seen.f_blocks, seen.f_bfree, seen.f_bavail, seen.f_files, seen.f_ffree)
        return struct.pack("<5Q4I24x", *counts, seen.f_bsize, seen.f_namemax, seen.f_frsize, 0)

    def _list(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        listing = b""
        for n, entry in enumerate(sorted(os.scandir(self._paths[node]), key=lambda entry: entry.name), 1):
            kind = (stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG) >> 12
            shown = struct.pack("<QQII", self._number(entry.path), n, len(entry.name), kind) + entry.name
            shown += bytes(-len(shown) % 8)
            if n > offset:
                if len(listing) + len(shown) > size:
                    break
                listing += shown
        return listing


def main() -> None:
    """Mount, and serve until it is unmounted."""
    behind, where = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    os.umask(0)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"passthrough", os.fsencode(where), b"fuse.passthrough", 0, options.encode()) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    Passthrough(behind).serve(device)


if __name__ == "__main__":
    main()
