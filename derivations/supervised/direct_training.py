"""Trained networks and what their starts predict, for the outcome of supervised training (S2, S3, S5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.config import Resolved
from numsim.descent.evaluation import TestResult, evaluate
from numsim.models.decomposition import supervised_coefficients
from numsim.models.dictionary import PatchDictionary
from numsim.models.space import Space
from numsim.models.streams import generator
from numsim.runs.draw import Instance, draw
from numsim.runs.simulate import Arm, simulate
from numsim.theory import after_clock, outcome_ratio

__all__ = [
    "DIM",
    "SIGNS",
    "Trained",
    "drawn_successes",
    "late_share",
    "moved",
    "outcome_ratios",
    "start_ratios",
    "trained",
    "trained_arm",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DIM = 10**14
"""Noise patches are orthogonal and of equal length up to 1e-7."""
SIGNS = (1.0, -1.0)


class Trained(NamedTuple):
    """One supervised training. The signs j = +1, -1 are the first axis.

    dictionary : the patches, K of them; start, end : (2, m, K) <w_jr, v> before and after; gamma (2, m),
    rho (2, m, n); test : at the data's noise level; noisy : at raised noise.
    """

    experiment: Resolved
    dictionary: PatchDictionary
    start: Floats
    end: Floats
    gamma: Floats
    rho: Floats
    steps: int
    loss: float
    reached: bool
    test: TestResult
    noisy: TestResult

    @property
    def labels(self) -> Floats:
        """Observed labels (n,)."""
        return self.dictionary.labels

    @property
    def rate(self) -> float:
        """eta s q / (n m), what multiplies g |v|^2 x^(q-1)."""
        e = self.experiment
        size = e.finetuning.samples * e.network.filters
        return e.finetuning.learning_rate * e.network.output_scale * e.network.q / size

    @property
    def scale(self) -> float:
        """s / m."""
        return self.experiment.network.output_scale / self.experiment.network.filters

    @property
    def startable(self) -> bool:
        """Whether every sample's noise starts above C2's lower bound, sigma_0 sigma_p sqrt(d) / 4."""
        starts = [self.noise(side).max(axis=0).min() for side in range(2) if len(self.members(side))]
        return bool(min(starts) >= self.experiment.relative_init_scale / 4)

    def members(self, side: int) -> Integers:
        """Samples of the class with label SIGNS[side]."""
        return np.flatnonzero(self.labels == SIGNS[side])

    def signal(self, side: int, which: str = "start") -> Floats:
        """(m,) j <w_jr, mu>: activations of the class's filters on its signal patch."""
        along: Floats = getattr(self, which)[side][:, self.dictionary.part("signal")][:, side]
        return along

    def noise(self, side: int, which: str = "start") -> Floats:
        """(m, n_j) <w_jr, xi_i> on the noise of the class's own samples."""
        across: Floats = self.across(which)[side][:, self.members(side)]
        return across

    def across(self, which: str = "start") -> Floats:
        """(2, m, n) <w_jr, xi_i> of all filters on the noise of all samples."""
        found: Floats = getattr(self, which)[..., self.dictionary.part("noise")]
        return found


@lru_cache(maxsize=8192)  # a check and its controls look at the same trainings
def trained(experiment: Resolved, seed: int, noise: float) -> Trained:
    """Direct training of a resolved experiment without pre-training, with this seed.

    noise : the level of the second evaluation, standard deviation of <w, xi> at the initial filters.
    """
    e = experiment.model_copy(update={"seed": seed})
    instance = draw(e)
    return trained_arm(e, instance, instance.filters, simulate(e, instance).direct, noise)


def trained_arm(e: Resolved, instance: Instance, filters: Floats, arm: Arm, level: float = 0.0) -> Trained:
    """What an arm made of ``filters`` (2m, D), which it was to start from, split by the instance's order.

    level : as ``noise`` of ``trained``.
    """
    m, width = e.network.filters, filters.shape[1]
    noise, vectors = instance.labelled.noise, arm.dictionary.vectors
    halves = np.stack([filters[instance.order[:m]], filters[instance.order[m:]]])
    assert arm.descent is not None
    gamma, rho = supervised_coefficients(arm.descent.coefficients, arm.dictionary, instance.mu, noise)
    direction = np.zeros(width)
    direction[0] = 1.0
    raised = evaluate(
        arm.filters,
        direction,
        signal_norm=e.signal_norm,
        sigma_p=level / (e.init_scale * math.sqrt(e.data.dim)),
        q=e.network.q,
        output_scale=e.network.output_scale,
        samples=e.evaluation.samples,
        rng=generator(e.seed, "embedding"),
    )
    return Trained(
        e,
        arm.dictionary,
        halves @ vectors.T,
        arm.filters @ vectors.T,
        gamma,
        rho,
        arm.descent.steps,
        arm.descent.loss,
        arm.descent.status == "target_loss",
        TestResult(*arm.test[:4]),
        raised,
    )


def outcome_ratios(run: Trained, start: str = "start") -> list[float]:
    """S2 (7) of both classes, from the start; 0 for a class without samples."""
    e = run.experiment
    return [
        outcome_ratio(
            float(run.signal(side, start).max()),
            run.noise(side, start).max(axis=0),
            snr=e.snr,
            q=e.network.q,
        )
        if len(run.members(side))
        else 0.0
        for side in range(2)
    ]


def late_share(start: float, end: float) -> float:
    """Share of S2 (6)'s correction that is uncertain: the last factor of two in x, where |l'| < 1/2."""
    return math.log(2) / math.log(end / start)


def moved(start: Floats, clock: Floats | float, q: float, pull: float = 0.0) -> Floats:
    """How far activations go while the clock runs, after less before; those <= 0 do not move."""
    change: Floats = after_clock(start, clock, q, pull) - start
    return change


@lru_cache(maxsize=512)  # a check and its controls look at the same starts
def start_ratios(seed: int, draws: int, count: int, filters: int, snr: float, q: float) -> Floats:
    """(draws, 2) from random starts of one class: S2 (7), and with the largest b_0 for every sample."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        space = Space(DIM)
        W = space.draw(filters, 1 / math.sqrt(DIM), rng)
        noise = space.draw(count, 1.0, rng, projected=True)
        b = (W @ noise[:, : W.shape[1]].T).max(axis=0)
        a = float(W[:, 0].max()) * snr * math.sqrt(DIM)
        found.append([outcome_ratio(a, x, snr=snr, q=q) for x in (b, np.full(count, b.max()))])
    return np.array(found)


def drawn_successes(
    rng: np.random.Generator, strength: float, counts: Sequence[int], filters: int, q: float, draws: int
) -> int:
    """How often S2 (8) exceeds 1 in every class, the Gaussians' maxima drawn."""
    learned = np.ones(draws, dtype=bool)
    for count in counts:
        alpha = np.maximum(rng.standard_normal((draws, filters)).max(axis=1), 0.0)
        beta = np.maximum(rng.standard_normal((draws, count, filters)).max(axis=2), 1e-50)
        learned &= strength * alpha ** (q - 2) * np.sum(beta ** (2 - q), axis=1) > 1
    return int(learned.sum())
