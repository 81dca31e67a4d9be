"""Gradient descent in Gram form: the InfoNCE and the logistic stage, whole loops in one call.

The state of a filter is its inner products with a dictionary of vectors and its coefficients on
them. One step is: activations from the inner products, coefficient increments, and
``inner += increments @ gram``. No array of the ambient dimension exists.

Shapes: M filters in all, n samples, K dictionary entries, R record rows.
Both loops live here with all they call, because Numba's cache does not follow calls across files.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PAUSED, LINEAR_END, TARGET_LOSS, MAX_STEPS, NON_FINITE = -1, 0, 1, 2, 3

_ROUND = 6755399441055744.0
_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_NEAR_ZERO = 0.3465  # ln(2)/2, rounded down
TILE = 1024  # entries of an exponential pass: tile and scratch (16 KiB) stay in the first-level cache


class Recorder(NamedTuple):
    """Buffers for the states along the way, evenly spaced whatever the number of steps turns out to be.

    States : (R, M, K) coefficients; losses : (R,); steps : (R,); cursor : (2,) rows used and stride.
    When all R rows are used, every other one is dropped and the stride doubles.
    """

    states: Floats
    losses: Floats
    steps: Integers
    cursor: Integers


class State(NamedTuple):
    """What a stage carries from step to step, changed in place.

    inner : (M, K) <w_r, v_k>; coefficients : (M, K) of w_r - w_r^0 on v_k; clock : (1,) steps taken;
    loss : (1,) of the present iterate.
    """

    inner: Floats
    coefficients: Floats
    clock: Integers
    loss: Floats


class Limits(NamedTuple):
    """When to stop: after ``max_steps``, or once the monitored value passes ``threshold`` (0: never).

    The value is max |s_ii'| / temperature in pre-training (stop above), the loss in training (stop at or
    below). ``pause`` is the step at which the loop returns to its caller, for progress and Ctrl-C.
    """

    max_steps: int
    threshold: float
    pause: int


class ContrastiveBuffers(NamedTuple):
    """Scratch of a pre-training step, allocated once.

    anchor, pull : (M, n); similarity : (n, n); rows : (4, n); bits : (1024,); increments, product : (M, 2n).
    """

    anchor: Floats
    pull: Floats
    similarity: Floats
    rows: Floats
    bits: Floats
    increments: Floats
    product: Floats


class LabelledTask(NamedTuple):
    """What the supervised loss sees: labels (n,) of +-1, patches (n, P) indices into the dictionary.

    power is q; scale multiplies the sum over filters (output_scale / m).
    """

    labels: Floats
    patches: Integers
    power: float
    scale: float


class SupervisedBuffers(NamedTuple):
    """Scratch of a supervised step: slope, increments, product (M, K); output, pull (K,)."""

    slope: Floats
    increments: Floats
    product: Floats
    output: Floats
    pull: Floats


@kernel
def _copy(source: Floats, target: Floats) -> None:
    """Flat, so that the compiler sees one long loop."""
    a, b = source.reshape(-1), target.reshape(-1)
    for k in range(a.size):
        b[k] = a[k]


@kernel
def record(recorder: Recorder, step: int, loss: float, coefficients: Floats) -> None:
    """Keep (step, loss, coefficients), which is due (step is a multiple of the stride)."""
    rows = recorder.steps.shape[0]
    if recorder.cursor[0] == rows:
        kept = (rows + 1) // 2
        for row in range(1, kept):
            _copy(recorder.states[2 * row], recorder.states[row])
            recorder.losses[row] = recorder.losses[2 * row]
            recorder.steps[row] = recorder.steps[2 * row]
        recorder.cursor[0] = kept
        recorder.cursor[1] *= 2
        if step % recorder.cursor[1] != 0:
            return
    row = recorder.cursor[0]
    _copy(coefficients, recorder.states[row])
    recorder.losses[row] = loss
    recorder.steps[row] = step
    recorder.cursor[0] += 1


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
def exp_in_place(x: Floats, scale: float, largest: float, bits: Floats) -> None:
    """Replace x (N,) by exp(scale x), all |scale x| <= largest <= 700; bits (>= N,) is scratch.

    The compiler does not vectorise a loop over libm's exp, which then is 40 % of a pre-training step;
    it does vectorise this one. exp(x) = 2^k exp(r) with k = round(x / ln 2), |r| <= ln(2)/2: adding
    1.5 * 2^52 rounds to an integer and leaves it in the low bits; ln 2 is split so that k * LN2_HIGH is
    exact (Cody and Waite). In the linear stage every k is 0 and needs none of this. Relative error below
    3 eps.
    """
    if largest <= _NEAR_ZERO:
        for k in range(x.size):
            x[k] = _exp_near_zero(x[k] * scale)
        return
    raw = bits.view(np.int64)
    for k in range(x.size):
        value = x[k] * scale
        shifted = value * _LOG2E + _ROUND
        bits[k] = shifted
        power = shifted - _ROUND
        x[k] = _exp_near_zero((value - power * _LN2_HIGH) - power * _LN2_LOW)
    result = x.view(np.int64)
    for k in range(x.size):
        result[k] += raw[k] << 52


@kernel
def _softmax_without_shift(
    similarity: Floats, temperature: float, bound: float, rows: Floats, bits: Floats
) -> None:
    """Turn S (n, n) into p + p^T, while all |s| <= bound <= 300 temperature: exp stays in range.

    E = exp(S / temperature) is symmetric, hence p_ij + p_ji = E_ij (1/D_i + 1/D_j) with the row totals
    D, and column sums are row sums (additions down the columns are vectorised).
    rows : positives s_i+ in [0]; on return 1 - p_i+ in [1] and the loss of the row in [2].
    """
    n = similarity.shape[0]
    negatives, positives, inverse = rows[1], rows[2], rows[3]
    flat = similarity.reshape(n * n)
    for start in range(0, n * n, TILE):
        exp_in_place(flat[start : start + TILE], 1.0 / temperature, bound / temperature, bits)
    for i in range(n):
        negatives[i] = 0.0
        similarity[i, i] = 0.0
    for i in range(n):
        row = similarity[i]
        for j in range(n):
            negatives[j] += row[j]
    for i in range(n):
        positives[i] = math.exp(rows[0, i] / temperature)
        inverse[i] = 1.0 / (negatives[i] + positives[i])
    for i in range(n):
        row = similarity[i]
        for j in range(n):
            row[j] *= inverse[i] + inverse[j]
    for i in range(n):
        rows[2, i] = math.log1p(negatives[i] / positives[i])
        rows[1, i] = negatives[i] * inverse[i]


@kernel
def _softmax_by_rows(similarity: Floats, temperature: float, rows: Floats) -> None:
    """The same for similarities of any size: every row is shifted by its largest exponent."""
    n = similarity.shape[0]
    for i in range(n):
        top = rows[0, i]
        for j in range(n):
            if j != i:
                top = max(top, similarity[i, j])
        positive = math.exp((rows[0, i] - top) / temperature)
        negatives = 0.0
        for j in range(n):
            share = math.exp((similarity[i, j] - top) / temperature) if j != i else 0.0
            similarity[i, j] = share
            negatives += share
        for j in range(n):
            similarity[i, j] /= negatives + positive
        behind = (top - rows[0, i]) / temperature
        rows[1, i] = negatives / (negatives + positive)
        if behind < 600.0:
            rows[2, i] = math.log1p(negatives / positive)
        else:  # the positive's exponential is on its way to underflow
            rows[2, i] = behind + math.log(negatives + positive)
    for i in range(n):
        for j in range(i):
            both = similarity[i, j] + similarity[j, i]
            similarity[i, j] = both
            similarity[j, i] = both


@kernel
def similarities(inner: Floats, buffers: ContrastiveBuffers) -> float:
    """S = P^T P into buffers.similarity, s_i+ into rows[0]; returns max_i s_ii, which bounds all |s_ii'|."""
    anchor, positive = buffers.anchor, buffers.rows[0]
    filters, n = anchor.shape
    anchor[:] = inner[:, :n]
    np.dot(anchor.T, anchor, buffers.similarity)
    for i in range(n):
        positive[i] = 0.0
    bound = 0.0
    for r in range(filters):
        for i in range(n):
            positive[i] += anchor[r, i] * inner[r, n + i]
    for i in range(n):
        bound = max(bound, buffers.similarity[i, i])
    return bound


@kernel
def largest_similarity(similarity: Floats) -> float:
    """max over i' != i of |s_ii'| (0 for one sample)."""
    n = similarity.shape[0]
    largest = 0.0
    for i in range(n):
        for j in range(i):
            largest = max(largest, abs(similarity[i, j]))
    return largest


@kernel
def info_nce_increments(inner: Floats, temperature: float, buffers: ContrastiveBuffers) -> float:
    """InfoNCE loss; n tau times the gradient's coefficients on z and z~ go to buffers.increments.

    inner (M, 2n) = [P | P~] with P = <w_r, z_i> and P~ = <w_r, z~_i>; needs ``similarities`` first.
        on z_i   sum_i' (p_ii' + p_i'i) P_ri' + (p_i+ - 1) P~_ri
        on z~_i  (p_i+ - 1) P_ri.
    1 - p_i+ is the negatives' share, not a difference, and the loss of a row is log1p(negatives / positive):
    both keep their relative precision when the positive dominates.
    """
    anchor, rows, increments = buffers.anchor, buffers.rows, buffers.increments
    filters, n = anchor.shape
    bound = 0.0
    for i in range(n):
        bound = max(bound, max(buffers.similarity[i, i], abs(rows[0, i])))
    if bound <= 300.0 * temperature:
        _softmax_without_shift(buffers.similarity, temperature, bound, rows, buffers.bits)
    else:
        _softmax_by_rows(buffers.similarity, temperature, rows)
    loss: float = 0.0
    for i in range(n):
        loss += rows[2, i]
    np.dot(anchor, buffers.similarity, buffers.pull)
    rest = rows[1]
    for r in range(filters):
        for i in range(n):
            increments[r, i] = buffers.pull[r, i] - rest[i] * inner[r, n + i]
            increments[r, n + i] = -(rest[i] * anchor[r, i])
    return float(loss / n)


@kernel
def _apply(state: State, rate: float, gram: Floats, increments: Floats, product: Floats) -> None:
    """One step: coefficients += rate increments, inner += rate increments @ gram."""
    coefficients, inner = state.coefficients.reshape(-1), state.inner.reshape(-1)
    step, change = increments.reshape(-1), product.reshape(-1)
    for k in range(step.size):  # flat: rows of a few entries would leave the vector units idle
        step[k] *= rate
        coefficients[k] += step[k]
    np.dot(increments, gram, product)
    for k in range(change.size):
        inner[k] += change[k]
    state.clock[0] += 1


@kernel
def pretrain(
    state: State,
    gram: Floats,
    temperature: float,
    learning_rate: float,
    limits: Limits,
    recorder: Recorder,
    buffers: ContrastiveBuffers,
) -> int:
    """Gradient descent on InfoNCE until a limit; gram (2n, 2n) of [z; z~]. Returns a status code."""
    increments, product = buffers.increments, buffers.product
    rate = learning_rate / (increments.shape[1] // 2 * temperature)
    ceiling = limits.threshold * temperature
    while True:
        bound = similarities(state.inner, buffers)
        # The bound by the diagonal is cheap and spares the pass over S until the end is near.
        ended = ceiling > 0.0 and bound > ceiling and largest_similarity(buffers.similarity) > ceiling
        loss = info_nce_increments(state.inner, temperature, buffers)
        state.loss[0] = loss
        if not (math.isfinite(loss) and math.isfinite(bound)):
            return NON_FINITE
        if state.clock[0] % recorder.cursor[1] == 0:
            record(recorder, state.clock[0], loss, state.coefficients)
        if ended:
            return LINEAR_END
        if state.clock[0] >= limits.max_steps:
            return MAX_STEPS
        _apply(state, -rate, gram, increments, product)
        if state.clock[0] >= limits.pause and state.clock[0] < limits.max_steps:
            return PAUSED


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
    for i in range(samples):
        margin = 0.0
        for p in range(per_sample):
            margin += output[task.patches[i, p]]
        margin *= task.scale * task.labels[i]
        tail = math.exp(-abs(margin))
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
    increments, product = buffers.increments, buffers.product
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
        _apply(state, learning_rate, gram, increments, product)
        if state.clock[0] >= limits.pause and state.clock[0] < limits.max_steps:
            return PAUSED
