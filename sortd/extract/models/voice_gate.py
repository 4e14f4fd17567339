"""Tell whether a sound may hold a voice. In doubt it says yes: listening costs seconds, a missed word the word.

For now only what nobody could hear is ruled out.
"""

from __future__ import annotations

from sortd.domain.feature import Waveform

SILENCE = 1e-3
"""60 dB under full scale: the hiss of a microphone, 33 steps of a 16-bit sound."""

SHORTEST = 464
"""29 ms: no syllable is shorter."""


def has_voice(sound: Waveform) -> bool:
    """Tell whether there may be a voice in it."""
    return len(sound) >= SHORTEST and bool(max(sound.max(), -sound.min()) >= SILENCE)
