"""What P3 measures: the linear stage on average over filters, single runs to its end, fresh views."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.config import Resolved
from numsim.descent.contrastive import LINEAR_END
from numsim.descent.fresh_views import FreshViews, pretrain_fresh_views
from numsim.descent.power_matrix import power_matrix, top_eigenpairs
from numsim.descent.pretraining import pretrain
from numsim.models.decomposition import pretraining_coefficients
from numsim.runs.draw import Instance

from .high_dimension import DIM, rate_of, signal_ratio, views_of

__all__ = [
    "TINY",
    "AverageRun",
    "FreshRun",
    "Stage",
    "average_run",
    "fresh_end",
    "fresh_run",
    "path_of",
    "stage_of",
]

Floats = npt.NDArray[np.float64]

TINY = 1e-19
"""Initial scale of filters that stay in the linear stage however long."""


class AverageRun(NamedTuple):
    """Means over w^0 at every step of the linear stage, (T + 1,), and the eigenvalues of A, (D,) ascending.

    ratio : R_t in units of |mu| / sigma_p, in a space of few dimensions; gamma, rho : root-mean-squares in
    units of sigma_0; alignment : cos^2(v_1, mu).
    """

    eigenvalues: Floats
    alignment: float
    ratio: Floats
    gamma: Floats
    rho: Floats


def average_run(e: Resolved, instance: Instance, steps: int, dim: int, energy: float = 1.0) -> AverageRun:
    """One run with a filter along every axis: sums of squares over such filters are means over w^0 ~ N(0, I).

    dim : dimension in which R_t is taken; at 4 n0, say, every mode of the samples' span counts in it.
    energy : o, what filters have along v_1, by making them longer there.
    """
    z, z_aug = views_of(instance)
    values, vectors = np.linalg.eigh(power_matrix(z, z_aug, learning_rate=rate_of(e)))
    along = np.outer(vectors[:, -1], vectors[:, -1])
    start = TINY * (np.eye(len(instance.mu)) + (math.sqrt(energy) - 1) * along)
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    assert unlabelled.augmented is not None
    _, run = pretrain(
        start, z, z_aug, learning_rate=rate_of(e), max_steps=steps, stop_at_linear_end=False, record=steps + 1
    )
    filters = (start + run.recorded_coefficients @ np.concatenate([z, z_aug])) / TINY
    gamma, rho, _ = pretraining_coefficients(
        run.recorded_coefficients / TINY,
        unlabelled.dictionary(instance.mu),
        instance.mu,
        unlabelled.noise,
        unlabelled.augmented,
    )
    return AverageRun(
        values,
        float(vectors[0, -1] ** 2),
        np.array([signal_ratio(W, instance.direction, dim - len(W)) for W in filters]),
        np.sqrt(np.sum(gamma**2, axis=1)),
        np.sqrt(np.sum(rho**2, axis=(1, 2)) / len(z)),
    )


class Stage(NamedTuple):
    """One run from random filters.

    steps; end : max |s_ii'| / tau after them; crossing : the step, interpolated, at which that passed 0.3;
    shortage : what the growth of <w, v_1> lacks of (1 + lambda_1)^t, in its logarithm; overlap : o;
    growth : lambda_1; ratio : R_T.
    """

    steps: int
    end: float
    crossing: float
    shortage: float
    overlap: float
    growth: float
    ratio: float


def stage_of(e: Resolved, instance: Instance, longer: float = 1.0) -> Stage:
    """Pre-train to the linear end, or (as a control) ``longer`` times as long."""
    z, z_aug = views_of(instance)
    tau = e.pretraining.temperature
    settings: dict[str, Any] = {"learning_rate": rate_of(e), "temperature": tau, "record": 2}
    filters, run = pretrain(instance.filters, z, z_aug, max_steps=10**6, **settings)
    if longer > 1:
        most = int(longer * run.steps)
        filters, run = pretrain(
            instance.filters, z, z_aug, max_steps=most, stop_at_linear_end=False, **settings
        )
    s = np.abs((filters @ z.T).T @ (filters @ z.T)) / tau
    np.fill_diagonal(s, 0.0)
    end = float(np.max(s))
    values, vectors = top_eigenpairs(z, z_aug, learning_rate=rate_of(e), temperature=tau)
    growth = float(values[0])
    first, last = (float(np.sum((W @ vectors[:, 0]) ** 2)) for W in (instance.filters, filters))
    speed = 2 * math.log1p(growth * (1 - math.tanh(LINEAR_END)))  # of log s in the last step, P3 (9)
    return Stage(
        run.steps,
        end,
        run.steps - math.log(end / LINEAR_END) / speed,
        run.steps * math.log1p(growth) - math.log(last / first) / 2,
        first / (len(filters) * e.init_scale**2),
        growth,
        signal_ratio(filters, instance.mu),
    )


def path_of(e: Resolved, instance: Instance, steps: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Some steps of one run, beyond its linear end, and R_t there."""
    z, z_aug = views_of(instance)
    _, run = pretrain(
        instance.filters,
        z,
        z_aug,
        learning_rate=rate_of(e),
        temperature=e.pretraining.temperature,
        max_steps=steps,
        stop_at_linear_end=False,
        record=50,
    )
    states = instance.filters + run.recorded_coefficients @ np.concatenate([z, z_aug])
    return run.recorded_steps, np.array([signal_ratio(W, instance.mu) for W in states])


class FreshRun(NamedTuple):
    """Views drawn at every step: lambda_1 and cos^2 of the mean of A, growth over the last steps, and R_T.

    growth : NaN for runs of few steps; overlap : o of the initial filters; dim : of the space R_T is in;
    records : largest relative deviation of the last recorded <w, mu>, gamma and (at a = 0) rho from what the
    filters themselves show.
    """

    top: float
    alignment: float
    growth: float
    ratio: float
    overlap: float
    dim: int
    records: float


def fresh_run(e: Resolved, instance: Instance, steps: int, seed: int, *, average: bool = False) -> FreshRun:
    """A run from the instance's filters, or (``average``) from one along every axis that the samples span.

    The latter have no part outside these axes: sums of squares over them are means over w^0 but for what such
    a part would add.
    """
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    a, width = e.pretraining.overlap, len(instance.mu)
    signal = unlabelled.labels[:, None] * instance.mu
    mean = power_matrix(signal + unlabelled.noise, signal + a * unlabelled.noise, learning_rate=rate_of(e))
    values, vectors = np.linalg.eigh(mean)
    start = np.eye(width) if average else instance.filters / e.init_scale
    last, run = pretrain_fresh_views(
        TINY * start,
        instance.mu,
        unlabelled.labels,
        unlabelled.noise,
        FreshViews(DIM, 1.0, True, a, np.random.default_rng(seed)),
        learning_rate=rate_of(e),
        temperature=1.0,
        max_steps=steps,
        stop_at_linear_end=False,
    )
    sizes = np.sqrt(np.sum(run.recorded_signal**2, axis=1))
    moved = last[:, :width] - TINY * start
    recorded = [(run.recorded_signal[-1], last[:, :width] @ instance.mu)]
    recorded.append((run.recorded_gamma[-1], moved @ instance.mu))
    if a == 0:  # otherwise views, too, are along xi_i
        recorded.append((run.recorded_rho[-1], moved @ unlabelled.noise.T))
    return FreshRun(
        float(values[-1]),
        float(vectors[0, -1] ** 2),
        float((sizes[-1] / sizes[-21]) ** 0.05 - 1) if steps > 20 else math.nan,
        signal_ratio(last / TINY, instance.direction),
        1.0 if average else float(np.mean((start @ vectors[:, -1]) ** 2)),
        width if average else DIM,
        max(float(np.max(np.abs(kept - own)) / np.max(np.abs(own))) for kept, own in recorded),
    )


def fresh_end(e: Resolved, instance: Instance, seed: int) -> float:
    """max |s_ii'| / tau where a run with fresh views says that the linear stage has ended."""
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    last, run = pretrain_fresh_views(
        instance.filters,
        instance.mu,
        unlabelled.labels,
        unlabelled.noise,
        FreshViews(DIM, 1.0, True, e.pretraining.overlap, np.random.default_rng(seed)),
        learning_rate=rate_of(e),
        temperature=e.pretraining.temperature,
        max_steps=10**4,
        stop_at_linear_end=True,
    )
    z = unlabelled.labels[:, None] * instance.mu + unlabelled.noise
    inner = last[:, : z.shape[1]] @ z.T
    s = np.abs(inner.T @ inner) / e.pretraining.temperature
    np.fill_diagonal(s, 0.0)
    return float(np.max(s)) if run.status == "linear_end" else math.nan
