"""Tell whether a new classifier (the challenger) may replace the one that serves (the champion).

Both are asked of the same labels, and each of a label that it has not learned from. A label since the champion counts
only where it contradicts the champion: where it agrees, the champion may owe that to a clip of the same afternoon,
which the challenger had to do without when it was held out.

Sign test: McNemar, "Note on the sampling error of the difference between correlated proportions" (1947).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sortd.domain.category import CategoryName
from sortd.domain.video import Fingerprint
from sortd.judgement.thresholds import chance_of_at_most

Answers = Mapping[Fingerprint, CategoryName | None]
"""What a classifier takes each video for that it has not learned from; None: it was not asked."""

_UNLIKELY = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """Labels that only one of the two gets right."""

    won: int
    """Only the challenger."""
    lost: int
    """Only the champion."""

    @property
    def why_not(self) -> str | None:
        """A sentence where the challenger is worse than chance explains; None: it is no worse."""
        if chance_of_at_most(self.won, self.won + self.lost, 1 / 2) >= _UNLIKELY:
            return None
        return (
            f"of the filed videos it got {self.lost} wrong that the classifier before has right, and only {self.won}"
            " the other way round: the one before goes on"
        )


def compare_models(
    labels: Mapping[Fingerprint, CategoryName], *, champion: Answers, since: Answers, challenger: Answers
) -> Comparison:
    """Count who gets which labels right.

    `champion` and `challenger` are what they took their own labels for while those were held out, `since` is what the
    champion says now to labels that it has never seen.
    """
    won = lost = 0
    for video, truth in labels.items():
        new, old = challenger.get(video), champion.get(video, since.get(video))
        if new is not None and old is not None:
            won += new == truth != old
            lost += old == truth != new and video in champion
    return Comparison(won, lost)
