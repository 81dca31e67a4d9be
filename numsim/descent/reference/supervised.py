"""Supervised training in weight space: the network, its loss and gradient, the descent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Trajectory", "logistic_gradient", "logistic_loss", "outputs", "slope", "softplus", "train"]

Array = npt.NDArray[Any]


class Trajectory(NamedTuple):
    """Filters and losses of a descent at steps 0, 1, ..., T, and why it stopped after step T."""

    filters: list[Array]
    losses: list[float]
    status: str


def activation(z: Any, q: float) -> Any:
    """sigma(z) = max(0, z)^q of a number."""
    return z**q if z.real > 0 else 0.0 * z


def slope(z: float, q: float) -> float:
    """sigma'(z) = q max(0, z)^(q-1) of a number, 0 at 0 also for q = 1."""
    return q * z ** (q - 1.0) if z > 0 else 0.0


def softplus(t: Any) -> Any:
    """log(1 + e^t) of a number without overflow; the logistic loss l(z) = log(1 + e^-z) is softplus(-z)."""
    return t + np.log1p(np.exp(-t)) if t.real > 0 else np.log1p(np.exp(t))


def outputs(W: Array, x: Array, q: float, output_scale: float = 1.0) -> Array:
    """f (n,), f_i = (output_scale/m) sum_j j sum_r sum_p sigma(<w_jr, x_i^(p)>).

    W : (2, m, d), index 0 is j = +1; x : (n, P, d). Section 1.
    """
    f = np.zeros(len(x), dtype=W.dtype)
    for i in range(len(x)):
        for j, sign in enumerate((1.0, -1.0)):
            for w in W[j]:
                for patch in x[i]:
                    f[i] += sign * activation(w @ patch, q)
    f *= output_scale / W.shape[1]
    return f


def logistic_loss(W: Array, x: Array, y: Array, q: float, output_scale: float = 1.0) -> Any:
    """L = (1/n) sum_i l(y_i f_i), l(z) = log(1 + e^-z); y (n,) the observed labels. Section 1."""
    f = outputs(W, x, q, output_scale)
    return sum(softplus(-y[i] * f[i]) for i in range(len(x))) / len(x)


def logistic_gradient(W: Array, x: Array, y: Array, q: float, output_scale: float = 1.0) -> Array:
    """dL/dw_jr = (output_scale/(n m)) sum_i l'_i y_i j sum_p sigma'(<w_jr, x_i^(p)>) x_i^(p), (2, m, d).

    l'_i = -1/(1 + e^(y_i f_i)) = -e^(-softplus(y_i f_i)). Section 2.
    """
    f = outputs(W, x, q, output_scale)
    gradient = np.zeros(W.shape)
    for i in range(len(x)):
        derivative = -np.exp(-softplus(y[i] * f[i]))
        for j, sign in enumerate((1.0, -1.0)):
            for r in range(W.shape[1]):
                for patch in x[i]:
                    gradient[j, r] += derivative * y[i] * sign * slope(W[j, r] @ patch, q) * patch
    gradient *= output_scale / (len(x) * W.shape[1])
    return gradient


def train(
    W: Array,
    x: Array,
    y: Array,
    *,
    q: float,
    learning_rate: float,
    max_steps: int,
    target_loss: float = 0.01,
    output_scale: float = 1.0,
) -> Trajectory:
    """Full-batch gradient descent on the logistic loss, W : (2, m, d).

    Ends at the first step with loss at most target_loss ("target_loss"; 0: never), or after max_steps.
    """
    filters: list[Array] = [W]
    losses: list[float] = []
    while True:
        losses.append(float(logistic_loss(W, x, y, q, output_scale)))
        if target_loss > 0 and losses[-1] <= target_loss:
            return Trajectory(filters, losses, "target_loss")
        if len(filters) > max_steps:
            return Trajectory(filters, losses, "max_steps")
        W = W - learning_rate * logistic_gradient(W, x, y, q, output_scale)
        filters.append(W)
