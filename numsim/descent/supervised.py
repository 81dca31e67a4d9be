"""Supervised training of the two-layer CNN: logistic loss, its gradient, the dynamics.

    L = (1/n) sum_i log(1 + exp(-y_i f_i)),   f of network.py,                                       (1)
    dL/dw_jr = -(j s/(n m)) sum_i y_i g_i sum_p sigma'(<w_jr, x_i^(p)>) x_i^(p),                     (2)

g_i = 1/(1 + exp(y_i f_i)) = -l'_i, s the output scale, sigma'(z) = q max(0, z)^(q-1) and sigma'(0) = 0.
With the patches y mu and xi this is derivations/model.md (7) (Cao et al. 2022, Lemma 4.1 states it for clean
labels; with flips the observed label multiplies both patches' terms).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.checks import finite, non_negative, number, positive, real_array
from ..models.dictionary import PatchDictionary, dense_dictionary
from ._kernels import descent
from ._kernels import supervised as kernels
from .blas import blas_threads
from .driver import Descent, Progress, descend

__all__ = ["checked_samples", "logistic_loss", "train"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def checked_samples(W: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The arrays of ``logistic_loss`` as float64, or a ValueError that says which does not fit."""
    W, x, y = real_array("W", W), real_array("x", x), real_array("y", y)
    if W.ndim != 3 or W.shape[0] != 2 or W.shape[1] == 0:
        raise ValueError(f"W has shape {W.shape}, expected (2, m, D): index 0 holds the filters of sign +1")
    if x.ndim != 3 or x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] != W.shape[2]:
        raise ValueError(
            f"x has shape {x.shape}, expected (n, P, {W.shape[2]}): n samples of P patches, "
            "as wide as W's filters"
        )
    _check_labels(y, len(x))
    finite("W", W)
    finite("x", x)
    return W, x, y


def _check_labels(y: Floats, count: int) -> None:
    expected = f"y must be {count} labels in {{-1, +1}}, one a sample; got"
    if y.shape != (count,):
        raise ValueError(f"{expected} shape {y.shape}")
    if np.isin(y, (-1.0, 1.0)).all():
        return
    values = np.unique(y)
    listed = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
    mapping = ""
    if len(values) == 2 and np.isfinite(values).all():
        mapping = f": np.where(y == {values[-1]:g}, 1, -1) maps {values[1]:g} to +1 and {values[0]:g} to -1"
    raise ValueError(f"{expected} the values {listed}{mapping}")


def _checked_power(q: float) -> float:
    return number("q", q, lambda x: x >= 1, "a finite number >= 1 (1 is ReLU)")


def _buffers(filters: int, entries: int, samples: int) -> kernels.SupervisedBuffers:
    slope, increments = np.empty((2, filters, entries))
    output, pull = np.empty((2, entries))
    return kernels.SupervisedBuffers(slope, increments, output, pull, np.empty((3, samples)))


def _task(dictionary: PatchDictionary, filters: int, q: float, output_scale: float) -> kernels.LabelledTask:
    return kernels.LabelledTask(dictionary.labels, dictionary.patches, float(q), output_scale / filters)


def logistic_loss(
    W: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike, *, q: float, output_scale: float = 1.0
) -> tuple[float, Floats]:
    """Logistic loss (1) of the two-layer CNN and its gradient (2).

    Parameters
    ----------
    W : (2, m, D) filters, index 0 is j = +1.
    x : (n, P, D) patches (the paper's P = 2); y : (n,) observed labels in {-1, +1}.
    q : activation power, any real >= 1; 1 is ReLU with derivative 0 at 0.
    output_scale : multiplies f.

    Returns
    -------
    loss : float; log 2 at W = 0.
    grad : (2, m, D).

    Raises
    ------
    ValueError : shapes that do not fit, NaN or infinite entries, labels other than +-1, q < 1, activations
        beyond float64.

    Source: derivations/model.md (4), (5) and (7). Stable for margins of any size.
    """
    W, x, y = checked_samples(W, x, y)
    q, output_scale = _checked_power(q), positive("output_scale", output_scale)
    n, per_sample, width = x.shape
    vectors = x.reshape(n * per_sample, width)
    patches = np.arange(n * per_sample, dtype=np.int64).reshape(n, per_sample)
    flat = W.reshape(-1, width)
    buffers = _buffers(len(flat), len(vectors), n)
    task = _task(PatchDictionary(vectors, patches, y), W.shape[1], q, output_scale)
    loss = kernels.logistic_increments(flat @ vectors.T, task, buffers)
    if not (np.isfinite(loss) and np.isfinite(buffers.increments).all()):
        raise ValueError("activations max(0, <w, x>)^q exceed the range of float64: scale W or x down")
    with np.errstate(over="ignore", invalid="ignore"):
        grad: Floats = (-buffers.increments @ vectors).reshape(W.shape)
    if not np.isfinite(grad).all():
        raise ValueError("the gradient exceeds the range of float64: scale x down")
    return float(loss), grad


def train_dictionary(
    W: Floats,
    dictionary: PatchDictionary,
    *,
    q: float,
    output_scale: float,
    learning_rate: float,
    max_steps: int,
    target_loss: float,
    record: int | None = None,
    progress: Progress | None = None,
) -> tuple[Floats, Descent]:
    """Full-batch gradient descent in Gram form on a patch dictionary.

    With R = <w_r, v_k> (2m, K) and the dictionary's Gram matrix G, (2) gives coefficient increments
    D_rk = (eta j_r s/(n m)) sigma'(R_rk) sum over patches k of y_i g_i, and R <- R + D G.

    W : (2, m, D) in the dictionary's coordinates. Returns the last filters, same shape, and the descent
    whose coefficients are those of w - w^0 on the dictionary. target_loss = 0 runs exactly max_steps.
    """
    q, output_scale = _checked_power(q), positive("output_scale", output_scale)
    learning_rate = positive("learning_rate", learning_rate)
    target_loss = non_negative("target_loss", target_loss, "run exactly max_steps")
    flat = W.reshape(-1, W.shape[2])
    gram = dictionary.gram()
    task = _task(dictionary, W.shape[1], q, output_scale)
    buffers = _buffers(len(flat), len(gram), len(dictionary.labels))

    def loop(state: descent.State, limits: descent.Limits, recorder: descent.Recorder) -> int:
        return kernels.train(state, gram, task, learning_rate, limits, recorder, buffers)

    run = descend(
        loop,
        flat @ dictionary.vectors.T,
        max_steps=max_steps,
        threshold=target_loss,
        record=record,
        progress=progress,
    )
    return run.filters(flat, dictionary.vectors).reshape(W.shape), run


class Trained(NamedTuple):
    """What B descents end in: filters (B, 2, m, D); losses, steps, codes (B,), of dynamics.STATUSES."""

    filters: Floats
    losses: Floats
    steps: Integers
    codes: Integers


def train_stack(
    W: Floats,
    dictionary: PatchDictionary,
    *,
    q: float,
    output_scale: float,
    learning_rate: float,
    max_steps: int,
    target_loss: float,
) -> Trained:
    """``train_dictionary`` for B replicates in one call of the kernel, bit for bit, nothing recorded.

    W : (B, 2, m, D), dictionary : of B data sets. It cannot be interrupted: for short runs.
    """
    count, _, m, width = W.shape
    flat = W.reshape(count, 2 * m, width)
    inner = flat @ dictionary.vectors.swapaxes(-1, -2)
    replicates = kernels.Replicates(
        inner=inner,
        coefficients=np.zeros_like(inner),
        steps=np.zeros(count, dtype=np.int64),
        losses=np.zeros(count),
        codes=np.zeros(count, dtype=np.int64),
    )
    states, losses, steps = np.empty((1, *inner.shape[1:])), np.empty(1), np.empty(1, dtype=np.int64)
    recorder = descent.Recorder(states, losses, steps, np.array([0, 1], dtype=np.int64))
    limits = descent.Limits(max_steps, float(target_loss), max_steps)
    task = _task(dictionary, m, q, output_scale)
    buffers = _buffers(2 * m, inner.shape[2], dictionary.labels.shape[1])
    kernels.train_stack(replicates, dictionary.gram(), task, float(learning_rate), limits, recorder, buffers)
    filters = flat + replicates.coefficients @ dictionary.vectors
    filters[replicates.codes == descent.NON_FINITE] = np.nan
    return Trained(filters.reshape(W.shape), replicates.losses, replicates.steps, replicates.codes)


def train(
    W: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    q: float,
    learning_rate: float,
    max_steps: int,
    target_loss: float = 0.01,
    output_scale: float = 1.0,
    record: int | None = None,
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[Floats, Descent]:
    """Train the two-layer CNN on any patch data, with the kernels of the signal-noise experiment.

    Parameters
    ----------
    W : (2, m, d) initial filters; x : (n, P, d) patches; y : (n,) labels in {-1, +1}.
    q, output_scale : as for ``logistic_loss``.
    learning_rate, max_steps, target_loss : full-batch gradient descent until the loss is at most
        ``target_loss`` (0: never), or ``max_steps`` are done.
    record : states kept at most, evenly spaced (None: up to 200); progress : called as progress(step, loss).
    threads : BLAS threads to hold to.

    Returns
    -------
    W : (2, m, d) trained filters.
    descent : status, steps, loss, and per recorded step the coefficients of w - w^0 on the distinct
        patches (in the order in which they first appear in x, sample by sample).

    Raises
    ------
    ValueError : as ``logistic_loss``, and for settings out of range.

    The loss is not shift-invariant: samples at R times their spread from the origin cost R eps of the
    filters' change, as in any form of the descent (2e-11 at R = 1e5, 3e-7 at 1e9; in weight space 6e-11
    and 2e-6).
    """
    W, x, y = checked_samples(W, x, y)
    with blas_threads(threads):
        return train_dictionary(
            W,
            dense_dictionary(x, y),
            q=q,
            output_scale=output_scale,
            learning_rate=learning_rate,
            max_steps=max_steps,
            target_loss=target_loss,
            record=record,
            progress=progress,
        )
