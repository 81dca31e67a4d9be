"""Samples in R^d, entry by entry, and what a trained network does on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .supervised import outputs, softplus

__all__ = ["Drawn", "draw", "draw_noise", "evaluate", "margins"]

Array = npt.NDArray[Any]


class Drawn(NamedTuple):
    """A whole experiment in R^d.

    mu : (d,); W : (2m, d) initial filters; labels : (n0,), noise, views : (n0, d) of the unlabelled samples;
    true_labels, observed : (n,) and labelled_noise : (n, d) of the labelled ones.
    """

    mu: Array
    W: Array
    labels: Array
    noise: Array
    views: Array
    true_labels: Array
    observed: Array
    labelled_noise: Array

    @property
    def z(self) -> Array:
        """z_i = y_i mu + xi_i, (n0, d)."""
        return self.labels[:, None] * self.mu + self.noise

    @property
    def z_aug(self) -> Array:
        """z~_i = y_i mu + xi~_i, (n0, d)."""
        return self.labels[:, None] * self.mu + self.views

    @property
    def x(self) -> Array:
        """The patches y_i mu and xi_i of the labelled samples, (n, 2, d)."""
        return np.stack([self.true_labels[:, None] * self.mu, self.labelled_noise], axis=1)


def draw_noise(
    rng: np.random.Generator, count: int, direction: Array, sigma_p: float, projected: bool
) -> Array:
    """xi ~ N(0, sigma_p^2 (I - mu mu^T/|mu|^2)), or N(0, sigma_p^2 I) if not projected: (count, d).

    direction : (d,) mu or any other non-zero multiple of it.
    """
    xi = sigma_p * rng.standard_normal((count, len(direction)))
    if projected:
        xi -= np.outer(xi @ direction, direction) / (direction @ direction)
    return xi


def draw(
    rng: np.random.Generator,
    *,
    dim: int,
    filters: int = 2,
    unlabelled: int = 4,
    labelled: int = 4,
    signal_norm: float = 1.0,
    sigma_p: float = 1.0,
    init_scale: float = 1.0,
    overlap: float = 0.0,
    projected: bool = True,
    flip_probability: float = 0.0,
    first_axis: bool = False,
) -> Drawn:
    """Draw everything in R^dim: ``filters`` is m; mu along e_0 (``first_axis``) or a random direction."""
    direction = np.eye(dim)[0] if first_axis else rng.standard_normal(dim)
    mu = signal_norm * direction / np.sqrt(direction @ direction)
    W = init_scale * rng.standard_normal((2 * filters, dim))
    labels, true_labels = (rng.choice([-1.0, 1.0], size=count) for count in (unlabelled, labelled))
    noise, fresh = (draw_noise(rng, unlabelled, direction, sigma_p, projected) for _ in range(2))
    flips = np.where(rng.random(labelled) < flip_probability, -1.0, 1.0)
    return Drawn(
        mu=mu,
        W=W,
        labels=labels,
        noise=noise,
        views=overlap * noise + np.sqrt(1.0 - overlap**2) * fresh,
        true_labels=true_labels,
        observed=true_labels * flips,
        labelled_noise=draw_noise(rng, labelled, direction, sigma_p, projected),
    )


def margins(W: Array, mu: Array, noise: Array, q: float, output_scale: float = 1.0) -> Array:
    """y f(W, x) (2, N) of the test samples x = (y mu, xi_k), for y = +1 and -1 and every noise draw xi_k.

    W : (2, m, d); mu : (d,); noise : (N, d). Section 1.
    """
    rows = []
    for y in (1.0, -1.0):
        x = np.stack([np.broadcast_to(y * mu, noise.shape), noise], axis=1)
        rows.append(y * outputs(W, x, q, output_scale))
    return np.stack(rows)


def evaluate(test_margins: Array, flip_probability: float = 0.0) -> tuple[float, float]:
    """Mean test loss and error given margins y f: a flipped label has the margin -y f, 0 is half an error."""
    loss = error = 0.0
    for margin in test_margins.ravel():
        for chance, value in ((1.0 - flip_probability, margin), (flip_probability, -margin)):
            loss += chance * softplus(-value)
            error += chance * (1.0 if value < 0 else 0.5 if value == 0 else 0.0)
    return loss / test_margins.size, error / test_margins.size
