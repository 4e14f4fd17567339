"""Rank the undecided videos by how much the owner's word on them would teach.

Uncertainty sampling: Lewis and Gale, "A sequential algorithm for training text classifiers" (1994); by the margin:
Scheffer, Decomain and Wrobel, "Active hidden Markov models for information extraction" (2001).
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from sortd.domain.decision import Prediction
from sortd.domain.feature import Matrix, Vector

_LIKE_ENOUGH = 0.1
"""Near-duplicates are this much nearer to each other than videos are in general."""


def doubt(prediction: Prediction | None) -> float:
    """Return how near the likeliest answer is to the next, from 0 (certain) to 1; to belong nowhere is one too."""
    if prediction is None:
        return 1.0
    shares = [share for _, share in prediction.ranking]
    second, first = sorted([0.0, *shares, max(0.0, 1 - sum(shares))])[-2:]
    return 1 - (first - second)


def most_instructive(doubts: Vector, likenesses: Matrix) -> list[int]:
    """Order n videos by how much their filing would teach: the most doubtful first, near-duplicates of those last.

    `likenesses` [n, n] are of each to each.
    """
    distances = 1 - likenesses
    among = distances[np.triu_indices(len(doubts), k=1)]
    too_near = _LIKE_ENOUGH * float(np.median(among)) if len(among) else 0.0
    chosen: list[int] = []
    copies: list[int] = []
    for row in np.argsort(-doubts, kind="stable").tolist():
        (copies if (distances[row, chosen] <= too_near).any() else chosen).append(row)
    return list(chain(chosen, copies))
