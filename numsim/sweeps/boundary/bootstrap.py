"""Intervals by bootstrap over seeds, where a resample may have a gap, or no boundary."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...config.errors import fault
from ...models.checks import show
from ...models.streams import fixed
from .likelihood import likeliest_of_each, separation
from .lines import Line

Floats = npt.NDArray[np.float64]
SHOWN = 0.95
"""Coverage of all intervals."""
_TAIL = (1 - SHOWN) / 2
_LEAST_RESAMPLES = round(1 / _TAIL)
RESAMPLES = 400


def resample_counts(seeds: int, count: int) -> Floats:
    """How often each seed is drawn in each resample: (count, seeds), the same at every call."""
    draws = fixed().multinomial(seeds, np.full(seeds, 1 / seeds), size=count)
    return draws.astype(np.float64)


def resampled_ends(line: Line, draws: Floats) -> tuple[Floats, Floats]:
    """Ends low, high (R,) of where each resample has the boundary; equal unless there is a gap or none."""
    run = ~np.isnan(line.success)
    k = draws @ np.where(run, line.success, 0.0).T
    n = draws @ run.T.astype(np.float64)
    low, high = separation(line.u, k, n)
    mixed = low >= high
    if line.u.size < 2:
        return np.where(mixed, -np.inf, low), np.where(mixed, np.inf, high)
    if mixed.any():  # then there are failures and successes in all: the fit exists
        t = likeliest_of_each(line.u, k[mixed], n[mixed], line.t, line.w)
        below, above = t < line.u[0], t > line.u[-1]
        low[mixed] = np.where(below, -np.inf, np.where(above, line.u[-1], t))
        high[mixed] = np.where(above, np.inf, np.where(below, line.u[0], t))
    return low, high


def percentile_interval(low: Floats, high: Floats, seeds: int) -> tuple[float, float]:
    """95 % interval from the ends of the resamples: the expanded percentile interval above.

    Order statistics, not means of two: an end that is open must not make its neighbour so. Not corrected for
    bias: that of a fitted t is far below its spread, and estimating it from the same resamples adds noise.
    """
    from scipy.special import ndtr, stdtrit

    if seeds < 2:
        return -math.inf, math.inf
    level = float(ndtr(-math.sqrt(seeds / (seeds - 1)) * stdtrit(seeds - 1, 1 - _TAIL)))
    left_out = math.floor(level * low.size)
    return float(np.sort(low)[left_out]), float(np.sort(high)[-1 - left_out])


def seed_resamples(lines: list[Line], resamples: int) -> Floats:
    """How often each seed is drawn in each resample, (resamples, seeds), the same for all lines."""
    if resamples < _LEAST_RESAMPLES:
        expected = f"at least {_LEAST_RESAMPLES}, of which one is {_TAIL:.1%}"
        raise ValueError(fault("resamples", show(resamples), expected))
    return resample_counts(lines[0].success.shape[1], resamples) if lines else np.empty((resamples, 0))
