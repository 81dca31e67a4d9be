"""Spectrum of the power matrix where views lose their signal: each keeps it with probability s (P9).

Negatives are samples, not views, so that s enters by the positive pairs alone. With the bulk and the variable
x of ``spectrum`` (alpha = 1 + a, beta = 1 - a, y = alpha + 2 x, c = n0/d) the top eigenvalue is where

    lambda(x) = kappa B(x),   B(x) = 2 s + (1 + 3 s) x/2 + (1 - s) beta x/(2 y),

P9 (6): 2 (1 + x) at s = 1. The edge is that of the noise, whatever s.
"""

from __future__ import annotations

import math

from .powers import closed_form
from .spectrum import Spectrum, _edge

__all__ = ["fresh_kept_spectrum", "kept_for_overlap", "kept_spectrum"]

_FAR = 1e100


def _between(name: str, value: float, low: float, high: float) -> float:
    value = float(value)
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, expected a number from {low:g} to {high:g}")
    return value


@closed_form
def kept_spectrum(kappa: float, aspect: float = 0.0, overlap: float = 0.0, kept: float = 1.0) -> Spectrum:
    """Limits of the power matrix's spectrum for views that keep their signal with probability s: P9 (7).

    With x the root of lambda(x) = kappa B(x) below x*, the place of the edge, and
    N = 1 - c x^2 (1 + beta^2/y^2), B' = (1 + 3 s)/2 + (1 - s) alpha beta/(2 y^2),

        lambda_1 = kappa B(x),   cos^2 = N/(N + kappa x^2 B'/alpha),   kappa* = edge/B(x*).

    At d >> n0 (c = 0) lambda_1 is the largest root of the cubic P9 (8); at s = 1 all is ``spectrum``.

    kappa : n0 SNR^2, at most 1e100; aspect : c = n0/d, 0 or 1e-100 to 1e100; overlap : a of the views'
    noise; kept : s. In units of u, balanced labels, noise projected off mu; corrections of order 1/n0.
    Raises ValueError for arguments out of range.
    """
    from scipy.optimize import brentq

    kappa = _between("kappa", kappa, 0.0, _FAR)
    c = _between("aspect", aspect, 0.0 if aspect == 0 else 1 / _FAR, _FAR)
    a, s = _between("overlap", overlap, 0.0, 1.0), _between("kept", kept, 0.0, 1.0)
    alpha, beta = 1 + a, 1 - a

    def bulk(x: float) -> float:
        return alpha * (1 + x) * (1 / x + 2 * c * ((a + x) / (alpha + 2 * x)))

    def border(x: float) -> float:
        return 2 * s + (1 + 3 * s) * x / 2 + (1 - s) * beta * (x / (alpha + 2 * x)) / 2

    if c == 0:
        edge, threshold, last = alpha, 0.0, math.inf
        if kappa == 0:
            return Spectrum(edge, edge, 0.0, 0.0)
    else:
        found = _edge(c, a)
        last = found.t / math.sqrt(c)
        edge, threshold = found.value, found.value / border(last)
        if kappa <= threshold:
            return Spectrum(edge, edge, 0.0, threshold)

    def excess(logarithm: float) -> float:
        x = math.exp(logarithm)
        return math.log(bulk(x)) - math.log(kappa) - math.log(border(x))

    low, high = -math.log(4 * kappa + 4) - 2, min(math.log(last), -math.log(kappa) + 5)
    if c == 0:  # border(x) >= x/2, bulk(x) <= 2 (1 + 1/x)
        high = math.log(4) + max(0.0, -math.log(kappa)) + 2
    if excess(high) >= 0 or excess(low) <= 0:  # so near the threshold that round-off decides
        return Spectrum(edge, edge, 0.0, threshold)
    x = math.exp(float(brentq(excess, low, high, xtol=1e-15, rtol=1e-15)))
    y = alpha + 2 * x
    left = max(1 - c * x * x * (1 + (beta / y) ** 2), 0.0)
    slope = (1 + 3 * s) / 2 + (1 - s) * alpha * beta / (2 * y * y)
    return Spectrum(kappa * border(x), edge, left / (left + kappa * x * x * slope / alpha), threshold)


@closed_form
def fresh_kept_spectrum(kappa: float, overlap: float = 0.0, kept: float = 1.0) -> Spectrum:
    """The same for the mean of A over views drawn anew at every step, d >> n0: P9 (11).

    E z~_i = s y_i mu + a xi_i, so that on mu/|mu| and sum_i y_i xi_i, normalised, the mean of A is, in units
    of u, [[2 kappa s, (s + a) sqrt(kappa)], [(s + a) sqrt(kappa), 2 a]]; the bulk is at 2 a.
    kappa : n0 SNR^2, at most 1e100; overlap : a; kept : s. ``fresh_view_spectrum`` at s = 1.
    """
    kappa = _between("kappa", kappa, 0.0, _FAR)
    a, s = _between("overlap", overlap, 0.0, 1.0), _between("kept", kept, 0.0, 1.0)
    off, half = (s + a) * math.sqrt(kappa), kappa * s - a
    length = math.hypot(half, off)
    gap = length + half if half >= 0 else off * (off / (length - half))  # lambda_1 - 2 a
    alignment = (gap / math.hypot(gap, off)) ** 2 if gap > 0 else 0.0
    return Spectrum(2 * a + gap, 2 * a, alignment, 0.0)


@closed_form
def kept_for_overlap(overlap: float, kappa: float = 0.0) -> float:
    """The s at which losing the signal costs as much alignment as keeping the noise a, d >> n0: P9 (10).

    cos^2 at (s, 0) equals that at (1, a). For kappa -> 0, where it also holds for the transition at small
    n0/d, (1 + 3 s)(1 + a) = 4; for kappa -> infinity 2 (1 + a) s^2 = 1 + s. In between numerically.

    overlap : a; kappa : n0 SNR^2, inf allowed.
    """
    from scipy.optimize import brentq

    a = _between("overlap", overlap, 0.0, 1.0)
    kappa = _between("kappa", kappa, 0.0, math.inf)
    if kappa < _SMALL:
        return (4 / (1 + a) - 1) / 3
    if kappa > 1 / _SMALL:
        return (1 + math.sqrt(9 + 8 * a)) / (4 * (1 + a))
    if a == 0:
        return 1.0
    goal = 2 * kappa / (2 * kappa + 1 + a)
    return float(brentq(lambda s: kept_spectrum(kappa, 0.0, 0.0, s).alignment - goal, 0.0, 1.0, xtol=1e-14))


_SMALL = 1e-9  # kappa whose limits are exact to as much
