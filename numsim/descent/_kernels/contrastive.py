"""The contrastive stage in Gram form: InfoNCE, its gradient, the whole loop in one call.

Shapes: M filters, n samples. S is symmetric: with one block of samples its upper triangle is computed in
panels, with more one triangle of blocks.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel, multiply
from .descent import LINEAR_END, MAX_STEPS, NON_FINITE, PAUSED, Limits, Recorder, State, add, record
from .exponential import exponentials

Floats = npt.NDArray[np.float64]

NO_SHIFT = 300.0  # exponents up to which exponentials and their ratios stay in range

MEANINGLESS = 2.0**52  # exponents from which on neighbouring floats are 1 apart: their ratios say nothing


class ContrastiveBuffers(NamedTuple):
    """Scratch of a pre-training step, allocated once; no array is n by n unless ``block`` is n.

    Samples come in blocks of ``block`` = b (the last may be smaller). If there is one, the upper triangle of
    S is in panels of ``panel`` rows.
    similarity : (b b,); anchor_rows : (n, M), P^T; rows : (5, n); bits : (1024,); ones : (b,); pull : (M, n);
    pull_rows : (n, M); increments : (M, 2n); increment_rows : (2n, M); sums : (b, M).
    bias : (0,), or (2n,) for samples far from the origin: b_i + b_i' is added to the exponent S_ii', and
    b_i + b_(n + i) to that of the i-th positive.
    """

    block: int
    panel: int
    anchor_rows: Floats
    similarity: Floats
    rows: Floats
    bits: Floats
    pull: Floats
    pull_rows: Floats
    increments: Floats
    increment_rows: Floats
    ones: Floats
    sums: Floats
    bias: Floats


@kernel
def _matrix(flat: Floats, rows: int, columns: int) -> Floats:
    """The first entries of flat scratch as a matrix."""
    return flat[: rows * columns].reshape(rows, columns)


@kernel
def set_exponents(inner: Floats, temperature: float, buffers: ContrastiveBuffers) -> float:
    """Prepare the exponents S = P^T P / temperature; returns a bound on all |S_ii'|, max_i S_ii.

    inner (M, 2n) = [P | P~]. Exponents of the positives go to rows[0], S_ii (plus 2 |b_i|) to rows[1].
    With one block, the upper triangle of S is left in its panels.
    """
    filters, n = buffers.pull.shape
    positive, square = buffers.rows[0], buffers.rows[1]
    for i in range(n):
        positive[i] = 0.0
    for r in range(filters):
        anchor, view = inner[r, :n], inner[r, n:]
        for i in range(n):
            positive[i] += anchor[i] * view[i]
    for i in range(n):
        positive[i] /= temperature
    if buffers.block < n:
        for i in range(n):
            square[i] = 0.0
            for r in range(filters):
                buffers.anchor_rows[i, r] = inner[r, i]
        for r in range(filters):
            anchor = inner[r, :n]
            for i in range(n):
                square[i] += anchor[i] * anchor[i]
        for i in range(n):
            square[i] /= temperature
    else:
        start, done = 0, 0
        while start < n:
            panel = _panel(buffers, start, done)
            end = start + panel.shape[0]
            multiply(1.0 / temperature, inner[:, start:end].T, inner[:, start:n], 0.0, panel)
            for a in range(panel.shape[0]):
                square[start + a] = panel[a, a]
            if buffers.bias.size > 0:
                _add_bias(panel, buffers.bias[start:end], buffers.bias[start:n])
            start, done = end, done + panel.size
    if buffers.bias.size > 0:
        for i in range(n):
            positive[i] += buffers.bias[i] + buffers.bias[n + i]
            square[i] += 2.0 * abs(buffers.bias[i])
    bound = 0.0
    for i in range(n):
        bound = max(bound, square[i])
    return bound


@kernel
def _add_bias(block: Floats, rows: Floats, columns: Floats) -> None:
    """block[a, b] += rows[a] + columns[b]."""
    for a in range(block.shape[0]):
        row, own = block[a], rows[a]
        for b in range(row.size):
            row[b] += own + columns[b]


@kernel
def _panel(buffers: ContrastiveBuffers, start: int, done: int) -> Floats:
    """Rows from ``start`` on of the upper triangle of S, with all columns from there on: (h, n - start).

    Panels lie one after the other, the earlier ones in the first ``done`` entries. The last is no sliver.
    """
    n = buffers.rows.shape[1]
    end = start + buffers.panel
    if n - end < buffers.panel // 2:
        end = n
    return _matrix(buffers.similarity[done:], end - start, n - start)


@kernel
def _anchors(inner: Floats, buffers: ContrastiveBuffers, i: int) -> Floats:
    """P of the i-th block of samples, (M, b_i)."""
    n = buffers.rows.shape[1]
    return inner[:, i * buffers.block : min((i + 1) * buffers.block, n)]


@kernel
def _similarity_block(
    inner: Floats, temperature: float, buffers: ContrastiveBuffers, i: int, j: int
) -> Floats:
    """The block (i, j) of the exponents S into scratch, (b_i, b_j)."""
    left, right = _anchors(inner, buffers, i), _anchors(inner, buffers, j)
    block = _matrix(buffers.similarity, left.shape[1], right.shape[1])
    multiply(1.0 / temperature, left.T, right, 0.0, block)
    if buffers.bias.size > 0:
        _add_bias(block, buffers.bias[i * buffers.block :], buffers.bias[j * buffers.block :])
    return block


@kernel
def largest_similarity(inner: Floats, temperature: float, buffers: ContrastiveBuffers) -> float:
    """max over i' != i of |S_ii'| (0 for one sample); needs ``set_exponents``."""
    n = buffers.rows.shape[1]
    largest = 0.0
    if buffers.block == n:
        start, done = 0, 0
        while start < n:
            panel = _panel(buffers, start, done)
            for a in range(panel.shape[0]):
                for b in range(a + 1, panel.shape[1]):
                    largest = max(largest, abs(panel[a, b]))
            start, done = start + panel.shape[0], done + panel.size
        return largest
    blocks = (n + buffers.block - 1) // buffers.block
    for i in range(blocks):
        for j in range(i, blocks):
            block = _similarity_block(inner, temperature, buffers, i, j)
            for a in range(block.shape[0]):
                for b in range(a + 1 if i == j else 0, block.shape[1]):
                    largest = max(largest, abs(block[a, b]))
    return largest


@kernel
def _exponential_block(
    inner: Floats, temperature: float, bound: float, buffers: ContrastiveBuffers, i: int, j: int
) -> Floats:
    """The block (i, j) of E = exp(S) with 0 on the diagonal; all |S| <= bound."""
    block = _similarity_block(inner, temperature, buffers, i, j)
    exponentials(block.reshape(-1), bound, buffers.bits)
    if i == j:
        for a in range(block.shape[0]):
            block[a, a] = 0.0
    return block


@kernel
def _totals_without_shift(
    inner: Floats, temperature: float, bound: float, buffers: ContrastiveBuffers
) -> float:
    """Row totals of the softmax while |S| <= bound <= 300 (exp stays in range); the losses' sum.

    rows : the positives' exponents in [0]; on return 1 - p_i+ in [1] and 1 / D_i in [2], D_i the row's total
    with its positive. E is symmetric: column sums are row sums, and additions down the columns are
    vectorised; what lies off the diagonal has both. One block's panels of S become those of E.
    """
    rows = buffers.rows
    n = rows.shape[1]
    negatives, inverse, positives = rows[1], rows[2], rows[3]
    for i in range(n):
        negatives[i] = 0.0
        positives[i] = rows[0, i]
    exponentials(positives, bound, buffers.bits)
    if buffers.block == n:
        start, done = 0, 0
        while start < n:
            panel = _panel(buffers, start, done)
            height = panel.shape[0]
            exponentials(panel.reshape(-1), bound, buffers.bits)
            for a in range(height):
                panel[a, a] = 0.0
            _add_columns(panel, negatives[start:])
            start, done = start + height, done + panel.size
            if start < n:
                sums = negatives[start - height : start]
                ones = buffers.ones[: n - start]
                multiply(1.0, panel[:, height:], ones.reshape(-1, 1), 1.0, sums.reshape(-1, 1))
    else:
        count = (n + buffers.block - 1) // buffers.block
        for i in range(count):
            for j in range(i, count):
                block = _exponential_block(inner, temperature, bound, buffers, i, j)
                _add_columns(block, negatives[j * buffers.block :])
                if i < j:
                    sums = negatives[i * buffers.block : i * buffers.block + block.shape[0]]
                    ones = buffers.ones[: block.shape[1]]
                    multiply(1.0, block, ones.reshape(-1, 1), 1.0, sums.reshape(-1, 1))
    # sum log(1 + x_i) = log1p(odds) with odds = prod (1 + x_i) - 1: one logarithm for many samples, and small
    # losses keep their relative precision.
    loss, odds = 0.0, 0.0
    for i in range(n):
        inverse[i] = 1.0 / (negatives[i] + positives[i])
    for i in range(n):
        ratio = negatives[i] / positives[i]
        if ratio > 1e100:
            loss += math.log1p(ratio)
        else:
            odds += ratio * (1.0 + odds)
        if odds > 1e100:
            loss += math.log1p(odds)
            odds = 0.0
    for i in range(n):
        negatives[i] *= inverse[i]
    return loss + math.log1p(odds)


@kernel
def _add_columns(block: Floats, sums: Floats) -> None:
    """sums[b] += sum_a block[a, b], four rows at a time: less is loaded and stored."""
    height = block.shape[0]
    for a in range(0, height - 3, 4):
        first, second, third, fourth = block[a], block[a + 1], block[a + 2], block[a + 3]
        for b in range(block.shape[1]):
            sums[b] += (first[b] + second[b]) + (third[b] + fourth[b])
    for a in range(height - height % 4, height):
        row = block[a]
        for b in range(row.size):
            sums[b] += row[b]


@kernel
def _totals_by_rows(inner: Floats, temperature: float, buffers: ContrastiveBuffers) -> float:
    """The same for exponents of any size: row i is shifted by its largest, left in rows[4].

    1 / D_i in rows[2] is that of the shifted row.
    """
    rows, size = buffers.rows, buffers.block
    n = rows.shape[1]
    negatives, inverse, top = rows[1], rows[2], rows[4]
    count = (n + size - 1) // size
    for i in range(n):
        top[i] = rows[0, i]
        negatives[i] = 0.0
    for i in range(count):
        for j in range(i, count):
            block = _similarity_block(inner, temperature, buffers, i, j)
            for a in range(i * size, i * size + block.shape[0]):
                for b in range(j * size, j * size + block.shape[1]):
                    if a != b:
                        top[a] = max(top[a], block[a - i * size, b - j * size])
                        top[b] = max(top[b], block[a - i * size, b - j * size])
    for i in range(count):
        for j in range(i, count):
            block = _similarity_block(inner, temperature, buffers, i, j)
            for a in range(i * size, i * size + block.shape[0]):
                for b in range(j * size, j * size + block.shape[1]):
                    s = block[a - i * size, b - j * size]
                    if a != b:
                        negatives[a] += math.exp(s - top[a])
                    if i != j:
                        negatives[b] += math.exp(s - top[b])
    loss = 0.0
    for i in range(n):
        behind = top[i] - rows[0, i]
        positive = math.exp(-behind)
        inverse[i] = 1.0 / (negatives[i] + positive)
        if behind < 600.0:
            loss += math.log1p(negatives[i] / positive)
        else:  # the positive's exponential is on its way to underflow
            loss += behind + math.log(negatives[i] + positive)
        negatives[i] *= inverse[i]
    return loss


@kernel
def _weight_block(
    inner: Floats, temperature: float, bound: float, buffers: ContrastiveBuffers, i: int, j: int
) -> Floats:
    """The block (i, j) of p + p^T, symmetric with 0 on its diagonal, from the rows' totals.

    S is computed anew: that costs what keeping n^2 / 2 exponentials and reading them back would.
    """
    rows = buffers.rows
    shifted = bound > NO_SHIFT
    first, second = i * buffers.block, j * buffers.block
    if shifted:
        block = _similarity_block(inner, temperature, buffers, i, j)
    else:
        block = _exponential_block(inner, temperature, bound, buffers, i, j)
    inverse, top = rows[2], rows[4]
    for a in range(block.shape[0]):
        row, own = block[a], inverse[first + a]
        if shifted:
            if i == j:
                row[a] = -np.inf  # whose exponential is 0
            for b in range(row.size):
                forth = own * math.exp(row[b] - top[first + a])
                back = inverse[second + b] * math.exp(row[b] - top[second + b])
                row[b] = forth + back
        else:
            others = inverse[second : second + row.size]
            for b in range(row.size):
                row[b] *= own + others[b]
    return block


@kernel
def _pulls(inner: Floats, temperature: float, bound: float, buffers: ContrastiveBuffers) -> None:
    """P (p + p^T) into buffers.pull (M, n), one triangle of blocks: each pulls on both its sides."""
    filters, n = buffers.pull.shape
    size = buffers.block
    count = (n + size - 1) // size
    buffers.pull[:] = 0.0
    buffers.pull_rows[:] = 0.0
    for i in range(count):
        for j in range(i, count):
            block = _weight_block(inner, temperature, bound, buffers, i, j)
            rows, columns = block.shape
            pulled = buffers.pull[:, j * size : j * size + columns]
            multiply(1.0, _anchors(inner, buffers, i), block, 1.0, pulled)
            if i < j:
                others = buffers.anchor_rows[j * size : j * size + columns]
                multiply(1.0, block, others, 1.0, buffers.pull_rows[i * size : i * size + rows])
    if count > 1:
        for i in range(n):
            for r in range(filters):
                buffers.pull[r, i] += buffers.pull_rows[i, r]


@kernel
def _add_panel_pulls(inner: Floats, rate: float, buffers: ContrastiveBuffers) -> None:
    """The first n increments += rate P (p + p^T), from the panels of E: each pulls on both its sides."""
    n = buffers.rows.shape[1]
    inverse, pulled = buffers.rows[2], buffers.increments[:, :n]
    start, done = 0, 0
    while start < n:
        panel = _panel(buffers, start, done)
        end = start + panel.shape[0]
        others = inverse[start:]
        for a in range(panel.shape[0]):
            row, own = panel[a], inverse[start + a]
            for b in range(row.size):
                row[b] *= own + others[b]
        multiply(rate, inner[:, start:end], panel, 1.0, pulled[:, start:])
        if end < n:
            multiply(rate, inner[:, end:n], panel[:, end - start :].T, 1.0, pulled[:, start:end])
        start, done = end, done + panel.size


@kernel
def info_nce_increments(inner: Floats, temperature: float, rate: float, buffers: ContrastiveBuffers) -> float:
    """InfoNCE loss; rate n tau times the gradient's coefficients on z and z~ go to buffers.increments.

    inner (M, 2n) = [P | P~] with P = <w_r, z_i> and P~ = <w_r, z~_i>; needs ``set_exponents`` first.
        on z_i   sum_i' (p_ii' + p_i'i) P_ri' + (p_i+ - 1) P~_ri
        on z~_i  (p_i+ - 1) P_ri.
    1 - p_i+ is the negatives' share, not a difference, and the loss of a row is log1p(negatives / positive):
    both keep their relative precision when the positive dominates.
    """
    rows, increments = buffers.rows, buffers.increments
    filters, n = buffers.pull.shape
    bound = 0.0
    for i in range(n):
        bound = max(bound, max(rows[1, i], abs(rows[0, i])))
    if bound <= NO_SHIFT:
        loss = _totals_without_shift(inner, temperature, bound, buffers)
    else:
        loss = _totals_by_rows(inner, temperature, buffers)
    rest = rows[1]
    for i in range(n):
        rest[i] *= rate
    for r in range(filters):
        on_z, on_view, anchor, view = increments[r, :n], increments[r, n:], inner[r, :n], inner[r, n:]
        for i in range(n):
            on_z[i] = -(rest[i] * view[i])
        for i in range(n):
            on_view[i] = -(rest[i] * anchor[i])
    if bound <= NO_SHIFT and buffers.block == n:
        _add_panel_pulls(inner, rate, buffers)
    else:
        _pulls(inner, temperature, bound, buffers)
        for r in range(filters):
            pull, on_z = buffers.pull[r], increments[r, :n]
            for i in range(n):
                on_z[i] += rate * pull[i]
    return float(loss / n)


@kernel
def _multiply_blocks(inner: Floats, gram: Floats, buffers: ContrastiveBuffers) -> None:
    """inner += increments @ Gram matrix, of which one triangle of blocks is kept.

    gram : the blocks (a, b), a <= b, one after the other. z and z~ have ``count`` blocks each. A block of
    the size chosen stays in the second-level cache while it acts on both its sides.
    """
    increments, increment_rows = buffers.increments, buffers.increment_rows
    filters, n = buffers.pull.shape
    for k in range(2 * n):
        for r in range(filters):
            increment_rows[k, r] = increments[r, k]
    size = buffers.block
    count = (n + size - 1) // size
    done = 0
    for a in range(2 * count):
        start = a * size if a < count else n + (a - count) * size
        rows = min(size, (n if a < count else 2 * n) - start)
        sums = buffers.sums[:rows]
        sums[:] = 0.0
        left = increments[:, start : start + rows]
        for b in range(a, 2 * count):
            begin = b * size if b < count else n + (b - count) * size
            columns = min(size, (n if b < count else 2 * n) - begin)
            block = _matrix(gram[done:], rows, columns)
            done += rows * columns
            multiply(1.0, left, block, 1.0, inner[:, begin : begin + columns])
            if a < b:
                multiply(1.0, block, increment_rows[begin : begin + columns], 1.0, sums)
        for k in range(rows):
            for r in range(filters):
                inner[r, start + k] += sums[k, r]


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
    """Gradient descent on InfoNCE until a limit. Returns a status code.

    gram : the Gram matrix (2n, 2n) of [z; z~] flat, whole or one triangle of its blocks.
    """
    increments = buffers.increments
    entries = increments.shape[1]
    rate = learning_rate / (entries // 2 * temperature)
    ceiling = limits.threshold
    while True:
        bound = set_exponents(state.inner, temperature, buffers)
        # The bound by the diagonal is cheap and spares the pass over S until the end is near.
        ended = (
            ceiling > 0.0
            and bound > ceiling
            and largest_similarity(state.inner, temperature, buffers) > ceiling
        )
        loss = info_nce_increments(state.inner, temperature, -rate, buffers)
        state.loss[0] = loss
        if not (loss < MEANINGLESS and bound < MEANINGLESS):  # NaN is not below either
            return NON_FINITE
        if state.clock[0] % recorder.cursor[1] == 0:
            record(recorder, state.clock[0], loss, state.coefficients)
        if ended:
            return LINEAR_END
        if state.clock[0] >= limits.max_steps:
            return MAX_STEPS
        add(increments, state.coefficients)
        state.clock[0] += 1
        if gram.size == entries * entries:
            multiply(1.0, increments, _matrix(gram, entries, entries), 1.0, state.inner)
        else:
            _multiply_blocks(state.inner, gram, buffers)
        if state.clock[0] >= limits.pause and state.clock[0] < limits.max_steps:
            return PAUSED
