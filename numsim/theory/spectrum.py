"""Spectrum of the power matrix A: top eigenvalue, bulk edge, alignment, phase transition (P2, P6).

Everything in units of u (``power_unit``), with c = n0/d, a the views' overlap, alpha = 1 + a, beta = 1 - a.
The noise part of A is alpha P^T P - beta Q^T Q with independent Gaussian P and Q, P2 (3) and P6 (1). Outside
its bulk an eigenvalue is told by one number x > 0, the noise-to-signal ratio of its eigenvector, P6 (4):

    lambda(x) = alpha (1 + x) (1/x + 2 c (a + x)/y),   y = alpha + 2 x,
    edge: the minimum of lambda,  c x*^2 (1 + beta^2/y*^2) = 1,
    top: 2 kappa/alpha = 1/x + 2 c (a + x)/y (noise projected off mu), 2 kappa/alpha = 1/x (not projected).

At a = 0 this is P2 with its z = x/(1 + x), the trace of the resolvent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .powers import closed_form

__all__ = [
    "Spectrum",
    "augmentation_worth",
    "eigenvector_ratio",
    "finite_edge",
    "fresh_view_spectrum",
    "imbalanced_spectrum",
    "lowest_eigenvalue",
    "power_unit",
    "spectrum",
]

_TRACY_WIDOM_MEAN = -1.2065335745820
"""Mean of the Tracy-Widom law of real symmetric matrices (Bornemann, Math. Comp. 79, 2010)."""


class Spectrum(NamedTuple):
    """Eigenvalues in units of u = (eta/tau) sigma_p^2 d / n0.

    top : lambda_1; edge : of the bulk; alignment : cos^2(v_1, mu); threshold : the kappa above which the
    top eigenvalue leaves the bulk.
    """

    top: float
    edge: float
    alignment: float
    threshold: float


class _Edge(NamedTuple):
    """t = sqrt(c) x* and q = sqrt(c) beta x*/y*, on the unit circle; the edge; both thresholds, P6 (5)."""

    t: float
    q: float
    value: float
    projected: float
    unprojected: float


@closed_form
def power_unit(*, learning_rate: float, temperature: float, sigma_p: float, dim: int, samples: int) -> float:
    """u = (eta/tau) sigma_p^2 d / n0, the unit of the power matrix's spectrum (growth per step): P2 (1).

    learning_rate, temperature : eta and tau; sigma_p : noise level; dim : d; samples : n0.
    """
    return learning_rate / temperature * sigma_p**2 * dim / samples


def _check(name: str, value: float, low: float, high: float, what: str) -> float:
    value = float(value)
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} is {value}, expected {what}")
    return value


def _checked(kappa: float, aspect: float, overlap: float) -> tuple[float, float, float]:
    return (
        _check("kappa", kappa, 0.0, math.inf, "a finite number >= 0 (n0 SNR^2)"),
        _check("aspect", aspect, 0.0, math.inf, "a finite number >= 0 (n0 / d)"),
        _check("overlap", overlap, 0.0, 1.0, "a number between 0 (ideal views) and 1 (no augmentation)"),
    )


def _edge(c: float, a: float) -> _Edge:
    """The edge of alpha P^T P - beta Q^T Q, -1 < a <= 1: P6 (5), in variables that stay finite as c -> 0."""
    from scipy.optimize import brentq

    r, alpha, beta = math.sqrt(c), 1 + a, 1 - a

    def other(t: float) -> float:
        return beta * r * t / (alpha * r + 2 * t)

    lowest = alpha / math.hypot(alpha, beta) / 2  # q <= t beta/alpha: twice this is below the root
    t = float(brentq(lambda t: t**2 + other(t) ** 2 - 1, lowest, 1.0, xtol=1e-300, rtol=1e-15))
    slope = 1 / t + 2 * r * (a * r + t) / (alpha * r + 2 * t)
    return _Edge(t, other(t), alpha * (r + t) * slope, alpha * r * slope / 2, alpha * r / (2 * t))


def _argument(kappa: float, c: float, a: float, projected: bool) -> float:
    """x of the top eigenvalue above the threshold: P6 (7), or P6 (11) for noise that is not projected.

    Of the two roots the smallest positive one, written without cancellation for any c and kappa.
    """
    k = 2 * kappa / (1 + a)
    if not projected or c == 0:
        return 1 / k
    ahead = kappa - 1 - a * c
    half = math.sqrt(2 * (1 - a) * c)
    root = math.sqrt(max(ahead + 2 - half, 0.0)) * math.sqrt(ahead + 2 + half)
    return (1 + a) / (ahead + root) if ahead >= 0 else (root - ahead) / (2 * (k - c))


@closed_form
def spectrum(kappa: float, aspect: float = 0.0, overlap: float = 0.0, *, projected: bool = True) -> Spectrum:
    """Limits of the power matrix's spectrum as n0, d -> infinity.

    Parameters
    ----------
    kappa : n0 SNR^2 >= 0.
    aspect : c = n0 / d >= 0, any value; 0 is d >> n0.
    overlap : a in [0, 1], correlation of a sample's noise with its view's (0: ideal views, 1: none).
    projected : whether the noise is projected off mu; it makes a difference of order c.

    Formulas (units of u)
    ---------------------
    d >> n0 (c = 0):   lambda_1 = 2 kappa + 1 + a,  edge = 1 + a,  cos^2 = 2 kappa / (2 kappa + 1 + a),
                       P2 (17) and P6 (9).
    a = 0, any c:      K(z) = 2 c z / (1 - z^2) + 1/z, P2 (6).  The edge is K(z*) at the minimum of K on
                       (0, 1), 2 c z*^2 (1 + z*^2) = (1 - z*^2)^2, P2 (7).  With z the smallest positive root
                       of (2 kappa + 1 - 2 c) z^2 + 2 kappa z - 1 = 0, P2 (12), if z < z*:
                       lambda_1 = 2 kappa / (1 - z),  cos^2 = 1 / (1 - 2 kappa / ((1 - z)^2 K'(z))), P2 (14);
                       otherwise lambda_1 = edge, cos^2 = 0.  The transition is at
                       kappa* = (1 - z*^2 + 2 c z*^2) / (2 z* (1 + z*)), P2 (16).
    any a and c:       lambda_1 = 2 kappa (1 + x),
                       cos^2 = (1 - c x^2 (1 + beta^2/y^2)) / ((1 + x)(1 - 2 c beta x^2/y^2)), P6 (8), with
                       the x of the module's head; not projected: lambda_1 = lambda(x), x = (1 + a)/(2 kappa),
                       and cos^2 without the last factor, P6 (11).

    Raises
    ------
    ValueError : arguments out of range or not finite. What exceeds float64 is inf.

    Source: P2 and P6. Corrections are of order 1/n0, the edge's n0^(-2/3).
    """
    kappa, c, a = _checked(kappa, aspect, overlap)
    if c == 0:
        top = 2 * kappa + 1 + a
        return Spectrum(top, 1 + a, 2 * kappa / top if math.isfinite(top) else 1.0, 0.0)
    bulk = _edge(c, a)
    threshold = bulk.projected if projected else bulk.unprojected
    below = Spectrum(bulk.value, bulk.value, 0.0, threshold)
    if kappa <= threshold:
        return below
    x = _argument(kappa, c, a, projected)
    s, y = math.sqrt(c) * x, 1 + a + 2 * x
    left = 1 - s**2 * (1 + ((1 - a) / y) ** 2)
    if not left > 0:  # so near the threshold that round-off decides
        return below
    if projected:
        return Spectrum(
            2 * kappa * (1 + x),
            bulk.value,
            left / ((1 + x) * (1 - 2 * (1 - a) * (s / y) ** 2)),
            threshold,
        )
    top = (2 * kappa + 1 + a) * (1 + 2 * c * x * ((a + x) / y))
    return Spectrum(top, bulk.value, left / (1 + x), threshold)


def eigenvector_ratio(
    kappa: float, aspect: float = 0.0, overlap: float = 0.0, *, projected: bool = True
) -> float:
    """|<v_1, mu>| / |mean_i y_i <v_1, xi_i>| = 1/x = (1 - z)/z: P2 (15), with overlap P6 (8).

    2 kappa / (1 + a) for d >> n0, or for noise that is not projected at any aspect; NaN below the threshold,
    where neither is more than chance. Parameters and errors as for ``spectrum``.
    """
    kappa, c, a = _checked(kappa, aspect, overlap)
    if kappa <= spectrum(kappa, c, a, projected=projected).threshold:
        return math.nan
    x = _argument(kappa, c, a, projected)
    return 1 / x if x > 0 else math.inf


@closed_form
def augmentation_worth(aspect: float, *, projected: bool = True) -> float:
    """How many times the samples PCA needs for its transition, against ideal views: P6 (14a).

    At given d and SNR, c / (kappa* - c)^2 with kappa* that of ideal views, infinite where kappa* <= c (from
    c = 0.648 on): there no number of samples is enough without augmentation. Noise not projected off mu:
    c / kappa*^2, which is 4 t^2 and falls from 4 to 2.
    aspect : c = n0/d at the transition of ideal views; 0 is the limit, 4.
    """
    _, c, _ = _checked(0.0, aspect, 0.0)
    if c == 0:
        return 4.0
    bulk = _edge(c, 0.0)
    if not projected:
        return 4 * bulk.t**2
    ahead = bulk.projected - c
    return c / ahead**2 if ahead > 0 else math.inf


@closed_form
def finite_edge(samples: int, aspect: float, overlap: float = 0.0) -> float:
    """Mean of the largest bulk eigenvalue at n0 samples: P2 (8) and P6 (6).

    edge - 1.2065 gamma n0^(-2/3), the mean of Tracy and Widom's law times its scale,
    gamma = c^(2/3) (K''(z*)/2)^(1/3), about (1 + a) sqrt(c) for small c. Off by a relative O(1/min(n0, d)).
    samples : n0; aspect, overlap : as for ``spectrum``.
    """
    _, c, a = _checked(0.0, aspect, overlap)
    bulk, r = _edge(c, a), math.sqrt(c)
    if math.isinf(bulk.value):
        return math.inf
    gamma = (1 + a) * (r + bulk.t) / bulk.t * r * (r + bulk.t**3 - bulk.q**3) ** (1 / 3)
    return float(bulk.value + _TRACY_WIDOM_MEAN * gamma * samples ** (-2 / 3))


@closed_form
def lowest_eigenvalue(aspect: float = 0.0, overlap: float = 0.0) -> float:
    """lambda_min: that of the all-ones mode, P2 (19) and P6 (12), or the lower edge of the bulk.

    -2 h (1 + h) (1 - c (1 - 2 h)) with h = sqrt((1 - a)/2), if c ((1 - h)^2 + h^2) < 1; at a = 0 that is
    -(1 + sqrt 2) - c for c < 1 + 1/sqrt 2. The lower edge is minus the edge at -a. aspect and overlap
    as for ``spectrum``.
    """
    _, c, a = _checked(0.0, aspect, overlap)
    h = math.sqrt((1 - a) / 2)
    if c * ((1 - h) ** 2 + h**2) < 1:
        return -2 * h * (1 + h) * (1 - c * (1 - 2 * h))
    return -_edge(c, -a).value if a < 1 else 2 * (math.sqrt(c) - 1) ** 2


@closed_form
def imbalanced_spectrum(kappa: float, imbalance: float) -> Spectrum:
    """The spectrum at mean label ybar = ``imbalance``, d >> n0 and ideal views: P2 (20).

    With L = 1 + 2 kappa and s = ybar^2 the top is the largest root of
        f = (lambda + 2)(lambda - 1)(lambda - L) + s L (lambda^2 - 1) + (1 - s)(lambda + 1)(lambda - L) = 0,
    and cos^2 = d log(top) / d log(kappa), P2 (13). To first order in s the top is L less
    s L (L^2 - 1)/(L^2 + 2 L - 1). kappa : n0 SNR^2; imbalance : inside (-1, 1).
    """
    from scipy.optimize import brentq

    kappa = _check("kappa", kappa, 0.0, 1e100, "a number from 0 to 1e100: it is cubed")
    largest = math.nextafter(1.0, 0.0)  # labels all equal: two eigenvalues cross, nothing is learnt
    s = _check("imbalance", imbalance, -largest, largest, "a mean label inside (-1, 1)") ** 2
    ideal = 1 + 2 * kappa

    def f(x: float) -> float:
        bulk = (x + 2) * (x - 1) + (1 - s) * (x + 1)
        return bulk * (x - ideal) + s * ideal * (x**2 - 1)

    top = float(brentq(f, 1.0, ideal, xtol=1e-300, rtol=1e-15)) if s > 0 and kappa > 0 else ideal
    bulk = (top + 2) * (top - 1) + (1 - s) * (top + 1)
    slope = (2 * top + 2 - s) * (top - ideal) + bulk + 2 * s * ideal * top
    alignment = 2 * kappa * (bulk - s * (top**2 - 1)) / (top * slope)
    return Spectrum(top, 1.0, alignment, 0.0)


@closed_form
def fresh_view_spectrum(kappa: float, overlap: float = 0.0) -> Spectrum:
    """The same for the mean of A over views that are drawn anew at every step, d >> n0: P6 (13).

    E z~_i = y_i mu + a xi_i, so that on (mu/|mu|, sum_i y_i xi_i normalised) the mean of A is, in units of u,
        [[2 kappa, (1 + a) sqrt(kappa)], [(1 + a) sqrt(kappa), 2 a]],
    with the eigenvalue lambda_1 = kappa + a + sqrt((kappa - a)^2 + (1 + a)^2 kappa); the bulk is at 2 a.
    kappa : n0 SNR^2; overlap : a. At a = 1 the views do not differ and it is ``spectrum(kappa, 0, 1)``.
    """
    kappa, _, a = _checked(kappa, 0.0, overlap)
    off = (1 + a) * math.sqrt(kappa)
    length = math.hypot(kappa - a, off)
    gap = length + kappa - a if kappa >= a else off * (off / (length + a - kappa))  # lambda_1 - 2 a
    alignment = (gap / math.hypot(gap, off)) ** 2 if kappa > 0 and gap < math.inf else float(kappa > 0)
    return Spectrum(2 * a + gap, 2 * a, alignment, 0.0)
