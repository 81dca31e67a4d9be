"""Exponents of the labels and of the unlabelled samples that training needs: for S5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, Trials, equals, slope
from numsim.config import Experiment, Resolved
from numsim.descent.power_matrix import top_eigenpairs
from numsim.runs.draw import draw
from numsim.theory import critical_strength, finetuning_strength, linear_modes

from .direct_training import DIM, Trained, outcome_ratios, trained
from .two_arms import LARGE, finetuned, law, predicted_ratio, two_stage

__all__ = ["aligned_exponent", "direct_exponent", "finetuning_exponents"]

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


_LABELS = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_FIXED, _FALLING = 0.05, 0.25


def finetuning_exponents(trials: Trials, fixed: float, falling: float) -> list[Comparison]:
    """n* ~ SNR^-2 at a fixed sigma_0, and ~ SNR^0 at sigma_0 ~ SNR^(2/(q-2)), over n0 SNR^2 = 4: S5 (6).

    n* : the first of the numbers of labels that learns both classes. fixed, falling : the exponents.
    """
    sizes = trials.pick((16, 128), (16, 32, 64, 128, 256))
    snrs = [math.sqrt(4.0 / n0) for n0 in sizes]
    comparisons = []
    for words, predicted, scales in (
        (f"s_0 = {_FIXED:g}", fixed, [_FIXED for _ in snrs]),
        (f"s_0 = {_FALLING:g} SNR^2", falling, [_FALLING * snr**2 for snr in snrs]),
    ):
        seeds = list(trials.seeds(40, 60))
        found, expected = [], []
        for n0, snr, scale in zip(sizes, snrs, scales, strict=True):
            rungs = [two_stage(4.0, n0=n0, n=n, scale=scale, eps=0.2 / n) for n in _LABELS]
            strength = finetuning_strength(snr, predicted_ratio(rungs[0], 0.3), 3.0)
            chances = np.array([law(e, strength) for e in rungs])
            first = int(np.argmax(chances > _HOPELESS))
            found.append([_smallest(rungs[first:], seed) for seed in seeds])
            reached = chances * np.cumprod(np.concatenate([[1.0], 1 - chances[:-1]]))
            expected.append(float(reached @ np.array(_LABELS)))
        finite = abs(float(np.polyfit(np.log(snrs), np.log(expected), 1)[0]) - predicted)
        if (fixed, falling) != (-2.0, 0.0):
            finite = 0.0
        name = f"fine-tuning: n* over SNR, q = 3, {words}"
        order = finite + 2 * _RATIO_ORDER / math.log(snrs[0] / snrs[-1])
        comparisons.append(slope(name, predicted, snrs, np.array(found), absolute=order, resolution=1.0))
    return comparisons


_HOPELESS = 1e-3  # chance of success below which a number of labels is not tried
_RATIO_ORDER = 0.05  # of R, S5 (8)


def _smallest(rungs: Sequence[Resolved], seed: int) -> float:
    """The labels of the first rung that succeeds, or of the one that would come next, as in ``expected``."""
    while min(finetuned(rungs[0], seed, None)[1]) == 0:  # all filters of a class point away: no n is enough
        seed += 1
    for e in rungs:
        if finetuned(e, seed, 50_000).learned:
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


def aligned_exponent(trials: Trials, unlabelled: float, aligned: float) -> list[Comparison]:
    """n0* ~ SNR^-2 for cos^2(v_1, mu) >= 1/2, read as SNR* ~ n0^(-1/2), and n0* SNR^2 = 1/2: S5 (7)."""
    ladder = trials.pick((12, 24, 48), (12, 24, 48, 96, 192))
    seeds = list(trials.seeds(4, 12))
    found = np.array([[_aligned(n0, seed) for seed in seeds] for n0 in ladder])
    levels = [linear_modes(0.5, n0)[0].alignment for n0 in ladder]
    exact = max(abs(level - 0.5) for level in levels)
    return [
        slope("alignment: SNR* over n0", 1 / unlabelled, ladder, found, absolute=exact + 2e-3),
        equals(
            "alignment: n0 SNR*^2",
            aligned,
            np.array(ladder)[-1] * found[-1] ** 2,
            order=4 / ladder[-1] ** 2 + 1e-3,
        ),
    ]
