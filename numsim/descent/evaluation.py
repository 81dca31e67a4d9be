"""Test loss and error of a trained network on fresh data, exact in law.

A test sample meets the filters only through <w_r, y mu> and the Gaussian vector of <w_r, xi>, whose
covariance is sigma_p^2 times the filters' Gram matrix (of the parts orthogonal to mu if the noise is
projected). It is drawn as L g with the filters' LQ factor L: 2m numbers a sample, whatever d.

Given xi, both labels are averaged exactly; with flip probability p the observed test label differs with
probability p: error = p + (1 - 2p) clean error, loss = (1 - p) E l(y f) + p E l(-y f).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.mixture import Mixture
from ..models.space import lower_factor
from ..models.streams import lanes
from ._kernels.readout import LANES, Readout, sample_sums
from ._kernels.supervised import Activation
from ._kernels.table_readout import TableReadout, table_sums
from .losses import Loss, Samples, Settings, register
from .network import ACTIVATIONS, activation

__all__ = [
    "TableTest",
    "TestResult",
    "evaluate",
    "evaluate_arrays",
    "evaluate_stack",
    "evaluate_table",
    "own_test_loss",
]

Floats = npt.NDArray[np.float64]


class TestResult(NamedTuple):
    """Means over the test distribution and their Monte-Carlo standard errors."""

    loss: float
    loss_se: float
    error: float
    error_se: float


def evaluate(
    W: Floats,
    direction: Floats,
    bias: Floats | None = None,
    *,
    signal_norm: float,
    sigma_p: float,
    q: float,
    output_scale: float = 1.0,
    projected: bool = True,
    flip_probability: float = 0.0,
    samples: int,
    rng: np.random.Generator,
) -> TestResult:
    """Test loss and error from ``samples`` noise draws, each seen with both labels.

    Parameters
    ----------
    W : (2, m, D) filters; direction : (D,) unit vector mu / |mu|; bias : (2, m) or None.
    signal_norm, sigma_p : |mu| and the noise level of the test data.
    flip_probability : of the observed test label.

    A sample with f = 0 exactly counts as half an error (its predicted label is a coin toss).
    Filters that are not finite give NaN, activations beyond float64 an infinite or NaN result, no warning.

    ``rng`` gives the states of the generators in the kernel (``streams.lanes``).
    """
    found = evaluate_stack(
        W[None],
        direction,
        None if bias is None else bias[None],
        signal_norm=signal_norm,
        sigma_p=sigma_p,
        q=q,
        output_scale=output_scale,
        projected=projected,
        flip_probability=flip_probability,
        samples=samples,
        rngs=[rng],
    )
    return TestResult(*(float(values[0]) for values in found))


@np.errstate(over="ignore", invalid="ignore")
def evaluate_stack(
    W: Floats,
    direction: Floats,
    bias: Floats | None = None,
    *,
    signal_norm: float,
    sigma_p: float,
    q: float,
    output_scale: float = 1.0,
    projected: bool = True,
    flip_probability: float = 0.0,
    samples: int,
    rngs: Sequence[np.random.Generator],
) -> tuple[Floats, Floats, Floats, Floats]:
    """``evaluate`` for B networks at once: W (B, 2, m, D), bias (B, 2, m), a generator each.

    Returns the four numbers of a TestResult, (B,) each.
    """
    count, m, width = len(W), W.shape[2], W.shape[3]
    flat = W.reshape(count, 2 * m, width)
    along = flat @ direction
    across = flat - along[..., None] * direction if projected else flat
    readouts = Readout(
        factor=np.ascontiguousarray(sigma_p * lower_factor(across)),  # (B, 2m, at most 2m)
        bias=np.zeros((count, 2 * m)) if bias is None else bias.reshape(count, 2 * m),
        reach=signal_norm * along,
        scale=output_scale / m,
        power=float(q),
        flips=float(flip_probability),
    )
    sums = sample_sums(readouts, samples, lanes(rngs, LANES))
    loss_mean, loss_se = _mean_and_error(sums[:, 0], sums[:, 1], samples)
    error_mean, error_se = _mean_and_error(sums[:, 2], sums[:, 3], samples)
    clean = 1 - 2 * flip_probability
    return sums[:, 4] + loss_mean, loss_se, flip_probability + clean * error_mean, clean * error_se


def _mean_and_error(total: Floats, squares: Floats, count: int) -> tuple[Floats, Floats]:
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0)
    error: Floats = np.sqrt(variance / max(count - 1, 1))
    return mean, error


class TableTest(NamedTuple):
    """Means over a mixture's test distribution, and by cluster (C,); standard errors of the draws."""

    loss: float
    loss_se: float
    error: float
    error_se: float
    loss_by_cluster: Floats
    error_by_cluster: Floats


@np.errstate(over="ignore", invalid="ignore")
def evaluate_table(
    W: Floats,
    signals: Floats,
    bias: Floats | None,
    mixture: Mixture,
    *,
    q: float,
    activation: str = "relu",
    slope: float = 0.1,
    width: float = 1.0,
    output_scale: float = 1.0,
    loss: str = "logistic",
    samples: int,
    rng: np.random.Generator,
) -> TableTest:
    """Test loss and error on a mixture from ``samples`` noise draws, each seen with every cluster.

    Parameters
    ----------
    W : (2, m, D) filters; signals : (S, D) mu_s; bias : (2, m) or None; mixture : of the test data.
    q, activation, slope, width, output_scale : the network's; loss : "logistic" or "squared".

    A cluster's label flips are averaged over. The mean over clusters, by weight, has the standard error of
    its values over noise draws; an output of 0 is half an error.
    """
    flat = W.reshape(-1, W.shape[2])
    along = flat @ signals.T
    across = flat
    if mixture.projected and mixture.rank:
        across = flat.copy()
        axes = mixture.directions.shape[1]
        across[:, :axes] = 0.0
    patches, distinct = _distinct(mixture)
    sigma = Activation(ACTIVATIONS.index(activation), float(q), slope, width)
    readout = TableReadout(
        factor=np.ascontiguousarray(lower_factor(across)),
        bias=np.zeros(len(flat)) if bias is None else bias.reshape(-1),
        reach=np.ascontiguousarray(distinct[:, : len(signals)] @ along.T),
        noises=np.ascontiguousarray(distinct[:, len(signals) :] * mixture.scales),
        patches=patches,
        labels=mixture.labels,
        weights=mixture.weights,
        flips=mixture.flips,
        activation=sigma,
        scale=output_scale / W.shape[1],
        squared=loss == "squared",
    )
    by_cluster, sums = table_sums(readout, samples, lanes([rng], LANES)[0])
    loss_mean, loss_se = _mean_and_error(sums[:1], sums[1:2], samples)
    error, error_se = _mean_and_error(sums[2:3], sums[3:4], samples)
    flipped = float(mixture.weights @ mixture.flips)
    numbers = (
        float(sums[4] + loss_mean[0]),
        float(loss_se[0]),
        flipped + float(error[0]),
        float(error_se[0]),
    )
    errors = mixture.flips + (1 - 2 * mixture.flips) * (by_cluster[1] / samples)
    return TableTest(*numbers, by_cluster[0] / samples, errors)


def own_test_loss(
    W: Floats,
    signals: Floats,
    bias: Floats | None,
    mixture: Mixture,
    loss: Loss,
    settings: Settings,
    *,
    samples: int,
    rng: np.random.Generator,
) -> tuple[float, float, Floats]:
    """Test loss of a user's own loss: mean, standard error, and by cluster (C,).

    From ``samples`` noise draws, each seen with every cluster and both labels; for the rest see
    ``evaluate_table``.
    """
    flat = W.reshape(-1, W.shape[2])
    across = flat.copy()
    if mixture.projected:
        across[:, : mixture.rank] = 0.0
    factor = lower_factor(across)
    patches, distinct = _distinct(mixture)
    reach = distinct[:, : len(signals)] @ (flat @ signals.T).T
    reach = reach + (0.0 if bias is None else bias.reshape(-1))
    noise = rng.standard_normal((samples, len(mixture.noises), factor.shape[1])) @ factor.T
    inner = reach + np.einsum("qv,v,nvr->nqr", distinct[:, len(signals) :], mixture.scales, noise)
    values = np.empty((samples, len(mixture.labels)))
    own, out = np.ones(1), np.zeros((len(flat), patches.shape[1]))
    order = np.arange(patches.shape[1], dtype=np.int64)[None]
    task = register(loss, loss.task(settings, Samples(own, order, patches.shape[1])))
    for c, (label, flip) in enumerate(zip(mixture.labels, mixture.flips, strict=True)):
        for i in range(samples):
            R = np.ascontiguousarray(inner[i, patches[c]].T)
            own[0] = label
            values[i, c] = (1 - flip) * loss.increments(R, task, out)
            if flip:
                own[0] = -label
                values[i, c] += flip * loss.increments(R, task, out)
    means = values @ mixture.weights
    return float(means.mean()), float(means.std() / np.sqrt(samples)), values.mean(axis=0)


@np.errstate(over="ignore", invalid="ignore")
def evaluate_arrays(
    W: Floats, x: Floats, y: Floats, loss: Loss, settings: Settings, *, bias: bool
) -> TestResult:
    """Mean loss and error on given test samples x (n, P, D), y (n,), and their standard errors.

    W : (2, m, D), with a bias (2, m, D + 1). An output of 0 is half an error. The standard errors are those
    of the means of n independent samples of which the given ones would be a draw.
    """
    n, per_sample, width = x.shape
    flat = W.reshape(-1, W.shape[2])
    order = np.arange(per_sample, dtype=np.int64)[None]
    own, out = np.ones(1), np.zeros((len(flat), per_sample))
    task = register(loss, loss.task(settings, Samples(own, order, per_sample)))
    losses, errors = np.empty(n), np.empty(n)
    for start in range(0, n, _TESTED):
        rows = x[start : start + _TESTED]
        inner = rows @ flat[:, :width].T  # (n, P, 2m)
        if bias:
            inner += flat[:, width]
        outputs = outputs_of(inner, settings)
        errors[start : start + _TESTED] = 0.5 - 0.5 * np.sign(y[start : start + _TESTED] * outputs)
        for i in range(len(rows)):
            own[0] = y[start + i]
            losses[start + i] = loss.increments(np.ascontiguousarray(inner[i].T), task, out)
    spread = 1 / np.sqrt(max(n - 1, 1))
    found = (float(losses.mean()), float(losses.std() * spread))
    return TestResult(*found, float(errors.mean()), float(errors.std() * spread))


_TESTED = 4096  # samples at a time


def outputs_of(inner: Floats, settings: Settings) -> Floats:
    """f (n,) from inner products (n, P, 2m)."""
    s = settings
    values = activation(inner, s.q, s.activation, s.slope, s.width).sum(axis=1)
    found: Floats = values[:, : s.filters].sum(axis=1) - values[:, s.filters :].sum(axis=1)
    return s.output_scale / s.filters * found


def _distinct(mixture: Mixture) -> tuple[npt.NDArray[np.int64], Floats]:
    """Patches (C, P) as indices into the distinct ones (Q, S + N)."""
    both = np.concatenate([mixture.on_signals, mixture.on_noises], axis=2)
    rows, index = np.unique(both.reshape(-1, both.shape[2]), axis=0, return_inverse=True)
    return index.reshape(both.shape[:2]).astype(np.int64), rows
