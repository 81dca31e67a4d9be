"""The two-stage experiment in R^d, with every array as long as R^d is: what E4 compares numsim with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim import compress
from numsim.claims import Comparison, Trials, equals
from numsim.config import Resolved
from numsim.descent import reference
from numsim.models.signal_noise import Labelled, Unlabelled
from numsim.models.space import pad
from numsim.runs.draw import Instance, draw
from numsim.runs.simulate import simulate

from .roundoff import EPS

__all__ = [
    "Dense",
    "DenseRun",
    "compressed",
    "dense_draw",
    "dense_run",
    "dense_test",
    "disturbed",
    "test_laws",
    "trajectory_tolerance",
]

Floats = npt.NDArray[np.float64]

_FLOOR = 1e-10
_RESPONSE = 100.0


class Dense(NamedTuple):
    """A draw in R^d; bias : (2m,) or None; order : (2m,) the split."""

    drawn: reference.Drawn
    bias: Floats | None
    order: npt.NDArray[np.int64]


class DenseRun(NamedTuple):
    """Pre-training, fine-tuning and direct training in R^d (with a bias, one more coordinate)."""

    pretraining: reference.Trajectory
    simclr: reference.Trajectory
    direct: reference.Trajectory


def dense_draw(e: Resolved, rng: np.random.Generator) -> Dense:
    """Everything that ``numsim.draw`` draws, as vectors of R^d of independent Gaussian entries."""
    m = e.network.filters
    drawn = reference.draw(
        rng,
        dim=e.data.dim,
        filters=m,
        unlabelled=e.pretraining.samples,
        labelled=e.finetuning.samples,
        signal_norm=e.signal_norm,
        sigma_p=e.data.sigma_p,
        init_scale=e.init_scale,
        overlap=e.pretraining.overlap,
        projected=e.data.projected,
        flip_probability=e.data.flip_probability,
    )
    if e.finetuning.labelled == "subset":
        chosen = rng.permutation(e.pretraining.samples)[: e.finetuning.samples]
        flips = drawn.observed * drawn.true_labels
        true = drawn.labels[chosen]
        drawn = drawn._replace(true_labels=true, observed=true * flips, labelled_noise=drawn.noise[chosen])
    bias = e.init_scale * rng.standard_normal(2 * m) if e.network.bias else None
    return Dense(drawn, bias, rng.permutation(2 * m))


def compressed(dense: Dense) -> Instance:
    """The same draw in as few coordinates as it spans, for numsim to run on."""
    d = dense.drawn
    mu, filters, noise, views, labelled = compress(d.mu[None], d.W, d.noise, d.views, d.labelled_noise)
    return Instance(
        mu=mu[0],
        direction=mu[0] / np.linalg.norm(mu[0]),
        filters=filters,
        bias=dense.bias,
        unlabelled=Unlabelled(d.labels, noise, views),
        labelled=Labelled(d.true_labels, d.observed, labelled),
        order=dense.order,
    )


def dense_run(e: Resolved, dense: Dense, W: Floats) -> DenseRun:
    """Both arms in R^d by the reference, from the filters W (2m, d), with fixed views."""
    drawn = dense.drawn
    pretraining = reference.pretrain(
        W,
        drawn.z,
        drawn.z_aug,
        learning_rate=e.pretraining.learning_rate,
        temperature=e.pretraining.temperature,
        max_steps=e.pretraining.steps,
        stop_at_linear_end=e.pretraining.stop_at_linear_end,
    )
    x = drawn.x
    if dense.bias is not None:
        x = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)

    def train(filters: Floats) -> reference.Trajectory:
        if dense.bias is not None:
            filters = np.concatenate([filters, dense.bias[:, None]], axis=1)
        return reference.train(
            filters[dense.order].reshape(2, e.network.filters, -1),
            x,
            drawn.observed,
            q=e.network.q,
            learning_rate=e.finetuning.learning_rate,
            max_steps=e.finetuning.max_steps,
            target_loss=e.finetuning.target_loss,
            output_scale=e.network.output_scale,
        )

    return DenseRun(pretraining, train(pretraining.filters[-1]), train(W))


def disturbed(W: Floats, rng: np.random.Generator, copies: int = 2) -> list[Floats]:
    """W (...) with every entry changed by a relative eps, up or down at random."""
    return [W * (1.0 + EPS * rng.choice([-1.0, 1.0], size=W.shape)) for _ in range(copies)]


def trajectory_tolerance(states: Sequence[Floats], others: Sequence[Sequence[Floats]]) -> list[float]:
    """Absolute tolerance of each state of a trajectory, E4 (11).

    1e-10 of its largest entry, or 100 times its response to a round-off perturbation of the start, which the
    same trajectory from disturbed starts (``others``) shows.
    """
    return [
        max(
            _FLOOR * float(np.max(np.abs(state))),
            _RESPONSE * max(float(np.max(np.abs(other[t] - state))) for other in others),
        )
        for t, state in enumerate(states)
    ]


def dense_test(
    e: Resolved, W: Floats, bias: Floats | None, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Loss and error (count,) of test samples in R^d, each seen with both labels, mu along the first axis.

    W : (2, m, d); bias : (2, m) or None. With label flips the observed label is flipped with probability p.
    """
    mu = e.signal_norm * np.eye(e.data.dim)[0]
    noise = reference.draw_noise(rng, count, np.eye(e.data.dim)[0], e.data.sigma_p, e.data.projected)
    shift = np.zeros(W.shape[:2]) if bias is None else bias
    losses, errors = np.zeros(count), np.zeros(count)
    for y in (1.0, -1.0):
        flips = np.where(rng.random(count) < e.data.flip_probability, -1.0, 1.0)
        f = np.zeros(count)
        for sign, filters, own in zip((1.0, -1.0), W, shift, strict=True):
            for patch in (np.broadcast_to(y * mu, noise.shape), noise):
                f += sign * np.sum(np.maximum(patch @ filters.T + own, 0.0) ** e.network.q, axis=1)
        margins = y * flips * f * e.network.output_scale / W.shape[1]
        losses += np.logaddexp(0.0, -margins) / 2
        errors += np.where(margins < 0, 1.0, np.where(margins > 0, 0.0, 0.5)) / 2
    return losses, errors


_TESTED: tuple[dict[str, Any], ...] = (
    {"data.flip_probability": 0.2},
    {"data.projected": False, "data.sigma_p": 1.4, "network.q": 2.0},
    {"network.bias": True, "network.output_scale": 3.0, "pretraining.views": "fresh"},
)


def test_laws(trials: Trials, experiment: Callable[..., Resolved]) -> list[Comparison]:
    """Test loss and error of trained filters: numsim's against samples in R^d."""
    comparisons = []
    rng, repeats, samples = trials.rng, trials.pick(30, 300), 1500
    for changes in _TESTED:
        settings = {"data.dim": 20, "network.relative_init_scale": 0.8, "evaluation.samples": samples}
        e = experiment(settings, {"pretraining.steps": 2, "finetuning.max_steps": 4}, changes)
        rows = []
        for seed in trials.seeds(repeats, repeats):
            at = e.model_copy(update={"seed": seed})
            arm = simulate(at, draw(at)).simclr
            assert arm is not None
            filters = arm.filters[..., :-1] if e.network.bias else arm.filters
            bias = arm.filters[..., -1] if e.network.bias else None
            padded = pad(filters.reshape(4, -1), 20).reshape(2, 2, 20)
            loss, error = dense_test(e, padded, bias, samples, rng)
            rows.append((arm.test.loss, loss.mean(), arm.test.error, error.mean()))
        name = ", ".join(key.split(".")[1].replace("_", " ") for key in changes)
        found = np.array(rows)
        for k, what in ((0, "loss"), (2, "error")):
            mean = float(np.mean(found[:, k + 1]))
            comparisons.append(equals(f"test {what}, {name}", mean, found[:, k] - found[:, k + 1] + mean))
    return comparisons
