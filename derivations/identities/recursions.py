"""gamma and rho by the recursions of E3, summed along the reference's descent in weight space."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.config import Resolved
from numsim.descent import reference
from numsim.models.signal_noise import Labelled, draw_views
from numsim.models.space import Space
from numsim.models.streams import generator
from numsim.runs.draw import Instance

__all__ = ["SIGN", "SupervisedTwin", "pretraining_twin", "supervised_twin"]

Floats = npt.NDArray[np.float64]

SIGN = np.array([1.0, -1.0])[:, None]
"""j of the filters (2, m)."""


class SupervisedTwin(NamedTuple):
    """A supervised stage: filters (T, 2, m, D), losses (T,), gamma (T, 2, m), rho (T, 2, m, n)."""

    filters: Floats
    losses: Floats
    gamma: Floats
    rho: Floats


def _gains(
    W: Floats, x: Floats, labelled: Labelled, norms: tuple[float, Floats], e: Resolved
) -> tuple[Floats, Floats]:
    """What a step from W (2, m, D) adds to gamma (2, m) and rho (2, m, n): E3 (5) and (6).

    x : (n, 2, D) patches y_i mu and xi_i; norms : |mu|^2 and |xi_i|^2.
    """
    q, observed = e.network.q, labelled.labels
    f = reference.outputs(W, x, q, e.network.output_scale)
    pull = e.finetuning.learning_rate * e.network.output_scale / (len(x) * W.shape[1])
    g = pull / (1 + np.exp(observed * f))
    inner = np.einsum("jrd,npd->jrnp", W, x)
    slope = q * np.where(inner > 0, np.abs(inner), 1.0) ** (q - 1) * (inner > 0)
    gamma: Floats = slope[..., 0] @ (g * observed * labelled.true_labels) * norms[0]
    rho: Floats = slope[..., 1] * (g * observed * norms[1]) * SIGN[..., None]
    return gamma, rho


def supervised_twin(e: Resolved, instance: Instance, initial: Floats, taken: float = 0.0) -> SupervisedTwin:
    """The reference's descent from filters ``initial`` (2, m, D), and E3 (5), (6) along it.

    taken : the share of sigma_p^2 d in |xi_i|^2. With a bias, D is one more than that of the instance.
    """
    labelled, mu, noise = instance.labelled, instance.mu, instance.labelled.noise
    x = np.stack([labelled.true_labels[:, None] * mu, noise], axis=1)
    if instance.bias is not None:
        x = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)
    run = reference.train(
        initial,
        x,
        labelled.labels,
        q=e.network.q,
        learning_rate=e.finetuning.learning_rate,
        max_steps=e.finetuning.max_steps,
        target_loss=e.finetuning.target_loss,
        output_scale=e.network.output_scale,
    )
    squares = (1 - taken) * np.sum(noise**2, axis=1) + taken * e.noise_norm**2
    gains = [_gains(W, x, labelled, (float(mu @ mu), squares), e) for W in run.filters[:-1]]
    gamma = np.cumsum([np.zeros(initial.shape[:2]), *(gain[0] for gain in gains)], axis=0)
    rho = np.cumsum([np.zeros((*initial.shape[:2], len(noise))), *(gain[1] for gain in gains)], axis=0)
    return SupervisedTwin(np.array(run.filters), np.array(run.losses), gamma, rho)


def pretraining_twin(e: Resolved, instance: Instance) -> dict[str, Floats]:
    """Filters, losses, gamma, rho, rho~ of every step: the reference's descent and E3 (8), any views.

    Fresh views are drawn as numsim draws them once all d axes are revealed, from the same stream.
    """
    unlabelled, settings = instance.unlabelled, e.pretraining
    assert unlabelled is not None
    mu, labels, noise = instance.mu, unlabelled.labels, unlabelled.noise
    rng = generator(e.seed, "views")
    W = instance.filters
    n = len(labels)
    state = [np.zeros(len(W)), np.zeros((len(W), n)), np.zeros((len(W), n))]
    rows: dict[str, list[Any]] = {name: [] for name in ("filters", "loss", "gamma", "rho", "rho_aug")}
    for step in range(settings.steps + 1):
        views = unlabelled.augmented
        if views is None:
            space = Space(e.data.dim, e.data.dim)
            views = draw_views(space, noise, settings.overlap, e.data.sigma_p, e.data.projected, rng)
        signal = labels[:, None] * mu
        loss, gradient = reference.info_nce(W, signal + noise, signal + views, settings.temperature)
        for name, value in zip(rows, (W, loss, *state), strict=True):
            rows[name].append(value)
        if step < settings.steps:
            gains = reference.pretraining_coefficients(
                W,
                mu,
                labels,
                noise,
                views,
                learning_rate=settings.learning_rate,
                temperature=settings.temperature,
            )
            state = [value + gain for value, gain in zip(state, gains, strict=True)]
            W = W - settings.learning_rate * gradient
    return {name: np.array(values) for name, values in rows.items()}
