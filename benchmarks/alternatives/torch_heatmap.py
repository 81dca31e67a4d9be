"""One replicate of the ReLU heat map of Kou et al. 2023 in PyTorch, as their experiment is run (K1).

Filters in R^d with a bias each; outputs are sums over the m filters and means over the two patches;
full-batch gradient descent with autograd; 1,000 test points with flipped labels. float64.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


def outputs(W: Any, b: Any, x: Any) -> Any:
    """f (n,) for filters W (2m, d), the first m of sign +1, biases b (2m,), patches x (2, n, d)."""
    signs = torch.full((len(W),), 0.5, dtype=torch.float64)  # half: the mean over two patches
    signs[len(W) // 2 :] *= -1.0
    inner = torch.addmm(b, x.view(-1, x.shape[2]), W.T)
    return (torch.relu(inner) @ signs).view(2, -1).sum(0)


def train(W: Any, b: Any, x: Any, y: Any, *, learning_rate: float, epochs: int) -> tuple[Any, Any]:
    """The last filters and biases. torch.optim.SGD, which does the same, takes 40 % longer at this size."""
    W, b = W.clone().requires_grad_(), b.clone().requires_grad_()
    for _ in range(epochs):
        loss = -F.logsigmoid(y * outputs(W, b, x)).mean()
        on_filters, on_biases = torch.autograd.grad(loss, (W, b))
        with torch.no_grad():
            W.add_(on_filters, alpha=-learning_rate)
            b.add_(on_biases, alpha=-learning_rate)
    return W.detach(), b.detach()


def sample(count: int, mu: Any, flip: float, generator: Any) -> tuple[Any, Any]:
    """Patches (2, count, d) = [y mu, xi] and labels, each flipped with probability ``flip``."""
    labels = torch.randint(2, (count,), generator=generator).double() * 2 - 1
    x = torch.empty(2, count, len(mu), dtype=torch.float64)
    torch.mul(labels[:, None], mu, out=x[0])
    x[1].normal_(generator=generator)
    flips = torch.rand(count, generator=generator, dtype=torch.float64) < flip
    return x, torch.where(flips, -labels, labels)


def replicate(dim: int, signal_norm: float, seed: int) -> float:
    """Draw, train 100 epochs, test on 1,000 points: the test error."""
    generator = torch.Generator().manual_seed(seed)
    mu = torch.zeros(dim, dtype=torch.float64)
    mu[0] = signal_norm
    scale = (3 * dim) ** -0.5
    W = torch.randn(20, dim, generator=generator, dtype=torch.float64) * scale
    b = torch.randn(20, generator=generator, dtype=torch.float64) * scale
    x, y = sample(20, mu, 0.1, generator)
    W, b = train(W, b, x, y, learning_rate=0.1, epochs=100)
    x, y = sample(1000, mu, 0.1, generator)
    with torch.no_grad():
        return float((outputs(W, b, x) * y <= 0).double().mean())


def one_thread() -> None:
    """What a worker process does first: the other core has a worker of its own."""
    torch.set_num_threads(1)
