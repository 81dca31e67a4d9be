"""Step sizes and the initial scale that numsim takes when none is given, derived from the theory."""

from __future__ import annotations

import math

import numpy as np

from .spectrum import spectrum

__all__ = [
    "growing_learning_rate",
    "pretraining_learning_rate",
    "relative_init_scale",
    "supervised_learning_rate",
]

_GROWTH = 0.1
_STABILITY = 0.5
_RACE = 1e-3


def relative_init_scale(q: float) -> float:
    """sigma_0 sigma_p sqrt(d) such that the race of supervised training lasts as long at every q.

    The noise blows up after t ~ 1 / (q (q - 2) b_0^(q-2)) in units of the step size (race.py). At q = 3 the
    scale is 1e-3; keeping q (q - 2) s^(q-2) = 3e-3 gives s = (3e-3 / (q (q - 2)))^(1/(q-2)), and with the
    default step size a race of a few thousand steps. For q < 3 this would be needlessly small (0 as
    q -> 2, where growth is exponential): 1e-3 there.
    """
    if q <= 3:
        return _RACE
    return float((3 * _RACE / (q * (q - 2))) ** (1 / (q - 2)))


def growing_learning_rate(*, growth: float, temperature: float) -> float:
    """eta = 0.1 tau / growth, with which lambda_1 = 0.1 a step.

    growth : top eigenvalue of the power matrix (P1) at eta = tau = 1, above 0.
    """
    if not growth > 0:
        raise ValueError(f"the power matrix of these views has no growing direction, {growth:.3g}")
    return _GROWTH * temperature / growth


def pretraining_learning_rate(
    *, signal_norm: float, sigma_p: float, dim: int, samples: int, temperature: float, overlap: float
) -> float:
    """eta with a growth of lambda_1 = 0.1 per step in the linear stage.

    lambda_1 = u top with u = (eta/tau) sigma_p^2 d / n0 (P2), hence eta = 0.1 tau n0 / (sigma_p^2 d top).
    Small enough that (1 + lambda)^t is the flow e^(lambda t) to 5 % in the exponent, so that the ratio of
    signal to bulk growth is not wasted, and far from instability: the most negative eigenvalue is
    -(1 + sqrt(2)) u at most, |lambda| <= 0.25 (at kappa = 0).
    For overlap a together with d not >> n0, top is bounded by the spectrum at a = 0 plus a.
    """
    noise = sigma_p**2 * dim / samples
    top = spectrum(signal_norm**2 / noise, samples / dim).top + overlap
    return _GROWTH * temperature / (noise * top)


def supervised_learning_rate(
    *,
    signal_norm: float,
    sigma_p: float,
    dim: int,
    samples: int,
    filters: int,
    q: float,
    output_scale: float,
    bias: bool,
    flips: bool = False,
    activation: str = "relu",
    slope: float = 0.1,
    width: float = 1.0,
    loss: str = "logistic",
    momentum: float = 0.0,
) -> float:
    """eta at a quarter of the stability limit of gradient descent, 2 / (largest curvature).

    Along the activation z of one filter on one sample, l((s/m) z^q) has the second derivative
        (s/m)^(2/q) h(f),  h(f) = q^2 f^(2-2/q) l''(f) + q (q - 1) f^(1-2/q) l'(f),  f = (s/m) z^q,
    and if k filters share the output the curvature is k^(2/q - 1) times that: k = 1 is the worst for q >= 2,
    k = m for q < 2. The data multiply it by the top eigenvalue of the mean of x x^T, at most
    |mu|^2 + (sigma_p^2 d / n)(1 + sqrt(n/d))^2 (+ 4 with a bias, a coordinate 1 in both patches).
    eta = 0.5 / (product of these, with max_f h).

    f > 0 is the right side of the label. With label flips samples start on the wrong side, and descent takes
    them through f = -1 ... 0, where the second term of h changes sign: the maximum is over those too. Filters
    so large that samples start far beyond f = -1 may overshoot (seen at SNR 5, relative scale 0.3, f = -25).

    The squared loss has q^2 f^(2-2/q) + q (q - 1) f^(1-2/q) (f - y) in the place of h, on the way from 0 to
    y at most q^2, and with flips, from -y, 3 q^2 - 2 q. The odd "power" starts on both sides, as with flips.
    "leaky" has a curvature of at most (s^2/m) l'' + (s/m) |l'| (1 - a)/b, the first with all filters
    together; l'' <= 1/4 and |l'| <= 1 for the logistic loss, 1 and 2 for the squared one. Momentum beta
    moves 1/(1 - beta) times as far: eta times 1 - beta.
    """
    data = signal_norm**2 + sigma_p**2 * dim / samples * (1 + math.sqrt(samples / dim)) ** 2
    flips = flips or activation == "power"
    if activation == "leaky":
        second, first = (0.25, 1.0) if loss == "logistic" else (1.0, 2.0)
        bend = (1 - slope) / width
        curvature = (output_scale**2 * second + output_scale * first * bend) / filters
    elif loss == "squared":
        sharing = filters ** (2 / q - 1) if q < 2 else 1.0
        bound = 3 * q**2 - 2 * q if flips else q**2
        curvature = (output_scale / filters) ** (2 / q) * sharing * bound
    else:
        curvature = _logistic_curvature(filters, q, output_scale, flips)
    rate = float(_STABILITY / (curvature * (data + (4.0 if bias else 0.0))))
    return rate * (1 - momentum) if momentum else rate


def _logistic_curvature(filters: int, q: float, output_scale: float, flips: bool) -> float:
    """Largest second derivative of the logistic loss along activations, ``supervised_learning_rate``."""
    f = np.geomspace(1e-6, 60.0, 2000)
    sigmoid = 1 / (1 + np.exp(f))  # -l'(f); l'' = sigmoid (1 - sigmoid)
    first = q**2 * f ** (2 - 2 / q) * sigmoid * (1 - sigmoid)
    second = q * (q - 1) * f ** (1 - 2 / q)
    h = float(np.max(first - second * sigmoid))
    if flips and q >= 2:  # below 2 the curvature at f = 0 is unbounded, but steps through it are kinks
        h = max(h, float(np.max((first + second * (1 - sigmoid))[f <= 1])))
    sharing = filters ** (2 / q - 1) if q < 2 else 1.0
    return float((output_scale / filters) ** (2 / q) * sharing * h)
