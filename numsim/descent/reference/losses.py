"""The other losses term by term: activations, squared, NT-Xent, spectral; and one step of a rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["activate", "network_outputs", "nt_xent_loss", "rule_step", "spectral_loss", "supervised_loss"]

Array = npt.NDArray[Any]


def activate(z: Any, kind: str, q: float, slope: float, width: float) -> Any:
    """sigma(z) of a number, which may be complex."""
    x = z.real
    if kind == "power":
        return z**q if x > 0 else -((-z) ** q)
    if kind == "leaky":
        if x <= 0:
            return slope * z
        if x <= width:
            return slope * z + (1 - slope) * z * z / (2 * width)
        return z - (1 - slope) * width / 2
    return z**q if x > 0 else 0.0 * z


def network_outputs(
    W: Array, x: Array, *, q: float, kind: str = "relu", slope: float = 0.1, width: float = 1.0
) -> list[Any]:
    """f_i = (1/m) sum_j j sum_r sum_p sigma(<w_jr, x_i^(p)>), W (2, m, d), x (n, P, d)."""
    found = []
    for sample in x:
        total = 0.0
        for sign, half in zip((1.0, -1.0), W, strict=True):
            for w in half:
                for patch in sample:
                    total = total + sign * activate(w @ patch + 0.0, kind, q, slope, width)
        found.append(total / W.shape[1])
    return found


def supervised_loss(W: Array, x: Array, y: Array, loss: str, **network: Any) -> Any:
    """Mean logistic loss, or half the mean squared one."""
    total = 0.0
    for f, label in zip(network_outputs(W, x, **network), y, strict=True):
        total = total + (np.log1p(np.exp(-label * f)) if loss == "logistic" else (f - label) ** 2 / 2)
    return total / len(y)


def nt_xent_loss(W: Array, z: Array, z_aug: Array, temperature: float, normalised: bool) -> Any:
    """-(1/2n) sum_i log(e^s_ii+ / sum_(j != i) e^s_ij), over samples and views."""
    features = [W @ v for v in np.concatenate([z, z_aug])]
    if normalised:
        features = [h / np.sqrt(np.sum(h * h)) for h in features]
    n, total = len(z), 0.0
    for i, h in enumerate(features):
        s = [np.sum(h * other) / temperature for other in features]
        rest = sum(np.exp(s[j] - s[(i + n) % (2 * n)]) for j in range(2 * n) if j != i)
        total = total + np.log(rest)
    return total / (2 * n)


def spectral_loss(W: Array, z: Array, z_aug: Array) -> Any:
    """-(2/n) sum_i <h_i, h~_i> + (1/(n (n - 1))) sum_(i != k) <h_i, h_k>^2."""
    h, views, n = [W @ v for v in z], [W @ v for v in z_aug], len(z)
    near = sum(np.sum(a * b) for a, b in zip(h, views, strict=True))
    far = sum(np.sum(h[i] * h[k]) ** 2 for i in range(n) for k in range(n) if i != k)
    return -2 / n * near + far / (n * (n - 1))


def rule_step(W: Array, velocity: Array, gradient: Any, rate: float, rule: Any) -> tuple[Array, Array]:
    """(1) to (4) of rules.py in R^d: w and v after a step; gradient(W) is that of the step's batch."""
    g = gradient(W)
    if rule.sam_radius > 0 and np.linalg.norm(g) > 0:
        g = gradient(W + rule.sam_radius * g / np.linalg.norm(g))
    if rule.clip_norm > 0:
        g = g * min(1.0, rule.clip_norm / np.linalg.norm(g))
    velocity = rule.momentum * velocity + g + rule.weight_decay * W
    return W - rate * velocity, velocity
