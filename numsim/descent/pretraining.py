"""Gradient descent on InfoNCE with one fixed view a sample, in Gram form; alignment with the signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..models.checks import positive
from ._kernels import descent
from ._kernels import pretraining as kernels
from .blas import blas_threads
from .blocks import axes_of, contrastive_buffers, gram_of
from .contrastive import LINEAR_END, VERY_FAR, checked_filters, checked_views
from .driver import NON_FINITE, Descent, Progress, descend
from .offset import ShiftedDescent, shifted

__all__ = ["alignment", "pretrain"]

Floats = npt.NDArray[np.float64]


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
    z, z_aug = checked_views(z, z_aug)
    W = checked_filters(W, z.shape[1])
    learning_rate = positive("learning_rate", learning_rate)
    temperature = positive("temperature", temperature)
    limits: dict[str, Any] = {
        "max_steps": max_steps,
        "threshold": LINEAR_END if stop_at_linear_end else 0.0,
        "record": record,
        "progress": progress,
    }
    with blas_threads(threads):
        data = shifted(z, z_aug, VERY_FAR)
        if data is not None:
            buffers, plain = (contrastive_buffers(len(W) + more, len(z), threads) for more in (1, 0))
            moving = ShiftedDescent(W, data, temperature, learning_rate, buffers, plain)
            start = W @ data.views.T + (W @ data.m)[:, None]
            run = descend(moving, start, **limits)
            return np.full_like(W, np.nan) if run.status == NON_FINITE else moving.W, run
        gram = gram_of(z, z_aug, len(W), threads)
        buffers = contrastive_buffers(len(W), len(z), threads)
        axes = axes_of(W)
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
