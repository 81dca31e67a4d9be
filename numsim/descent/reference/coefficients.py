"""gamma and rho by their recursions, one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .contrastive import similarities, softmax_row
from .supervised import outputs, slope, softplus

__all__ = ["pretraining_coefficients", "supervised_coefficients"]

Array = npt.NDArray[Any]


def supervised_coefficients(
    W: Array,
    mu: Array,
    noise: Array,
    true_labels: Array,
    labels: Array,
    *,
    q: float,
    learning_rate: float,
    output_scale: float = 1.0,
) -> tuple[Array, Array]:
    """What one step from W (2, m, d) adds to gamma (2, m) and rho (2, m, n): the recursions of section 3.

    gamma_jr += -(eta/(n m)) sum_i l'_i sigma'(<w_jr, y_i mu>) |mu|^2 (observed y_i)(true y_i)
    rho_jri  += -(eta/(n m)) l'_i sigma'(<w_jr, xi_i>) |xi_i|^2 j (observed y_i), with output_scale on both.
    """
    n, m = len(noise), W.shape[1]
    patches = np.stack([true_labels[:, None] * mu, noise], axis=1)
    f = outputs(W, patches, q, output_scale)
    gamma, rho = np.zeros((2, m)), np.zeros((2, m, n))
    for i in range(n):
        step = learning_rate * output_scale / (n * m) * np.exp(-softplus(labels[i] * f[i]))
        for j, sign in enumerate((1.0, -1.0)):
            for r in range(m):
                on_signal = slope(W[j, r] @ (true_labels[i] * mu), q)
                gamma[j, r] += step * on_signal * (mu @ mu) * labels[i] * true_labels[i]
                on_noise = slope(W[j, r] @ noise[i], q)
                rho[j, r, i] += step * on_noise * (noise[i] @ noise[i]) * sign * labels[i]
    return gamma, rho


def pretraining_coefficients(
    W: Array,
    mu: Array,
    labels: Array,
    noise: Array,
    views: Array,
    *,
    learning_rate: float,
    temperature: float = 1.0,
) -> tuple[Array, Array, Array]:
    """What one step from W (M, d) adds to gamma (M,), rho and rho~ (M, n0), of mu, xi_i, xi~_i. Section 3.

    The gradient is sum_i c_ri z_i + c~_ri z~_i, with z_i = y_i mu + xi_i and z~_i = y_i mu + xi~_i.
    """
    n = len(noise)
    z, z_aug = labels[:, None] * mu + noise, labels[:, None] * mu + views
    s, s_plus = similarities(W, z, z_aug)
    c, c_aug = np.zeros((len(W), n)), np.zeros((len(W), n))
    for i in range(n):
        p_plus, p, _ = softmax_row(i, s, s_plus, temperature)
        c[:, i] += (p_plus - 1.0) * (W @ z_aug[i])
        c_aug[:, i] += (p_plus - 1.0) * (W @ z[i])
        for k in range(n):
            c[:, i] += p[k] * (W @ z[k])
            c[:, k] += p[k] * (W @ z[i])
    step = -learning_rate / (n * temperature)
    gamma = step * (c + c_aug) @ labels * (mu @ mu)
    return gamma, step * c * np.sum(noise**2, axis=1), step * c_aug * np.sum(views**2, axis=1)
