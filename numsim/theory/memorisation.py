"""Beyond the linear stage: two variables that carry the whole descent, and where they lead (P5).

Balanced labels, d -> infinity, filters along the label mode. With fixed views a filter is
sum_i y_i (c_1 z_i + c_2 z~_i) up to a factor, which all samples see alike, as y_i X on z_i and y_i V on z~_i;
with fresh views it has a part along mu and one along sum_i y_i xi_i. One step of gradient descent is a map of
two numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .linearisation import linear_modes
from .powers import closed_form

__all__ = ["Memorisation", "collective_descent", "memorised_alignment"]

Floats = npt.NDArray[np.float64]


class Memorisation(NamedTuple):
    """A descent in two variables, arrays (T + 1,) over its steps.

    loss : InfoNCE; alignment : cos^2(w, mu), of w without the part never touched; similarity, positive :
    s_ii' / tau within a class and s_i+ / tau; ratio : <w, mu> / sd<w, xi_new> in units of |mu| / sigma_p.
    """

    loss: Floats
    alignment: Floats
    similarity: Floats
    positive: Floats
    ratio: Floats


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
) -> Memorisation:
    """Descent along the label mode, far beyond the linear stage: P5 (3) to (5), fresh views P5 (10).

    steps : T; kappa : n0 SNR^2; samples : n0, even; unit : u; overlap : a; fresh : views drawn at every step.
    energy : at the first step, sum_r <w_r, v_1>^2 sigma_p^2 d / (n0 tau), in the linear stage;
    untouched : the same of all that descent does not change, 2 m sigma_0^2 d sigma_p^2 d / (n0 tau).
    """
    if fresh:
        top, side, lost = _fresh_start(kappa, samples, overlap, unit)
    else:
        first = linear_modes(kappa, samples, overlap)[0]
        top, lost = math.sqrt(first.own), 0.0
        side = math.sqrt(first.alignment / kappa) - top
    state = (math.sqrt(energy) * top, math.sqrt(energy) * side)
    lost *= energy  # of new views, in directions never seen again
    rows = np.empty((steps + 1, 5))
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
        loss, same, other = _weights(anchor**2, anchor * view, samples)
        ratio = math.sqrt(aligned / (max(total - aligned, 0.0) + untouched))
        row[:] = loss, aligned / total, anchor**2, anchor * view, ratio
        on_anchor = unit * ((same + other) * view - 2 * (same - other) * anchor)
        on_view = unit * (same + other) * anchor
        if fresh:
            lost += (1 - overlap**2) * on_view**2
            state = (one + root * (on_anchor + on_view), two + on_anchor + overlap * on_view)
        else:
            state = (one + on_anchor, two + on_view)
    return Memorisation(*rows.T)


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


def _weights(similarity: float, positive: float, samples: int) -> tuple[float, float, float]:
    """Loss, and the softmax weight of all negatives of a row's own class and of the other: P5 (2).

    A row has the exponents s_i+ / tau = positive, s within the class (n0/2 - 1 times) and -s (n0/2 times).
    """
    own = (samples / 2 - 1) * math.exp(min(similarity - positive, 700.0))
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
