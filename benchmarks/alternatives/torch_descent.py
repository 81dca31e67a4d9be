"""Both stages in PyTorch: autograd, float64, nothing in the loop beside loss, gradient and update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from . import Floats, Run

Loss = Callable[[Any], Any]


def info_nce(W: Any, z: Any, z_aug: Any) -> Any:
    """Cross-entropy of the positive, which stands on the diagonal of the similarities."""
    P, P_aug = z @ W.T, z_aug @ W.T
    logits = torch.diagonal_scatter(P @ P.T, (P * P_aug).sum(1))
    return F.cross_entropy(logits, torch.arange(len(z)))


def logistic_loss(W: Any, patches: Any, y: Any, q: float) -> Any:
    """Mean of log(1 + exp(-y f)); patches (n P, D), W (2, m, D). F.softplus is inexact beyond 20."""
    _, m, width = W.shape
    signs = torch.full((2 * m,), 1.0 / m, dtype=torch.float64)
    signs[m:] *= -1.0
    active = torch.relu(patches @ W.view(-1, width).T) ** q
    return -F.logsigmoid(y * (active @ signs).view(len(y), -1).sum(1)).mean()


def descent(W: Floats, loss: Loss, learning_rate: float) -> Run:
    """The loop that both stages share."""
    start = torch.from_numpy(W)

    def run(steps: int) -> Floats:
        filters = start.clone().requires_grad_()
        for _ in range(steps):
            (gradient,) = torch.autograd.grad(loss(filters), filters)
            with torch.no_grad():
                filters.add_(gradient, alpha=-learning_rate)
        return np.asarray(filters.detach().numpy())

    return run


def prepare_pretraining(W: Floats, z: Floats, z_aug: Floats, *, learning_rate: float) -> Run:
    """Gradient descent on InfoNCE; see the package."""
    first, second = torch.from_numpy(z), torch.from_numpy(z_aug)
    return descent(W, lambda filters: info_nce(filters, first, second), learning_rate)


def prepare_pretraining_as_written(W: Floats, z: Floats, z_aug: Floats, *, learning_rate: float) -> Run:
    """The same as scripts have it: the positive in a column before the negatives, and an optimizer."""
    start, first, second = (torch.from_numpy(array) for array in (W, z, z_aug))
    itself, target = torch.eye(len(z), dtype=torch.bool), torch.zeros(len(z), dtype=torch.long)

    def run(steps: int) -> Floats:
        filters = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([filters], lr=learning_rate)
        for _ in range(steps):
            optimizer.zero_grad()
            P, P_aug = first @ filters.T, second @ filters.T
            negatives = (P @ P.T).masked_fill(itself, -torch.inf)
            logits = torch.cat([(P * P_aug).sum(1, keepdim=True), negatives], dim=1)
            F.cross_entropy(logits, target).backward()
            optimizer.step()
        return np.asarray(filters.detach().numpy())

    return run


def prepare_training(W: Floats, x: Floats, y: Floats, *, q: float, learning_rate: float) -> Run:
    """Gradient descent on the logistic loss; see the package."""
    patches, labels = torch.from_numpy(np.ascontiguousarray(x.reshape(-1, x.shape[2]))), torch.from_numpy(y)
    return descent(W, lambda filters: logistic_loss(filters, patches, labels, q), learning_rate)
