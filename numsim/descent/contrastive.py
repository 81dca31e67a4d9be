"""Contrastive pre-training of the linear CNN: InfoNCE, its gradient, the power matrix, the dynamics.

With z_i = y_i mu + xi_i, P = W z^T (M, n0), P~ = W z~^T, s_ii' = <P_i, P_i'>, s_i+ = <P_i, P~_i> and row
softmax p over {i+} and {i' != i},

    L = -(1/n0) sum_i log p_i+                                                                       (1)
    dL/dW = (1/(n0 tau)) (C z + C~ z~),                                                              (2)
        C_ri = sum_i' (p_ii' + p_i'i) P_ri' + (p_i+ - 1) P~_ri,    C~_ri = (p_i+ - 1) P_ri.

Derivation: dL/ds_i+ = (p_i+ - 1)/(n0 tau), dL/ds_ii' = p_ii'/(n0 tau); s_ii' is bilinear in P and P, so
that P_i receives p_ii' P_i' from row i and p_i'i P_i' from row i'; s_i+ gives P~_i to z_i and P_i to z~_i.
All filters share the same symmetric map: dL/dw_r = H(W) w_r (derivations/model.md (8)).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..models.checks import finite, positive, real_array
from ..models.streams import fixed
from . import offset
from ._kernels import contrastive as kernels
from ._kernels import descent
from ._kernels.exponential import TILE
from .blas import blas_threads
from .driver import NON_FINITE, Descent, Progress, descend
from .offset import ShiftedDescent, info_nce_gradient, shifted

__all__ = [
    "alignment",
    "contrastive_buffers",
    "info_nce",
    "power_matrix",
    "pretrain",
    "top_eigenpairs",
]

Floats = npt.NDArray[np.float64]

LINEAR_END = 0.3
"""The linear stage ends at the first step with max |s_ii'| / temperature above this."""


_SMALL_PRODUCT = 1e6
"""Multiplications up to which OpenBLAS multiplies operands where they lie, on one thread.

Larger products repack both operands first, which with few filters costs as much as it saves: a step at
n0 = 1000 and 64 filters reaches 44 GFlop/s in one product with the Gram matrix and 48 in products of this
size (55 is the machine's best; benchmarks/README.md has the ladder)."""

_PANEL = 32
"""Rows of S a panel of its upper triangle, where S is in one block: fewer spare more of the lower one (a
third at n0 = 100), more make larger products. At n0 = 100, m = 10 a step in the linear stage takes 51 us with
25, 49 with 32, 50 with 48 and 51 without panels; beyond it 54, 53, 54 and 57."""

_FAR, _VERY_FAR = 1.0, 32.0
"""Offsets |mean z| / rms |z_i - mean z| from which samples are shifted (offset.py): in one evaluation, which
that keeps exact to round-off, and in a descent, whose steps then take up to twice as long: there the factor
R^2 eps is left up to 2e-13. Below, every bit is that of the formulas here."""

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


def contrastive_buffers(filters: int, n: int, threads: int = 1) -> kernels.ContrastiveBuffers:
    """Scratch arrays of one pre-training step for M filters and n samples."""
    block = block_size(filters, n, threads)
    panel = _PANEL if threads == 1 else n  # a larger product is shared out
    transposed = 0 if block == n else n  # with one block nothing pulls on two sides
    return kernels.ContrastiveBuffers(
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


def _gram(z: Floats, z_aug: Floats, filters: int, threads: int) -> Floats:
    """The Gram matrix of [z; z~] as the kernel takes it, flat: whole, or one triangle of its blocks.

    Vectors drawn early have zeros on the axes revealed later: the products of a panel of rows stop at its
    last axis, which spares up to two thirds of them.
    """
    n = len(z)
    if _gram_in_one(filters, n, threads):
        whole = np.empty((2 * n, 2 * n))
        early = z[:, : _axes(z)]
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
        axes = _axes(rows)
        later = [z[start:], z_aug] if views is z else [z_aug[start:]]
        for others in later:
            products = rows[:, :axes] @ others[:, :axes].T
            for first in range(0, len(others), size):
                block = products[:, first : first + size]
                gram[done : done + block.size].reshape(block.shape)[:] = block
                done += block.size
    return gram


def _axes(rows: Floats) -> int:
    """Up to which axis vectors (k, D) have entries other than zero."""
    return int(np.max(np.flatnonzero(rows.any(axis=0)), initial=-1)) + 1


def _checked_views(z: npt.ArrayLike, z_aug: npt.ArrayLike) -> tuple[Floats, Floats]:
    z, z_aug = real_array("z", z), real_array("z_aug", z_aug)
    if z.ndim != 2 or z_aug.shape != z.shape or len(z) == 0:
        raise ValueError(
            f"z has shape {z.shape} and z_aug {z_aug.shape}, expected the same (n0, D) for both, n0 >= 1: "
            "row i of z_aug is the augmented view of row i of z"
        )
    finite("z", z)
    finite("z_aug", z_aug)
    return z, z_aug


def _checked_filters(W: npt.ArrayLike, width: int) -> Floats:
    W = real_array("W", W)
    if W.ndim != 2 or W.shape[1] != width or len(W) == 0:
        raise ValueError(f"W has shape {W.shape}, expected (M, {width}): one filter a row, as wide as z")
    finite("W", W)
    return W


def info_nce(
    W: npt.ArrayLike, z: npt.ArrayLike, z_aug: npt.ArrayLike, *, temperature: float = 1.0
) -> tuple[float, Floats]:
    """InfoNCE loss (1) of the linear CNN and its gradient (2).

    Parameters
    ----------
    W : (M, D) filters.
    z, z_aug : (n0, D) patch sums and their augmented views; negatives are the un-augmented z_i'.
    temperature : tau > 0.

    Returns
    -------
    loss : float; log n0 at W = 0.
    grad : (M, D).

    Raises
    ------
    ValueError : shapes that do not fit, NaN or infinite entries, temperature <= 0, similarities beyond
        float64.

    Source: derivations/model.md (6) and (8). Stable for similarities of any size; samples far from the origin
    cost no digits (offset.py), beyond an offset of about 1e16 times their spread they no longer differ.
    """
    z, z_aug = _checked_views(z, z_aug)
    W = _checked_filters(W, z.shape[1])
    temperature = positive("temperature", temperature)
    loss, grad = _info_nce(W, z, z_aug, temperature)
    if not (np.isfinite(loss) and np.isfinite(grad).all()):
        raise ValueError("similarities <F(z_i), F(z_i')> exceed the range of float64: scale W or z down")
    return loss, grad


@np.errstate(over="ignore", invalid="ignore")
def _info_nce(W: Floats, z: Floats, z_aug: Floats, temperature: float) -> tuple[float, Floats]:
    n = len(z)
    data = shifted(z, z_aug, _FAR)
    if data is not None:
        return info_nce_gradient(W, data, temperature, contrastive_buffers(len(W) + 1, n))
    inner = np.concatenate([W @ z.T, W @ z_aug.T], axis=1)
    buffers = contrastive_buffers(len(W), n)
    kernels.set_exponents(inner, temperature, buffers)
    loss = kernels.info_nce_increments(inner, temperature, 1.0, buffers)
    grad: Floats = (buffers.increments[:, :n] @ z + buffers.increments[:, n:] @ z_aug) / (n * temperature)
    return float(loss), grad


def power_matrix(
    z: npt.ArrayLike, z_aug: npt.ArrayLike, *, learning_rate: float, temperature: float = 1.0
) -> Floats:
    """The matrix A (D, D) of claim P1: pre-training of small filters is w <- (I + A) w.

    A = (eta/(n0^2 tau)) sum_i sum_{i' != i} (z_i z~_i^T + z~_i z_i^T - z_i z_i'^T - z_i' z_i^T)
      = (eta/(n0^2 tau)) [(n0 - 1)(z^T z~ + z~^T z) + 2 z^T z - 2 s s^T],  s = sum_i z_i,

    which is -eta H(0): gradient (2) with all softmax weights 1/n0.

    Parameters
    ----------
    z, z_aug : (n0, D), as for ``info_nce``.
    learning_rate, temperature : eta and tau, positive.

    Raises
    ------
    ValueError : as ``info_nce``; products beyond float64.

    Source: P1; Zhang and Cao, Lemma 5.1. Samples far from the origin cost no digits (offset.py).
    """
    z, z_aug = _checked_views(z, z_aug)
    learning_rate = positive("learning_rate", learning_rate)
    temperature = positive("temperature", temperature)
    A = _power_matrix(z, z_aug, learning_rate / (len(z) ** 2 * temperature), _FAR)
    if not np.isfinite(A).all():
        raise ValueError("products of z and z_aug exceed the range of float64: scale them down")
    return A


@np.errstate(over="ignore", invalid="ignore")
def _power_matrix(z: Floats, z_aug: Floats, scale: float, far: float) -> Floats:
    data = shifted(z, z_aug, far)
    if data is not None:
        return offset.power_matrix(data, scale)
    n = len(z)
    cross = z.T @ z_aug
    total = z.sum(axis=0)
    A: Floats = scale * ((n - 1) * (cross + cross.T) + 2.0 * (z.T @ z) - 2.0 * np.outer(total, total))
    return A


def top_eigenpairs(
    z: Floats, z_aug: Floats, *, learning_rate: float, temperature: float, count: int = 1
) -> tuple[Floats, Floats]:
    """Largest eigenvalues (count,), descending, and unit eigenvectors (D, count) of the power matrix.

    By Lanczos on products with z and z~ (never forming A) unless D is small; the start vector is fixed.
    """
    n, width = z.shape
    scale = learning_rate / (n**2 * temperature)
    if width <= 400:
        A = _power_matrix(z, z_aug, scale, _VERY_FAR)
        values, vectors = np.linalg.eigh(A)
        return values[::-1][:count].copy(), vectors[:, ::-1][:, :count].copy()
    from scipy.sparse.linalg import LinearOperator, eigsh

    total = z.sum(axis=0)

    def product(v: Floats) -> Floats:
        v = v.reshape(width)
        first, second = z @ v, z_aug @ v
        both = z.T @ ((n - 1) * second + 2.0 * first) + z_aug.T @ ((n - 1) * first)
        result: Floats = scale * (both - 2.0 * total * (total @ v))
        return result

    operator = LinearOperator((width, width), matvec=product, dtype=np.float64)
    start = fixed().standard_normal(width)
    values, vectors = eigsh(operator, k=count, which="LA", v0=start)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def pretrain(
    W: npt.ArrayLike,
    z: npt.ArrayLike,
    z_aug: npt.ArrayLike,
    *,
    learning_rate: float,
    temperature: float = 1.0,
    max_steps: int,
    stop_at_linear_end: bool = True,
    record: int | None = None,
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[Floats, Descent]:
    """Gradient descent on InfoNCE with one fixed view per sample.

    In Gram form, with R = [P | P~] (M, 2 n0) and the Gram matrix G of [z; z~]:
    R <- R - (eta/(n0 tau)) [C | C~] G, which is (2) multiplied by [z; z~]^T. The descent's coefficients are
    those of w_r - w_r^0 on z and z~.

    Parameters
    ----------
    W, z, z_aug, temperature : as for ``info_nce``; learning_rate : eta.
    max_steps : the most steps to take.
    stop_at_linear_end : stop at the first step with max |s_ii'| / temperature > 0.3, i' != i.
    record : states kept at most, evenly spaced (None: up to 200); progress : called as progress(step, loss).
    threads : BLAS threads to hold to; more than one makes the products of a large step big enough to share.

    Returns
    -------
    W : (M, D) last filters (NaN if not finite).
    descent : status "linear_end", "max_steps" or "non_finite" (similarities / temperature have passed 2^52,
        where float64 has no digit of their differences left), and the recorded states.

    Samples far from the origin (|mean z| above 32 times rms |z_i - mean z|) take another form of the same
    steps, in which an offset costs what rounding the filters does, |W| |mean z| eps (offset.py).

    Raises
    ------
    ValueError : as ``info_nce``, and for a step size that is not positive.
    """
    z, z_aug = _checked_views(z, z_aug)
    W = _checked_filters(W, z.shape[1])
    learning_rate = positive("learning_rate", learning_rate)
    temperature = positive("temperature", temperature)
    limits: dict[str, Any] = {
        "max_steps": max_steps,
        "threshold": LINEAR_END if stop_at_linear_end else 0.0,
        "record": record,
        "progress": progress,
    }
    with blas_threads(threads):
        data = shifted(z, z_aug, _VERY_FAR)
        if data is not None:
            buffers, plain = (contrastive_buffers(len(W) + more, len(z), threads) for more in (1, 0))
            moving = ShiftedDescent(W, data, temperature, learning_rate, buffers, plain)
            start = W @ data.views.T + (W @ data.m)[:, None]
            run = descend(moving, start, **limits)
            return np.full_like(W, np.nan) if run.status == NON_FINITE else moving.W, run
        gram = _gram(z, z_aug, len(W), threads)
        buffers = contrastive_buffers(len(W), len(z), threads)
        axes = _axes(W)
        inner = np.concatenate([W[:, :axes] @ views[:, :axes].T for views in (z, z_aug)], axis=1)

        def loop(state: descent.State, limits: descent.Limits, recorder: descent.Recorder) -> int:
            return kernels.pretrain(state, gram, temperature, learning_rate, limits, recorder, buffers)

        run = descend(loop, inner, **limits)
        return run.filters(W, z, z_aug), run


def alignment(moved: Floats, mu: Floats) -> float:
    """cos^2(W - W^0, mu) = sum_r <w_r - w_r^0, mu>^2 / (|mu|^2 sum_r |w_r - w_r^0|^2); NaN where 0/0.

    moved : (M, D); mu : (at most D,).
    """
    largest, norm = float(np.max(np.abs(moved))), float(np.linalg.norm(mu))
    if not (np.isfinite(largest) and largest > 0 and norm > 0):
        return float("nan")
    scaled = moved / largest
    return float(np.sum((scaled[:, : len(mu)] @ (mu / norm)) ** 2) / np.sum(scaled**2))
