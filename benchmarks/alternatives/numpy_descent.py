"""Both stages in NumPy: hand-derived gradients, in the coordinates of the filters, whole arrays at a time.

InfoNCE, with P = z W^T (n0, M), P~ = z~ W^T and row softmax p (derivations/model.md (8)):
    dL/dW = (1/n0) (C^T z + C~^T z~),   C = (p + p^T) P + (p_+ - 1) P~,   C~ = (p_+ - 1) P.
Logistic: dL/dW_j = (1/(n m)) sum_i l'_i y_i j sum_p sigma'(<w, x_i^(p)>) x_i^(p).
"""

from __future__ import annotations

import numpy as np

from . import Floats, Run

SIGNS = np.array([1.0, -1.0])


def info_nce_gradient(W: Floats, z: Floats, z_aug: Floats) -> Floats:
    """Gradient (M, D) of InfoNCE at W; the positive stands on the diagonal of the similarities."""
    n = len(z)
    P, P_aug = z @ W.T, z_aug @ W.T
    logits = P @ P.T
    np.fill_diagonal(logits, np.sum(P * P_aug, axis=1))
    logits -= logits.max(axis=1, keepdims=True)
    p = np.exp(logits, out=logits)
    p /= p.sum(axis=1, keepdims=True)
    pull = (p.diagonal() - 1.0)[:, None]
    np.fill_diagonal(p, 0.0)
    on_z = p @ P + p.T @ P + pull * P_aug
    gradient: Floats = (on_z.T @ z + (pull * P).T @ z_aug) / n
    return gradient


def logistic_gradient(W: Floats, x: Floats, y: Floats, q: float) -> Floats:
    """Gradient (2, m, D) of the logistic loss at W."""
    _, m, width = W.shape
    n, per_sample, _ = x.shape
    patches = x.reshape(-1, width)
    inner = np.maximum(patches @ W.reshape(-1, width).T, 0.0)  # (n P, 2 m)
    power = inner * inner if q == 3 else np.where(inner > 0, inner ** (q - 1.0), 0.0)
    signs = np.repeat(SIGNS, m)
    margins = y * ((power * inner) @ signs).reshape(n, per_sample).sum(axis=1) / m
    weights = -y / (1.0 + np.exp(np.minimum(margins, 700.0)))  # y l'
    factor = np.repeat(weights, per_sample)[:, None] * (q / (n * m)) * signs
    gradient: Floats = (factor * power).T @ patches
    return gradient.reshape(W.shape)


def prepare_pretraining(W: Floats, z: Floats, z_aug: Floats, *, learning_rate: float) -> Run:
    """Gradient descent on InfoNCE; see the package."""

    def run(steps: int) -> Floats:
        filters = W.copy()
        for _ in range(steps):
            filters -= learning_rate * info_nce_gradient(filters, z, z_aug)
        return filters

    return run


def prepare_training(W: Floats, x: Floats, y: Floats, *, q: float, learning_rate: float) -> Run:
    """Gradient descent on the logistic loss; see the package."""

    def run(steps: int) -> Floats:
        filters = W.copy()
        for _ in range(steps):
            filters -= learning_rate * logistic_gradient(filters, x, y, q)
        return filters

    return run
