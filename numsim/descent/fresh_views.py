"""Contrastive pre-training with new augmented views at every step, exact in law at any dimension.

A step's views look at everything revealed so far and reveal n0 new axes. After the step only the filters have
coordinates on those, at most M directions, which are rotated back onto M axes (LQ): the law of later views
does not notice, it is rotation-invariant beyond what is revealed. So the width is at most D + M + n0 at any
time, D that of the draw (filters, unlabelled and labelled noise), and D + M between steps; with momentum the
velocity has as many directions again, with N noises there are N n0 new axes.

Gradient descent on InfoNCE of signal-noise data has steps of its own, as it has with fixed views; all else
(``pretrain_fresh_table``) takes single steps of the compiled loop in coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.checks import positive, whole
from ..models.dictionary import PatchDictionary
from ..models.mixture import FreshTable
from ..models.signal_noise import draw_views
from ..models.space import Space, lower_factor, pad
from ._kernels import descent, similarity, softmax
from ._kernels import loop as kernels
from ._kernels.supervised import Activation
from .blocks import contrastive_buffers
from .contrastive import LINEAR_END
from .driver import NON_FINITE, STATUSES, Progress
from .nt_xent import contrastive_task
from .pretraining import Contrast, alignment
from .rules import BatchRows, Rule

__all__ = ["FreshDescent", "FreshViews", "pretrain_fresh_table", "pretrain_fresh_views"]

Floats = npt.NDArray[np.float64]

_NOTHING, _NO_ROWS = np.empty((0, 0)), np.empty((0, 0), dtype=np.int64)
_NEVER = 2**62


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
    recorded_alignment : (R,), NaN at step 0; recorded_signal : (R, M) <w_r, mu>. Of a mixture gamma and
    signal have a last axis of S signals, rho one of N noises. recorded_initial (R,) : the factor of the first
    iterate's filters, 1 without weight decay.
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
    recorded_initial: Floats | None = None


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

    def columns(self, count: int = 6) -> list[Floats]:
        return [np.array(column) for column in zip(*self.rows, strict=True)] or [np.zeros(0)] * count


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


class _Tally:
    """gamma (M, S) and rho (M, n0, N), moved by the rule as the filters are."""

    def __init__(self, table: FreshTable, filters: int, rule: kernels.Rule, slow: bool) -> None:
        self._table, self._rule, self._slow, self._squares = table, rule, slow, table.squares
        signals, (n, noises) = len(table.mixture.norms), self._squares.shape
        self.gamma, self.rho = np.zeros((filters, signals)), np.zeros((filters, n, noises))
        self._speeds = [np.zeros_like(self.gamma), np.zeros_like(self.rho)]

    def add(self, dictionary: PatchDictionary, pushed: Floats, rate: float) -> None:
        """Count a step; pushed (M, K) : what it would add to coefficients of filters without a velocity."""
        assert dictionary.on_signals is not None
        assert dictionary.on_noises is not None
        assert dictionary.owners is not None
        owned = np.flatnonzero(dictionary.owners >= 0)
        rho = np.zeros_like(self.rho)
        for v in range(rho.shape[2]):
            part = pushed[:, owned] * dictionary.on_noises[owned, v]
            np.add.at(rho[:, :, v].T, dictionary.owners[owned], part.T)
        moves = pushed @ dictionary.on_signals * self._table.mixture.norms**2, rho * self._squares
        for value, speed, move in zip((self.gamma, self.rho), self._speeds, moves, strict=True):
            if self._slow:
                flat = (array.reshape(-1) for array in (move / rate, speed, value))
                kernels.roll(self._rule, rate, 1.0, *flat)
            else:
                value += move


class _Step:
    """One step of the compiled loop, in coordinates, on a dictionary of its own."""

    def __init__(
        self,
        contrast: Contrast,
        rule: Rule,
        rate: float,
        sigma: Activation | None,
        horizon: int,
        threads: int,
    ) -> None:
        self._contrast, self._sigma, self._threads, self._setting = contrast, sigma, threads, rule
        self.rule = kernels.Rule(
            rate, rule.momentum, rule.weight_decay, rule.clip_norm, rule.sam_radius, horizon, False
        )
        self.factors = np.array([1.0, 0.0, 0.0])

    def take(
        self,
        dictionary: PatchDictionary,
        W: Floats,
        velocity: Floats,
        step: int,
        last: bool,
        threshold: float,
    ) -> tuple[int, float, Floats]:
        """Move W and its velocity, unless the descent ends here: code, loss, coefficients of the move."""
        filters, (entries, width) = len(W), dictionary.vectors.shape
        task = contrastive_task(
            self._contrast.loss,
            filters,
            entries,
            dictionary.patches,
            temperature=self._contrast.temperature,
            normalised=self._contrast.normalised,
            activation=self._sigma,
            threads=self._threads,
        )
        slow = self._setting.slow
        work = kernels.Work(
            out=np.empty(filters * entries),
            inner=np.empty(filters * entries),
            push=np.empty(2 * filters * max(width, entries)),
            rows=np.empty(0),
            entries=np.empty(0, dtype=np.int64),
            places=np.full(entries, -1, dtype=np.int64),
            velocity=_NOTHING,
            coefficients=np.zeros((filters, entries)) if slow else _NOTHING,
            dense=_NOTHING,
            factors=self.factors,
        )
        draws = kernels.Draws(_NO_ROWS, _NOTHING, np.zeros(1, dtype=np.int64), 1)
        data = kernels.Data(dictionary.labels, dictionary.patches, np.empty(0), _NO_ROWS, draws)
        form = kernels.Form(_NOTHING, dictionary.vectors, _NOTHING, W, velocity)
        state = descent.State(
            np.empty((filters, 0)), np.zeros((filters, entries)), np.array([step]), np.zeros(1)
        )
        cursor = np.array([0, _NEVER])
        recorder = descent.Recorder(
            np.empty((1, filters, entries)), np.empty(1), np.empty(1, dtype=np.int64), cursor, np.empty(1)
        )
        limits = descent.Limits(step if last else _NEVER, threshold, step + 1)
        code = int(kernels.descend(state, form, (task, task), data, self.rule, limits, recorder, work))
        return code, float(state.loss[0]), state.coefficients


def pretrain_fresh_table(
    W: Floats,
    table: FreshTable,
    contrast: Contrast,
    rule: Rule,
    sigma: Activation | None,
    *,
    learning_rate: float,
    batch_rng: np.random.Generator | None,
    max_steps: int,
    threshold: float = 0.0,
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[Floats, FreshDescent]:
    """Descent by any rule on any contrastive loss where every step draws its views.

    A step of the compiled loop in coordinates on the samples of its batch and their new views. W (M, D) as
    of ``pretrain_fresh_views``; sigma : of the network encoder. Losses are at the iterate that met the views;
    with batches their mean over an epoch.
    """
    start, (filters, base) = W, W.shape
    n = len(table.clusters)
    rule = rule.checked(n, least=2)
    rows = BatchRows(batch_rng, n, rule.batch) if rule.batch and batch_rng is not None else None
    horizon = max_steps if rule.schedule == "cosine" else 0
    step_of = _Step(contrast, rule, positive("learning_rate", learning_rate), sigma, horizon, threads)
    tally = _Tally(table, filters, step_of.rule, rule.slow)
    epoch = n // rule.batch if rule.batch else 1
    history = _History(int(np.clip(64e6 / (8 * tally.rho.size + 8 * tally.gamma.size), 2, 200)))
    velocity = np.zeros_like(W)
    losses: list[float] = []  # of an epoch's batches
    step, status, loss = 0, "", 0.0
    while True:
        last = step >= max_steps
        due = step % epoch == 0 or last
        if not (rows is not None and last and step):  # an epoch's mean needs no views of its own
            chosen = np.arange(n) if rows is None else rows.take(1)[0]
            dictionary = table.dictionary(W.shape[1], chosen, network=contrast.network)
            width = dictionary.vectors.shape[1]
            W, velocity = pad(W, width).copy(), pad(velocity, width).copy()
            before, factor = W.copy(), float(step_of.factors[0])
            code, loss_here, moved = step_of.take(dictionary, W, velocity, step, last, threshold)
        else:
            code, loss_here = descent.MAX_STEPS, losses[-1]
            before, factor = W, float(step_of.factors[0])
        if code != descent.PAUSED:
            status = STATUSES[code]
        mean = rows is not None and step > 0 and due and code != descent.NON_FINITE
        loss = float(np.mean(losses)) if mean and losses else loss_here
        if status == NON_FINITE:
            W = np.full_like(W, np.nan)
            break
        if status or (due and (step // epoch) % history.stride == 0):
            aligned = alignment(before - pad(start, before.shape[1]), table.signals[0])
            along = before[:, : table.signals.shape[1]] @ table.signals.T
            history.keep(step, loss, tally.gamma.copy(), tally.rho.copy(), aligned, along, factor)
        if status:
            W = before
            break
        if due:
            losses = []
        losses.append(loss_here)
        history.thin()
        tally.add(dictionary, moved, kernels.rate_at(step_of.rule, step))
        W, velocity = _fewer_axes_of_both(W, velocity, base, rule.slow)
        step += 1
        if progress is not None:
            progress(step, loss)
    steps, recorded, gamma, rho, aligned_all, along_all, factors = history.columns(7)
    found = FreshDescent(
        status,
        step,
        loss,
        steps.astype(np.int64),
        recorded,
        _squeezed(gamma),
        _squeezed(rho),
        aligned_all,
        _squeezed(along_all),
        factors,
    )
    return _fewer_axes(W, base), found


def _squeezed(values: Floats) -> Floats:
    """Without the last axis, of signals or noises, where it has one entry."""
    return values[..., 0] if values.shape[-1] == 1 else values


def _fewer_axes_of_both(W: Floats, velocity: Floats, base: int, slow: bool) -> tuple[Floats, Floats]:
    """Both with their coordinates beyond ``base`` rotated together onto as few axes as they span."""
    if not slow:
        found = _fewer_axes(W, base)
        return found, np.zeros_like(found)
    both = _fewer_axes(np.concatenate([W, velocity]), base)
    return both[: len(W)], both[len(W) :]


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
