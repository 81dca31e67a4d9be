"""The likelihood of a boundary on one line: a logistic probability of success, and its maximum."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def _misfit(z: Floats, k: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
    """-log likelihood of k successes in n runs at p = 1/(1 + exp(-z)), summed over the last axis.

    loss = sum of n log(1 + e^z) - k z; also its first and second derivatives by each z, n p - k and
    n p (1 - p).
    """
    from scipy.special import expit

    p = expit(z)
    return np.sum(n * np.logaddexp(0.0, z) - k * z, axis=-1), n * p - k, n * p * (1 - p)


def separation(u: Floats, k: Floats, n: Floats) -> tuple[Floats, Floats]:
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


def likeliest(u: Floats, k: Floats, n: Floats) -> tuple[float, float]:
    """Maximum (t, w) of the likelihood for rising success at points run u; NaN if there is none."""
    low, high = (float(end) for end in separation(u, k, n))
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


def likeliest_of_each(u: Floats, k: Floats, n: Floats, t: float, w: float) -> Floats:
    """Maxima t (B,) for the overlapping data sets k, n : (B, K), all at once, from a start t, w.

    The same maximum as ``likeliest``, by damped Newton steps in a = 1/w and b = t/w, where -log likelihood is
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
