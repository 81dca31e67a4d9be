"""How a pre-training step is cut into blocks of samples: its scratch, and the Gram matrix it uses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ._kernels import similarity
from ._kernels.exponential import TILE

__all__ = ["contrastive_buffers"]

Floats = npt.NDArray[np.float64]
_SMALL_PRODUCT = 1e6
"""Multiplications up to which OpenBLAS multiplies operands where they lie, on one thread.

Larger products repack both operands first, which with few filters costs as much as it saves: a step at
n0 = 1000 and 64 filters reaches 44 GFlop/s in one product with the Gram matrix and 48 in products of this
size (55 is the machine's best; benchmarks/README.md has the ladder)."""
_PANEL = 32
"""Rows of S a panel of its upper triangle, where S is in one block: fewer spare more of the lower one (a
third at n0 = 100), more make larger products. At n0 = 100, m = 10 a step in the linear stage takes 51 us with
25, 49 with 32, 50 with 48 and 51 without panels; beyond it 54, 53, 54 and 57."""
_FEW_FILTERS = 200  # repacking is paid back by more than these
_LARGE_BLOCK, _THREADED_BLOCK = 512, 1024


def block_size(filters: int, n: int, threads: int = 1) -> int:
    """Samples a block of S, for M filters, n samples and so many BLAS threads.

    One thread: products stay small (``_SMALL_PRODUCT``). More: they are large enough to be shared out. What
    a step needs beyond the Gram matrix is a few arrays of n by M and one block.
    """
    if threads > 1:
        most = _THREADED_BLOCK
    elif filters > _FEW_FILTERS:
        most = _LARGE_BLOCK
    else:
        most = int(math.sqrt(_SMALL_PRODUCT / filters))
    if n <= most:
        return n
    even = -(-n // -(-n // most))
    return min(-(-even // 8) * 8, most)  # rows that start on a cache line


def _gram_in_one(filters: int, n: int, threads: int) -> bool:
    """Whether a step multiplies with the whole Gram matrix (2n, 2n): it is small, or is shared out."""
    return filters * (2 * n) ** 2 <= _SMALL_PRODUCT or (threads > 1 and n <= _THREADED_BLOCK)


def contrastive_buffers(filters: int, n: int, threads: int = 1) -> similarity.ContrastiveBuffers:
    """Scratch arrays of one pre-training step for M filters and n samples."""
    block = block_size(filters, n, threads)
    panel = _PANEL if threads == 1 else n  # a larger product is shared out
    transposed = 0 if block == n else n  # with one block nothing pulls on two sides
    return similarity.ContrastiveBuffers(
        block=block,
        panel=min(panel, n),
        anchor_rows=np.empty((transposed, filters)),
        similarity=np.empty(block * block),
        rows=np.empty((5, n)),
        bits=np.empty(TILE),
        ones=np.ones(block),
        pull=np.empty((filters, n)),
        pull_rows=np.empty((transposed, filters)),
        increments=np.empty((filters, 2 * n)),
        increment_rows=np.empty((2 * n, filters)),
        sums=np.empty((block, filters)),
        bias=np.empty(0),
    )


def gram_of(z: Floats, z_aug: Floats, filters: int, threads: int) -> Floats:
    """The Gram matrix of [z; z~] as the kernel takes it, flat: whole, or one triangle of its blocks.

    Vectors drawn early have zeros on the axes revealed later: the products of a panel of rows stop at its
    last axis, which spares up to two thirds of them.
    """
    n = len(z)
    if _gram_in_one(filters, n, threads):
        whole = np.empty((2 * n, 2 * n))
        early = z[:, : axes_of(z)]
        np.matmul(early, early.T, out=whole[:n, :n])
        np.matmul(early, z_aug[:, : early.shape[1]].T, out=whole[:n, n:])
        whole[n:, :n] = whole[:n, n:].T
        np.matmul(z_aug, z_aug.T, out=whole[n:, n:])
        return whole.reshape(-1)
    size = block_size(filters, n, threads)
    starts = range(0, n, size)
    panels = [(views, start) for views in (z, z_aug) for start in starts]
    widths = [min(size, n - start) for _, start in panels]
    gram = np.empty(sum(width * sum(widths[i:]) for i, width in enumerate(widths)))
    done = 0
    for views, start in panels:
        rows = views[start : start + size]
        axes = axes_of(rows)
        later = [z[start:], z_aug] if views is z else [z_aug[start:]]
        for others in later:
            products = rows[:, :axes] @ others[:, :axes].T
            for first in range(0, len(others), size):
                block = products[:, first : first + size]
                gram[done : done + block.size].reshape(block.shape)[:] = block
                done += block.size
    return gram


def axes_of(rows: Floats) -> int:
    """Up to which axis vectors (k, D) have entries other than zero."""
    return int(np.max(np.flatnonzero(rows.any(axis=0)), initial=-1)) + 1
