"""Numbers from timings: medians, ratios of interleaved pairs with a bootstrap interval, power laws.

Noise of a machine comes in two layers: what a process has for its life (memory layout, a neighbour on the
core) and what changes from call to call. Therefore the bootstrap draws processes first, then their pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pair = tuple[float, float]
Times = list[list[Pair]]
"""Seconds (numsim, alternative) of every pair, one list a process."""

RESAMPLES = 1000
LEVEL = 0.95


class Ratio(NamedTuple):
    """Medians in seconds, the median of the ratios alternative / numsim of all pairs, its 95 % interval."""

    numsim: float
    alternative: float
    ratio: float
    low: float
    high: float


def interval(processes: Sequence[Floats], statistic: Callable[[Floats], float]) -> tuple[float, float]:
    """Percentile bootstrap of ``statistic`` of all values: processes are drawn, then values in each.

    processes : one array (k,) a process. Always the same resamples.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(processes), size=len(processes))
        drawn = [rng.choice(processes[c], size=len(processes[c])) for c in chosen]
        found.append(statistic(np.concatenate(drawn)))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def median(values: Floats) -> float:
    """The median as a float."""
    return float(np.median(values))


def compare(times: Times) -> Ratio:
    """Both medians and the ratio of a comparison."""
    every = np.array([pair for process in times for pair in process])
    ratios = [np.array([other / own for own, other in process]) for process in times]
    low, high = interval(ratios, median)
    own, other = np.median(every, axis=0)
    return Ratio(float(own), float(other), median(np.concatenate(ratios)), low, high)


def exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope of log y over log x by least squares, and its standard error (0 for two points)."""
    u, v = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float))
    u = u - u.mean()
    spread = float(u @ u)
    slope = float(u @ v) / spread
    left = v - v.mean() - slope * u
    freedom = len(u) - 2
    error = float(np.sqrt(left @ left / (freedom * spread))) if freedom > 0 else 0.0
    return slope, error
