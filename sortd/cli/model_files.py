"""`sortd models`: which pretrained files are there, and fetching the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sortd.domain.errors import SortdError
from sortd.extract.models.weights import Weights, fetch
from sortd.extract.registry import EncoderSettings

Bar = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""A file's name and size in bytes -> what is shown while it comes, told the bytes received so far."""


def facts(settings: EncoderSettings) -> list[dict[str, Any]]:
    """Tell of each file that is wanted what `sortd models` prints."""
    return [_fact(weights) for weights in settings.weights]


def fetch_all(settings: EncoderSettings, *, bar: Bar) -> list[str]:
    """Fetch what is missing or damaged; one line for each file that cannot be had."""
    problems = []
    for weights in settings.weights:
        try:
            with bar(weights.name, weights.bytes) as progress:
                fetch(weights, progress=progress)
        except SortdError as problem:
            problems.append(str(problem))
    return problems


def _fact(weights: Weights) -> dict[str, Any]:
    path, present = weights.path(), weights.present()
    size = path.stat().st_size if present and weights.bytes is None else weights.bytes
    return {
        "name": weights.name,
        "present": present,
        "path": str(path),
        "bytes": size,
        "sha256": weights.sha256,
        "licence": weights.licence,
    }
