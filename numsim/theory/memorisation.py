"""Beyond the linear stage: two variables that carry the whole descent, a third that can end it (P5).

Balanced labels, d -> infinity, filters along the label mode. With fixed views a filter is
sum_i y_i (c_1 z_i + c_2 z~_i) up to a factor, which all samples see alike, as y_i X on z_i and y_i V on z~_i;
with fresh views it has a part along mu and one along sum_i y_i xi_i. One step of gradient descent is a map of
two numbers. The third is the size of the bulk, in which samples differ: where it arrives first, each sample
is told by its own view.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .linearisation import linear_modes
from .powers import closed_form

__all__ = ["Memorisation", "collective_descent", "collective_scale", "memorised_alignment"]

Floats = npt.NDArray[np.float64]

_LONGEST = 10**5  # steps of a descent in which collective_scale waits for the loss to fall


class Memorisation(NamedTuple):
    """A descent in two variables, arrays (T + 1,) over its steps.

    loss : InfoNCE; alignment : cos^2(w, mu), without what descent has not changed; similarity, positive :
    s_ii' / tau within a class and s_i+ / tau, of the label mode; ratio : <w, mu> / sd<w, xi_new> in units of
    |mu| / sigma_p; pairs : what the bulk adds to s_i+ / tau, h.
    """

    loss: Floats
    alignment: Floats
    similarity: Floats
    positive: Floats
    ratio: Floats
    pairs: Floats


@closed_form
def collective_descent(
    steps: int,
    *,
    kappa: float,
    samples: int,
    unit: float,
    energy: float,
    overlap: float = 0.0,
    fresh: bool = False,
    untouched: float = 0.0,
    pairs: float = 0.0,
) -> Memorisation:
    """Descent along the label mode, far beyond the linear stage: P5 (3) to (5), fresh views P5 (10).

    steps : T; kappa : n0 SNR^2; samples : n0, even; unit : u; overlap : a; fresh : views drawn at every step.
    energy : at the first step, sum_r <w_r, v_1>^2 sigma_p^2 d / (n0 tau), in the linear stage;
    untouched : the same of all that descent does not change, 2 m sigma_0^2 d sigma_p^2 d / (n0 tau);
    pairs : the same of the n0 - 2 growing bulk modes, 2 m sigma_0^2 (n0 - 2) sigma_p^2 d / (n0 tau) if the
    first step is that of the initial filters. Their change since then counts in the alignment and in the
    ratio, and what they add to s_i+ in the softmax: P5 (12) and (13), the limit of many filters.
    """
    if fresh:
        top, side, lost = _fresh_start(kappa, samples, overlap, unit)
    else:
        first = linear_modes(kappa, samples, overlap)[0]
        top, lost = math.sqrt(first.own), 0.0
        side = math.sqrt(first.alignment / kappa) - top
    state = (math.sqrt(energy) * top, math.sqrt(energy) * side)
    lost *= energy  # of new views, in directions never seen again
    bulk = started = _bulk_start(pairs, samples, overlap, fresh)
    seen = 0.0 if fresh else 1.0  # of the second part of a state: views that come again
    rows = np.empty((steps + 1, 6))
    root = math.sqrt(kappa)
    for row in rows:
        one, two = state
        if fresh:
            anchor, view = root * one + two, root * one + overlap * two
            aligned, total = one**2, one**2 + two**2 + lost
        else:
            shared = kappa * (one + two)
            anchor, view = shared + one + overlap * two, shared + overlap * one + two
            aligned, total = kappa * (one + two) ** 2, one * anchor + two * view
        own, pair = bulk[0] + overlap * bulk[1], overlap * bulk[0] + seen * bulk[1]  # the bulk on z_i, z~_i
        told = own * pair
        total += _length(bulk[0] - started[0], bulk[1] - started[1], overlap)
        # The bulk is orthogonal to both classes: the negatives of the own one share -own^2.
        apart = own**2 / max(samples / 2 - 1, 1)
        loss, same, other = _weights(anchor**2, anchor * view, samples, told, apart)
        ratio = math.sqrt(aligned / (max(total - aligned, 0.0) + untouched))
        row[:] = loss, aligned / total, anchor**2, anchor * view, ratio, told
        on_anchor = unit * ((same + other) * view - 2 * (same - other) * anchor)
        on_view = unit * (same + other) * anchor
        gain, others = unit * (same + other), 2 * unit * same / max(samples / 2 - 1, 1)
        if fresh:
            lost += (1 - overlap**2) * on_view**2
            state = (one + root * (on_anchor + on_view), two + on_anchor + overlap * on_view)
            bulk = (bulk[0] + gain * (pair + overlap * own) + others * own, 0.0)
        else:
            state = (one + on_anchor, two + on_view)
            bulk = (bulk[0] + gain * pair + others * own, bulk[1] + gain * own)
    return Memorisation(*rows.T)


def _bulk_start(energy: float, samples: int, overlap: float, fresh: bool) -> tuple[float, float]:
    """The growing bulk mode on samples and views, P3 (4); with fresh views on samples alone."""
    if fresh or samples <= 2 or energy == 0:
        return math.sqrt(energy), 0.0
    mode = linear_modes(1.0, samples, overlap)[4]
    q = 1 - 1 / samples
    own = math.sqrt(energy * mode.own)
    return own, own * q / (mode.eigenvalue - q * overlap)


def _length(one: float, two: float, overlap: float) -> float:
    """Squared length of one xi + two xi~, over sigma_p^2 d."""
    return one**2 + two**2 + 2 * overlap * one * two


def collective_scale(
    kappa: float,
    samples: int,
    overlap: float = 0.0,
    *,
    filters: int,
    temperature: float = 1.0,
    share: float = 0.05,
) -> float:
    """The relative initial scale sigma_0 sigma_p sqrt(d) up to which two variables are enough, P5 (15).

    Largest scale at which, when the loss has fallen to half of log(n0/2) on fixed views in small steps, cos^2
    is no more than ``share`` short of what it is without the bulk. 0 where no scale is small enough: at
    a = 1, or where the scale is below 1e-100; at most 0.1, beyond which no stage begins linear.
    kappa : n0 SNR^2; samples : n0, at least 4; overlap : a; filters : m; temperature : tau.
    """
    from scipy.optimize import brentq

    if not samples >= 4:
        raise ValueError(f"samples is {samples}, expected at least 4: two have no negative of their label")
    unit = 0.1 / (2 * kappa + 1 + overlap)
    floor = math.log(samples / 2) / 2

    def excess(log_scale: float) -> float:
        energy = 2 * filters * math.exp(2 * log_scale) / (samples * temperature)
        law: dict[str, Any] = {"kappa": kappa, "unit": unit, "energy": energy, "overlap": overlap}
        steps = 100
        while steps < _LONGEST:
            with_bulk = collective_descent(steps, samples=samples, pairs=(samples - 2) * energy, **law)
            if with_bulk.loss[-1] <= floor:
                end = int(np.argmax(with_bulk.loss <= floor))
                two = collective_descent(end, samples=samples, **law)
                return share - 1 + float(with_bulk.alignment[end] / two.alignment[end])
            steps *= 2
        return math.nan

    high = math.log(0.1)
    low = high - 4.0
    while overlap < 1 and excess(low) < 0 and low > math.log(1e-100):
        high, low = low, low - 8.0
    if overlap >= 1 or not excess(low) > 0:
        return 0.0
    if excess(high) >= 0:
        return math.exp(high)
    return math.exp(brentq(excess, low, high, xtol=1e-3))


def _fresh_start(kappa: float, samples: int, overlap: float, unit: float) -> tuple[float, float, float]:
    """Unit top eigenvector of the mean of A on (mu / |mu|, sum_i y_i xi_i normalised), P5 (10); lost energy.

    With X = f . w, f = (sqrt(kappa), 1), and V = g . w, g = (sqrt(kappa), a), that mean is
    (1 - 1/n0) (f g^T + g f^T) + (2/n0) f f^T, in units of u.
    """
    root, rest = math.sqrt(kappa), 1 - 1 / samples
    first, second = 2 * kappa, 2 * rest * overlap + 2 / samples
    off = (rest * (1 + overlap) + 2 / samples) * root
    gap = math.hypot((first - second) / 2, off) + (first - second) / 2
    length = math.hypot(gap, off)
    top, side = gap / length, off / length
    growth = unit * (second + gap)
    kick = (unit * rest * (root * top + side)) ** 2 * (1 - overlap**2)
    return top, side, kick / (growth * (2 + growth))


def _weights(
    similarity: float, positive: float, samples: int, told: float = 0.0, apart: float = 0.0
) -> tuple[float, float, float]:
    """Loss, and the softmax weight of all negatives of a row's own class and of the other: P5 (2).

    A row has the exponents s_i+ / tau = positive, s within the class (n0/2 - 1 times) and -s (n0/2 times);
    the bulk adds ``told`` to the first and takes ``apart`` from the second.
    """
    positive += told
    own = (samples / 2 - 1) * math.exp(min(similarity - apart - positive, 700.0))
    other = samples / 2 * math.exp(min(-similarity - positive, 700.0))
    return math.log1p(own + other), own / (1 + own + other), other / (1 + own + other)


@closed_form
def memorised_alignment(kappa: float, overlap: float = 0.0, *, fresh: bool = False) -> float:
    """cos^2(w, mu) that descent tends to, long after the linear stage: P5 (8), with fresh views P5 (11).

    fixed views: 2 kappa / (2 kappa + 1 + a) (1 + sqrt((1 - a) / (2 (1 + kappa)))) / 2,
    fresh views: (1 + 1 / sqrt(1 + kappa)) / 2.
    kappa : n0 SNR^2; overlap : a < 1 (at a = 1 views do not differ from samples and cos^2 stays as it is).
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}, expected a number from 0 to below 1")
    if fresh:
        return (1 + 1 / math.sqrt(1 + kappa)) / 2
    return kappa / (2 * kappa + 1 + overlap) * (1 + math.sqrt((1 - overlap) / (2 * (1 + kappa))))
