"""The supervised stage in Gram form: the logistic loss, its gradient, the whole loop in one call.

Shapes: M filters in all, n samples, K dictionary entries, B replicates.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel, multiply
from .descent import MAX_STEPS, NON_FINITE, PAUSED, TARGET_LOSS, Limits, Recorder, State, record
from .exponential import LARGEST, exp_in_place

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class LabelledTask(NamedTuple):
    """What the supervised loss sees: labels (n,) of +-1, patches (n, P) indices into the dictionary.

    power is q; scale multiplies the sum over filters (output_scale / m).
    """

    labels: Floats
    patches: Integers
    power: float
    scale: float


class SupervisedBuffers(NamedTuple):
    """Scratch of a supervised step.

    slope, increments : (M, K); output, pull : (K,); samples : (3, n).
    """

    slope: Floats
    increments: Floats
    output: Floats
    pull: Floats
    samples: Floats


@kernel
def _apply(state: State, rate: float, gram: Floats, increments: Floats) -> None:
    """One step: coefficients += rate increments, inner += rate increments @ gram."""
    coefficients, step = state.coefficients.reshape(-1), increments.reshape(-1)
    for k in range(step.size):  # flat: rows of a few entries would leave the vector units idle
        coefficients[k] += rate * step[k]
    multiply(rate, increments, gram, 1.0, state.inner)
    state.clock[0] += 1


@kernel
def logistic_increments(inner: Floats, task: LabelledTask, buffers: SupervisedBuffers) -> float:
    """Logistic loss; minus the gradient's coefficients on the dictionary go to buffers.increments.

    inner (M, K): the first M/2 filters have sign j = +1. With D_k = sum_r j_r sigma(<w_r, v_k>),
        f_i = scale sum_p D_(patches[i, p]),
        increment_rk = (scale / n) j_r sigma'(<w_r, v_k>) sum over (i, p) with patches[i, p] = k of y_i g_i,
    g_i = 1 / (1 + exp(y_i f_i)). sigma(z) = max(0, z)^q, with sigma'(0) = 0 also at q = 1.
    """
    slope, output, pull = buffers.slope, buffers.output, buffers.pull
    filters, entries = inner.shape
    samples, per_sample = task.patches.shape
    half = filters // 2
    whole = 0  # a small whole q is multiplied out: pow is ten times a product
    if task.power == math.floor(task.power) and task.power <= 16.0:
        whole = int(task.power)
    for k in range(entries):
        output[k] = 0.0
        pull[k] = 0.0
    z, flat = inner.reshape(-1), slope.reshape(-1)
    if whole == 1:
        for k in range(z.size):
            flat[k] = 1.0 if z[k] > 0.0 else 0.0
    elif whole > 1:
        for k in range(z.size):
            flat[k] = z[k] if z[k] > 0.0 else 0.0
        for _ in range(whole - 2):
            for k in range(z.size):
                flat[k] *= z[k]
    else:
        for k in range(z.size):
            flat[k] = z[k] ** (task.power - 1.0) if z[k] > 0.0 else 0.0
    for r in range(filters):
        sign = 1.0 if r < half else -1.0
        for k in range(entries):
            output[k] += sign * (slope[r, k] * inner[r, k])
    loss = 0.0
    # sum log(1 + e_i) = log1p(odds) with odds = prod (1 + e_i) - 1: one logarithm for hundreds of samples,
    # and small losses keep their relative precision.
    odds = 0.0
    margins, tails = buffers.samples[0], buffers.samples[1]
    for i in range(samples):
        margin = 0.0
        for p in range(per_sample):
            margin += output[task.patches[i, p]]
        margins[i] = margin * task.scale * task.labels[i]
        tails[i] = -min(abs(margins[i]), LARGEST)
    exp_in_place(tails, buffers.samples[2])
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
            pull[task.patches[i, p]] += weight
        if math.isnan(margin):  # max(-nan, 0) may be 0
            loss = np.nan
    loss += math.log1p(odds)
    factor = task.power * task.scale / samples
    for r in range(filters):
        signed = factor if r < half else -factor
        for k in range(entries):
            buffers.increments[r, k] = signed * slope[r, k] * pull[k]
    return float(loss / samples)


@kernel
def train(
    state: State,
    gram: Floats,
    task: LabelledTask,
    learning_rate: float,
    limits: Limits,
    recorder: Recorder,
    buffers: SupervisedBuffers,
) -> int:
    """Gradient descent on the logistic loss until a limit; gram (K, K). Returns a status code."""
    while True:
        loss = logistic_increments(state.inner, task, buffers)
        state.loss[0] = loss
        if not math.isfinite(loss):
            return NON_FINITE
        if state.clock[0] % recorder.cursor[1] == 0:
            record(recorder, state.clock[0], loss, state.coefficients)
        if limits.threshold > 0.0 and loss <= limits.threshold:
            return TARGET_LOSS
        if state.clock[0] >= limits.max_steps:
            return MAX_STEPS
        _apply(state, learning_rate, gram, buffers.increments)
        if state.clock[0] >= limits.pause and state.clock[0] < limits.max_steps:
            return PAUSED


class Replicates(NamedTuple):
    """B descents of one shape and what they end in, changed in place.

    inner, coefficients : (B, M, K), of the last iterate; steps, codes : (B,); losses : (B,).
    """

    inner: Floats
    coefficients: Floats
    steps: Integers
    losses: Floats
    codes: Integers


@kernel
def train_stack(
    replicates: Replicates,
    grams: Floats,
    tasks: LabelledTask,
    learning_rate: float,
    limits: Limits,
    recorder: Recorder,
    buffers: SupervisedBuffers,
) -> None:
    """``train`` for one replicate after the other; grams (B, K, K), labels (B, n), patches (B, n, P).

    Nothing is kept along the way: the recorder, of one row, is written over.
    """
    for b in range(grams.shape[0]):
        recorder.cursor[0], recorder.cursor[1] = 0, 1
        state = State(
            replicates.inner[b],
            replicates.coefficients[b],
            replicates.steps[b : b + 1],
            replicates.losses[b : b + 1],
        )
        task = LabelledTask(tasks.labels[b], tasks.patches[b], tasks.power, tasks.scale)
        replicates.codes[b] = train(state, grams[b], task, learning_rate, limits, recorder, buffers)
