"""How likely a count of mistakes is, if each try is one with the same chance (the binomial distribution)."""

from __future__ import annotations

from math import exp, lgamma, log


def at_most(number: int, tries: int, share: float) -> float:
    """Tell how likely no more than `number` of the tries are of a kind that has this share, within (0, 1), of all.

    By logarithms: a thousand tries have more outcomes than a float can count.
    """
    ways = (lgamma(tries + 1) - lgamma(k + 1) - lgamma(tries - k + 1) for k in range(number + 1))
    return sum(exp(many + k * log(share) + (tries - k) * log(1 - share)) for k, many in enumerate(ways))
