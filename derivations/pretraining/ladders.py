"""Means at several sizes, extrapolated to infinite size, with honest errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["extrapolated", "pseudo_values"]

Floats = npt.NDArray[np.float64]


def extrapolated(sizes: Sequence[int], draws: npt.ArrayLike, power: float) -> Floats:
    """Draws (N, ...) whose mean is the limit of the means of draws (L, N, ...) at L sizes n.

    m(n) = m + b n^-power is fitted by least squares with weights n, the inverse variances of means at size n;
    the fitted m is linear in the means, and the same combination of the draws is returned.
    """
    n = np.asarray(sizes, dtype=np.float64)
    design = np.stack([np.ones_like(n), n**-power], axis=1)
    combination = np.linalg.solve(design.T @ (n[:, None] * design), design.T * n)[0]
    combined: Floats = np.tensordot(combination, np.asarray(draws, dtype=np.float64), axes=1)
    return combined


def pseudo_values(statistic: Callable[[Floats], float], draws: Floats) -> Floats:
    """Jackknife pseudo-values (N,) of statistic(mean of draws (N, ...)): their spread is its own."""
    count, total = len(draws), draws.sum(axis=0)
    whole = statistic(total / count)
    return np.array([count * whole - (count - 1) * statistic((total - d) / (count - 1)) for d in draws])
