"""Sharpness-aware minimisation and patches of noise, for ReLU filters (A1).

A step is taken with the gradient at w + r g/|g|. There a filter that holds a sample's noise sees it weaker by

    delta = r sigma_p sqrt(d) / sqrt(m B (P - 1)),                                                         (1)

and where it saw it no stronger than that, it is silent and learns nothing of it. Source:
derivations/rules/a1_sharpness.md.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .inversion import sine_integral
from .powers import closed_form
from .relu import _rectified, memorised_margin

__all__ = ["patch_signal", "patch_test_error", "sam_share", "sam_shift", "signal_margin"]

Floats = npt.NDArray[np.float64]


@closed_form
def sam_shift(
    radius: float, *, noise_norm: float, filters: int, batch: int, patches: int = 2, copies: bool = False
) -> float:
    """How far the perturbation moves the activation of a filter on noise that it holds: A1 (3).

    delta = r sigma_p sqrt(d) / sqrt(m B (P - 1)), of the first steps, at equal pulls and half of all filters
    active; with P - 1 copies of one noise r sigma_p sqrt(d) / sqrt(m B).

    radius : r; noise_norm : sigma_p sqrt(d); filters : m; batch : B; patches : P, of which one is the signal;
    copies : whether the others are one draw, or independent.
    """
    return radius * noise_norm / math.sqrt(filters * batch * (1 if copies else _noises(patches)))


@closed_form
def sam_share(shift: float, init: float) -> float:
    """Share of the filters of a sample's label that learn its noise, Phi(-delta/nu): A1 (4); 1/2 without.

    shift : delta of ``sam_shift``; init : nu = sigma_0 sigma_p sqrt(d) > 0.
    """
    from scipy.special import ndtr

    return float(ndtr(-shift / init))


@closed_form
def patch_signal(signal: float, *, patches: int, copies: bool = False) -> float:
    """x of K1 (11) with P - 1 patches of noise, in the noise of one of them: A1 (7), (9).

    x / sqrt(P - 1) where they are independent, x / (P - 1)^2 where they are copies.
    signal : x of ``relu_signal``, that of P = 2; patches : P.
    """
    noises = _noises(patches)
    return signal / (noises**2 if copies else math.sqrt(noises))


@closed_form
def patch_test_error(
    signal: float,
    *,
    inverse: float,
    filters: int,
    patches: int = 2,
    copies: bool = False,
    flip_probability: float = 0.0,
    initial: float = 0.0,
) -> float:
    """Test error with P - 1 patches of noise and classes of one size: A1 (8).

    p + (1 - 2p) P(sum_k [phi(Z_k) - phi(Z'_k)] < -x), k over the independent patches of noise (copies: one),
    phi and the scatter of few filters as in K1 (12): ``relu_test_error`` at P = 2. By inversion of the
    characteristic function of the symmetric sum; to 1e-3 for beta from 1.2 on, below which half of all
    outputs are nearly 0, to 3e-3.

    signal : x of ``patch_signal``; inverse : beta; filters : m; patches : P; copies : whether the noise is
    one draw; flip_probability : p of test labels; initial : as for ``relu_test_error``, in the unit of x.
    """
    noises = 1 if copies else _noises(patches)
    if signal == 0:
        return 0.5
    times, transform = _transform(inverse - 1 + initial, filters)
    wrong = min(max(0.5 - float(sine_integral(signal, times, transform**noises)), 0.0), 1.0)
    return flip_probability + (1 - 2 * flip_probability) * wrong


@closed_form
def signal_margin(steps: float, *, rate: float, flipped: float) -> float:
    """Margin F of a class that the signal alone holds, after some steps from 0: A1 (10).

    dF/dt = h (1/(1 + e^F) - p), towards log((1 - p)/p):
        h t = (F - (1/p) log((1 - p - p e^F)/(1 - 2 p)))/(1 - p),  at p = 0 ``memorised_margin``.
    steps : t >= 0; rate : h = eta s^2 |mu|^2 n_j/(n m), n_j the samples of the class; flipped : p_j, the
    share of them whose label is flipped, below 1/2.
    """
    from scipy.optimize import brentq

    if not 0 <= flipped < 0.5:
        raise ValueError(f"flipped is {flipped!r}, expected a number from 0 to below 1/2")
    time, kept = rate * steps, 1 - flipped
    if not 0 <= time < math.inf:
        raise ValueError(f"rate times steps is {time!r}, expected a finite number >= 0")

    most = float(memorised_margin(steps, rate))
    if flipped == 0:
        return most

    def gone(margin: float) -> float:
        ahead = math.expm1(margin) / (1 - 2 * flipped)
        share = flipped * ahead  # of the way to the end
        if share >= 1:
            return math.inf
        slower = -math.log1p(-share) / share if share > 0 else 1.0
        return (margin + ahead * slower) / kept - time

    end = min(math.log(kept / flipped), most) * (1 - 1e-15)
    return end if gone(end) <= 0 else float(brentq(gone, 0.0, end, xtol=1e-12))


def _noises(patches: int) -> int:
    if patches < 2:
        raise ValueError(f"patches is {patches!r}, expected at least 2: one is the signal")
    return patches - 1


_TIMES = 1000


@lru_cache(maxsize=64)
def _transform(variance: float, filters: int) -> tuple[Floats, Floats]:
    """Nodes t and E exp(i t (phi(Z) - phi(Z') + scatter)), real as the law is symmetric."""
    z = np.linspace(-7.0, 7.0, 401)
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()
    mean, spread = _rectified(z, variance)
    times = np.geomspace(1e-4, 1e3, _TIMES)
    damped = np.exp(-np.multiply.outer(times**2, spread) / (2 * filters))
    phase = np.multiply.outer(times, mean)
    return times, ((np.cos(phase) * damped) @ weights) ** 2 + ((np.sin(phase) * damped) @ weights) ** 2
