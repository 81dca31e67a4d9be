"""Supervised training of the two-layer CNN: its loss, the gradient, the dynamics by any rule.

    L = (1/n) sum_i log(1 + exp(-y_i f_i)),   f of network.py,                                       (1)
    dL/dw_jr = -(j s/(n m)) sum_i y_i g_i sum_p sigma'(<w_jr, x_i^(p)>) x_i^(p),                     (2)

g_i = 1/(1 + exp(y_i f_i)) = -l'_i, s the output scale, sigma'(z) = q max(0, z)^(q-1) and sigma'(0) = 0.
Other losses (losses.py) have another y_i g_i, minus the derivative by f_i, other activations (network.py)
another sigma'. With the patches y mu and xi this is derivations/model.md (7) (Cao et al. 2022, Lemma 4.1
states it for clean labels; with flips the observed label multiplies both patches' terms).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.checks import finite, non_negative, number, positive, real_array
from ..models.dictionary import PatchDictionary, dense_dictionary
from ._kernels import descent
from ._kernels import loop as kernels
from .blas import blas_threads
from .driver import Descent, Observe, Progress, descend
from .forms import Loop, PlainLoop
from .losses import LOSSES, Loss, Samples, Settings, loss_named, register
from .network import ACTIVATIONS
from .rules import PLAIN, Rule

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


def checked_settings(
    filters: int, q: float, output_scale: float, activation: str, slope: float, width: float
) -> Settings:
    """What a loss sees of the network, or a ValueError."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
    return Settings(
        _checked_power(q),
        filters,
        positive("output_scale", output_scale),
        activation,
        number("slope", slope, lambda a: 0 <= a <= 1, "a number from 0 to 1"),
        positive("width", width),
    )


def logistic_loss(
    W: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    q: float,
    output_scale: float = 1.0,
    activation: str = "relu",
    slope: float = 0.1,
    width: float = 1.0,
) -> tuple[float, Floats]:
    """Logistic loss (1) of the two-layer CNN and its gradient (2).

    Parameters ---------- W : (2, m, D) filters, index 0 is j = +1. x : (n, P, D) patches (the paper's P =
    2); y : (n,) observed labels in {-1, +1}. q : activation power, any real >= 1; 1 is ReLU with derivative
    0 at 0. output_scale : multiplies f. activation : "relu", "power" or "leaky", network.py (1) to (3);
    slope, width : of "leaky", which ignores q.

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
    settings = checked_settings(W.shape[1], q, output_scale, activation, slope, width)
    return loss_gradient(LOSSES["logistic"], settings, W, x, y)


def loss_gradient(loss: Loss, settings: Settings, W: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
    """A loss and its gradient at W (2, m, D), for checked samples."""
    n, per_sample, width = x.shape
    vectors = x.reshape(n * per_sample, width)
    patches = np.arange(n * per_sample, dtype=np.int64).reshape(n, per_sample)
    flat = W.reshape(-1, width)
    task = register(loss, loss.task(settings, Samples(y, patches, len(vectors))))
    increments = np.zeros((len(flat), len(vectors)))
    value = loss.increments(flat @ vectors.T, task, increments)
    if not (np.isfinite(value) and np.isfinite(increments).all()):
        raise ValueError("activations of <w, x> exceed the range of float64: scale W or x down")
    with np.errstate(over="ignore", invalid="ignore"):
        grad: Floats = (-increments @ vectors).reshape(W.shape)
    if not np.isfinite(grad).all():
        raise ValueError("the gradient exceeds the range of float64: scale x down")
    return float(value), grad


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
    activation: str = "relu",
    slope: float = 0.1,
    width: float = 1.0,
    loss: str | Loss = "logistic",
    rule: Rule = PLAIN,
    batch_rng: np.random.Generator | None = None,
    flip_rng: np.random.Generator | None = None,
    observe: Observe | None = None,
) -> tuple[Floats, Descent]:
    """Gradient descent by a rule on a patch dictionary.

    With R = <w_r, v_k> (2m, K) and the dictionary's Gram matrix G, (2) gives coefficient increments
    D_rk = (eta j_r s/(n m)) sigma'(R_rk) sum over patches k of y_i g_i, and R <- R + D G; where G is large
    against what coordinates cost, in coordinates (loop.py).

    W : (2, m, D) in the dictionary's coordinates. Returns the last filters, same shape, and the descent
    whose coefficients are those of w - c w^0 on the dictionary. target_loss = 0 runs exactly max_steps.
    batch_rng, flip_rng : of batches and of label noise, of which rules.py has the draws. observe : (every,
    callback), called as callback(step, W) every so many steps, the first and the last included.
    """
    settings = checked_settings(W.shape[1], q, output_scale, activation, slope, width)
    found = loss_named(loss)
    learning_rate = positive("learning_rate", learning_rate)
    target_loss = non_negative("target_loss", target_loss, "run exactly max_steps")
    rule = rule.checked(len(dictionary.labels))
    flat = W.reshape(-1, W.shape[2])

    def task(labels: Floats, patches: Integers, entries: int) -> Any:
        return register(found, found.task(settings, Samples(labels, patches, entries)))

    loop = Loop(
        found.loops(),
        task,
        flat,
        dictionary,
        rule,
        learning_rate=learning_rate,
        max_steps=max_steps,
        batch_rng=batch_rng,
        flip_rng=flip_rng,
    )
    run = descend(
        loop,
        loop.start(),
        entries=dictionary.entries,
        max_steps=max_steps,
        threshold=target_loss,
        record=record,
        progress=progress,
        epoch=loop.epoch,
        span=loop.span,
        observe=None if observe is None else (observe[0], loop.watching(observe[1], W.shape)),
    )
    run = replace(run, initial=loop.initial)
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

    W : (B, 2, m, D), dictionary : of B data sets. The plain rule on the logistic loss. It cannot be
    interrupted: for short runs.
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
    recorder = descent.Recorder(states, losses, steps, np.array([0, 1], dtype=np.int64), np.empty(1))
    limits = descent.Limits(max_steps, float(target_loss), max_steps)
    settings = Settings(float(q), m, float(output_scale), "relu", 0.1, 1.0)
    task = LOSSES["logistic"].task(settings, Samples(dictionary.labels, dictionary.patches, inner.shape[2]))
    plain = PlainLoop(2 * m, inner.shape[2], float(learning_rate))
    kernels.descend_stack(
        replicates,
        dictionary.gram(),
        task,
        plain.rule,
        limits,
        recorder,
        plain.work,
    )
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
    activation: str = "relu",
    slope: float = 0.1,
    width: float = 1.0,
    loss: str | Loss = "logistic",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    batch: int = 0,
    clip_norm: float = 0.0,
    sam_radius: float = 0.0,
    schedule: str = "constant",
    label_noise: float = 0.0,
    rng: np.random.Generator | None = None,
    record: int | None = None,
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[Floats, Descent]:
    """Train the two-layer CNN on any patch data, with the kernels of the signal-noise experiment.

    Parameters
    ----------
    W : (2, m, d) initial filters; x : (n, P, d) patches; y : (n,) labels in {-1, +1}.
    q, output_scale, activation, slope, width : as for ``logistic_loss``.
    learning_rate, max_steps, target_loss : gradient descent until the loss of all samples is at most
        ``target_loss`` (0: never), or ``max_steps`` updates are done.
    loss : "logistic", "squared" ((1/2) mean (f - y)^2), or a user's own (``numsim.losses``).
    momentum, weight_decay, batch, clip_norm, sam_radius, schedule, label_noise : the rule, descent/rules.py.
    rng : of batches and label noise; needed with either. Every epoch's permutation comes from one child of
        it, every step's flips from the other.
    record : states kept at most, evenly spaced (None: up to 200); progress : called as progress(step, loss).
    threads : BLAS threads to hold to.

    Returns
    -------
    W : (2, m, d) trained filters.
    descent : status, steps, loss, and per recorded step the coefficients of w - c w^0 on the distinct
        patches (in the order in which they first appear in x, sample by sample), c = ``initial``, 1 without
        weight decay. Losses are of all samples with the labels given, with batches at the end of every epoch.

    Raises
    ------
    ValueError : as ``logistic_loss``, and for settings out of range.

    The loss is not shift-invariant: samples at R times their spread from the origin cost R eps of the
    filters' change, as in any form of the descent (2e-11 at R = 1e5, 3e-7 at 1e9; in weight space 6e-11
    and 2e-6).
    """
    W, x, y = checked_samples(W, x, y)
    rule = Rule(momentum, weight_decay, batch, clip_norm, sam_radius, schedule, label_noise)
    batch_rng, flip_rng = (None, None) if rng is None else rng.spawn(2)
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
            activation=activation,
            slope=slope,
            width=width,
            loss=loss,
            rule=rule,
            batch_rng=batch_rng,
            flip_rng=flip_rng,
        )
