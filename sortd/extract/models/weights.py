"""Know which pretrained files are wanted, where they lie and what they must hold, and fetch them.

They lie where the libraries themselves look for them, so that what an owner has already is found and nothing is kept
twice. The daemon and every command ask here, so only the standard library is imported; asking costs a look at a file's
status.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

from sortd.domain.errors import ConfigError, SortdError
from sortd.extract.models import checkpoint

Kind = Literal["clip", "whisper"]

ATTEMPTS = 2
"""How often a transfer that breaks, or brings the wrong content, is begun in one fetch."""

TIMEOUT_SECONDS = 30.0
"""How long a server may stay silent."""

_SOURCES: Mapping[Kind, tuple[str, str, str]] = {
    "clip": ("openai-clip", "clip", "clip.py"),
    "whisper": ("openai-whisper", "whisper", "__init__.py"),
}
"""Kind -> distribution, package and file of the library whose own table says where each file is published."""

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """One pretrained file: a published one, or the owner's own checkpoint, of which nothing is known beforehand."""

    name: str
    """The published name, or the path of the owner's own."""
    kind: Kind
    bytes: int | None = None
    sha256: str | None = None
    licence: str | None = None
    file: str | None = None
    """What the published file is called in the library's cache folder."""
    width: int | None = None
    """Length of the vectors of a published CLIP."""

    def path(self) -> Path:
        """Tell where it lies, or would. CLIP's library does not know XDG_CACHE_HOME."""
        if self.file is None:
            return Path(self.name).expanduser()
        cache = Path.home() / ".cache"
        if self.kind == "whisper":
            cache = Path(os.environ.get("XDG_CACHE_HOME") or cache)
        return cache / self.kind / self.file

    def present(self) -> bool:
        """Tell whether a file stands there that may be read and has the published size (its own: any at all)."""
        path = self.path()
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return False
        whole = status.st_size == self.bytes if self.bytes is not None else status.st_size > 0
        return stat.S_ISREG(status.st_mode) and whole and os.access(path, os.R_OK)

    def digest(self) -> str:
        """Tell its content in 12 hexadecimal digits: equal for equal files. SortdError: the owner's own is not there.

        Of a published file they are what it must hold, whether it is there or not.
        """
        if self.sha256 is not None:
            return self.sha256[:12]
        return checkpoint.digest(self.path())

    def dim(self) -> int:
        """Length of the vectors that this CLIP makes. SortdError: the owner's own is not there, or is no such thing."""
        if self.width is not None:
            return self.width
        return checkpoint.width(self.path())


def clip_weights(model: str) -> Weights:
    """Find a CLIP by its published name, or a checkpoint by its path. Raises ConfigError for any other word."""
    return _find(model, "clip", CLIP)


def whisper_weights(model: str) -> Weights:
    """Find a Whisper by its published name, or a checkpoint by its path. Raises ConfigError for any other word."""
    return _find(model, "whisper", WHISPER)


def intact(weights: Weights) -> bool:
    """Tell whether the whole file, read from end to end, is the published one; that takes seconds for a large one."""
    if not weights.present():
        return False
    try:
        with weights.path().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == weights.sha256
    except OSError:
        return False


def fetch(weights: Weights, *, progress: Callable[[int], None]) -> None:
    """Make sure that the file lies whole in its place; SortdError in one line where it cannot be had.

    `progress` is told the bytes received so far.
    """
    if weights.sha256 is None:
        if not weights.present():
            raise SortdError(f"{weights.path()} is not there; being your own, it cannot be fetched")
    elif not intact(weights):
        download(weights, address_of(weights), progress=progress)


def address_of(weights: Weights) -> str:
    """Tell where the file is published: the address in the library's own table that ends in its SHA-256 and name.

    The table is read as text, for importing the library would import torch, which takes seconds.
    """
    distribution, package, file = _SOURCES[weights.kind]
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SortdError(f"{weights.name}: {distribution} is not installed")
    table = Path(found.origin).with_name(file).read_text("utf-8")
    address = re.search(rf"https://[^\s\"']+/{weights.sha256}/[^\s\"'/]+", table)
    if address is None:
        raise SortdError(f"{weights.name}: the installed {distribution} does not say where it is published")
    return address[0]


def download(
    weights: Weights, address: str, *, progress: Callable[[int], None], timeout_seconds: float = TIMEOUT_SECONDS
) -> None:
    """Receive a file beside its place, and put it there once it is whole; on failure nothing is left behind.

    Raises SortdError, in one line.
    """
    target = weights.path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part_of(target) as part:
            for remaining in reversed(range(ATTEMPTS)):
                part.truncate(0)
                try:
                    _receive(weights, address, part, progress=progress, timeout_seconds=timeout_seconds)
                    break
                except _BrokenTransfer:
                    if not remaining:
                        raise
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(target)
    except OSError as error:
        raise SortdError(f"{weights.name}: {target} cannot be written: {error.strerror or error}") from error


class _BrokenTransfer(SortdError):
    """The transfer ended early or brought something else: another may go better."""


def _receive(
    weights: Weights, address: str, part: BinaryIO, *, progress: Callable[[int], None], timeout_seconds: float
) -> None:
    content, received = hashlib.sha256(), 0
    for block in _blocks(weights, address, timeout_seconds=timeout_seconds):
        part.write(block)
        content.update(block)
        received += len(block)
        progress(received)
        if weights.bytes is not None and received > weights.bytes:
            break
    server = urlsplit(address).netloc
    if weights.bytes is not None and received < weights.bytes:
        raise _BrokenTransfer(f"{weights.name}: {server} sent {received:,} of {weights.bytes:,} bytes; try again")
    if content.hexdigest() != weights.sha256:
        raise _BrokenTransfer(f"{weights.name}: {server} sent something else than the published file")


def _blocks(weights: Weights, address: str, *, timeout_seconds: float) -> Iterator[bytes]:
    from http.client import HTTPException  # noqa: PLC0415 - only a fetch pays for the network's modules
    from urllib.error import HTTPError, URLError  # noqa: PLC0415 - likewise
    from urllib.request import build_opener  # noqa: PLC0415 - likewise

    server = urlsplit(address).netloc
    try:
        # An opener of its own: the one behind urlopen keeps the proxies of its first use.
        with build_opener().open(address, timeout=timeout_seconds) as answer:
            while block := answer.read(_BLOCK):
                yield block
    except HTTPError as error:
        error.close()
        raise SortdError(f"{weights.name}: {server} answers {error.code} {error.reason}") from error
    except URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise SortdError(f"{weights.name}: {server} cannot be reached: {reason}") from error
    except (OSError, HTTPException) as error:
        raise _BrokenTransfer(f"{weights.name}: the connection to {server} broke: {error}; try again") from error


def _past_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


@contextmanager
def _part_of(target: Path) -> Iterator[BinaryIO]:
    """Open the unfinished file beside `target`, for one fetch at a time; it goes when the fetch fails.

    Its lock is the kernel's, so what a killed fetch left is simply taken over by the next.
    """
    path = target.with_name(f".{target.name}.part")
    with open(path, "ab", opener=_past_no_link) as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SortdError(f"{target} is being fetched already") from None
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(part.fileno())):
            # The other fetch ended between our opening and our locking: what we hold is the finished file.
            raise SortdError(f"{target} has just been fetched")
        try:
            yield part
        except BaseException:
            path.unlink()
            raise


def _find(model: str, kind: Kind, published: Mapping[str, Weights]) -> Weights:
    if model in published:
        return published[model]
    if model.startswith(("/", "~", ".")) or model.endswith(".pt"):
        return Weights(model, kind)
    nearest = {name.lower(): name for name in published}
    (guess,) = get_close_matches(model.lower(), nearest, n=1, cutoff=0.0)
    library = _SOURCES[kind][0]
    raise ConfigError([f'"{model}" is neither a model of {library} nor a path; the nearest is {nearest[guess]}'])


def _clip(name: str, width: int, size: int, sha256: str) -> Weights:
    return Weights(name, "clip", size, sha256, "MIT", f"{re.sub('[/@]', '-', name)}.pt", width)


def _whisper(name: str, size: int, sha256: str, *, file: str | None = None) -> Weights:
    return Weights(name, "whisper", size, sha256, "MIT", f"{file or name}.pt")


CLIP: Mapping[str, Weights] = {
    weights.name: weights
    for weights in (
        _clip("RN50", 1024, 255_827_503, "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"),
        _clip("RN101", 512, 291_791_292, "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"),
        _clip("RN50x4", 640, 421_854_225, "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd"),
        _clip("RN50x16", 768, 661_125_706, "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa"),
        _clip("RN50x64", 1024, 1_353_500_174, "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c"),
        _clip("ViT-B/32", 512, 353_976_522, "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        _clip("ViT-B/16", 512, 350_837_078, "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
        _clip("ViT-L/14", 768, 932_768_134, "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
        _clip("ViT-L/14@336px", 768, 934_088_680, "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
    )
}
"""Every published CLIP."""

WHISPER: Mapping[str, Weights] = {
    weights.name: weights
    for weights in (
        _whisper("tiny.en", 75_571_315, "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03"),
        _whisper("tiny", 75_572_083, "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9"),
        _whisper("base.en", 145_261_783, "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead"),
        _whisper("base", 145_262_807, "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e"),
        _whisper("small.en", 483_615_683, "f953ad0fd29cacd07d5a9eda5624af0f6bcf2258be67c92b79389873d91e0872"),
        _whisper("small", 483_617_219, "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794"),
        _whisper("medium.en", 1_528_006_491, "d7440d1dc186f76616474e0ff0b3b6b879abc9d1a4926b7adfa41db2d497ab4f"),
        _whisper("medium", 1_528_008_539, "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1"),
        _whisper("large-v1", 3_086_999_982, "e4b87e7e0bf463eb8e6956e646f1e277e901512310def2c24bf0e11bd3c28e9a"),
        _whisper("large-v2", 3_086_999_982, "81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524"),
        _whisper("large-v3", 3_087_371_615, "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb"),
        _whisper(
            "large", 3_087_371_615, "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb", file="large-v3"
        ),
        _whisper("large-v3-turbo", 1_617_941_637, "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a"),
        _whisper(
            "turbo",
            1_617_941_637,
            "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
            file="large-v3-turbo",
        ),
    )
}
"""Every published Whisper; two have two names."""
