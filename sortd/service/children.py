"""What the children are told: plain values, so that telling them imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sortd.extract import Settings

EXTRACTION = "sortd.service.extracting:extraction"
TRAINING = "sortd.service.training:training"


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """What an extraction child is told once."""

    root: Path
    extract: Settings
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a training child is told once."""

    state: Path
    target_precision: float
    candidates: tuple[str, ...]
