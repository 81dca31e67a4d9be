"""What is asked for: the boundary of each line with its interval, and the exponent over lines."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...config.errors import fault
from ...models.checks import show
from ...models.streams import fixed
from .bootstrap import RESAMPLES, percentile_interval, resampled_ends, seed_resamples
from .likelihood import likeliest
from .lines import Line, fitted_lines, transformed, transformed_back

__all__ = ["Boundary", "Exponent", "find_boundaries", "fit_boundary", "fit_exponent"]

Floats = npt.NDArray[np.float64]


class Boundary(NamedTuple):
    """Where success along one line has probability 1/2.

    position : x there, NaN if it is not within the points run. low, high : its 95 % interval, with low = 0
    (-inf if not log) or high = inf where more resamples than the interval leaves out have no boundary on that
    side; without a boundary they bound where it can be, e.g. 0 to the first point run if all succeed.
    width : scale w of the logistic in log x (x if not log); at its upper limit, the range of the points run,
    success does not rise. reason : "", or why there is no position: "succeeds everywhere" or "fails
    everywhere" (p > 1/2, or p < 1/2, at every point run), "only one point was run", "nothing was run".
    """

    position: float
    low: float
    high: float
    width: float
    reason: str


class Exponent(NamedTuple):
    """Power law position = prefactor s^slope of a boundary.

    low, high : 95 % interval of the slope. lines : number of lines with a boundary; all else is NaN if there
    are fewer than 2.
    """

    slope: float
    low: float
    high: float
    lines: int
    prefactor: float


def fit_boundary(
    x: npt.ArrayLike,
    successes: npt.ArrayLike,
    trials: npt.ArrayLike,
    *,
    log: bool = True,
    rising: bool = True,
) -> tuple[float, float]:
    """Position and width at the maximum of the binomial likelihood of the logistic p(x) above.

    x : (K,) ascending, above 0 if log. successes, trials : (K,), trials = 0 where nothing was run.
    log : whether p is logistic in log x, or in x (for an axis that contains 0). rising : whether p rises.
    The width is at least a quarter of the smallest spacing of the points run and at most their range.
    Separated data put the position in the middle of the gap. The position may lie outside the points run;
    both are NaN where there is no maximum: all runs succeed, all fail, or they are at fewer than two points.
    """
    u = transformed(x, log)
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    for name, counts in (("successes", k), ("trials", n)):
        if counts.shape != u.shape:
            raise ValueError(fault(name, f"shape {counts.shape}", f"({u.size},) as x"))
    if not ((k >= 0) & (k <= n) & np.isfinite(n)).all():
        raise ValueError(fault("successes", show(successes), "numbers from 0 to those of trials"))
    run = n > 0
    t, w = likeliest(u[run], (k if rising else n - k)[run], n[run])
    return transformed_back(t, log), w


def find_boundaries(
    x: npt.ArrayLike,
    success: npt.ArrayLike,
    *,
    log: bool = True,
    rising: bool = True,
    resamples: int = RESAMPLES,
) -> list[Boundary]:
    """Boundary of each line, with its interval by bootstrap over the seeds.

    x : (K,) ascending; success : (L, K, S) of 0, 1 and NaN; log, rising as in ``fit_boundary``; resamples of
    the seeds, the same for all lines.
    """
    lines = fitted_lines(transformed(x, log), success, rising)
    draws = seed_resamples(lines, resamples)
    return [_boundary(line, draws, log, rising) for line in lines]


def _boundary(line: Line, draws: Floats, log: bool, rising: bool) -> Boundary:
    low, high = (
        transformed_back(end, log) for end in percentile_interval(*resampled_ends(line, draws), line.seeds)
    )
    if line.found:
        return Boundary(transformed_back(line.t, log), low, high, line.w, "")
    if not line.u.size:
        reason = "nothing was run"
    elif line.side == 0:
        reason = "only one point was run"
    else:
        reason = "succeeds everywhere" if (line.side < 0) == rising else "fails everywhere"
    return Boundary(math.nan, low, high, math.nan, reason)


def fit_exponent(
    s: npt.ArrayLike,
    x: npt.ArrayLike,
    success: npt.ArrayLike,
    *,
    rising: bool = True,
    resamples: int = RESAMPLES,
) -> Exponent:
    """Exponent of the boundary: least-squares slope of log position on log s, over lines with a boundary.

    s : (L,) above 0, all different; x : (K,) above 0, ascending; success : (L, K, S); rising as in
    ``fit_boundary``. Each of the resamples refits all lines, with the same seeds in each, and the slope. A
    resample leaves out lines where it has no boundary; with fewer than two it is open at both ends.
    Where a resample has a gap its position is drawn from it, uniformly and independently for each line: a
    grid knows nothing of the boundaries that pass through it.
    """
    lines = fitted_lines(transformed(x, True), success, rising)
    scale = np.asarray(s, dtype=np.float64)
    if scale.shape != (len(lines),):
        raise ValueError(fault("s", f"shape {scale.shape}", f"({len(lines)},), one for each line of success"))
    if not (np.isfinite(scale) & (scale > 0)).all() or np.unique(scale).size < scale.size:
        raise ValueError(fault("s", show(s), "finite numbers above 0, all different"))
    draws = seed_resamples(lines, resamples)
    used = [i for i, line in enumerate(lines) if line.found]
    if len(used) < 2:
        return Exponent(math.nan, math.nan, math.nan, len(used), math.nan)
    log_s = np.log(scale[used])
    t = np.array([lines[i].t for i in used])
    slope = float(_slopes(log_s, t[None])[0])
    low, high = np.stack([resampled_ends(lines[i], draws) for i in used], axis=-1)
    closed = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(closed, low, np.nan), np.where(closed, high, np.nan)
    slopes = _slopes(log_s, low + fixed(1).random(low.shape) * (high - low))
    unknown = np.isnan(slopes)
    seeds = min(lines[i].seeds for i in used)
    ends = percentile_interval(np.where(unknown, -np.inf, slopes), np.where(unknown, np.inf, slopes), seeds)
    return Exponent(slope, *ends, len(used), float(np.exp(np.mean(t) - slope * np.mean(log_s))))


def _slopes(log_s: Floats, t: Floats) -> Floats:
    """Least-squares slopes (R,) of t (R, L) on log_s (L,), leaving out NaN; NaN with fewer than two."""
    known = ~np.isnan(t)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, log_s - np.sum(known * log_s, axis=1, keepdims=True) / count, 0.0)
    spread = np.sum(centred**2, axis=1)
    products = np.sum(centred * np.where(known, t, 0.0), axis=1)
    return np.asarray(np.where(count[:, 0] > 1, products / np.where(spread > 0, spread, 1.0), np.nan))
