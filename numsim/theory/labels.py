"""Counting labels and signs: whether both classes are there (C3), and both signs after the split (P4)."""

from __future__ import annotations

import math

from .powers import closed_form, log_quotient

__all__ = [
    "balance_probability",
    "balance_rate",
    "balance_samples",
    "balance_samples_bound",
    "split_probability",
]

_SHARE = 0.25
"""The share of the samples that each class has at least."""

_ROUNDING = 1e-9


@closed_form
def balance_probability(samples: int, share: float = _SHARE, positive: float = 0.5) -> float:
    """Probability that both classes have at least ``share`` n of n samples, exactly: C3 (2).

    P(share n <= N <= n - share n), N ~ Binomial(n, positive).
    samples : n >= 1; share : from 0 to 1/2; positive : P(y = +1), 1/2 also after label flips.

    Raises ValueError for values outside these ranges.
    """
    from scipy.stats import binom

    if not samples >= 1:
        raise ValueError(f"samples is {samples}, expected at least 1")
    _check_share(share, 0.5)
    if not 0 <= positive <= 1:
        raise ValueError(f"positive is {positive}, expected a probability")
    least = math.ceil(share * samples - _ROUNDING)
    return float(binom.cdf(samples - least, samples, positive) - binom.cdf(least - 1, samples, positive))


@closed_form
def balance_samples_bound(delta: float) -> float:
    """Labelled samples that the paper asks for, 8 log(4/delta): C3 (1).

    delta : failure probability, of which Hoeffding's bound then spends half.
    """
    return 8 * log_quotient(4, _check_delta(delta))


@closed_form
def balance_samples(delta: float, share: float = _SHARE) -> int:
    """Smallest n from which on C3 (2) is at least 1 - delta, whatever n is modulo 4.

    About log(2/delta) / balance_rate(share); Hoeffding's C3 (4) says where to stop looking.
    delta : failure probability; share : below 1/2.

    Raises ValueError for values outside these ranges.
    """
    _check_share(share, 0.5 - _ROUNDING)
    enough = math.ceil(log_quotient(2, _check_delta(delta)) / (2 * (0.5 - share) ** 2))
    short = [n for n in range(1, enough + 1) if balance_probability(n, share) < 1 - delta]
    return short[-1] + 1 if short else 1


@closed_form
def balance_rate(share: float = _SHARE) -> float:
    """log 2 - h(share), h(s) = -s log s - (1-s) log(1-s): failure is e^(-n rate) to leading order, C3 (5).

    0.1308 at 1/4, where Hoeffding's bound has 1/8. share : above 0, at most 1/2.
    """
    _check_share(share, 0.5)
    if share == 0:
        return math.log(2)
    return math.log(2) + share * math.log(share) + (1 - share) * math.log(1 - share)


def _check_delta(delta: float) -> float:
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}, expected a probability above 0 and below 1")
    return delta


def _check_share(share: float, most: float) -> None:
    if not 0 <= share <= most:
        raise ValueError(f"share is {share}, expected a number from 0 to 1/2")


@closed_form
def split_probability(filters: int) -> float:
    """Probability that both halves of a random split hold filters of both signs of <w, mu>: P4 (3).

    (1 - 2^(1-m))^2 = 1 - 2^(2-m) + 2^(2-2m), for m = ``filters`` in each half.
    """
    return float((1 - 2.0 ** (1 - filters)) ** 2)
