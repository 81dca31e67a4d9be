"""What S6 checks of the settings that numsim derives: that steps are stable, and scales of drawn vectors."""

from __future__ import annotations

import numpy as np

from numsim.claims import Comparison, at_most, equals, failure_rate
from numsim.config import Experiment
from numsim.runs.draw import draw

from .broken_conditions import contraction, largest_rise

__all__ = ["EXACT", "scales", "stability"]

EXACT = 1e-9
"""Closed forms of a handful of operations, log-differences of them included."""


def stability(seeds: list[int], many: list[int]) -> list[Comparison]:
    """Default steps lower the loss; many times their size does not, where labels are flipped.

    That it rises is an event: a step of 16 times the size may land on the other side of the optimum as low
    as it was, which one run in 400 does. So it is counted, over ``many`` seeds.
    """
    found = []
    for q in (1.0, 2.0, 3.0):
        predicted, measured = contraction(q, 0.4)
        found.append(
            equals(f"distance that a step takes off an optimum, q = {q:g}", predicted, measured, order=2e-3)
        )
    for q, flips in ((1.0, 0.3), (2.0, 0.3), (3.0, 0.0), (3.0, 0.3)):
        rise = max(largest_rise(q, flips, 1.0, seed) for seed in seeds)
        found.append(
            at_most(f"greatest rise of the loss, q = {q:g}, p = {flips:g}", 0.0, rise, absolute=1e-12)
        )
    falls = sum(largest_rise(1.0, 0.45, 16.0, seed) < _RISE for seed in many)
    name = "runs where it does not rise at 16 times the step, q = 1, p = 0.45"
    return [*found, failure_rate(name, _FALLS, falls, len(many))]


_RISE = 0.05
"""Relative, in one step: what is called a rise. The largest of a run is 1.0 on average, 0.4 its deviation."""
_FALLS = 0.05
"""The share of runs that may miss it; 1 of 400 did."""


def scales(seeds: list[int]) -> list[Comparison]:
    """The configuration's derived scales, against drawn vectors."""
    n0, d = 24, 10**4
    by_ratio = Experiment(
        data={"dim": d, "snr": 0.3, "sigma_p": 2.0},
        network={"relative_init_scale": 0.02},
        pretraining={"samples": n0},
    )
    rows = []
    for seed in seeds:
        instance = draw(by_ratio, seed)
        assert instance.unlabelled is not None
        noise = float(np.mean(np.sum(instance.unlabelled.noise**2, axis=1)))
        signal = float(instance.mu @ instance.mu)
        filters = float(np.mean(np.sum(instance.filters**2, axis=1)))
        rows.append((noise, signal / noise, n0 * signal / noise, filters * noise, filters / d))
    noise, snr, kappa, relative, start = np.array(rows).T
    order = 1 / d + 1e-3
    return [
        equals("noise_norm^2", by_ratio.noise_norm**2, noise, order=order),
        equals("snr^2", by_ratio.snr**2, snr, order=order),
        equals("kappa", by_ratio.kappa, kappa, order=order),
        equals("relative_init_scale^2", by_ratio.relative_init_scale**2 * d, relative, order=order),
        equals("init_scale^2", by_ratio.init_scale**2, start, order=order),
        equals("aspect", n0 / d, by_ratio.aspect, order=EXACT),
    ]
