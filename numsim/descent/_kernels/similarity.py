"""Scratch of a pre-training step, and the exponents S in panels or blocks.

Shapes: M filters, n samples. S is symmetric: with one block of samples its upper triangle is computed in
panels, with more one triangle of blocks.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel, multiply

__all__ = ["MEANINGLESS", "NO_SHIFT", "ContrastiveBuffers", "largest_similarity", "set_exponents"]

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
def as_matrix(flat: Floats, rows: int, columns: int) -> Floats:
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
            panel = panel_of(buffers, start, done)
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
def panel_of(buffers: ContrastiveBuffers, start: int, done: int) -> Floats:
    """Rows from ``start`` on of the upper triangle of S, with all columns from there on: (h, n - start).

    Panels lie one after the other, the earlier ones in the first ``done`` entries. The last is no sliver.
    """
    n = buffers.rows.shape[1]
    end = start + buffers.panel
    if n - end < buffers.panel // 2:
        end = n
    return as_matrix(buffers.similarity[done:], end - start, n - start)


@kernel
def anchors_of(inner: Floats, buffers: ContrastiveBuffers, i: int) -> Floats:
    """P of the i-th block of samples, (M, b_i)."""
    n = buffers.rows.shape[1]
    return inner[:, i * buffers.block : min((i + 1) * buffers.block, n)]


@kernel
def similarity_block(
    inner: Floats, temperature: float, buffers: ContrastiveBuffers, i: int, j: int
) -> Floats:
    """The block (i, j) of the exponents S into scratch, (b_i, b_j)."""
    left, right = anchors_of(inner, buffers, i), anchors_of(inner, buffers, j)
    block = as_matrix(buffers.similarity, left.shape[1], right.shape[1])
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
            panel = panel_of(buffers, start, done)
            for a in range(panel.shape[0]):
                for b in range(a + 1, panel.shape[1]):
                    largest = max(largest, abs(panel[a, b]))
            start, done = start + panel.shape[0], done + panel.size
        return largest
    blocks = (n + buffers.block - 1) // buffers.block
    for i in range(blocks):
        for j in range(i, blocks):
            block = similarity_block(inner, temperature, buffers, i, j)
            for a in range(block.shape[0]):
                for b in range(a + 1 if i == j else 0, block.shape[1]):
                    largest = max(largest, abs(block[a, b]))
    return largest
