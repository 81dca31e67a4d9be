"""Spectra of drawn power matrices at n0 = 500, 1000, 2000, extrapolated to infinite size: for P2 and P6."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, equals
from numsim.theory import Spectrum, spectrum

from .ladders import extrapolated, pseudo_values
from .measured_spectra import tops

__all__ = ["SIZES", "curve", "spectrum_ladder"]

Floats = npt.NDArray[np.float64]

SIZES = (500, 1000, 2000)
_ASPECTS = (1e-8, 0.01, 0.1, 0.5, 1.0, 2.0)
_EXCESS = (0.3, 0.5, 0.75, 0.8, 1.1, 1.2, 1.25, 1.3, 1.5, 2.0, 2.5, 3.0, 5.0)  # kappa in units of kappa*
_LARGE = (0.1, 1.0, 5.0, 20.0)
_EDGE_AT = 3.0  # kappa / kappa* at which the second eigenvalue is the bulk's largest
_CLOSE = 0.2  # |kappa / kappa* - 1| up to which these sizes are not asymptotic: cos^2 is not compared
_RESOLVED = 2.0  # kappa / kappa* from which cos^2 is compared relative to itself where it is tiny


def curve(kappas: Sequence[float], draws: Floats) -> Floats:
    """For figures: kappa, mean and standard error of lambda_1/u and cos^2, (K, 5), of draws (N, K, 3)."""
    mean, error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / len(draws) ** 0.5
    return np.stack([kappas, mean[:, 0], error[:, 0], mean[:, 2], error[:, 2]], axis=1)


def spectrum_ladder(
    seeds: Sequence[int], law: Callable[[float, float], Spectrum], overlap: float = 0.0
) -> tuple[list[Comparison], dict[str, Floats]]:
    """lambda_1, edge, cos^2 and the transition at six aspects c, kappa from 0.3 kappa* to 20, random labels.

    lambda_1 to 1 %, the edge to 2 %, cos^2 to 0.02 (1 % relative where c < 0.01), kappa* to 5 %.
    law(kappa, c) : the closed form at ``overlap``, or a control's. Also returns a curve an aspect.
    """
    comparisons, curves = [], {}
    for c in _ASPECTS:
        threshold = spectrum(0.0, c, overlap).threshold
        kappas = tuple(k for k in (*(threshold * f for f in _EXCESS), *_LARGE) if k <= 20)
        draws = np.array([[tops(s, n, c, kappas, overlap, imbalance=None) for s in seeds] for n in SIZES])
        limit, edge = extrapolated(SIZES, draws, 1.0), extrapolated(SIZES, draws, 2 / 3)
        for k, kappa in enumerate(kappas):
            expected, excess = law(kappa, c), kappa / threshold
            at = f"c = {c:g}, kappa = {excess:.3g} kappa*"
            top = (edge if excess < 1 else limit)[:, k, 0]
            comparisons.append(equals(f"lambda_1/u, {at}", expected.top, top, order=0.01))
            aligned = limit[:, k, 2]
            if c >= 0.01 and abs(excess - 1) > _CLOSE + 1e-9:
                comparisons.append(
                    equals(f"cos^2, {at}", expected.alignment, aligned, absolute=0.02, resolution=0.35)
                )
            if c < 0.01 and excess >= _RESOLVED - 1e-9:
                comparisons.append(equals(f"cos^2, {at}", expected.alignment, aligned, order=0.01))
        bulk = edge[:, _EXCESS.index(_EDGE_AT), 1]
        comparisons.append(equals(f"edge/u, c = {c:g}", law(0.0, c).edge, bulk, order=0.02))
        if c >= 0.01:
            found = pseudo_values(_transition(np.array(kappas), threshold, overlap), limit[:, :, 2])
            comparisons.append(equals(f"kappa*, c = {c:g}", law(0.0, c).threshold, found, order=0.05))
        curves[f"{c:g}"] = curve(kappas, limit)
    return comparisons, curves


def _transition(kappas: Floats, threshold: float, overlap: float) -> Callable[[Floats], float]:
    """Where measured cos^2 vanishes.

    1 - cos^2 (1 + (1 + a)/(2 kappa)), the share that the bulk takes from its value at d >> n0, is close to a
    power of kappa* / kappa: its logarithm is followed to 0 by a parabola. On the exact curve this finds
    kappa* to 1.4 %.
    """
    chosen = (kappas > 1.15 * threshold) & (kappas < 2.1 * threshold)
    kappa = kappas[chosen]

    def location(alignment: Floats) -> float:
        lost = np.log(1 - alignment[chosen] * (1 + (1 + overlap) / (2 * kappa)))
        return float(np.exp(np.polyfit(lost, np.log(kappa), 2)[-1]))

    return location
