"""The supervised losses and their gradients from inner products, for every activation.

Shapes: M filters in all, n samples, P patches each, K dictionary entries.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel
from .descent import GO_ON, TARGET_LOSS
from .exponential import LARGEST, exp_in_place

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

RELU, POWER, LEAKY = 0, 1, 2


class Activation(NamedTuple):
    """sigma by number, in the order of ``network.ACTIVATIONS``.

    0: max(0, z)^power; 1: sign(z) |z|^power; 2: leaky, with ``slope`` below 0 and a quadratic up to
    ``width``.
    """

    kind: int
    power: float
    slope: float
    width: float


class SupervisedBuffers(NamedTuple):
    """Scratch of a supervised loss.

    slope : (M K,); output, pull : (K,); samples : (3, n).
    """

    slope: Floats
    output: Floats
    pull: Floats
    samples: Floats


class Logistic(NamedTuple):
    """What the logistic loss sees: labels (n,) of +-1, patches (n, P) indices into the dictionary.

    scale multiplies the sum over filters (output_scale / m).
    """

    labels: Floats
    patches: Integers
    activation: Activation
    scale: float
    buffers: SupervisedBuffers


class Squared(NamedTuple):
    """What the squared loss sees, as ``Logistic``."""

    labels: Floats
    patches: Integers
    activation: Activation
    scale: float
    buffers: SupervisedBuffers


@kernel
def whole_power(power: float) -> int:
    """The power, if it is whole and small, else 0: pow is ten times a product."""
    if power == math.floor(power) and power <= 16.0:
        return int(power)
    return 0


@kernel
def set_slopes(z: Floats, activation: Activation, slopes: Floats) -> None:
    """sigma'(z), without the factor ``power`` of powers, for which sigma(z) = slope z; flat arrays."""
    if activation.kind == LEAKY:
        steep = (1.0 - activation.slope) / activation.width
        for k in range(z.size):
            slopes[k] = activation.slope + steep * min(max(z[k], 0.0), activation.width)
            if math.isnan(z[k]):
                slopes[k] = np.nan
        return
    whole = whole_power(activation.power)
    odd = activation.kind == POWER
    if whole == 1:
        for k in range(z.size):
            slopes[k] = 1.0 if odd or z[k] > 0.0 else 0.0
    elif whole > 1:
        if odd:
            for k in range(z.size):
                slopes[k] = abs(z[k])
        else:
            for k in range(z.size):
                slopes[k] = z[k] if z[k] > 0.0 else 0.0
        for _ in range(whole - 2):
            for k in range(z.size):
                slopes[k] *= abs(z[k]) if odd else z[k]
    elif odd:
        for k in range(z.size):
            slopes[k] = abs(z[k]) ** (activation.power - 1.0)
    else:
        for k in range(z.size):
            slopes[k] = z[k] ** (activation.power - 1.0) if z[k] > 0.0 else 0.0


@kernel
def leaky(z: float, activation: Activation) -> float:
    """slope z for z <= 0, slope z + (1 - slope) z^2/(2 width) up to width, z - (1 - slope) width/2 beyond."""
    rest = 1.0 - activation.slope
    if z <= 0.0:
        return activation.slope * z
    if z <= activation.width:
        return activation.slope * z + rest * z * z / (2.0 * activation.width)
    return z - 0.5 * rest * activation.width


@kernel
def slope_factor(activation: Activation) -> float:
    """What ``set_slopes`` leaves out of sigma'."""
    return 1.0 if activation.kind == LEAKY else activation.power


@kernel
def _forward(
    inner: Floats, activation: Activation, patches: Integers, scale: float, buffers: SupervisedBuffers
) -> Floats:
    """Slopes (flat) and outputs f_i / scale, times scale: rows[0] of buffers.samples.

    inner (M, K): the first M/2 filters have sign j = +1. With D_k = sum_r j_r sigma(<w_r, v_k>),
    f_i = scale sum_p D_(patches[i, p]).
    """
    filters, entries = inner.shape
    samples, per_sample = patches.shape
    half = filters // 2
    output, pull = buffers.output, buffers.pull
    for k in range(entries):
        output[k] = 0.0
        pull[k] = 0.0
    slopes = buffers.slope[: filters * entries]
    set_slopes(inner.reshape(-1), activation, slopes)
    slope = slopes.reshape(filters, entries)
    if activation.kind == LEAKY:
        for r in range(filters):
            sign = 1.0 if r < half else -1.0
            for k in range(entries):
                output[k] += sign * leaky(inner[r, k], activation)
    else:
        for r in range(filters):
            sign = 1.0 if r < half else -1.0
            for k in range(entries):
                output[k] += sign * (slope[r, k] * inner[r, k])
    margins = buffers.samples[0]
    for i in range(samples):
        margin = 0.0
        for p in range(per_sample):
            margin += output[patches[i, p]]
        margins[i] = margin * scale
    return slope


@kernel
def _backward(
    slope: Floats, activation: Activation, scale: float, samples: int, pull: Floats, out: Floats
) -> None:
    """out_rk = (scale / n) j_r sigma'(<w_r, v_k>) pull_k."""
    filters, entries = slope.shape
    factor = slope_factor(activation) * scale / samples
    for r in range(filters):
        signed = factor if 2 * r < filters else -factor
        for k in range(entries):
            out[r, k] = signed * slope[r, k] * pull[k]


@kernel
def logistic(inner: Floats, task: Logistic, out: Floats) -> float:
    """Logistic loss; minus the gradient's coefficients on the dictionary go to ``out`` (M, K).

        out_rk = (scale / n) j_r sigma'(<w_r, v_k>) sum over (i, p) with patches[i, p] = k of y_i g_i,
    g_i = 1 / (1 + exp(y_i f_i)); sigma'(0) = 0 for powers, also at power 1.
    """
    buffers = task.buffers
    samples, per_sample = task.patches.shape
    slope = _forward(inner, task.activation, task.patches, task.scale, buffers)
    loss = 0.0
    # sum log(1 + e_i) = log1p(odds) with odds = prod (1 + e_i) - 1: one logarithm for hundreds of samples,
    # and small losses keep their relative precision.
    odds = 0.0
    margins, tails = buffers.samples[0], buffers.samples[1]
    for i in range(samples):
        margins[i] *= task.labels[i]
        tails[i] = -min(abs(margins[i]), LARGEST)
    exp_in_place(tails[:samples], buffers.samples[2])
    for i in range(samples):
        margin = margins[i]
        tail = tails[i] if abs(margin) <= LARGEST else math.exp(-abs(margin))  # beyond: no normal number
        loss += max(-margin, 0.0)
        odds += tail * (1.0 + odds)
        if odds > 1e200:
            loss += math.log1p(odds)
            odds = 0.0
        weight = task.labels[i] * ((tail if margin > 0.0 else 1.0) / (1.0 + tail))
        for p in range(per_sample):
            buffers.pull[task.patches[i, p]] += weight
        if math.isnan(margin):  # max(-nan, 0) may be 0
            loss = np.nan
    loss += math.log1p(odds)
    _backward(slope, task.activation, task.scale, samples, buffers.pull, out)
    return float(loss / samples)


@kernel
def squared(inner: Floats, task: Squared, out: Floats) -> float:
    """(1/2) mean (f_i - y_i)^2; minus the gradient's coefficients go to ``out``, as ``logistic``."""
    buffers = task.buffers
    samples, per_sample = task.patches.shape
    slope = _forward(inner, task.activation, task.patches, task.scale, buffers)
    loss = 0.0
    for i in range(samples):
        missing = task.labels[i] - buffers.samples[0, i]
        loss += missing * missing
        for p in range(per_sample):
            buffers.pull[task.patches[i, p]] += missing
    _backward(slope, task.activation, task.scale, samples, buffers.pull, out)
    return float(0.5 * loss / samples)


@kernel
def below_target(inner: Floats, task: Logistic, loss: float, target: float) -> int:
    """Whether a supervised stage has come to its end; target 0: never."""
    return TARGET_LOSS if target > 0.0 and loss <= target else GO_ON
