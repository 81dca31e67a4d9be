"""Exponentials of arrays, which the compiler vectorises.

It does not vectorise a loop over libm's exp, which would be 40 % of a pre-training step.
"""

import numpy as np
import numpy.typing as npt

from .._jit import kernel

Floats = npt.NDArray[np.float64]

LARGEST = 708.0  # exp(-708) is the last that is a normal number
TILE = 1024  # entries of a pass: tile and scratch (16 KiB) stay in the first-level cache

_ROUND = 6755399441055744.0
_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_NEAR_ZERO = 0.3465  # ln(2)/2, rounded down
_TINY = 0.0043


@kernel
def _exp_near_zero(r: float) -> float:
    """exp(r) for |r| <= ln(2)/2: Chebyshev fit of degree 11 (error below 1e-17).

    In Estrin's order, which leaves independent products.
    """
    r2 = r * r
    r4 = r2 * r2
    high = (2.5110049204818658e-08 * r + 2.763265472252779e-07) * r2 + (
        2.755724088722987e-06 * r + 2.4801485441561313e-05
    )
    middle = (0.00019841269890076403 * r + 0.0013888888952352863) * r2 + (
        0.008333333333319589 * r + 0.04166666666648795
    )
    low = (0.1666666666666668 * r + 0.5000000000000019) * r2 + (r + 1.0)
    return high * (r4 * r4) + middle * r4 + low


@kernel
def exp_in_place(x: Floats, bits: Floats) -> None:
    """Replace x (N,) by exp(x), all |x| <= 708; bits (>= N,) is scratch. Relative error below 3 eps.

    exp(x) = 2^k exp(r) with k = round(x / ln 2), |r| <= ln(2)/2: adding 1.5 * 2^52 rounds to an integer and
    leaves it in the low bits; ln 2 is split so that k * LN2_HIGH is exact (Cody and Waite).
    """
    raw = bits.view(np.int64)
    for k in range(x.size):
        value = x[k]
        shifted = value * _LOG2E + _ROUND
        bits[k] = shifted
        power = shifted - _ROUND
        x[k] = _exp_near_zero((value - power * _LN2_HIGH) - power * _LN2_LOW)
    result = x.view(np.int64)
    for k in range(x.size):
        result[k] += raw[k] << 52


@kernel
def exponentials(x: Floats, largest: float, bits: Floats) -> None:
    """Replace x (N,) by exp(x), all |x| <= largest <= 708, a tile at a time; bits (TILE,) is scratch.

    In the linear stage every k of ``exp_in_place`` is 0 and needs none of it, and through most of it Taylor's
    polynomial of degree 5 is exact: r^6/720 < 1e-17.
    """
    if largest <= _TINY:
        for k in range(x.size):
            r = x[k]
            r2 = r * r
            x[k] = (0.008333333333333333 * r + 0.041666666666666664) * (r2 * r2) + (
                (0.16666666666666666 * r + 0.5) * r2 + (r + 1.0)
            )
        return
    if largest <= _NEAR_ZERO:
        for k in range(x.size):
            x[k] = _exp_near_zero(x[k])
        return
    for start in range(0, x.size, TILE):
        exp_in_place(x[start : start + TILE], bits)
