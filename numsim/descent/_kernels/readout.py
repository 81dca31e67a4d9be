"""Loss and error of a trained network over test samples, which are drawn and read in one call.

A tile of samples at a time, which stays in the caches: random words, normals made of them, the filters' inner
products with the noise, outputs, losses. Loops run along samples, where nothing is carried from one to the
next, and the compiler vectorises them; it does not vectorise calls of libm's log, sin and cos, which are
polynomials here.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel
from .exponential import LARGEST as LAST
from .exponential import exp_in_place

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

LANES = 64  # random generators side by side: fewer wait for their own last word
TILE = 128  # test samples at a time, a multiple of LANES
_PIECE = 2048  # normals at a time, a multiple of 2 LANES

LARGEST = 8.5  # no normal is larger than sqrt(2 * 52 ln 2) = 8.49: u below is at least 2^-52

_ONE = 0x3FF0000000000000  # bits of 1.0
_FRACTION = 0x000FFFFFFFFFFFFF
_ROOT_HALF = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)
_MAGIC = 0x4338000000000000  # bits of 1.5 * 2^52: an integer added to them is added to the number
_MAGIC_NUMBER = 6755399441055744.0
_ROOT_2 = 1.4142135623730951
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10


class Readout(NamedTuple):
    """Networks of M filters on their test samples: f = sum_r j_r scale sigma(<w_r, x> + bias_r) over patches.

    factor : (B, M, R), lower triangular, <w_r, xi> = (factor g)_r with g standard normal; bias, reach :
    (B, M), reach_r = <w_r, mu>; j = +1 for the first M/2 filters; power : q; flips : p.
    """

    factor: Floats
    bias: Floats
    reach: Floats
    scale: float
    power: float
    flips: float


@kernel
def fill_words(words: Words, state: Words) -> None:
    """Random words (N,), of LANES generators in turn; state (4, LANES) : a, b, c and the counter of each.

    Each generator is Doty-Humphrey's SFC64, bit for bit numpy.random.SFC64 with the same state.
    """
    a, b, c, counter = state[0], state[1], state[2], state[3]
    for start in range(0, words.size, a.size):
        out = words[start : start + a.size]
        for k in range(a.size):
            word = a[k] + b[k] + counter[k]
            counter[k] += np.uint64(1)
            a[k] = b[k] ^ (b[k] >> np.uint64(11))
            b[k] = c[k] + (c[k] << np.uint64(3))
            c[k] = ((c[k] << np.uint64(24)) | (c[k] >> np.uint64(40))) + word
            out[k] = word


@kernel
def _log_near_one(f: float) -> float:
    """log(1 + f) for sqrt(1/2) <= 1 + f <= sqrt(2), below one eps: fdlibm's series in s = f / (2 + f)."""
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373))
    odd = z * (
        0.6666666666666735 + w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586))
    )
    half = 0.5 * f * f
    return f - (half - s * (half + (even + odd)))


@kernel
def _sine(t: float) -> float:
    """sin(t) for |t| <= pi/4 (fdlibm)."""
    z = t * t
    high = 2.7557313707070068e-06 + z * (-2.5050760253406863e-08 + z * 1.58969099521155e-10)
    return t + t * z * (
        -0.16666666666666632 + z * (0.00833333333332249 + z * (-0.00019841269829857949 + z * high))
    )


@kernel
def _cosine(t: float) -> float:
    """cos(t) for |t| <= pi/4 (fdlibm)."""
    z = t * t
    high = -2.7557314351390663e-07 + z * (2.087572321298175e-09 + z * -1.1359647557788195e-11)
    return 1.0 - (
        0.5 * z
        - z * z * (0.0416666666666666 + z * (-0.001388888888887411 + z * (2.480158728947673e-05 + z * high)))
    )


@kernel
def normals_in_place(x: Floats, scratch: Floats) -> None:
    """Turn random words (an even number N, as the bits of x) into standard normals; scratch (>= N/2,).

    Box and Muller: R cos t and R sin t with R^2 = -2 log u. The upper 52 bits of one word are u in (0, 1],
    those of another t in [-pi/4, pi/4); of its low bits one exchanges sine and cosine and one is a sign,
    which turns t all around the circle.
    """
    half = x.size // 2
    u, v = x[:half], x[half:]
    radius, angle, bits = u.view(np.int64), v.view(np.int64), scratch.view(np.int64)
    for k in range(half):
        radius[k] = ((radius[k] >> 12) & _FRACTION) | _ONE
    for k in range(half):
        u[k] = 2.0 - u[k]
    for k in range(half):  # u = 2^e m with m from sqrt(1/2) to sqrt(2)
        exponent = (radius[k] - _ROOT_HALF) >> 52
        radius[k] -= exponent << 52
        bits[k] = exponent + _MAGIC
    for k in range(half):
        exponent = scratch[k] - _MAGIC_NUMBER
        log = exponent * _LN2_HIGH + (_log_near_one(u[k] - 1.0) + exponent * _LN2_LOW)
        u[k] = math.sqrt(-2.0 * log)
    for k in range(half):
        bits[k] = angle[k]
        angle[k] = ((angle[k] >> 12) & _FRACTION) | _ONE
    for k in range(half):
        t = (v[k] - 1.5) * (0.5 * math.pi)
        sine, cosine = _sine(t), _cosine(t)
        r = -u[k] if bits[k] & 2 else u[k]
        u[k] = r * (sine if bits[k] & 1 else cosine)
        v[k] = r * (cosine if bits[k] & 1 else sine)


@kernel
def _add_products(row: Floats, weights: Floats, vectors: Floats) -> None:
    """row (B,) += weights (R,) @ vectors (R, B), four at a time: less is loaded and stored."""
    count = weights.size
    for c in range(0, count - 3, 4):
        w0, w1, w2, w3 = weights[c], weights[c + 1], weights[c + 2], weights[c + 3]
        g0, g1, g2, g3 = vectors[c], vectors[c + 1], vectors[c + 2], vectors[c + 3]
        for b in range(row.size):
            row[b] += (w0 * g0[b] + w1 * g1[b]) + (w2 * g2[b] + w3 * g3[b])
    for c in range(count - count % 4, count):
        weight, g = weights[c], vectors[c]
        for b in range(row.size):
            row[b] += weight * g[b]


@kernel
def _activate(row: Floats, scratch: Floats, power: float) -> None:
    """max(0, x)^q in place; NaN stays NaN. A small whole q is multiplied out: pow is ten times a product."""
    for b in range(row.size):
        row[b] = 0.0 if row[b] <= 0.0 else row[b]
        scratch[b] = row[b]
    if power == math.floor(power) and power <= 16.0:
        for _ in range(int(power) - 1):
            for b in range(row.size):
                row[b] *= scratch[b]
    else:
        for b in range(row.size):
            row[b] = scratch[b] ** power


@kernel
def log1p_in_place(x: Floats) -> None:
    """Replace 0 <= x <= 3 by log(1 + x), to a few eps of itself also where x is tiny."""
    for k in range(x.size):
        total = 1.0 + x[k]
        lost = x[k] - (total - 1.0)
        halvings = (1.0 if total > _ROOT_2 else 0.0) + (1.0 if total > 2.0 * _ROOT_2 else 0.0)
        small = total * (1.0 if halvings == 0.0 else (0.5 if halvings == 1.0 else 0.25))
        x[k] = halvings * _LN2_HIGH + (_log_near_one(small - 1.0) + (halvings * _LN2_LOW + lost / total))


@kernel
def _add_losses(
    output: Floats, first: float, second: float, flips: float, scratch: Floats, sums: Floats
) -> None:
    """Add B samples to the sums of ``sample_sums``; scratch (4, at least B).

    f is first + output (B,) for the label +1 and second + output for -1.

    Both labels and the flip are averaged over: with margins v = y f, loss = mean_y l(v) + p v, since
    l(-v) = l(v) + v; clean error = mean_y [v < 0], half of the bracket for v = 0.
    """
    flipped = flips * (first - second) if flips > 0.0 else 0.0  # 0 times an infinite margin would be NaN
    count = output.size
    tails, bits, odds = scratch[:2].reshape(-1)[: 2 * count], scratch[2:].reshape(-1), scratch[2, :count]
    for b in range(count):
        tails[b] = -min(abs(first + output[b]), LAST)
        tails[count + b] = -min(abs(second + output[b]), LAST)
    exp_in_place(tails, bits)
    for b in range(count):  # l(v) = max(-v, 0) + log(1 + exp(-|v|)): of both labels one logarithm
        one = tails[b] if abs(first + output[b]) <= LAST else 0.0
        other = tails[count + b] if abs(second + output[b]) <= LAST else 0.0
        odds[b] = one + other + one * other
    log1p_in_place(odds)
    for b in range(count):
        positive, negative = first + output[b], -(second + output[b])
        left = odds[b]
        if left == 0.0:  # both are beyond: no normal numbers, but some
            left = math.exp(-abs(positive)) + math.exp(-abs(negative))
        loss = 0.5 * (max(-positive, 0.0) + max(-negative, 0.0) + left + flipped)
        wrong = 0.0
        for margin in (positive, negative):
            wrong += 0.0 if margin > 0.0 else (0.5 if margin < 0.0 else 0.25)
        if math.isnan(positive) or math.isnan(negative):  # max(-nan, 0) may be 0
            loss = wrong = np.nan
        if math.isnan(sums[4]):
            sums[4] = loss
        sums[0] += loss - sums[4]
        sums[1] += (loss - sums[4]) * (loss - sums[4])
        sums[2] += wrong
        sums[3] += wrong * wrong


@kernel
def _add_samples(
    readout: Readout, k: int, samples: int, state: Words, noise: Floats, scratch: Floats, sums: Floats
) -> None:
    """The sums (5,) of network k; noise (R, TILE), scratch."""
    factor, bias, reach = readout.factor[k], readout.bias[k], readout.reach[k]
    filters, rank = factor.shape
    row, output, spare = np.empty(TILE), np.empty(TILE), np.empty((4, TILE))
    flat = noise.reshape(-1)
    sums[4] = np.nan
    first, second = 0.0, 0.0  # the signal patch's part of f for the labels +1 and -1
    for r in range(filters):
        row[0], row[1] = bias[r] + reach[r], bias[r] - reach[r]
        _activate(row[:2], spare[0], readout.power)
        weight = readout.scale if 2 * r < filters else -readout.scale
        first += weight * row[0]
        second += weight * row[1]
    for start in range(0, samples, TILE):
        for begin in range(0, flat.size, _PIECE):
            piece = flat[begin : begin + _PIECE]
            fill_words(piece.view(np.uint64), state)
            normals_in_place(piece, scratch)
        output[:] = 0.0
        for r in range(filters):
            row[:] = bias[r]
            _add_products(row, factor[r, : min(r + 1, rank)], noise)
            _activate(row, spare[0], readout.power)
            weight = readout.scale if 2 * r < filters else -readout.scale
            for b in range(TILE):
                output[b] += weight * row[b]
        used = min(TILE, samples - start)
        _add_losses(output[:used], first, second, readout.flips, spare, sums)


@kernel
def sample_sums(readouts: Readout, samples: int, states: Words) -> Floats:
    """Sums (B, 5) over test samples: loss - origin, its square, clean error, its square; and the origin.

    The origin is the first sample's loss: equal losses have no variance, to the last bit. Errors are
    multiples of 1/4, whose sums are exact. states (B, 4, LANES) : of ``fill_words``.
    """
    count, _, rank = readouts.factor.shape
    sums = np.zeros((count, 5))
    noise, scratch = np.empty((rank, TILE)), np.empty(min(rank * TILE, _PIECE) // 2)
    for k in range(count):
        _add_samples(readouts, k, samples, states[k], noise, scratch, sums[k])
    return sums
