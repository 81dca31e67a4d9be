"""Parts of S2 on their own: one activation's clock, laws where symmetry gives them, the test of a network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numsim.claims import Comparison, Trials, equals, frequency
from numsim.descent.evaluation import evaluate
from numsim.theory import (
    after_clock,
    along_test_error,
    bounded_noise_probability,
    critical_strength,
    elapsed_clock,
    loss_bound,
    noise_output_tail,
    success_probability,
)

from .direct_training import drawn_successes

__all__ = ["clocks", "laws", "tested", "wandering"]


def tested(trials: Trials) -> list[Comparison]:
    """The test of a network of one filter a sign along +-mu against S2 (18), and the bound S2 (14) itself."""
    W, level = np.array([[[1.5, 0.0]], [[-1.0, 0.0]]]), 0.8
    comparisons = [equals("6 eps + exp(-n^2) at eps = 0.01, n = 2", loss_bound(0.01, 2), 0.06 + math.exp(-4))]
    for flips, projected in ((0.0, False), (0.1, False), (0.1, True)):
        errors = [
            evaluate(
                W,
                np.array([1.0, 0.0]),
                signal_norm=2.0,
                sigma_p=2.0 / level,
                q=3.0,
                projected=projected,
                flip_probability=flips,
                samples=500,
                rng=np.random.default_rng(seed),
            ).error
            for seed in trials.seeds(24, 100)
        ]
        clean = 0.0 if projected else along_test_error(1.5, level)
        name = (
            f"test error of filters along mu, noise {'' if projected else 'not '}projected, flips {flips:g}"
        )
        comparisons.append(equals(name, flips + (1 - 2 * flips) * clean, errors, absolute=1e-12))
    return comparisons


def clocks(q: float) -> list[Comparison]:
    """One activation in steps of finite size against S2 (6), read both ways, where its last term matters."""
    start, pull, path = 0.05, 0.3, [0.05]
    while path[-1] < 0.4:
        path.append(path[-1] + pull / 2 * path[-1] ** (q - 1))
    clock = (q - 2) * pull / 2 * (len(path) - 1)
    lost = clock - float(elapsed_clock(start, path[-1], q))
    added = float(elapsed_clock(start, path[-1], q, pull) - elapsed_clock(start, path[-1], q))
    half = len(path) // 2
    ends = [float(after_clock(start, clock * half / (len(path) - 1), q, h)) for h in (0.0, pull)]
    return [
        equals(f"what steps of finite size lose, q = {q:g}", added, lost, order=pull * 0.4 ** (q - 2)),
        equals(f"activation they reach, q = {q:g}", ends[1] - ends[0], path[half] - ends[0], order=pull / 2),
    ]


def wandering(trials: Trials, constant: bool) -> list[Comparison]:
    """Drawn starts at the strength S2 (9) says half of them learn at, where few filters make it wander.

    constant : whether n SNR^q there is that of six samples, for any n.
    """
    filters, q, draws, found = 10, 5.0, trials.pick(1000, 10_000), []
    for n in (6, 200):
        of = 6 if constant else n
        strength = of / n * critical_strength([of // 2] * 2, filters=filters, q=q)
        learned = drawn_successes(trials.rng, strength, [n // 2] * 2, filters, q, draws)
        words = f"starts that learn at n SNR^q = {n * strength:.2f}, n = {n}, q = 5, m = 10"
        found.append(frequency(words, 0.5, learned, draws))
    return found


def laws(trials: Trials, symmetric: bool) -> list[Comparison]:
    """S2 (9), (12) where symmetry gives them, two maxima of one law, and S2 (16) against drawn Gaussians.

    symmetric : as for S2's check.
    """
    comparisons = []
    for q, m in ((3.0, 2), (4.0, 6)):
        half = (1 - 4.0**-m * symmetric) / 2  # P(max of m > max of m others, and > 0)
        law: dict[str, Any] = {"filters": m, "q": q}
        doubled = bounded_noise_probability(1 / (1 - 2 ** (2 - q)), [1], **law)
        comparisons += [
            equals(f"S2 (9) of one sample, m = {m}", half, success_probability(1.0, [1], **law), order=2e-3),
            equals(f"S2 (12) of one sample, m = {m}", half, doubled, order=1e-6),
        ]
    both, draws = critical_strength([4, 6], filters=8, q=3.0), trials.pick(40_000, 400_000)
    comparisons += [
        equals("S2 (9), a class without samples", 0.0, success_probability(both, [4, 0], filters=8, q=3.0)),
    ]
    g = np.maximum(trials.rng.standard_normal((draws, 2, 3)), 0.0) ** 3
    above = int(np.sum(g[:, 0].sum(axis=1) - g[:, 1].sum(axis=1) > 1.0))
    return [*comparisons, frequency("P(D > 1), m = 3", float(noise_output_tail(1.0, 3, 3.0)), above, draws)]
