"""Contrastive pre-training with new augmented views at every step, exact in law at any dimension.

A step's views look at everything revealed so far and reveal n0 new axes. After the step only the filters have
coordinates on those, at most M directions, which are rotated back onto M axes (LQ): the law of later views
does not notice, it is rotation-invariant beyond what is revealed. So the width is at most D + M + n0 at any
time, D that of the draw (filters, unlabelled and labelled noise), and D + M between steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.checks import positive, whole
from ..models.signal_noise import draw_views
from ..models.space import Space, lower_factor, pad
from ._kernels import descent, similarity, softmax
from .blocks import contrastive_buffers
from .contrastive import LINEAR_END
from .driver import NON_FINITE, STATUSES, Progress
from .pretraining import alignment

__all__ = ["FreshDescent", "FreshViews", "pretrain_fresh_views"]

Floats = npt.NDArray[np.float64]


class FreshViews(NamedTuple):
    """How views are drawn: dimension d, noise level, projected off mu or not, overlap a, generator."""

    dim: int
    sigma_p: float
    projected: bool
    overlap: float
    rng: np.random.Generator


@dataclass(frozen=True)
class FreshDescent:
    """Pre-training with fresh views: as ``Descent``, but with the noise of the views not kept.

    recorded_gamma : (R, M); recorded_rho : (R, M, n0) coefficients on xi_i times |xi_i|^2;
    recorded_alignment : (R,), NaN at step 0; recorded_signal : (R, M) <w_r, mu>.
    """

    status: str
    steps: int
    loss: float
    recorded_steps: npt.NDArray[np.int64]
    recorded_losses: Floats
    recorded_gamma: Floats
    recorded_rho: Floats
    recorded_alignment: Floats
    recorded_signal: Floats


@dataclass
class _History:
    """States along the way, evenly spaced as the kernels' recorder keeps them."""

    capacity: int
    stride: int = 1
    rows: list[tuple[int, float, Floats, Floats, float, Floats]] = field(default_factory=list)

    def keep(self, step: int, *state: object) -> None:
        self.rows.append((step, *state))  # type: ignore[arg-type]

    def thin(self) -> None:
        if len(self.rows) > self.capacity:
            self.rows = self.rows[::2]
            self.stride *= 2

    def columns(self) -> list[Floats]:
        return [np.array(column) for column in zip(*self.rows, strict=True)] or [np.zeros(0)] * 6


def pretrain_fresh_views(
    W: Floats,
    mu: Floats,
    labels: Floats,
    noise: Floats,
    views: FreshViews,
    *,
    learning_rate: float,
    temperature: float,
    max_steps: int,
    stop_at_linear_end: bool,
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[Floats, FreshDescent]:
    """Gradient descent on InfoNCE where every step draws its views.

    W (M, D), mu (at most D,), labels (n0,), noise (n0, D) in coordinates of which all D axes are revealed.
    Returns the last filters (M, at most D + M; NaN if not finite) and the trajectory.
    """
    learning_rate = positive("learning_rate", learning_rate)
    temperature = positive("temperature", temperature)
    max_steps = whole("max_steps", max_steps)
    filters, base = W.shape
    n = len(noise)
    start, squares = W, np.sum(noise**2, axis=1)
    gamma, rho = np.zeros(filters), np.zeros((filters, n))
    history = _History(int(np.clip(64e6 / (8 * filters * (n + 1)), 2, 200)))
    buffers = contrastive_buffers(filters, n, threads)
    ceiling = LINEAR_END if stop_at_linear_end else np.inf
    step = 0
    while True:
        z, z_aug = _draw(W.shape[1], mu, labels, noise, views)
        W = pad(W, z.shape[1])
        inner = np.concatenate([W @ z.T, W @ z_aug.T], axis=1)
        bound = similarity.set_exponents(inner, temperature, buffers)
        ended = bound > ceiling and similarity.largest_similarity(inner, temperature, buffers) > ceiling
        loss = float(softmax.info_nce_increments(inner, temperature, 1.0, buffers))
        if not (loss < similarity.MEANINGLESS and bound < similarity.MEANINGLESS):
            status = NON_FINITE
            W = np.full_like(W, np.nan)
            break
        status = ""
        if ended:
            status = STATUSES[descent.LINEAR_END]
        elif step >= max_steps:
            status = STATUSES[descent.MAX_STEPS]
        if status or step % history.stride == 0:
            moved = alignment(W - pad(start, W.shape[1]), mu)
            history.keep(step, loss, gamma.copy(), rho.copy(), moved, W[:, : len(mu)] @ mu)
        if status:
            break
        history.thin()
        increments = buffers.increments * (-learning_rate / (n * temperature))
        W = _fewer_axes(W + increments[:, :n] @ z + increments[:, n:] @ z_aug, base)
        gamma += float(mu @ mu) * ((increments[:, :n] + increments[:, n:]) @ labels)
        rho += increments[:, :n] * squares
        step += 1
        if progress is not None:
            progress(step, loss)
    steps, *columns = history.columns()
    return _fewer_axes(W, base), FreshDescent(status, step, loss, steps.astype(np.int64), *columns)


def _draw(
    revealed: int, mu: Floats, labels: Floats, noise: Floats, views: FreshViews
) -> tuple[Floats, Floats]:
    """z and new z~, (n0, revealed + at most n0) each."""
    space = Space(views.dim, revealed)
    augmented = draw_views(space, noise, views.overlap, views.sigma_p, views.projected, views.rng)
    signal = np.zeros_like(augmented)
    signal[:, : len(mu)] = labels[:, None] * mu
    return signal + pad(noise, augmented.shape[1]), signal + augmented


def _fewer_axes(W: Floats, base: int) -> Floats:
    """W (M, D) with the coordinates beyond ``base`` rotated onto at most M axes: the same inner products."""
    extra = W[:, base:]
    if extra.shape[1] <= len(extra) or not np.isfinite(extra).all():
        return W
    return np.concatenate([W[:, :base], lower_factor(extra)], axis=1)
