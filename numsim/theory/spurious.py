"""Two signals of which one misleads: core features, spurious ones, and who is learned when (R1).

With an odd activation every signal of an orthogonal table is one race, and all share the pulls of the
clusters. A spurious signal that is learned first leaves the core one what is left of the pulls in balance,
2 p (1 - p) of them in place of 1/2. Source: derivations/supervised/r1_spurious.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .momentum import _checked
from .powers import closed_form, power
from .race import blow_up_time

__all__ = ["SpuriousTimes", "critical_core", "signal_race", "spurious_plateau", "spurious_times"]

Floats = npt.NDArray[np.float64]


class SpuriousTimes(NamedTuple):
    """Steps to the blow-up of the spurious and of the core signal; inf: never."""

    spurious: float
    core: float


def _shared(disagreement: float) -> None:
    if not 0 <= disagreement < 0.5:
        raise ValueError(f"disagreement is {disagreement!r}, expected a share from 0 to below 1/2")


def _first(start: float, spurious: float, disagreement: float, q: float, rate: float) -> float:
    """T_spur of R1 (3); rate : (q-2) eta q scale."""
    return blow_up_time(rate * power(spurious, q) * (1 - 2 * disagreement) / 2, start, q)


@closed_form
def spurious_times(
    *,
    core_start: float,
    spurious_start: float,
    core: float,
    spurious: float,
    disagreement: float,
    q: float,
    learning_rate: float,
    scale: float,
) -> SpuriousTimes:
    """When the spurious and the core signal blow up, to leading order: R1 (3), (6).

    k_s = eta q scale b^q (1 - 2p) / 2 until the first is learned; of the core eta q scale c^q times 1/2, and
    times 2 p (1 - p) after the spurious one is learned. If the core is learned first nothing pulls the
    spurious one any more (inf).

    core_start, spurious_start : a_0, the largest <u_r, v> of unit vectors v; core, spurious : strengths c, b;
    disagreement : p, the share on which the spurious signal has the wrong sign; q : > 2; learning_rate : eta,
    eta/(1 - beta) with a slow momentum; scale : s/m.
    """
    _checked(0.0, q)
    _shared(disagreement)
    rate = (q - 2) * learning_rate * q * scale
    first = _first(spurious_start, spurious, disagreement, q, rate)
    alone = blow_up_time(rate * power(core, q) / 2, core_start, q)
    if alone <= first:
        return SpuriousTimes(math.inf, alone)
    left = 4 * disagreement * (1 - disagreement)  # of the pull
    if left == 0 or math.isinf(alone):
        return SpuriousTimes(first, math.inf)
    return SpuriousTimes(first, first + (alone - first) / left)


@closed_form
def critical_core(
    steps: float,
    *,
    core_start: float,
    spurious_start: float,
    spurious: float,
    disagreement: float,
    q: float,
    learning_rate: float,
    scale: float,
) -> float:
    """Strength of the core signal above which it is learned in time, and the minority saved: R1 (7).

    c^q = 2 a_0^(2-q) / ((q-2) eta q scale (T_s + 4 p (1-p) (steps - T_s))), T_s the spurious blow-up, or all
    steps if that is later; inf for no step. core_start, spurious_start, spurious, disagreement, q,
    learning_rate, scale : as for ``spurious_times``.
    """
    _checked(0.0, q)
    _shared(disagreement)
    rate = (q - 2) * learning_rate * q * scale
    first = min(_first(spurious_start, spurious, disagreement, q, rate), steps)
    full = first + 4 * disagreement * (1 - disagreement) * (steps - first)
    if full == 0:
        return math.inf
    return power(blow_up_time(rate / 2, core_start, q) / full, 1 / q)


@closed_form
def spurious_plateau(disagreement: float) -> float:
    """Training loss between the two: the entropy -p log p - (1-p) log(1-p) of p, the disagreement: R1 (5)."""
    _shared(disagreement)
    p = disagreement
    return -(p * math.log(p) if p > 0 else 0.0) - (1 - p) * math.log1p(-p)


@closed_form
def signal_race(
    starts: npt.ArrayLike,
    *,
    coefficients: npt.ArrayLike,
    weights: npt.ArrayLike,
    q: float,
    learning_rate: float,
    scale: float,
    steps: int,
    momentum: float = 0.0,
) -> Floats:
    """Descents of the filters' activations on orthonormal signals, without noise: R1 (1).

    f_k = scale sum_s sgn(c_ks) |c_ks|^q sum_r sgn(a_rs) |a_rs|^q,  g_k = 1/(1 + e^(f_k)),
    v <- beta v + eta q scale |a_rs|^(q-1) sum_k w_k sgn(c_ks) |c_ks|^q g_k,  a_rs <- a_rs + v.

    starts : a_rs (..., S, K), K of the filters' <u_r, mu_s>; coefficients : c_ks (C, S), those of cluster k
    times its label; weights : w_k (C,), which add up to 1; q : > 2; learning_rate : eta; scale : s/m;
    momentum : beta; steps : how many.
    Returns the activations after the steps.
    """
    _checked(momentum, q)
    a = np.array(starts, np.float64)
    c = np.asarray(coefficients, np.float64)
    pulls = np.sign(c) * np.abs(c) ** q
    w = np.asarray(weights, np.float64)
    velocity = np.zeros_like(a)
    for _ in range(steps):
        size = np.abs(a)
        rise = size ** (q - 1)
        outputs = np.sum(rise * a, axis=-1)  # (..., S)
        g = w / (1 + np.exp(np.minimum(scale * (outputs @ pulls.T), _FITTED)))
        gain = learning_rate * q * scale * (g @ pulls)
        velocity = momentum * velocity + gain[..., None] * rise
        a = a + velocity
    return a


_FITTED = 700.0
