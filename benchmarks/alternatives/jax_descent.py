"""Both stages in JAX: ``jax.grad`` of the loss, the whole descent one compiled loop, float64.

Data are arguments of the compiled function, not constants of it (which XLA would fold for minutes).
InfoNCE with the positive on the diagonal, in a column of its own or added by ``logaddexp``; filters or
samples first; [z; z~] as one product or two; ``scan`` or ``fori_loop``: all lie within 15 % of each other at
n0 = 100 and 10 % at n0 = 1000, this form at most 5 % behind the best. Vectors stand in columns: XLA's
products with transposed rows take twice as long in R^(1e5), and a quarter longer in training at any size.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import Floats, Run

jax.config.update("jax_enable_x64", True)


def info_nce(W: Any, z: Any, z_aug: Any) -> Any:
    """-(1/n0) sum_i log softmax of the positive in row i; z, z_aug (D, n0)."""
    P, P_aug = W @ z, W @ z_aug
    positive = jnp.sum(P * P_aug, axis=0)
    index = jnp.arange(z.shape[1])
    logits = (P.T @ P).at[index, index].set(positive)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - positive)


def info_nce_as_written(W: Any, z: Any, z_aug: Any) -> Any:
    """-(1/n0) sum_i log(e^(s_i+) / (e^(s_i+) + sum_{i' != i} e^(s_ii'))), samples first; z, z_aug (n0, D)."""
    P, P_aug = z @ W.T, z_aug @ W.T
    positive = jnp.exp(jnp.sum(P * P_aug, axis=1))
    negatives = jnp.sum(jnp.exp(P @ P.T) * (1.0 - jnp.eye(len(z))), axis=1)
    return -jnp.mean(jnp.log(positive / (positive + negatives)))


def logistic_loss(W: Any, patches: Any, y: Any, q: Any) -> Any:
    """Mean of log(1 + exp(-y f)); patches (D, n P), W (2, m, D)."""
    _, m, width = W.shape
    signs = jnp.repeat(jnp.array([1.0, -1.0]), m) / m
    active = jax.nn.relu(W.reshape(-1, width) @ patches) ** q
    return jnp.mean(jnp.logaddexp(0.0, -y * (signs @ active).reshape(len(y), -1).sum(axis=1)))


def prepare_pretraining(W: Floats, z: Floats, z_aug: Floats, *, learning_rate: float) -> Run:
    """Gradient descent on InfoNCE; see the package."""
    return _prepare(info_nce, learning_rate, W, z.T.copy(), z_aug.T.copy())


def prepare_pretraining_as_written(W: Floats, z: Floats, z_aug: Floats, *, learning_rate: float) -> Run:
    """The same, as the formula stands in the paper."""
    return _prepare(info_nce_as_written, learning_rate, W, z, z_aug)


def _prepare(loss: Any, learning_rate: float, *arrays: Floats) -> Run:
    gradient = jax.grad(loss)

    def descend(W: Any, z: Any, z_aug: Any, steps: Any) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, W: W - learning_rate * gradient(W, z, z_aug), W)

    compiled = jax.jit(descend)
    start, first, second = (jax.device_put(array) for array in arrays)
    return lambda steps: np.asarray(compiled(start, first, second, steps).block_until_ready())


def prepare_training(W: Floats, x: Floats, y: Floats, *, q: float, learning_rate: float) -> Run:
    """Gradient descent on the logistic loss; see the package."""
    power = int(q) if q == int(q) else q  # a whole power is multiplied out
    gradient = jax.grad(logistic_loss)

    def descend(W: Any, patches: Any, y: Any, steps: Any) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, W: W - learning_rate * gradient(W, patches, y, power), W)

    compiled = jax.jit(descend)
    columns = x.reshape(-1, x.shape[2]).T.copy()
    start, patches, labels = (jax.device_put(array) for array in (W, columns, y))
    return lambda steps: np.asarray(compiled(start, patches, labels, steps).block_until_ready())
