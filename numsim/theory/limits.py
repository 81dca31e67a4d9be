"""Losses in limits (E5): filters near zero, representations of signal alone, with their exact expectation.

A representation of signal alone has <F(z_i), F(z_i')> = s tau y_i y_i' and <F(z_i), F(z~_i)> = s tau,
whatever the noise; a set of n0 samples enters through its n_+ and n_- labels only.
"""

from __future__ import annotations

import math

import numpy as np

from .powers import closed_form

__all__ = [
    "flipped_loss",
    "mean_signal_loss",
    "signal_loss",
    "signal_loss_expansion",
    "signal_loss_slope",
    "small_filter_loss",
    "zero_filter_loss",
]


@closed_form
def zero_filter_loss(samples: float) -> float:
    """InfoNCE at W = 0, where all n0 terms of a row are 1: log n0, E5 (1).

    samples : n0 >= 1.
    """
    return math.log(samples)


@closed_form
def small_filter_loss(samples: float, form: float, learning_rate: float) -> float:
    """InfoNCE of small filters, log n0 - sum_r <w_r, A w_r> / (2 eta): E5 (2).

    Off by at most (max |s| / tau)^2 / 2. samples : n0; form : sum_r <w_r, A w_r> with the power matrix A of
    this learning_rate.
    """
    return zero_filter_loss(samples) - form / (2 * learning_rate)


@closed_form
def signal_loss(positive: int, negative: int, similarity: float = math.inf) -> float:
    """InfoNCE of a representation of signal alone, E5 (3); at infinite similarity E5 (4).

    L(s) = sum_(+-) (n_+- / n0) log(n_+- + n_-+ e^(-2s)), from log n0 at s = 0 down to
    L(inf) = sum_(+-) (n_+- / n0) log n_+-, the mean of log(1 + #negatives of the same label).
    positive, negative : n_+ and n_-, not both 0; similarity : s >= 0.
    """
    samples = positive + negative
    rest = math.exp(-2 * similarity)
    return sum(
        own / samples * math.log(own + other * rest)
        for own, other in ((positive, negative), (negative, positive))
        if own
    )


@closed_form
def signal_loss_slope(positive: int, negative: int, similarity: float) -> float:
    """dL/ds of ``signal_loss``, E5 (5): -(2 n_+ n_- / n0) e^(-2s) sum_(+-) 1 / (n_+- + n_-+ e^(-2s)).

    positive, negative : n_+ and n_-; similarity : s >= 0. At s = 0 it is -(1 - ybar^2), ybar the mean label.
    """
    if not (positive and negative):
        return 0.0
    rest = math.exp(-2 * similarity)
    pull = 1 / (positive + negative * rest) + 1 / (negative + positive * rest)
    return -2 * positive * negative / (positive + negative) * rest * pull


@closed_form
def mean_signal_loss(samples: int, balanced: bool = False) -> float:
    """Expectation of ``signal_loss`` at infinite similarity over fair labels, E5 (7).

    E log(1 + K) with K ~ Binomial(n0 - 1, 1/2) negatives of the same label; log(n0/2) for balanced labels.
    samples : n0; balanced : exactly half the labels of each sign (n0 even).
    """
    if balanced:
        return math.log(samples / 2)
    from scipy.stats import binom

    same = np.arange(samples)
    return float(binom.pmf(same, samples - 1, 0.5) @ np.log1p(same))


@closed_form
def signal_loss_expansion(samples: int) -> float:
    """The same for large n0: log(n0/2) + 1/(2 n0) + 1/(4 n0^2), off by 1/(3 n0^3): E5 (8).

    samples : n0.
    """
    return math.log(samples / 2) + 1 / (2 * samples) + 1 / (4 * samples**2)


@closed_form
def flipped_loss(margin: float, flip_probability: float = 0.0) -> float:
    """Mean logistic loss of a margin y f on labels flipped with probability p, E5 (9).

    (1 - p) l(y f) + p l(-y f) = l(y f) + p y f, l(z) = log(1 + e^-z); log 2 at f = 0, whatever p.
    margin : y f with the true label; flip_probability : p.
    """
    loss = max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))
    return loss + flip_probability * margin if flip_probability else loss  # 0 times an infinite margin
