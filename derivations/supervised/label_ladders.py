"""Exponents of the labels and of the unlabelled samples that training needs: for S5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, Trials, equals, slope
from numsim.config import Experiment, Resolved
from numsim.descent.contrastive import top_eigenpairs
from numsim.runs.draw import draw
from numsim.theory import critical_strength, finetuning_strength, linear_modes

from .direct_training import DIM, Trained, outcome_ratios, trained
from .two_arms import LARGE, finetuned, law, predicted_ratio, two_stage

__all__ = ["aligned_exponent", "direct_exponent", "finetuning_exponent"]

Floats = npt.NDArray[np.float64]


def _threshold(seed: int, n: int, q: float) -> float:
    """The SNR from which on direct training with this seed learns both classes, within 5 %, by bracketing."""

    def learns(snr: float) -> bool:
        run = trained(_direct(n, q, snr), seed, 0.0)
        return run.reached and bool(run.gamma.max(axis=1).min() >= LARGE)

    while not _learnable(_start(seed, n, q)):
        seed += 1
    at = min(outcome_ratios(_start(seed, n, q))) ** (-1 / q)
    low, high = at / _STEP, at * _STEP
    while learns(low):
        low, high = low / _STEP, low
    while not learns(high):
        low, high = high, high * _STEP
    return math.sqrt(low * high)


_STEP = 1.05


def _learnable(start: Trained) -> bool:
    """Whether there is such an SNR, below infinity and above 0: C2's lower bounds, of which draws may miss.

    A class all of whose m filters point away from its signal learns it at no SNR, 2^(-m) of all draws; a
    sample with noise below C2's bound, one in 4000, hardly stops pulling.
    """
    return start.startable and bool(min(outcome_ratios(start)) > 0)


@lru_cache(maxsize=4096)
def _start(seed: int, n: int, q: float) -> Trained:
    """The start of direct training at SNR = 1."""
    return trained(_direct(n, q, 1.0, steps=0), seed, 0.0)


@lru_cache(maxsize=4096)
def _direct(n: int, q: float, snr: float, steps: int = 100_000) -> Resolved:
    scale = {3.0: 0.03, 4.0: 0.1, 5.0: 0.2}[q]
    return Experiment(
        data={"dim": DIM, "snr": snr, "balanced": True},
        network={"filters": 16, "q": q, "relative_init_scale": scale},
        pretraining={"samples": 0},
        finetuning={"samples": n, "target_loss": 0.2 * math.log(2) / n, "max_steps": steps},
        evaluation={"samples": 2},
    ).resolved()


def direct_exponent(
    trials: Trials, q: float, ladder: Sequence[int], exponent: float
) -> tuple[Comparison, Floats]:
    """n* ~ SNR^-q, read as SNR* ~ n^(-1/q): S5 (4)."""
    seeds = list(trials.seeds(40, 40))
    found = np.array([[_threshold(seed, n, q) for seed in seeds] for n in ladder])
    x = np.log(np.array(ladder, dtype=np.float64))
    drift = [math.log(n * critical_strength([n // 2] * 2, filters=16, q=q)) / q for n in ladder]
    finite = abs(float(np.polyfit(x, drift, 1)[0]))  # n SNR*^q is not quite constant, S2 (9)
    name = f"direct training: SNR* over n, q = {q:g}"
    return slope(name, -1 / (q + exponent), ladder, found, absolute=finite + 0.01), found


def finetuning_exponent(trials: Trials) -> tuple[Comparison, Floats]:
    """n* ~ SNR^0 at n0 SNR^2 = 4 and sigma_0 ~ SNR^(2/(q-2)), S5 (6): the smallest n of 2, 4, 8, ..."""
    sizes = trials.pick((16, 32, 64), (16, 32, 64, 128, 256))
    snrs = [math.sqrt(4.0 / n0) for n0 in sizes]
    seeds = list(trials.seeds(16, 40))
    found, expected = [], []
    for n0, snr in zip(sizes, snrs, strict=True):
        rungs = [two_stage(4.0, n0=n0, n=n, scale=0.01 * snr**2, eps=0.2 / n) for n in (2, 4, 8, 16, 32)]
        found.append([_smallest(rungs, seed) for seed in seeds])
        strength = finetuning_strength(snr, predicted_ratio(rungs[0], 0.3), 3.0)
        chances = [law(e, strength) for e in rungs]
        expected.append(2 + sum((1 - p) * e.finetuning.samples for p, e in zip(chances, rungs, strict=True)))
    x, y = np.log(snrs), np.log(expected)
    drift = abs(float(np.polyfit(x, y, 1)[0]))  # R depends on sigma_0 by a little more than 1/sigma_0
    name = "fine-tuning: n* over SNR, q = 3"
    return slope(name, 0.0, snrs, np.array(found), absolute=drift + 0.01, resolution=1.0), np.array(found)


def _smallest(rungs: Sequence[Resolved], seed: int) -> float:
    """The labels of the first rung that succeeds, or of the one that would come next, as in ``expected``."""
    while min(finetuned(rungs[0], seed, None)[1]) == 0:  # all filters of a class point away: no n is enough
        seed += 1
    for e in rungs:
        if finetuned(e, seed, 50_000)[2]:
            return float(e.finetuning.samples)
    return 2.0 * rungs[-1].finetuning.samples


@lru_cache(maxsize=4096)
def _aligned(n0: int, seed: int) -> float:
    """SNR from which on cos^2(v_1, mu) >= 1/2, for one draw of n0 samples with balanced labels."""
    e = Experiment(
        seed=seed,
        data={"dim": DIM, "snr": 1.0, "balanced": True},
        network={"filters": 1},
        pretraining={"samples": n0},
        finetuning={"samples": 2},
    ).resolved()
    instance = draw(e)
    assert instance.unlabelled is not None
    low, high = 0.6 / math.sqrt(n0), 0.85 / math.sqrt(n0)
    for _ in range(10):
        middle = math.sqrt(low * high)
        z, z_aug = instance.unlabelled.sums(middle * instance.mu)
        _, vectors = top_eigenpairs(z, z_aug, learning_rate=e.pretraining.learning_rate, temperature=1.0)
        aligned = float(vectors[:, 0] @ instance.direction) ** 2 >= 0.5
        low, high = (low, middle) if aligned else (middle, high)
    return math.sqrt(low * high)


def aligned_exponent(trials: Trials) -> list[Comparison]:
    """n0* ~ SNR^-2 for cos^2(v_1, mu) >= 1/2, read as SNR* ~ n0^(-1/2), and n0* SNR^2 = 1/2: S5 (7)."""
    ladder = trials.pick((12, 24, 48), (12, 24, 48, 96, 192))
    seeds = list(trials.seeds(4, 12))
    found = np.array([[_aligned(n0, seed) for seed in seeds] for n0 in ladder])
    levels = [linear_modes(0.5, n0)[0].alignment for n0 in ladder]
    exact = max(abs(level - 0.5) for level in levels)
    return [
        slope("alignment: SNR* over n0", -0.5, ladder, found, absolute=exact + 2e-3),
        equals(
            "alignment: n0 SNR*^2",
            0.5,
            np.array(ladder)[-1] * found[-1] ** 2,
            order=4 / ladder[-1] ** 2 + 1e-3,
        ),
    ]
