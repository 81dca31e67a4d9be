"""Loss and error of a trained network over test samples, from its filters' inner products with the noise."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel

Floats = npt.NDArray[np.float64]


class Readout(NamedTuple):
    """How a network's output is read, for M filters and B samples.

    weights : (M,) j output_scale / m; bias : (M,); from_signal : (2,) the signal patch's part of f for the
    labels +1 and -1; power : q; flips : p; output : (B,) scratch.
    """

    weights: Floats
    bias: Floats
    from_signal: Floats
    power: float
    flips: float
    output: Floats


@kernel
def _activations(inner: Floats, readout: Readout) -> None:
    """sum_r weights_r max(0, inner_rb + bias_r)^q into readout.output; inner (M, B) is overwritten.

    Loops run along samples: a sum along filters would be a chain of additions.
    """
    filters, samples = inner.shape
    output = readout.output
    whole = 0  # a small whole q is multiplied out: pow is ten times a product
    if readout.power == math.floor(readout.power) and readout.power <= 16.0:
        whole = int(readout.power)
    for b in range(samples):
        output[b] = 0.0
    for r in range(filters):
        row, weight, bias = inner[r], readout.weights[r], readout.bias[r]
        for b in range(samples):
            value = row[b] + bias
            row[b] = 0.0 if value <= 0.0 else value  # NaN stays NaN
        if whole == 0:
            for b in range(samples):
                output[b] += weight * row[b] ** readout.power
        elif whole == 1:
            for b in range(samples):
                output[b] += weight * row[b]
        elif whole == 2:
            for b in range(samples):
                output[b] += weight * (row[b] * row[b])
        elif whole == 3:
            for b in range(samples):
                output[b] += weight * (row[b] * row[b] * row[b])
        else:
            for b in range(samples):
                value = row[b]
                for _ in range(whole - 1):
                    value *= row[b]
                output[b] += weight * value


@kernel
def add_test_samples(inner: Floats, readout: Readout, sums: Floats) -> None:
    """Add B samples' loss - origin, its square, clean error and its square to sums[:4] of sums (5,).

    The origin, sums[4], is the first sample's loss (NaN before it): equal losses have no variance, to the
    last bit. inner (M, B) = <w_r, xi_b> is overwritten. Both labels and the flip are averaged over: with
    margins v = y f, loss = mean_y l(v) + p v (since l(-v) = l(v) + v); clean error = mean_y [v < 0], half of
    the bracket for v = 0, whose sums are exact.
    """
    _activations(inner, readout)
    p = readout.flips
    for b in range(inner.shape[1]):
        loss, wrong = 0.0, 0.0
        for side in range(2):
            sign = 1.0 - 2.0 * side
            margin = sign * (readout.from_signal[side] + readout.output[b])
            loss += max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))
            if p > 0.0:  # 0 times an infinite margin would be NaN
                loss += p * margin
            wrong += 0.0 if margin > 0.0 else (1.0 if margin < 0.0 else 0.5)
            if math.isnan(margin):  # max(-nan, 0) may be 0
                loss, wrong = np.nan, np.nan
        loss *= 0.5
        wrong *= 0.5
        if math.isnan(sums[4]):
            sums[4] = loss
        sums[0] += loss - sums[4]
        sums[1] += (loss - sums[4]) * (loss - sums[4])
        sums[2] += wrong
        sums[3] += wrong * wrong
