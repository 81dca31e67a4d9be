"""The default step size and initial scale, held against curvature that the kernels show: for S1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from numsim import logistic_loss
from numsim.claims import Comparison, equals
from numsim.config import Experiment
from numsim.models.space import Space
from numsim.theory import race
from numsim.theory.defaults import supervised_learning_rate

__all__ = ["curvature", "data_bound", "defaults", "race_length"]

_NORM, _SIGMA, _DIM, _SAMPLES, _FILTERS, _SCALE = 1.5, 0.5, 40, 10, 7, 3.0


class _Case(NamedTuple):
    """A network for which the step size is derived: its power, whether labels flip, whether it has a bias."""

    q: float
    flips: bool
    bias: bool


_CASES = (
    _Case(2.5, False, False),
    _Case(3.0, True, False),
    _Case(4.0, False, True),
    _Case(5.0, True, True),
    _Case(1.5, False, False),
)


@lru_cache
def curvature(q: float, *, filters: int = 1, output_scale: float = 1.0, flips: bool = False) -> float:
    """Largest second derivative of the loss on one patch of length 1, from the kernel's gradient.

    Along one filter's activation; for q < 2 along all m equal ones, which share the output. With flips the
    label may be wrong, up to |f| = 1, further out than where descent starts.
    """
    sharing = filters if q < 2 else 1
    direction = np.zeros((2, filters, 1))
    direction[0, :sharing] = 1 / math.sqrt(sharing)
    patch = np.ones((1, 1, 1))

    def second(f: float, label: float) -> float:
        """At the output f, as a difference of gradients."""
        z = (f * filters / (output_scale * sharing)) ** (1 / q) * math.sqrt(sharing)
        step = 1e-4 * z
        up, down = (
            logistic_loss(shifted * direction, patch, np.array([label]), q=q, output_scale=output_scale)[1]
            for shifted in (z + step, z - step)
        )
        return float(np.sum(direction * (up - down)) / (2 * step))

    def largest(label: float, most: float) -> float:
        grid = np.geomspace(0.02, most, 40)
        for _ in range(2):  # the second time between the neighbours of the first time's best
            values = [second(f, label) for f in grid.tolist()]
            best = int(np.argmax(values))
            grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 15)
        return float(max(values))

    return max(largest(1.0, 60.0), largest(-1.0, 1.0)) if flips else largest(1.0, 60.0)


def data_bound(signal_norm: float, sigma_p: float, dim: float, samples: int, bias: bool) -> float:
    """Bound of the top eigenvalue of the mean of x x^T over samples, summed over both patches: S1 (15)."""
    edge = sigma_p**2 * dim / samples * (1 + math.sqrt(samples / dim)) ** 2
    return signal_norm**2 + edge + (4.0 if bias else 0.0)


def _stability(case: _Case) -> float:
    """eta times the largest curvature, in units of the stability limit 2: S1 (14) says a quarter."""
    rate = supervised_learning_rate(
        signal_norm=_NORM,
        sigma_p=_SIGMA,
        dim=_DIM,
        samples=_SAMPLES,
        filters=_FILTERS,
        q=case.q,
        output_scale=_SCALE,
        bias=case.bias,
        flips=case.flips,
    )
    largest = curvature(case.q, filters=_FILTERS, output_scale=_SCALE, flips=case.flips)
    return rate * largest * data_bound(_NORM, _SIGMA, _DIM, _SAMPLES, case.bias) / 2


def _edge_share(rng: np.random.Generator, samples: int, dim: int) -> float:
    """Top eigenvalue of the mean of xi xi^T over its bound, for drawn noise."""
    noise = Space(dim).draw(samples, 1.0, rng, projected=True)
    top = float(np.linalg.eigvalsh(noise @ noise.T / samples)[-1])
    return top / data_bound(0.0, 1.0, dim, samples, False)


def race_length(q: float) -> tuple[float, float]:
    """Steps of the default race of noise from b_0 = sigma_0 sigma_p sqrt(d), by ``race``, and its S1 (16)."""
    e = Experiment(network={"q": q}, pretraining={"samples": 0}).resolved()
    settings: dict[str, Any] = {"samples": e.finetuning.samples, "filters": e.network.filters, "q": q}
    rate = e.finetuning.learning_rate
    assert rate is not None
    found = race(
        signal_start=0.0,
        noise_start=e.relative_init_scale,
        class_samples=0.0,
        signal_norm=e.signal_norm,
        noise_norm=e.noise_norm,
        learning_rate=rate,
        **settings,
    )
    growth = 3e-3 if q >= 3 else q * (q - 2) * 1e-3 ** (q - 2)
    shape = e.network.filters ** (1 - 2 / q) * (1 + e.finetuning.samples * e.snr**2)
    return found.noise_time, 4 / growth * curvature(q) * shape


def defaults(seeds: Iterable[int], share: float) -> list[Comparison]:
    """The default step size against (14) and (15), and the length of the race it makes against (16).

    share : of the stability limit that the step size is said to be.
    """
    found = [_stability(case) for case in _CASES]
    lengths = [race_length(q) for q in (2.5, 3.0, 4.0, 6.0)]
    worst = max((measured / predicted for measured, predicted in lengths), key=lambda x: abs(math.log(x)))
    shares = [_edge_share(np.random.default_rng(seed), 100, 400) for seed in seeds]
    return [
        *(
            equals(f"default step size over the stability limit, {words}", share, extreme, order=2e-3)
            for words, extreme in (("smallest", min(found)), ("largest", max(found)))
        ),
        equals("top eigenvalue of the noise over its bound", 1.0, shares, order=100 ** (-2 / 3)),
        equals("length of the default race over (16)", 1.0, worst, order=2e-3),
    ]
