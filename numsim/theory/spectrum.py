"""Spectrum of the power matrix A: top eigenvalue, bulk edge, alignment, phase transition (P2, P6)."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Spectrum", "fresh_view_spectrum", "power_unit", "spectrum"]


class Spectrum(NamedTuple):
    """Eigenvalues in units of u = (eta/tau) sigma_p^2 d / n0.

    top : lambda_1; edge : of the bulk; alignment : cos^2(v_1, mu); threshold : the kappa above which the
    top eigenvalue leaves the bulk.
    """

    top: float
    edge: float
    alignment: float
    threshold: float


def power_unit(*, learning_rate: float, temperature: float, sigma_p: float, dim: int, samples: int) -> float:
    """u = (eta/tau) sigma_p^2 d / n0, the unit of the power matrix's spectrum (growth per step).

    learning_rate, temperature : eta and tau; sigma_p : noise level; dim : d; samples : n0.
    """
    return learning_rate / temperature * sigma_p**2 * dim / samples


def _check(name: str, value: float, low: float, high: float, what: str) -> float:
    value = float(value)
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} is {value}, expected {what}")
    return value


def spectrum(kappa: float, aspect: float = 0.0, overlap: float = 0.0) -> Spectrum:
    """Limits of the power matrix's spectrum as n0, d -> infinity.

    Parameters
    ----------
    kappa : n0 SNR^2 >= 0.
    aspect : c = n0 / d >= 0, any value; 0 is d >> n0.
    overlap : a in [0, 1], correlation of a sample's noise with its view's (0: ideal views, 1: none).

    Formulas (units of u)
    ---------------------
    d >> n0 (c = 0):   lambda_1 = 2 kappa + 1 + a,  edge = 1 + a,  cos^2 = 2 kappa / (2 kappa + 1 + a).
    a = 0, any c:      K(z) = 2 c z / (1 - z^2) + 1/z.  The edge is K(z*) at the minimum of K on (0, 1),
                       2 c z*^2 (1 + z*^2) = (1 - z*^2)^2.  With z the smallest positive root of
                       (2 kappa + 1 - 2 c) z^2 + 2 kappa z - 1 = 0, if z < z*:
                       lambda_1 = 2 kappa / (1 - z),  cos^2 = 1 / (1 - 2 kappa / ((1 - z)^2 K'(z)));
                       otherwise lambda_1 = edge, cos^2 = 0.  The transition is at
                       kappa* = (1 - z*^2 + 2 c z*^2) / (2 z* (1 + z*)).

    Raises
    ------
    ValueError : arguments out of range or not finite; overlap together with aspect > 0, for which no
        closed form is derived.

    Source: theory.md P2 and P6. Corrections are of order 1/n0, the edge's n0^(-2/3).
    """
    kappa = _check("kappa", kappa, 0.0, math.inf, "a finite number >= 0 (n0 SNR^2)")
    c = _check("aspect", aspect, 0.0, math.inf, "a finite number >= 0 (n0 / d)")
    a = _check("overlap", overlap, 0.0, 1.0, "a number between 0 (ideal views) and 1 (no augmentation)")
    if a > 0 and c > 0:
        raise ValueError(
            f"overlap {a} together with aspect {c}: the closed form is known for overlap = 0 with any "
            "aspect, or for any overlap with aspect = 0; set one of them to 0"
        )
    if c == 0:
        top = 2 * kappa + 1 + a
        return Spectrum(top, 1 + a, 2 * kappa / top, 0.0)
    # Both roots are written without cancellation, so that c -> 0, c -> inf and large kappa keep all digits:
    # s = z*^2 from (2c - 1) s^2 + (2c + 2) s - 1 = 0, with 1 - s; z with 1 - z.
    root = math.sqrt(c) * math.sqrt(c + 4)
    s = 1 / (c + 1 + root)
    z_edge = math.sqrt(s)
    edge = 2 * c * z_edge / ((c + root) * s) + 1 / z_edge
    threshold = ((c + root) * s + 2 * c * s) / (2 * z_edge * (1 + z_edge))
    gap = kappa + 1 - math.sqrt(2 * c)
    if kappa <= threshold or gap < 0:
        return Spectrum(edge, edge, 0.0, threshold)
    root = math.sqrt(gap) * math.sqrt(kappa + 1 + math.sqrt(2 * c))  # of a quarter of the discriminant
    z = 1 / (kappa + root)
    rest = z * (kappa + (kappa * ((kappa + 2) / (root + 1)) - 2 * c / (root + 1)))  # 1 - z
    if z >= z_edge or not rest > 0:
        return Spectrum(edge, edge, 0.0, threshold)
    slope = 2 * c * z**2 * (1 + z**2) / (rest * (1 + z)) ** 2 - 1  # z^2 K'(z)
    alignment = 1 / (1 - 2 * kappa * z * (z / rest**2 / slope))
    return Spectrum(2 * kappa / rest, edge, alignment, threshold)


def fresh_view_spectrum(kappa: float, overlap: float = 0.0) -> Spectrum:
    """The same for the mean of A over views that are drawn anew at every step, d >> n0.

    E z~_i = y_i mu + a xi_i, so that on (mu/|mu|, sum_i y_i xi_i normalised) the mean of A is, in units of u,
        [[2 kappa, (1 + a) sqrt(kappa)], [(1 + a) sqrt(kappa), 2 a]],
    with the eigenvalue lambda_1 = kappa + a + sqrt((kappa - a)^2 + (1 + a)^2 kappa); the bulk is at 2 a.
    kappa : n0 SNR^2; overlap : a. At a = 1 the views do not differ and it is ``spectrum(kappa, 0, 1)``.
    """
    kappa = _check("kappa", kappa, 0.0, math.inf, "a finite number >= 0 (n0 SNR^2)")
    a = _check("overlap", overlap, 0.0, 1.0, "a number between 0 (ideal views) and 1 (no augmentation)")
    off = (1 + a) * math.sqrt(kappa)
    length = math.hypot(kappa - a, off)
    gap = length + kappa - a if kappa >= a else off * (off / (length + a - kappa))  # lambda_1 - 2 a
    alignment = (gap / math.hypot(gap, off)) ** 2 if kappa > 0 else 0.0
    return Spectrum(2 * a + gap, 2 * a, alignment, 0.0)
