"""The closed forms of P2 and P6 against the equations they solve and explicit matrices, to round-off."""

from __future__ import annotations

import math

import numpy as np

from numsim import theory

from ..identities.roundoff import Deviations
from . import secular

__all__ = ["equations", "matrices"]

_GRID = (1e-8, 1e-3, 0.1, 0.5, 0.7, 1.7, 1.72, 10.0, 1e4)
"""Aspects: 2c = 2 kappa + 1 is met; 1.7 and 1.72 enclose where the lowest eigenvalue joins the bulk."""
_TRACY_WIDOM_MEAN = -1.20653357458


def equations(found: Deviations, *, overlap: float = 0.0, aspect: float = 1.0, signal: float = 1.0) -> None:
    """Edge, threshold, top, cos^2, ratio and lowest eigenvalue at any aspect: P2 (6) to (19), P6 (2) to (12).

    aspect, signal : factors by which the closed forms are given a wrong c and kappa.
    """
    a = overlap
    for c in _GRID:
        end, edge = secular.upper_edge(c, a)
        wrong = aspect * c
        found.add("edge is the minimum of K", theory.spectrum(0.0, wrong, a).edge, edge)
        gamma = (c**2 * secular.inverse_trace_curvature(end, c, a) / 2) ** (1 / 3)
        shift = (theory.finite_edge(1000, wrong, a) - edge) / gamma
        found.add("shift of the edge", shift, _TRACY_WIDOM_MEAN / 100, edge / gamma)
        found.add("lowest eigenvalue", theory.lowest_eigenvalue(wrong, a), secular.lowest(c, a))
        for projected in (True, False):
            threshold = secular.threshold(c, a, projected=projected)
            law = theory.spectrum(0.0, wrong, a, projected=projected)
            found.add("threshold", law.threshold, threshold)
            for kappa in (0.0, 0.5 * threshold, 0.999 * threshold):
                law = theory.spectrum(kappa, wrong, a, projected=projected)
                found.add("below the threshold", law[:3], [edge, edge, 0.0])
                ratio = theory.eigenvector_ratio(kappa, wrong, a, projected=projected)
                found.add("no direction below it", math.isnan(ratio), True)
            linear = c - 0.5  # at a = 0 the quadratic equation is a linear one there
            for kappa in (*(threshold * f for f in (1.001, 1.3, 4.0, 100.0)), max(linear, 2 * threshold)):
                exact = secular.solved(kappa, c, a, projected=projected)
                law = theory.spectrum(signal * kappa, wrong, a, projected=projected)
                ratio = theory.eigenvector_ratio(signal * kappa, wrong, a, projected=projected)
                name = "" if projected else ", noise not projected"
                found.add(f"top solves K = share{name}", law.top, exact.top)
                found.add(f"cos^2 is the border's slope{name}", law.alignment, exact.alignment)
                found.add(f"noise share is z{name}", 1 / ratio, 1 / exact.ratio)


def matrices(found: Deviations, *, overlap: float = 0.0) -> None:
    """d >> n0 against explicit matrices; cos^2 = d log lambda_1 / d log kappa: P2 (13), (17), (20)."""
    a = overlap
    for kappa in (1e-6, 0.3, 1.0, 20.0, 1e6):
        for imbalance in (0.0, 0.2, -0.7, 0.99):
            values, vectors = np.linalg.eigh(secular.imbalanced_matrix(kappa, imbalance, a))
            if imbalance == 0:
                found.add("d >> n0: lambda_1", theory.spectrum(kappa, 0.0, a).top, values[-1])
                found.add("d >> n0: cos^2", theory.spectrum(kappa, 0.0, a).alignment, vectors[0, -1] ** 2)
                found.add("d >> n0: edge and threshold", theory.spectrum(kappa, 0.0, a)[1::2], [1 + a, 0.0])
                found.add("d >> n0: lambda_min", theory.lowest_eigenvalue(0.0, a), min(values[0], a - 1), 1.0)
                ratio = abs(vectors[0, -1] / vectors[1, -1]) * math.sqrt(kappa)
                found.add("d >> n0: ratio", theory.eigenvector_ratio(kappa, 0.0, a), ratio)
            if a == 0:
                law = theory.imbalanced_spectrum(kappa, imbalance)
                found.add("imbalance: lambda_1", law.top, max(values[-1], 1.0))
                found.add("imbalance: edge and threshold", law[1::2], [1.0, 0.0])
                if values[-1] > 1 + 1e-6:
                    found.add("imbalance: cos^2", law.alignment, vectors[0, -1] ** 2)
    h = 1e-5
    for c in (0.01, 1.0, 30.0):
        kappa = 2 * theory.spectrum(0.0, c, a).threshold
        up, down = (theory.spectrum(kappa * math.exp(s), c, a).top for s in (h, -h))
        slope = math.log(up / down) / (2 * h)
        found.add("cos^2 is the slope of log lambda_1", theory.spectrum(kappa, c, a).alignment, slope)
