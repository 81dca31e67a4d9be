"""InfoNCE and its gradient from inner products: the softmax's totals, then what every sample pulls.

Shapes: M filters, n samples.
"""

import math

import numpy as np
import numpy.typing as npt

from .._jit import kernel, multiply
from .exponential import exponentials
from .similarity import NO_SHIFT, ContrastiveBuffers, anchors_of, panel_of, similarity_block

__all__ = ["info_nce_increments"]

Floats = npt.NDArray[np.float64]


@kernel
def _exponential_block(
    inner: Floats, temperature: float, bound: float, buffers: ContrastiveBuffers, i: int, j: int
) -> Floats:
    """The block (i, j) of E = exp(S) with 0 on the diagonal; all |S| <= bound."""
    block = similarity_block(inner, temperature, buffers, i, j)
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
            panel = panel_of(buffers, start, done)
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
            block = similarity_block(inner, temperature, buffers, i, j)
            for a in range(i * size, i * size + block.shape[0]):
                for b in range(j * size, j * size + block.shape[1]):
                    if a != b:
                        top[a] = max(top[a], block[a - i * size, b - j * size])
                        top[b] = max(top[b], block[a - i * size, b - j * size])
    for i in range(count):
        for j in range(i, count):
            block = similarity_block(inner, temperature, buffers, i, j)
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
        block = similarity_block(inner, temperature, buffers, i, j)
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
            multiply(1.0, anchors_of(inner, buffers, i), block, 1.0, pulled)
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
        panel = panel_of(buffers, start, done)
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
