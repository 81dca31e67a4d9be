"""Fine-tuning from filters with a prescribed signal ratio, and the ratio at its boundary: for S4."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.descent.evaluation import TestResult, evaluate
from numsim.descent.supervised import train_dictionary
from numsim.models.signal_noise import Labelled, signal_noise_dictionary
from numsim.models.space import Space
from numsim.theory import critical_ratio, noise_power_mean
from numsim.theory.defaults import supervised_learning_rate

__all__ = [
    "CELLS",
    "SCALES",
    "TARGET",
    "Boundary",
    "Cell",
    "Tested",
    "boundary",
    "dense_test",
    "fine_tuned_losses",
]

Floats = npt.NDArray[np.float64]

SCALES = (0.04, 0.02)
"""(a_0/A)^(q-2) at the boundary with the output (s/m) A^q = 1: two initial scales."""

TARGET = 0.1
"""Training loss to stop at, times n: below what one sample left over would add."""

_DIM = 10**14
_FILTERS = 4
_BRACKET = 0.32  # half of it, in (q - 2) log Gamma
_HALVINGS = 6
_BUDGET = 20_000


class Cell(NamedTuple):
    """n_+1 and n_-1, SNR: a rung of the ladder in n SNR^2."""

    classes: tuple[int, int]
    snr: float

    @property
    def smaller(self) -> float:
        """n_j of the class that is harder to learn."""
        return float(min(self.classes))


CELLS = (Cell((4, 10), 0.3), Cell((20, 8), 0.3), Cell((4, 10), 0.9))
"""n_j SNR^2 = 0.36, 0.72 and 3.24 for the smaller class, once with n and once with SNR."""


class Boundary(NamedTuple):
    """Gamma = a_0 / (power mean of b_0i) at the boundary, by SCALES; middle : power mean / median b_0."""

    ratios: tuple[float, float]
    middle: float


class _Start:
    """Labelled noise and the noise part of filters, drawn; the signal part is set by Gamma.

    Every sample has one filter of its own sign with the class's largest activation, b_0i uniform on
    [1/2, 3/2]; the rest lie anywhere below. The same for the signal.
    """

    def __init__(self, rng: np.random.Generator, q: float, cell: Cell) -> None:
        self.q, self.cell = q, cell
        n, m = sum(cell.classes), _FILTERS
        self.labels = np.repeat([1.0, -1.0], cell.classes)
        self.output_scale = math.exp(rng.uniform(-1, 1))
        space = Space(_DIM)
        noise = space.draw(n, 1.0, rng, projected=True)
        self.mu = space.signal(cell.snr * math.sqrt(_DIM))
        self.dictionary = signal_noise_dictionary(self.mu, Labelled(self.labels, self.labels, noise))
        self.starts = rng.uniform(0.5, 1.5, n)
        side = (self.labels < 0).astype(int)
        own = rng.uniform(-1, 1, (m, n))
        own[rng.integers(m, size=n), np.arange(n)] = 1.0
        activations = 0.3 * rng.uniform(-1, 1, (2, m, n))
        activations[side, :, np.arange(n)] = (own * self.starts).T
        self.noise = activations @ (noise / np.sum(noise**2, axis=1, keepdims=True))
        self.along = rng.uniform(-1, 0.8, (2, m))
        self.along[[0, 1], rng.integers(m, size=2)] = 1.0

    def classes(self) -> list[Floats]:
        """b_0i of the two classes."""
        return [self.starts[self.labels == j] for j in (1.0, -1.0)]

    def losses(self, ratio: float, size: float) -> tuple[float, float, float]:
        """Training loss, as reported and recomputed, and test loss after fine-tuning.

        ratio : Gamma, so that a_0 is this many times the power mean, in both classes.

        size : b_0 of the filters, in units of ``starts``.
        """
        norm, n = float(np.linalg.norm(self.mu)), len(self.labels)
        W = size * self.noise
        for side, (j, starts) in enumerate(zip((1.0, -1.0), self.classes(), strict=True)):
            W[side, :, 0] = j * self.along[side] * ratio * size * noise_power_mean(starts, self.q) / norm
        rate = supervised_learning_rate(
            signal_norm=norm,
            sigma_p=1.0,
            dim=_DIM,
            samples=n,
            filters=_FILTERS,
            q=self.q,
            output_scale=self.output_scale,
            bias=False,
        )
        trained, run = train_dictionary(
            W,
            self.dictionary,
            q=self.q,
            output_scale=self.output_scale,
            learning_rate=rate,
            max_steps=_BUDGET,
            target_loss=TARGET / n,
            record=2,
        )
        test = evaluate(
            trained,
            self.mu / norm,
            signal_norm=norm,
            sigma_p=1.0,
            q=self.q,
            output_scale=self.output_scale,
            samples=8,  # at d = 10^14 fresh noise activates nothing
            rng=np.random.default_rng(0),
        )
        activations = np.maximum(np.einsum("jrd,kd->jrk", trained, self.dictionary.vectors), 0.0) ** self.q
        of_patches = self.output_scale / _FILTERS * (activations[0] - activations[1]).sum(axis=0)
        margins = self.labels * of_patches[self.dictionary.patches].sum(axis=1)
        return run.loss, float(np.mean(np.logaddexp(0.0, -margins))), test.loss

    def size(self, ratio: float, scale: float) -> float:
        """Size of the filters at which the smaller class's a_0 is A scale^(1/(q-2)), given Gamma."""
        weakest = self.classes()[int(np.argmin(self.cell.classes))]
        level = (_FILTERS / self.output_scale) ** (1 / self.q)
        return float(level * scale ** (1 / (self.q - 2)) / (ratio * noise_power_mean(weakest, self.q)))


@lru_cache(maxsize=4096)  # a check and its controls look at the same boundaries
def boundary(seed: int, q: float, cell: Cell) -> Boundary:
    """Where the test loss passes log(2)/4, half of what one class at chance leaves: by bisection."""
    rng = np.random.default_rng(seed)
    start = _Start(rng, q, cell)
    expected = critical_ratio(cell.smaller, cell.snr, q)
    ratios = []
    for scale in SCALES:
        size = start.size(expected, scale)
        width = 2 * _BRACKET / 2**_HALVINGS
        low = -_BRACKET + rng.uniform(-width, width) / 2  # so that the cells' middles are no fixed grid
        high = low + 2 * _BRACKET
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            loss = start.losses(expected * math.exp(middle / (q - 2)), size)[-1]
            low, high = (low, middle) if loss < math.log(2) / 4 else (middle, high)
        ratios.append(expected * math.exp((low + high) / 2 / (q - 2)))
    weakest = start.classes()[int(np.argmin(cell.classes))]
    return Boundary((ratios[0], ratios[1]), noise_power_mean(weakest, q) / float(np.median(weakest)))


@lru_cache(maxsize=4096)
def fine_tuned_losses(seed: int, q: float, cell: Cell, shift: float) -> tuple[float, float, float]:
    """Training loss times n, as reported and recomputed, and test loss.

    shift : of (q - 2) log Gamma from its value at the boundary.
    """
    start = _Start(np.random.default_rng(seed), q, cell)
    expected = critical_ratio(cell.smaller, cell.snr, q)
    ratio = expected * math.exp(shift / (q - 2))
    reported, train, test = start.losses(ratio, start.size(max(ratio, expected), SCALES[-1]))
    return reported * sum(cell.classes), train * sum(cell.classes), test


class Tested(NamedTuple):
    """Test loss and error of one network: means of batches sampled in R^d, (batches,), and ``evaluate``'s."""

    losses: Floats
    errors: Floats
    found: TestResult


@lru_cache
def dense_test(seed: int) -> Tested:
    """Everything switched on: noise not projected, labels flipped, a bias, an output scale."""
    dim, m, q, scale, flips, sigma_p, norm, batches, size = 12, 3, 2.5, 2.0, 0.2, 0.7, 1.3, 40, 1000
    rng = np.random.default_rng(seed)
    W, bias = 0.4 * rng.standard_normal((2, m, dim)), 0.4 * rng.standard_normal((2, m))
    W[:, :, 0] += np.array([[0.8], [-0.8]])  # right more often than wrong: a sign shows
    y = rng.choice([-1.0, 1.0], size=(batches, size))
    observed = np.where(rng.random(y.shape) < flips, -y, y)
    noise = sigma_p * rng.standard_normal((batches, size, dim))
    f = np.zeros_like(y)
    for j, filters, shifts in zip((1.0, -1.0), W, bias, strict=True):
        for w, b in zip(filters, shifts, strict=True):
            for activation in (y * norm * w[0] + b, noise @ w + b):
                f += j * scale / m * np.where(activation > 0, np.abs(activation) ** q, 0.0)
    found = evaluate(
        W,
        np.eye(dim)[0],
        signal_norm=norm,
        sigma_p=sigma_p,
        q=q,
        output_scale=scale,
        bias=bias,
        projected=False,
        flip_probability=flips,
        samples=40_000,
        rng=rng,
    )
    wrong = 0.5 * (1 - np.sign(observed * f))  # all filters off: a coin toss
    return Tested(np.logaddexp(0.0, -observed * f).mean(axis=1), wrong.mean(axis=1), found)
