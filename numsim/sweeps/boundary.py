"""Phase boundaries of a sweep: where runs begin to succeed, how it scales, and which runs tell more of it.

A sweep has lines (values s of one axis), points along each line (x, ascending) and seeds: an array
success : (L, K, S) of 0, 1 and NaN (not run). On a line the probability of success is taken to be

    p(x) = 1 / (1 + exp(-(u - t) / w)),   u = log x (log=False: u = x),   boundary at p = 1/2: u = t.

Falling success (rising=False) is rising failure: everything is computed for rising success.

Seed k has the same random streams in every cell, so that cells are correlated through seeds, and an interval
that took them for independent would be too narrow. What is independent is the seeds: intervals bootstrap
over them, with the same resample for all cells of all lines. The resamples always start from the same
generator: everything here is a function of its arguments alone.

Three things the plain percentile bootstrap gets wrong are put right:

- Few seeds. Its interval is too short by sqrt((S-1)/S) and has normal instead of Student tails; its level is
  therefore Phi(-sqrt(S/(S-1)) t_(S-1)) in place of 2.5 % (the expanded percentile interval: Hesterberg, What
  Teachers Should Know about the Bootstrap, 2015). One seed says nothing of the spread: both ends are open.
- Separation. Where no point that fails lies above one that succeeds, the likelihood is the same, 1, for each
  t in the gap between the two; a resample then stands for its gap, not for the gap's middle. Otherwise a
  coarse grid, where all resamples have the same gap, would seem to be exact.
- No boundary. A resample that succeeds (fails) at more than half of its runs everywhere only says that t is
  below the first (above the last) point run, at any distance: its interval is open on that side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..config.errors import fault
from ..models.checks import show
from ..models.streams import fixed

__all__ = ["Boundary", "Exponent", "find_boundaries", "fit_boundary", "fit_exponent", "next_points"]

Floats = npt.NDArray[np.float64]

SHOWN = 0.95
"""Coverage of all intervals."""
_TAIL = (1 - SHOWN) / 2
_LEAST_RESAMPLES = round(1 / _TAIL)
_RESAMPLES = 400

# Runs where success is this sure to come or to fail hardly move the boundary (their information p (1 - p) is
# below a fifth of that at the boundary): they are not worth running.
_INFORMATIVE = 0.05
# Cells a line proposes at once when it only needs more of them: enough for a worker or two on each line, and
# few enough that the interval does not get narrower than asked for.
_AT_ONCE = 2


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


class _Line(NamedTuple):
    """Points run of one line: u (K,), success (K, S) made rising, its sums k and n, the fit t and w."""

    u: Floats
    success: Floats
    k: Floats
    n: Floats
    t: float
    w: float

    @property
    def seeds(self) -> int:
        return int((~np.isnan(self.success)).any(axis=0).sum())

    @property
    def side(self) -> int:
        """-1 : the boundary is below the first point run, 1 : above the last, 0 : neither."""
        if not self.u.size:
            return 0
        below = not (self.n > self.k).any() or self.t < self.u[0]
        above = not (self.k > 0).any() or self.t > self.u[-1]
        return int(above) - int(below)

    @property
    def found(self) -> bool:
        return not math.isnan(self.t) and self.side == 0


# ---------------------------------------------------------------- the likelihood


def _misfit(z: Floats, k: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
    """-log likelihood of k successes in n runs at p = 1/(1 + exp(-z)), summed over the last axis.

    loss = sum of n log(1 + e^z) - k z; also its first and second derivatives by each z, n p - k and
    n p (1 - p).
    """
    from scipy.special import expit

    p = expit(z)
    return np.sum(n * np.logaddexp(0.0, z) - k * z, axis=-1), n * p - k, n * p * (1 - p)


def _gap(u: Floats, k: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Last point with a failure and first with a success, -inf and inf if none: separated if the first is
    less.

    k, n : (..., K) with u : (K,); returns two of (...).
    """
    points = np.arange(u.size)
    edges = np.concatenate(([-np.inf], u, [np.inf]))
    last = np.max(np.where(n > k, points, -1), axis=-1, initial=-1)
    first = np.min(np.where(k > 0, points, u.size), axis=-1, initial=u.size)
    return edges[last + 1], edges[first + 1]


def _narrowest(u: Floats) -> float:
    """Lower limit of the width: a quarter of the smallest spacing.

    A fit to separated points would go to width 0. At a quarter of a spacing p goes from 0.12 to 0.88 between
    two neighbours: what happens between them cannot be told from a step.
    """
    return float(np.min(np.diff(u))) / 4


def _maximum(u: Floats, k: Floats, n: Floats) -> tuple[float, float]:
    """Maximum (t, w) of the likelihood for rising success at points run u; NaN if there is none."""
    low, high = (float(end) for end in _gap(u, k, n))
    if u.size < 2 or math.isinf(low) or math.isinf(high):
        return math.nan, math.nan  # t is anywhere (one point), or as far off as you like
    if low < high:
        # Any t in the gap is as likely as w -> 0. At the least width the maximum would depend on how many
        # runs there are on either side; the middle does not, and is the best guess.
        return (low + high) / 2, _narrowest(u)

    from scipy.optimize import minimize

    # In units of the range, from the first point on: bounds and tolerances then fit any axis. The logarithm
    # of the width, because it spans decades. The problem is convex in (1/w, t/w): (t, log w) has one minimum
    # too.
    span, runs = float(u[-1] - u[0]), float(np.sum(n))
    v = (u - u[0]) / span

    def objective(parameters: Floats) -> tuple[float, Floats]:
        t, w = parameters[0], math.exp(parameters[1])
        z = (v - t) / w
        loss, residual, _ = _misfit(z, k, n)
        return float(loss) / runs, np.array([-np.sum(residual) / w, -np.sum(residual * z)]) / runs

    # Beyond the range of the points run a width says the same as none: p is the same at all of them.
    limits = [(None, None), (math.log(_narrowest(u) / span), 0.0)]
    # Runs are lost to failure below the boundary: its first guess is their share, which is robust.
    start = [float(np.clip(np.mean((n - k) / n), 0.05, 0.95)), math.log(0.25)]
    start[1] = max(start[1], limits[1][0] or 0.0)
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=limits, options={"ftol": 1e-15, "gtol": 1e-10}
    )
    t, log_w = (float(value) for value in found.x)
    return float(u[0]) + span * t, span * math.exp(log_w)


# Newton steps converge quadratically and rarely need ten. Once one promises a share _CLOSE of the loss it is
# taken in full, as round-off would hide whether the loss falls, and is the last: the next would be a square.
_CLOSE = 1e-10
_NEWTON_STEPS = 50
_HALVINGS = 30
_ROUNDOFF = 8 * np.finfo(np.float64).eps  # of 1/w = span/w and of a + (share of a step), two roundings each


def _maxima(u: Floats, k: Floats, n: Floats, t: float, w: float) -> Floats:
    """Maxima t (B,) for the overlapping data sets k, n : (B, K), all at once, from a start t, w.

    The same maximum as ``_maximum``, by damped Newton steps in a = 1/w and b = t/w, where -log likelihood is
    convex; a is held within its limits: steps end there, and only b moves while a would leave.
    scipy would need milliseconds for each data set, and there are thousands.
    """
    span = float(u[-1] - u[0])
    v = (u - t) / span  # from the start on, where a and b are almost uncorrelated
    least, most = 1.0, span / _narrowest(u)
    # At its limit is what round-off keeps from it: a step is cut to the room left for a, and so little room
    # would hold b where it is.
    at_least, at_most = least * (1 + _ROUNDOFF), most * (1 - _ROUNDOFF)
    a = np.full(k.shape[0], min(max(span / w, least), most))
    b = np.zeros(k.shape[0])
    loss, residual, curvature = _misfit(a[:, None] * v - b[:, None], k, n)
    for _ in range(_NEWTON_STEPS):
        slope_a, slope_b = residual @ v, -residual.sum(axis=1)
        aa, ab, bb = curvature @ v**2, -(curvature @ v), curvature.sum(axis=1)
        bb = np.maximum(bb, np.finfo(np.float64).tiny)
        rest = np.maximum(aa - ab**2 / bb, np.finfo(np.float64).eps * aa + np.finfo(np.float64).tiny)
        step_a = -(slope_a - ab / bb * slope_b) / rest
        held = ((a >= at_most) & ((step_a > 0) | (slope_a < 0))) | (
            (a <= at_least) & ((step_a < 0) | (slope_a > 0))
        )
        step_a[held] = 0.0
        step_b = -(slope_b + ab * step_a) / bb
        decrease = -(slope_a * step_a + slope_b * step_b)
        close = decrease < _CLOSE * (1 + loss)
        size, room = np.abs(step_a), np.where(step_a > 0, most - a, a - least)
        share = np.divide(room, size, out=np.ones_like(room), where=size > room)
        for _ in range(_HALVINGS):
            new_a, new_b = np.clip(a + share * step_a, least, most), b + share * step_b
            new = _misfit(new_a[:, None] * v - new_b[:, None], k, n)
            worse = (new[0] > loss) & ~close
            if not worse.any():
                break
            share[worse] /= 2
        a, b, (loss, residual, curvature) = new_a, new_b, new
        if close.all():
            break
    return np.asarray(t + span * b / a, dtype=np.float64)


# ---------------------------------------------------------------- the bootstrap


def _resamples(seeds: int, count: int) -> Floats:
    """How often each seed is drawn in each resample: (count, seeds), the same at every call."""
    draws = fixed().multinomial(seeds, np.full(seeds, 1 / seeds), size=count)
    return draws.astype(np.float64)


def _bootstrap(line: _Line, draws: Floats) -> tuple[Floats, Floats]:
    """Ends low, high (R,) of where each resample has the boundary; equal unless there is a gap or none."""
    run = ~np.isnan(line.success)
    k = draws @ np.where(run, line.success, 0.0).T
    n = draws @ run.T.astype(np.float64)
    low, high = _gap(line.u, k, n)
    mixed = low >= high
    if line.u.size < 2:
        return np.where(mixed, -np.inf, low), np.where(mixed, np.inf, high)
    if mixed.any():  # then there are failures and successes in all: the fit exists
        t = _maxima(line.u, k[mixed], n[mixed], line.t, line.w)
        below, above = t < line.u[0], t > line.u[-1]
        low[mixed] = np.where(below, -np.inf, np.where(above, line.u[-1], t))
        high[mixed] = np.where(above, np.inf, np.where(below, line.u[0], t))
    return low, high


def _interval(low: Floats, high: Floats, seeds: int) -> tuple[float, float]:
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


# ---------------------------------------------------------------- what is asked for


def _axis(x: npt.ArrayLike, log: bool) -> Floats:
    """u : (K,), log x or x."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise ValueError(fault("x", show(x), "finite numbers in ascending order"))
    if not log:
        return values
    if values[0] <= 0:
        raise ValueError(fault("x", f"{values[0]:g} as its first", "numbers above 0, or log=False"))
    return np.asarray(np.log(values), dtype=np.float64)


def _lines(u: Floats, success: npt.ArrayLike, rising: bool) -> list[_Line]:
    """Each line of success (L, K, S) with its fit."""
    values = np.asarray(success, dtype=np.float64)
    if values.ndim != 3 or values.shape[1] != u.size:
        raise ValueError(fault("success", f"shape {values.shape}", f"(lines, {u.size} points as x, seeds)"))
    if not values.shape[2]:
        raise ValueError(fault("success", "no seeds", "at least one"))
    if not (np.isnan(values) | (values == 0) | (values == 1)).all():
        wrong = values[~(np.isnan(values) | (values == 0) | (values == 1))][0]
        raise ValueError(fault("success", f"{wrong:g} in it", "0, 1, or NaN for what was not run"))
    lines = []
    for line in values if rising else 1 - values:
        run = ~np.isnan(line).all(axis=1)
        outcomes = line[run]
        k: Floats = np.asarray(np.nansum(outcomes, axis=1))
        n: Floats = np.asarray(np.sum(~np.isnan(outcomes), axis=1, dtype=np.float64))
        lines.append(_Line(u[run], outcomes, k, n, *_maximum(u[run], k, n)))
    return lines


def _draws(lines: list[_Line], resamples: int) -> Floats:
    if resamples < _LEAST_RESAMPLES:
        expected = f"at least {_LEAST_RESAMPLES}, of which one is {_TAIL:.1%}"
        raise ValueError(fault("resamples", show(resamples), expected))
    return _resamples(lines[0].success.shape[1], resamples) if lines else np.empty((resamples, 0))


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
    u = _axis(x, log)
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    for name, counts in (("successes", k), ("trials", n)):
        if counts.shape != u.shape:
            raise ValueError(fault(name, f"shape {counts.shape}", f"({u.size},) as x"))
    if not ((k >= 0) & (k <= n) & np.isfinite(n)).all():
        raise ValueError(fault("successes", show(successes), "numbers from 0 to those of trials"))
    run = n > 0
    t, w = _maximum(u[run], (k if rising else n - k)[run], n[run])
    return _back(t, log), w


def _back(t: float, log: bool) -> float:
    """x of a u; a position far outside the points run may be 0 or inf."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(t)) if log else t


def find_boundaries(
    x: npt.ArrayLike,
    success: npt.ArrayLike,
    *,
    log: bool = True,
    rising: bool = True,
    resamples: int = _RESAMPLES,
) -> list[Boundary]:
    """Boundary of each line, with its interval by bootstrap over the seeds.

    x : (K,) ascending; success : (L, K, S) of 0, 1 and NaN; log, rising as in ``fit_boundary``; resamples of
    the seeds, the same for all lines.
    """
    lines = _lines(_axis(x, log), success, rising)
    draws = _draws(lines, resamples)
    return [_boundary(line, draws, log, rising) for line in lines]


def _boundary(line: _Line, draws: Floats, log: bool, rising: bool) -> Boundary:
    low, high = (_back(end, log) for end in _interval(*_bootstrap(line, draws), line.seeds))
    if line.found:
        return Boundary(_back(line.t, log), low, high, line.w, "")
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
    resamples: int = _RESAMPLES,
) -> Exponent:
    """Exponent of the boundary: least-squares slope of log position on log s, over lines with a boundary.

    s : (L,) above 0, all different; x : (K,) above 0, ascending; success : (L, K, S); rising as in
    ``fit_boundary``. Each of the resamples refits all lines, with the same seeds in each, and the slope. A
    resample leaves out lines where it has no boundary; with fewer than two it is open at both ends.
    Where a resample has a gap its position is drawn from it, uniformly and independently for each line: a
    grid knows nothing of the boundaries that pass through it.
    """
    lines = _lines(_axis(x, True), success, rising)
    scale = np.asarray(s, dtype=np.float64)
    if scale.shape != (len(lines),):
        raise ValueError(fault("s", f"shape {scale.shape}", f"({len(lines)},), one for each line of success"))
    if not (np.isfinite(scale) & (scale > 0)).all() or np.unique(scale).size < scale.size:
        raise ValueError(fault("s", show(s), "finite numbers above 0, all different"))
    draws = _draws(lines, resamples)
    used = [i for i, line in enumerate(lines) if line.found]
    if len(used) < 2:
        return Exponent(math.nan, math.nan, math.nan, len(used), math.nan)
    log_s = np.log(scale[used])
    t = np.array([lines[i].t for i in used])
    slope = float(_slopes(log_s, t[None])[0])
    low, high = np.stack([_bootstrap(lines[i], draws) for i in used], axis=-1)
    closed = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(closed, low, np.nan), np.where(closed, high, np.nan)
    slopes = _slopes(log_s, low + fixed(1).random(low.shape) * (high - low))
    unknown = np.isnan(slopes)
    seeds = min(lines[i].seeds for i in used)
    ends = _interval(np.where(unknown, -np.inf, slopes), np.where(unknown, np.inf, slopes), seeds)
    return Exponent(slope, *ends, len(used), float(np.exp(np.mean(t) - slope * np.mean(log_s))))


def _slopes(log_s: Floats, t: Floats) -> Floats:
    """Least-squares slopes (R,) of t (R, L) on log_s (L,), leaving out NaN; NaN with fewer than two."""
    known = ~np.isnan(t)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, log_s - np.sum(known * log_s, axis=1, keepdims=True) / count, 0.0)
    spread = np.sum(centred**2, axis=1)
    products = np.sum(centred * np.where(known, t, 0.0), axis=1)
    return np.asarray(np.where(count[:, 0] > 1, products / np.where(spread > 0, spread, 1.0), np.nan))


# ---------------------------------------------------------------- refinement


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
    u = _axis(x, log)
    if not (math.isfinite(width) and width > 0):
        raise ValueError(fault("width", show(width), "a finite number above 0"))
    lines = _lines(u, success, rising)
    draws = _draws(lines, _RESAMPLES)
    run = np.asarray(~np.isnan(np.asarray(success, dtype=np.float64)).all(axis=2))
    return [
        (i, point)
        for i, line in enumerate(lines)
        for point in _refine(line, u, np.flatnonzero(run[i]), draws, width)
    ]


def _refine(line: _Line, u: Floats, run: npt.NDArray[np.int64], draws: Floats, width: float) -> list[int]:
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
    low, high = (float(end) for end in _gap(line.u, line.k, line.n))
    if 0 < split < run.size and run[split] - run[split - 1] > 1 and not low < high < low + width:
        # Even if the interval is narrow, unless it is a gap: between points far apart the least width, a
        # quarter of a spacing, is an assumption, which only closer points can confirm.
        return [int(run[split - 1] + run[split]) // 2]
    if line.side and (beside := (run[-1] + 1, run[0] - 1)[line.side < 0]) in range(u.size):
        return [int(beside)]  # half of the runs there succeed: the fit is at the edge
    low, high = _interval(*_bootstrap(line, draws), line.seeds)
    if math.isnan(line.t) or high - low < width:
        return []
    distance = np.abs(u - line.t)
    distance[run] = np.inf
    reach = line.w * math.log(1 / _INFORMATIVE - 1)
    nearest = np.argsort(distance, kind="stable")[:_AT_ONCE]
    return [int(point) for point in nearest if distance[point] <= reach]
