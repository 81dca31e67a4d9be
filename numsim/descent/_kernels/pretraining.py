"""The whole pre-training in one call. Shapes: M filters, n samples."""

import numpy as np
import numpy.typing as npt

from .._jit import kernel, multiply
from .descent import LINEAR_END, MAX_STEPS, NON_FINITE, PAUSED, Limits, Recorder, State, add, record
from .similarity import MEANINGLESS, ContrastiveBuffers, as_matrix, largest_similarity, set_exponents
from .softmax import info_nce_increments

__all__ = ["pretrain"]

Floats = npt.NDArray[np.float64]


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
            block = as_matrix(gram[done:], rows, columns)
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
            record(recorder, state.clock[0], state.clock[0], loss, 1.0, state)
        if ended:
            return LINEAR_END
        if state.clock[0] >= limits.max_steps:
            return MAX_STEPS
        add(increments, state.coefficients)
        state.clock[0] += 1
        if gram.size == entries * entries:
            multiply(1.0, increments, as_matrix(gram, entries, entries), 1.0, state.inner)
        else:
            _multiply_blocks(state.inner, gram, buffers)
        if state.clock[0] >= limits.pause and state.clock[0] < limits.max_steps:
            return PAUSED
