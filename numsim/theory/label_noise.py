"""Gradient descent whose labels are flipped anew at every step, once the noise is memorised (L1).

At q = 2 a memorised sample's margin f is the square of the activations that hold it, and a step multiplies
these by 1 + a g,

    f <- f (1 + a g)^2,   g = 1/(1 + e^f) with probability 1 - p,   -1/(1 + e^-f) with probability p,      (1)

a = 2 eta s sigma_p^2 d / (n m). It wanders about log((1 - p)/p) for ever, and what the pulls g leave on
average, E g > 0 although E log(1 + a g) = 0, is what the signal grows by.
Source: derivations/rules/l1_label_noise.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .powers import closed_form

__all__ = [
    "label_noise_growth",
    "label_noise_pull",
    "label_noise_pull_expansion",
    "memorisation_gain",
    "stationary_mean",
]

Floats = npt.NDArray[np.float64]

_POINTS = 4001
_TAIL = 40.0  # e^-40: what is left out of the law below the lowest point
_SMALL_GAIN, _FEW_FLIPS = 1e-3, 1e-4
_REACH = 3.0  # of log f above and below its middle, at least: the widest law, a = 1, has deviation 0.7


def _checked(gain: float, flip_probability: float, smallest: float = 0.0) -> None:
    if not (smallest <= gain < 1 and gain > 0):
        expected = f"a number above {smallest:g} and below 1, where a flip may switch a filter off"
        raise ValueError(f"gain is {gain!r}, expected {expected}")
    least, most = (_FEW_FLIPS, 0.5 - _FEW_FLIPS) if smallest else (0.0, 0.5)
    if not least < flip_probability < most:
        expected = f"a number between {least:g} and {most:g}"
        raise ValueError(f"flip_probability is {flip_probability!r}, expected {expected}")


@closed_form
def memorisation_gain(
    *, learning_rate: float, samples: int, filters: int, noise_norm: float, output_scale: float = 1.0
) -> float:
    """a = 2 eta s sigma_p^2 d / (n m) of (1): a step multiplies a sample's activations by 1 + a g. L1 (2).

    learning_rate : eta; samples : n; filters : m; noise_norm : sigma_p sqrt(d); output_scale : s.
    """
    return 2 * learning_rate * output_scale * noise_norm**2 / (samples * filters)


def stationary_mean(function: Callable[[Floats], Floats], gain: float, flip_probability: float) -> float:
    """Mean of a function of the margin f under the stationary law of (1); L1 (9).

    With T the transition operator of log f, E function = c where h - T h = function - c has a solution h.
    Solved on a grid in log f with linear interpolation, which leaves a relative 1e-4 of a mean pull.

    gain : a, from 1e-3, where the law is as narrow as the grid is fine, to below 1; flip_probability : p,
    between 1e-4 and 0.4999.
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    _checked(gain, flip_probability, _SMALL_GAIN)
    middle = math.log(math.log(1 / flip_probability - 1))
    x = np.linspace(
        middle - max(_REACH, _TAIL / _tail_exponent(gain, flip_probability)), middle + _REACH, _POINTS
    )
    f = np.exp(x)
    right = 1 / (1 + np.exp(f))
    moves = (
        (1 - flip_probability, np.log1p(gain * right)),
        (flip_probability, np.log1p(-gain * (1 - right))),
    )
    rows, step = np.arange(_POINTS), x[1] - x[0]
    operator = sparse.csr_matrix((_POINTS, _POINTS))
    for probability, growth in moves:
        place = np.clip((x + 2 * growth - x[0]) / step, 0, _POINTS - 1)
        left = np.minimum(place.astype(np.int64), _POINTS - 2)
        weight = place - left
        entries = np.concatenate([1 - weight, weight]) * probability
        places = (np.concatenate([rows, rows]), np.concatenate([left, left + 1]))
        operator = operator + sparse.csr_matrix((entries, places), shape=operator.shape)
    system = (sparse.identity(_POINTS) - operator).tolil()
    system[:, _POINTS // 2] = 1.0  # h is 0 there, and its column holds the mean instead
    return float(spsolve(system.tocsc(), function(f))[_POINTS // 2])


def _tail_exponent(gain: float, flip_probability: float) -> float:
    """theta > 0 with P(log f < -x) ~ e^(-theta x): E (1 + a g)^(-2 theta) = 1 at f = 0, L1 (10)."""
    from scipy.optimize import brentq

    up, down = math.log1p(gain / 2), math.log1p(-gain / 2)

    def excess(theta: float) -> float:
        grown = (1 - flip_probability) * math.exp(-2 * theta * up)
        return grown + flip_probability * math.exp(-2 * theta * down) - 1

    drift = (1 - flip_probability) * up + flip_probability * down
    if not drift > 0:
        raise ValueError(
            f"flip_probability = {flip_probability} at gain = {gain}: nothing is memorised, "
            "margins shrink to 0; expected (1 - p) log(1 + a/2) + p log(1 - a/2) > 0"
        )
    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, high / 2 if high > 1 else 1e-12, high))


def label_noise_pull(gain: float, flip_probability: float) -> float:
    """Mean pull E g of a memorised sample under the stationary law of (1), L1 (9).

    gain : a; flip_probability : p. About a p (1 - p)/2 for small a, below 1e-3 its expansion (8).
    """
    p = flip_probability
    if 0 < gain < _SMALL_GAIN:
        return label_noise_pull_expansion(gain, p)
    return stationary_mean(lambda f: 1 / (1 + np.exp(f)) - p, gain, p)


@closed_form
def label_noise_pull_expansion(gain: float, flip_probability: float, order: int = 2) -> float:
    """The mean pull to first or second order in a, L1 (8): with v = p (1 - p) and f* = log((1 - p)/p),

    E g = a v/2 + a^2 (v^2 f*/2 + v (1 - 2p)/3) + O(a^3).

    gain : a; flip_probability : p; order : 1 or 2.
    """
    _checked(gain, flip_probability)
    p = flip_probability
    v, middle = p * (1 - p), math.log(1 / p - 1)
    second = v * v * middle / 2 + v * (1 - 2 * p) / 3 if order == 2 else 0.0
    return gain * v / 2 + gain**2 * second


@closed_form
def label_noise_growth(
    *,
    learning_rate: float,
    samples: int,
    filters: int,
    noise_norm: float,
    signal_norm: float,
    flip_probability: float,
    class_share: float = 0.5,
    output_scale: float = 1.0,
) -> float:
    """Growth of log <w, j mu> a step while the noise is stationary: 2 (n_j/n) (eta s |mu|^2/m) E g, L1 (5).

    Of a filter that is active on its class's signal. learning_rate, samples, filters, noise_norm,
    output_scale : as for ``memorisation_gain``; signal_norm : |mu|; flip_probability : p; class_share :
    n_j/n.
    """
    gain = memorisation_gain(
        learning_rate=learning_rate,
        samples=samples,
        filters=filters,
        noise_norm=noise_norm,
        output_scale=output_scale,
    )
    pull = label_noise_pull(gain, flip_probability)
    return 2 * class_share * learning_rate * output_scale * signal_norm**2 / filters * pull
