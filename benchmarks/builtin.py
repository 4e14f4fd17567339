"""How well the built-in encoder tells real categories apart: `python benchmarks/builtin.py FOLDER [MANIFEST]`.

FOLDER holds a folder of clips for each category. MANIFEST, a JSON list of {"file", "source"}, tells where the clips
come from; those of one source are then never on both sides, unless their category has no other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from sortd.domain.errors import ExtractionError
from sortd.domain.feature import Matrix, Vector
from sortd.extract.registry import EncoderSettings, load, space
from sortd.extract.spec import Needs, Sample
from sortd.judgement.late_fusion import fuse

FRAMES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One clip as a vector of unit length."""

    category: str
    source: str
    vector: Vector


def decode(path: Path) -> Sample:
    """Read one file. This runs in a child: no process loads both PyAV and OpenCV."""
    from sortd.extract.media import frames  # noqa: PLC0415 - see above

    with path.open("rb") as file:
        return frames.read(file, Needs(frames=FRAMES, following=True, short_side=128, sound=True, sound_seconds=600))


def read_clips(folder: Path, sources: Mapping[str, str]) -> list[Clip]:
    """Decode and encode what stands in the category folders; what does not decode is told and left out."""
    settings = EncoderSettings(encoder="builtin", frames=FRAMES)
    extractors = [load(part, settings, None) for part in space(settings).parts]
    clips = []
    with ProcessPoolExecutor(1, get_context("spawn")) as child:
        for path in sorted(folder.glob("*/*")):
            try:
                sample = child.submit(decode, path).result()
            except ExtractionError as error:
                print(f"left out: {path}: {error}", file=sys.stderr)
                continue
            features = {extractor.name: extractor.extract([sample])[0] for extractor in extractors}
            vector = fuse(features, space(settings))
            source = sources.get(f"{path.parent.name}/{path.name}", path.name)
            clips.append(Clip(path.parent.name, source, vector / np.linalg.norm(vector)))
    return clips


def guesses(clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """Guess each clip's category without its source (if its category has no other: without the clip), both ways."""
    vectors: Matrix = np.array([clip.vector for clip in clips])
    found = []
    for clip in clips:
        others = {other.source for other in clips if other.category == clip.category} - {clip.source}
        kept = [i for i, other in enumerate(clips) if other.source != clip.source or not (others or other is clip)]
        names = [clips[i].category for i in kept]
        nearest = names[int((vectors[kept] @ clip.vector).argmax())]
        learned = LogisticRegression(C=10, class_weight="balanced", max_iter=1000).fit(vectors[kept], names)
        found.append((nearest, str(learned.predict(clip.vector[None])[0])))
    return found


def main(folder: Path, manifest: Path | None) -> None:
    """Print the table."""
    entries = json.loads(manifest.read_bytes()) if manifest else []
    sources = {"/".join(Path(entry["file"]).parts[-2:]): entry["source"] for entry in entries if "source" in entry}
    clips = read_clips(folder, sources)
    found = guesses(clips)
    print(f"{'category':<24}{'clips':>7}{'sources':>9}{'nearest':>9}{'logistic':>10}")
    hits = np.zeros((0, 2))
    for category in sorted({clip.category for clip in clips}):
        own = [i for i, clip in enumerate(clips) if clip.category == category]
        right = np.array([[guess == category for guess in found[i]] for i in own])
        n_sources = len({clips[i].source for i in own})
        nearest, logistic = right.sum(axis=0)
        print(f"{category:<24}{len(own):>7}{n_sources:>9}{nearest:>9}{logistic:>10}{'' if n_sources > 1 else '  *'}")
        if n_sources > 1:
            hits = np.concatenate([hits, right])
    nearest, logistic = hits.mean(axis=0)
    print(f"{'sources kept apart':<24}{len(hits):>7}{'':>9}{nearest:>9.0%}{logistic:>10.0%}")
    print("* one source: only the clip itself was held out, so this tells the source, not the category")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None)
