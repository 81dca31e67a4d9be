"""Which runs tell more of a boundary."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...config.errors import fault
from ...models.checks import show
from .bootstrap import RESAMPLES, percentile_interval, resampled_ends, seed_resamples
from .likelihood import separation
from .lines import Line, fitted_lines, transformed

__all__ = ["next_points"]

Floats = npt.NDArray[np.float64]
# Runs where success is this sure to come or to fail hardly move the boundary (their information p (1 - p) is
# below a fifth of that at the boundary): they are not worth running.
_INFORMATIVE = 0.05
# Cells a line proposes at once when it only needs more of them: enough for a worker or two on each line, and
# few enough that the interval does not get narrower than asked for.
_AT_ONCE = 2


def next_points(
    x: npt.ArrayLike, success: npt.ArrayLike, *, width: float, log: bool = True, rising: bool = True
) -> list[tuple[int, int]]:
    """Cells (line, point) to run next, so that the interval of each boundary gets narrower than ``width``.

    x : (K,) ascending; success : (L, K, S), NaN where not run; width : in log x (x if not log); log, rising
    as in ``fit_boundary``. A cell is run with all its seeds at once, and one with any outcome has been run: a
    run that broke off needs an outcome too, or it is proposed again. Empty when all lines are narrow enough
    or have nothing informative left. The answer depends on what was run alone: a sweep that was interrupted
    goes on as if it had not been. Each answer that is not empty adds cells, so that at most L K are ever run.

    Runs cost more as x grows: of two equals the smaller x comes first.
    """
    u = transformed(x, log)
    if not (math.isfinite(width) and width > 0):
        raise ValueError(fault("width", show(width), "a finite number above 0"))
    lines = fitted_lines(u, success, rising)
    draws = seed_resamples(lines, RESAMPLES)
    run = np.asarray(~np.isnan(np.asarray(success, dtype=np.float64)).all(axis=2))
    return [
        (i, point)
        for i, line in enumerate(lines)
        for point in _refine(line, u, np.flatnonzero(run[i]), draws, width)
    ]


def _refine(line: Line, u: Floats, run: npt.NDArray[np.int64], draws: Floats, width: float) -> list[int]:
    """Points of one line to run next; run : indices into u of the points of the line."""
    if not run.size:
        return sorted({u.size // 4, u.size // 2})
    from scipy.optimize import isotonic_regression

    # Noise makes fractions fall here and there. The nearest rising ones cross 1/2 exactly once.
    fractions = isotonic_regression(line.k / line.n, weights=line.n).x
    split = int(np.searchsorted(fractions, 0.5))
    for at_end, end, beyond in ((split == 0, 0, fractions[0]), (split == run.size, -1, 1 - fractions[-1])):
        if not at_end:
            continue
        if run[end] != range(u.size)[end]:
            return [range(u.size)[end]]
        # Two standard errors of a fraction near 1/2: less may be noise, and the boundary within range.
        if beyond >= min(0.5 + 1 / math.sqrt(line.seeds), 1.0):
            return []
    low, high = (float(end) for end in separation(line.u, line.k, line.n))
    if 0 < split < run.size and run[split] - run[split - 1] > 1 and not low < high < low + width:
        # Even if the interval is narrow, unless it is a gap: between points far apart the least width, a
        # quarter of a spacing, is an assumption, which only closer points can confirm.
        return [int(run[split - 1] + run[split]) // 2]
    if line.side and (beside := (run[-1] + 1, run[0] - 1)[line.side < 0]) in range(u.size):
        return [int(beside)]  # half of the runs there succeed: the fit is at the edge
    low, high = percentile_interval(*resampled_ends(line, draws), line.seeds)
    if math.isnan(line.t) or high - low < width:
        return []
    distance = np.abs(u - line.t)
    distance[run] = np.inf
    reach = line.w * math.log(1 / _INFORMATIVE - 1)
    nearest = np.argsort(distance, kind="stable")[:_AT_ONCE]
    return [int(point) for point in nearest if distance[point] <= reach]
