"""The equations behind the closed forms of the spectrum, solved numerically: what P2 and P6 compare with.

All here is in the trace z of the resolvent, as the notes derive it; the closed forms use another variable.
alpha = 1 + a, beta = 1 - a, c = n0/d; a = 0 is P2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

__all__ = [
    "Solved",
    "imbalanced_matrix",
    "inverse_trace",
    "inverse_trace_curvature",
    "inverse_trace_slope",
    "lower_edge",
    "lowest",
    "solved",
    "threshold",
    "upper_edge",
]

Floats = npt.NDArray[np.float64]


class Solved(NamedTuple):
    """Top eigenvalue, cos^2 and |<v_1, mu>| / |mean y <v_1, xi>|, with the z of the top."""

    top: float
    alignment: float
    ratio: float
    z: float


def _root(f: object, low: float, high: float) -> float:
    return float(brentq(f, low, high, xtol=1e-300, rtol=1e-15, maxiter=1000))


def inverse_trace(z: float, c: float, a: float = 0.0) -> float:
    """K(z), the eigenvalue at which the resolvent's normalised trace is z: P2 (6), P6 (2)."""
    return c * (1 + a) / (1 - (1 + a) * z) - c * (1 - a) / (1 + (1 - a) * z) + 1 / z


def inverse_trace_slope(z: float, c: float, a: float = 0.0) -> float:
    """K'(z)."""
    return c * ((1 + a) / (1 - (1 + a) * z)) ** 2 + c * ((1 - a) / (1 + (1 - a) * z)) ** 2 - 1 / z**2


def inverse_trace_curvature(z: float, c: float, a: float = 0.0) -> float:
    """K''(z)."""
    first, second = (1 + a) / (1 - (1 + a) * z), (1 - a) / (1 + (1 - a) * z)
    return 2 * c * first**3 - 2 * c * second**3 + 2 / z**3


def upper_edge(c: float, a: float = 0.0) -> tuple[float, float]:
    """z* and K(z*) where K' vanishes on (0, 1/(1 + a))."""
    z = _root(lambda z: z**2 * inverse_trace_slope(z, c, a), 1e-12, (1 - 1e-14) / (1 + a))
    return z, inverse_trace(z, c, a)


def lower_edge(c: float, a: float = 0.0) -> tuple[float, float]:
    """The same on (-1/(1 - a), 0), a < 1."""
    z = _root(lambda z: z**2 * inverse_trace_slope(z, c, a), -(1 - 1e-14) / (1 - a), -1e-12)
    return z, inverse_trace(z, c, a)


def threshold(c: float, a: float = 0.0, *, projected: bool = True) -> float:
    """The kappa at which the top eigenvalue meets the edge, z = z*: P2 (16), P2 (18)."""
    end, edge = upper_edge(c, a)
    return edge * (1 - (1 + a) * end) / 2 if projected else (1 / end - 1 - a) / 2


def solved(kappa: float, c: float, a: float = 0.0, *, projected: bool = True) -> Solved:
    """Everything about the top eigenvalue for kappa above the threshold: P2 (11), P6 (3), c > 0.

    The eigenvalue is where K(z) equals the border's share, and cos^2 = 1/(1 - d share/d lambda).
    """
    alpha = 1 + a
    end, _ = upper_edge(c, a)
    if projected:
        z = _root(lambda z: z * (inverse_trace(z, c, a) - 2 * kappa / (1 - alpha * z)), 1e-12, end)
        border = 2 * kappa * alpha / (1 - alpha * z) ** 2
    else:
        z = 1 / (2 * kappa + alpha)
        border = 2 * kappa * alpha / (1 - alpha * z) ** 2 + inverse_trace_slope(z, c, a) + 1 / z**2
    slope = inverse_trace_slope(z, c, a)
    return Solved(inverse_trace(z, c, a), 1 / (1 - border / slope), (1 - alpha * z) / (alpha * z), z)


def lowest(c: float, a: float = 0.0) -> float:
    """The lowest eigenvalue: where the all-ones mode's equation has a root above the lower edge's z, P6 (12).

    1 + alpha z/(1 - alpha z) + beta z/(1 + beta z) = 0 on (-1/beta, 0); else the lower edge of the bulk.
    """
    if a == 1:
        return 2 * max(math.sqrt(c) - 1, 0.0) ** 2  # Marchenko and Pastur's lower edge
    alpha, beta = 1 + a, 1 - a
    end, edge = lower_edge(c, a)

    def pole(z: float) -> float:
        return (1 + alpha * z / (1 - alpha * z)) * (1 + beta * z) + beta * z

    return inverse_trace(_root(pole, end, 0.0), c, a) if pole(end) < 0 else edge


def imbalanced_matrix(kappa: float, imbalance: float, a: float = 0.0) -> Floats:
    """A/u at d >> n0 and mean label ybar = ``imbalance``: P2 (20), P6 (9).

    On the orthonormal e, X^T y, F^T y, X^T o', F^T o', with fresh noise F in X~ = a X + sqrt(1 - a^2) F and
    o = ybar y + sqrt(1 - ybar^2) o' the normalised all-ones vector: (5, 5).
    """
    e, p, fresh, p_ones, fresh_ones = np.eye(5)
    b = np.sqrt((1 - a) * (1 + a))
    w, w_view = np.sqrt(kappa) * e + p, np.sqrt(kappa) * e + a * p + b * fresh
    ones = imbalance * w + np.sqrt(1 - imbalance**2) * p_ones
    half = np.outer(w, w_view) + np.outer(p_ones, a * p_ones + b * fresh_ones) - np.outer(ones, ones)
    matrix: Floats = half + half.T
    return matrix
