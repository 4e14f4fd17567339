"""What the decoder costs a clip, beside another version of sortd in the same run.

    python -m benchmarks.decoding NUMBER OTHER [ROUNDS]

NUMBER clips of `sortd demo` are decoded one after another, by this checkout and by OTHER, the folder of another one
with its `.venv`, by turns. Both run on one processor, so that time is what they compute and not how many help; what
the children use is added to nobody's account, for nobody waits for their end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.acceptance import made

ROUNDS = 7

DECODE_ALL = """
import os, sys, time
sys.path.insert(0, os.getcwd())
from sortd.domain import Needs
from sortd.extract.decoder import Decoder
with Decoder(Needs(frames=5, following=True, short_side=224, sound=True), timeout_seconds=600) as decoder:
    def decode(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            decoder.decode(descriptor)
        finally:
            os.close(descriptor)
    decode(sys.argv[1])  # the server starts
    began = time.monotonic()
    for path in sys.argv[1:]:
        decode(path)
    print(time.monotonic() - began)
"""


def seconds(checkout: Path, clips: list[str]) -> float:
    """Decode the clips by a checkout's decoder; its start does not count."""
    python = checkout / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-c", DECODE_ALL, *clips], capture_output=True, text=True, check=True, cwd=checkout)
    return float(done.stdout)


def main(number: str, other: str, rounds: str = str(ROUNDS)) -> None:
    """Print each round and the median ratio."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    here, there = Path(__file__).parents[1], Path(other).resolve()
    with tempfile.TemporaryDirectory(prefix="sortd-") as work:
        clips = [str(path) for path in islice(made(Path(work), int(number)), int(number))]
        ratios = []
        for count in range(int(rounds)):
            first, second = (here, there) if count % 2 else (there, here)
            took = {first: seconds(first, clips), second: seconds(second, clips)}
            ratios.append(took[here] / took[there])
            print(f"{number} clips: {took[here]:.2f} s, the other {took[there]:.2f} s, ratio {ratios[-1]:.3f}")
        print(f"median ratio {median(ratios):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
