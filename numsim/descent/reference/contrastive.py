"""Pre-training in weight space: InfoNCE, its matrix H, the power matrix, descents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .samples import draw_noise
from .supervised import Trajectory

__all__ = [
    "info_nce",
    "info_nce_loss",
    "info_nce_matrix",
    "power_matrix",
    "pretrain",
    "pretrain_fresh_views",
    "similarities",
    "softmax_row",
]

Array = npt.NDArray[Any]
LINEAR_END = 0.3


def similarities(W: Array, z: Array, z_aug: Array) -> tuple[Array, Array]:
    """s_ii' = <F(z_i), F(z_i')> (n0, n0) and s_i+ = <F(z_i), F(z~_i)> (n0,), with F(z)_r = <w_r, z>.

    W : (M, d); z, z_aug : (n0, d). Section 1.
    """
    F = np.einsum("rd,id->ir", W, z)
    F_aug = np.einsum("rd,id->ir", W, z_aug)
    return np.einsum("ir,kr->ik", F, F), np.einsum("ir,ir->i", F, F_aug)


def softmax_row(i: int, s: Array, s_plus: Array, temperature: float) -> tuple[Any, Array, Any]:
    """Weights p_i+, p_ii' (n0,) with p_ii = 0, and log p_i+, of row i: softmax of s_i+ and s_ii', i' != i.

    All are e^(s/tau) / (e^(s_i+/tau) + sum_{i' != i} e^(s_ii'/tau)), with the largest exponent taken out.
    """
    negatives = [k for k in range(len(s_plus)) if k != i]
    top = max([s_plus[i].real] + [s[i, k].real for k in negatives])
    positive = np.exp((s_plus[i] - top) / temperature)
    shares = {k: np.exp((s[i, k] - top) / temperature) for k in negatives}
    total = positive + sum(shares.values())
    p = np.zeros_like(s[i])
    for k in negatives:
        p[k] = shares[k] / total
    return positive / total, p, (s_plus[i] - top) / temperature - np.log(total)


def info_nce_loss(W: Array, z: Array, z_aug: Array, temperature: float = 1.0) -> Any:
    """L = -(1/n0) sum_i log p_i+. Section 1."""
    s, s_plus = similarities(W, z, z_aug)
    return -sum(softmax_row(i, s, s_plus, temperature)[2] for i in range(len(z))) / len(z)


def info_nce_matrix(W: Array, z: Array, z_aug: Array, temperature: float = 1.0) -> Array:
    """H(W) (d, d), the map with dL/dw_r = H(W) w_r for every filter. Section 2.

    H = (1/(n0 tau)) sum_i [ (p_i+ - 1)(z_i z~_i^T + z~_i z_i^T)
                             + sum_{i' != i} p_ii' (z_i z_i'^T + z_i' z_i^T) ].
    """
    n = len(z)
    s, s_plus = similarities(W, z, z_aug)
    H = np.zeros((z.shape[1], z.shape[1]))
    for i in range(n):
        p_plus, p, _ = softmax_row(i, s, s_plus, temperature)
        H += (p_plus - 1.0) * (np.outer(z[i], z_aug[i]) + np.outer(z_aug[i], z[i]))
        for k in range(n):
            if k != i:
                H += p[k] * (np.outer(z[i], z[k]) + np.outer(z[k], z[i]))
    return H / (n * temperature)


def info_nce(W: Array, z: Array, z_aug: Array, temperature: float = 1.0) -> tuple[float, Array]:
    """InfoNCE loss and its gradient (M, d). Sections 1 and 2."""
    H = info_nce_matrix(W, z, z_aug, temperature)
    return float(info_nce_loss(W, z, z_aug, temperature)), np.einsum("de,re->rd", H, W)


def power_matrix(z: Array, z_aug: Array, learning_rate: float, temperature: float = 1.0) -> Array:
    """A = (eta/(n0^2 tau)) sum_i sum_{i' != i} (z_i z~_i^T + z~_i z_i^T - z_i z_i'^T - z_i' z_i^T), P1."""
    n = len(z)
    A = np.zeros((z.shape[1], z.shape[1]))
    for i in range(n):
        for k in range(n):
            if k != i:
                A += np.outer(z[i], z_aug[i]) + np.outer(z_aug[i], z[i])
                A -= np.outer(z[i], z[k]) + np.outer(z[k], z[i])
    return learning_rate / (n**2 * temperature) * A


def pretrain(
    W: Array,
    z: Array,
    z_aug: Array,
    *,
    learning_rate: float,
    temperature: float = 1.0,
    max_steps: int,
    stop_at_linear_end: bool = True,
) -> Trajectory:
    """Gradient descent w_r <- w_r - eta dL/dw_r on InfoNCE with one fixed view a sample.

    W : (M, d). Ends at the first step with max_{i' != i} |s_ii'| / tau > 0.3 ("linear_end"), or after
    max_steps ("max_steps").
    """
    return _contrastive_descent(
        W, lambda: (z, z_aug), learning_rate, temperature, max_steps, stop_at_linear_end
    )


def pretrain_fresh_views(
    W: Array,
    mu: Array,
    labels: Array,
    noise: Array,
    *,
    sigma_p: float,
    projected: bool,
    overlap: float,
    learning_rate: float,
    temperature: float,
    max_steps: int,
    stop_at_linear_end: bool,
    rng: np.random.Generator,
) -> Trajectory:
    """The same with new views z~_i = y_i mu + a xi_i + sqrt(1 - a^2) xi'_i, xi' fresh at every step.

    W : (M, d); mu : (d,); labels : (n0,); noise : (n0, d). Section 1, P6.
    """

    def views() -> tuple[Array, Array]:
        fresh = draw_noise(rng, noise.shape[0], mu, sigma_p, projected)
        mixed = overlap * noise + np.sqrt(1.0 - overlap**2) * fresh
        return labels[:, None] * mu + noise, labels[:, None] * mu + mixed

    return _contrastive_descent(W, views, learning_rate, temperature, max_steps, stop_at_linear_end)


def _contrastive_descent(
    W: Array,
    views: Callable[[], tuple[Array, Array]],
    learning_rate: float,
    temperature: float,
    max_steps: int,
    stop_at_linear_end: bool,
) -> Trajectory:
    filters: list[Array] = [W]
    losses: list[float] = []
    while True:
        z, z_aug = views()
        loss, gradient = info_nce(W, z, z_aug, temperature)
        losses.append(loss)
        if stop_at_linear_end and _largest_negative(W, z) / temperature > LINEAR_END:
            return Trajectory(filters, losses, "linear_end")
        if len(filters) > max_steps:
            return Trajectory(filters, losses, "max_steps")
        W = W - learning_rate * gradient
        filters.append(W)


def _largest_negative(W: Array, z: Array) -> float:
    """max over i' != i of |s_ii'|, 0 for one sample."""
    s, _ = similarities(W, z, z)
    return max((abs(s[i, k]) for i in range(len(z)) for k in range(len(z)) if k != i), default=0.0)
