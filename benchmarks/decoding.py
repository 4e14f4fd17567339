"""What the decoder costs a clip, beside another version of sortd in the same run.

    python -m benchmarks.decoding NUMBER OTHER [ROUNDS]

NUMBER clips of `sortd demo` are decoded one after another, by this checkout and by OTHER, the folder of another one
with its `.venv`, by turns, on one processor. Of each clip the quickest round counts: what makes it slower is the rest
of the machine. (What the children compute is added to nobody's account, for nobody waits for their end.)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.acceptance import made

ROUNDS = 7

DECODE_ALL = """
import os, sys, time
sys.path.insert(0, os.getcwd())
from sortd.extract.decoding.decoder_pool import DecoderPool
from sortd.extract.spec import Needs
with DecoderPool(Needs(frames=5, following=True, short_side=224, sound=True), timeout_seconds=600) as decoder:
    def decode(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            decoder.decode(descriptor)
        finally:
            os.close(descriptor)
    decode(sys.argv[1])  # the server starts
    for path in sys.argv[1:]:
        began = time.monotonic()
        decode(path)
        print(time.monotonic() - began)
"""


def seconds(checkout: Path, clips: list[str]) -> list[float]:
    """Decode the clips by a checkout's decoder, one after another; its start does not count."""
    python = checkout / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-c", DECODE_ALL, *clips], capture_output=True, text=True, check=True, cwd=checkout)
    return [float(line) for line in done.stdout.split()]


def main(number: str, other: str, rounds: str = str(ROUNDS)) -> None:
    """Print what each takes for all clips, and the ratio."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    checkouts = Path(__file__).parents[1], Path(other).resolve()
    took: dict[Path, list[list[float]]] = {checkout: [] for checkout in checkouts}
    with tempfile.TemporaryDirectory(prefix="sortd-") as work:
        clips = [str(path) for path in islice(made(Path(work), int(number)), int(number))]
        for count in range(int(rounds)):
            for checkout in checkouts if count % 2 else reversed(checkouts):
                took[checkout].append(seconds(checkout, clips))
    here, there = (sum(map(min, zip(*took[checkout], strict=True))) for checkout in checkouts)
    print(f"{number} clips, {rounds} rounds: {here:.3f} s, the other {there:.3f} s, ratio {here / there:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
