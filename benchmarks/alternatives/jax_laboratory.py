"""The laboratory's losses and rules in JAX, as one would write them down: one compiled ``scan``, float64.

Data are arguments of the compiled function. What is random in a step, batches and flips, is drawn
beforehand, outside of what is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import Floats, Run

jax.config.update("jax_enable_x64", True)


def sigma(z: Any, q: float, kind: str) -> Any:
    """The activation; leaky with slope 0.1 and width 1."""
    if kind == "leaky":
        inside = jnp.clip(z, 0.0, 1.0)
        return 0.1 * z + 0.9 * (inside**2 / 2 + jnp.maximum(z - 1.0, 0.0))
    power = int(q) if q == int(q) else q
    if kind == "power":
        return jnp.sign(z) * jnp.abs(z) ** power
    return jax.nn.relu(z) ** power


def supervised(loss: str, q: float, kind: str) -> Callable[..., Any]:
    """Mean loss of W (2, m, D) on patches x (n, P, D) and labels y (n,)."""

    def value(W: Any, x: Any, y: Any) -> Any:
        active = sigma(jnp.einsum("jrd,npd->jnrp", W, x), q, kind).sum(axis=(2, 3)) / W.shape[1]
        f = active[0] - active[1]
        return jnp.mean((f - y) ** 2) / 2 if loss == "squared" else jnp.mean(jnp.logaddexp(0.0, -y * f))

    return value


def contrastive(
    loss: str, normalised: bool, temperature: float, network: bool, q: float
) -> Callable[..., Any]:
    """The loss of W (M, D) on z and z_aug (n0, D), or on patches (n0, P, D) with the network encoder."""

    def features(W: Any, rows: Any) -> Any:
        h = sigma(rows @ W.T, q, "relu").sum(axis=1) if network else rows @ W.T
        return h / jnp.linalg.norm(h, axis=1, keepdims=True) if normalised else h

    def value(W: Any, z: Any, z_aug: Any) -> Any:
        h, g = features(W, z), features(W, z_aug)
        n = len(h)
        if loss == "spectral":
            square = (h @ h.T) ** 2
            rest = (jnp.sum(square) - jnp.trace(square)) / (n * (n - 1))
            return rest - 2 * jnp.mean(jnp.sum(h * g, axis=1))
        if loss == "nt_xent":
            both = jnp.concatenate([h, g])
            S = jnp.where(jnp.eye(2 * n, dtype=bool), -jnp.inf, both @ both.T / temperature)
            positive = jnp.sum(h * g, axis=1) / temperature
            return jnp.mean(jax.nn.logsumexp(S, axis=1) - jnp.concatenate([positive, positive]))
        positive = jnp.sum(h * g, axis=1) / temperature
        S = jnp.where(jnp.eye(n, dtype=bool), positive[:, None], h @ h.T / temperature)
        return jnp.mean(jax.nn.logsumexp(S, axis=1) - positive)

    return value


def prepare(
    loss: Callable[..., Any],
    W: Floats,
    first: Floats,
    second: Floats,
    *,
    learning_rate: float,
    rule: Mapping[str, float],
    batches: Any = None,
    flips: Any = None,
    horizon: int = 0,
) -> Run:
    """Descent by a rule on loss(W, first, second), whose rows are taken in batches and multiplied by flips.

    rule : momentum, weight_decay, clip_norm, sam_radius; batches (T, B), flips (T, n); horizon : T of the
    cosine schedule, 0 for a constant step size.
    """
    gradient = jax.grad(loss)
    momentum, decay = rule.get("momentum", 0.0), rule.get("weight_decay", 0.0)
    clip, radius = rule.get("clip_norm", 0.0), rule.get("sam_radius", 0.0)

    def descend(W: Any, first: Any, second: Any, steps: Any, draws: Any) -> Any:
        def step(carried: Any, at: Any) -> Any:
            W, velocity = carried
            t, batch, flip = at
            a, b = first, second
            if flip is not None:
                b = b * flip
            if batch is not None:
                a, b = a[batch], b[batch]
            g = gradient(W, a, b)
            if radius:
                g = gradient(W + radius * g / jnp.sqrt(jnp.sum(g**2)), a, b)
            if clip:
                g = g * jnp.minimum(1.0, clip / jnp.sqrt(jnp.sum(g**2)))
            rate = learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * t / horizon)) if horizon else learning_rate
            velocity = momentum * velocity + g + decay * W
            return (W - rate * velocity, velocity), None

        return jax.lax.scan(step, (W, jnp.zeros_like(W)), (steps, *draws))[0][0]

    compiled = jax.jit(descend)
    arrays = [jax.device_put(array) for array in (W, first, second)]

    def run(steps: int) -> Floats:
        draws = [None if drawn is None else jnp.asarray(drawn[:steps]) for drawn in (batches, flips)]
        return np.asarray(compiled(*arrays, jnp.arange(steps), draws).block_until_ready())

    return run
