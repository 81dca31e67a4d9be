"""What S6 checks of the settings that numsim derives: step sizes, initial scales, units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numsim.claims import Comparison, at_most, equals, failure_rate
from numsim.config import Experiment
from numsim.runs.draw import draw
from numsim.theory.defaults import pretraining_learning_rate, relative_init_scale, supervised_learning_rate

from .broken_conditions import contraction, largest_rise, sharpest

__all__ = ["EXACT", "resolved", "scales", "stability", "step_sizes"]

EXACT = 1e-9
"""Closed forms of a handful of operations, log-differences of them included."""


def step_sizes() -> list[Comparison]:
    """The default supervised step is a quarter of 2 / (curvature x data), the initial scale as documented."""
    off = []
    for q in (1.0, 1.5, 2.0, 3.0, 5.0):
        for flips, bias in ((False, False), (True, True)):
            m, scale, n, dim, norm, sigma_p = 7, 3.0, 10, 40, 1.5, 0.5
            rate = supervised_learning_rate(
                signal_norm=norm,
                sigma_p=sigma_p,
                dim=dim,
                samples=n,
                filters=m,
                q=q,
                output_scale=scale,
                bias=bias,
                flips=flips,
            )
            k = m if q < 2 else 1
            sharp = (scale * k / m) ** (2 / q) / k * sharpest(q, flips)
            data = norm**2 + sigma_p**2 * (math.sqrt(dim / n) + 1) ** 2 + 4 * bias
            off.append(abs(rate * sharp * data / 0.5 - 1))
    race = [abs(q * (q - 2) * relative_init_scale(q) ** (q - 2) / 3e-3 - 1) for q in (3.0, 4.0, 7.0)]
    race += [abs(relative_init_scale(q) / 1e-3 - 1) for q in (1.0, 2.5)]
    return [
        equals("default step x curvature, against 1/2 (relative)", 0.0, max(off), absolute=5e-4),
        equals("default initial scales (relative)", 0.0, max(race), absolute=EXACT),
    ]


def resolved() -> Comparison:
    """A configuration without step sizes takes the defaults of its own settings."""
    off = []
    for flips, bias in ((0.0, False), (0.2, False), (0.0, True)):
        e = Experiment(
            data={"dim": 10**6, "sigma_p": 2.0, "signal_norm": 500.0, "flip_probability": flips},
            network={"filters": 7, "q": 4.0, "output_scale": 3.0, "bias": bias},
            pretraining={"samples": 30, "temperature": 0.5, "overlap": 0.25},
            finetuning={"samples": 12},
        ).resolved()
        law: dict[str, Any] = {"signal_norm": 500.0, "sigma_p": 2.0, "dim": 10**6}
        contrastive = pretraining_learning_rate(samples=30, temperature=0.5, overlap=0.25, **law)
        supervised = supervised_learning_rate(
            samples=12, filters=7, q=4.0, output_scale=3.0, bias=bias, flips=flips > 0, **law
        )
        off += [
            e.pretraining.learning_rate == contrastive,
            e.finetuning.learning_rate == supervised,
            e.relative_init_scale == relative_init_scale(4.0),
        ]
    return equals("settings that are not their formula's", 0.0, float(len(off) - sum(off)))


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
    twin = by_ratio.replace(
        {"data.signal_norm": by_ratio.signal_norm, "network.init_scale": by_ratio.init_scale}
    )
    off = [abs(getattr(twin, name) / getattr(by_ratio, name) - 1) for name in _DERIVED]
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
        equals("settings given one way and the other", 0.0, max(off), absolute=EXACT),
        equals("noise_norm^2", by_ratio.noise_norm**2, noise, order=order),
        equals("snr^2", by_ratio.snr**2, snr, order=order),
        equals("kappa", by_ratio.kappa, kappa, order=order),
        equals("relative_init_scale^2", by_ratio.relative_init_scale**2 * d, relative, order=order),
        equals("init_scale^2", by_ratio.init_scale**2, start, order=order),
        equals("aspect", n0 / d, by_ratio.aspect, order=EXACT),
    ]


_DERIVED = ("snr", "signal_norm", "init_scale", "relative_init_scale", "kappa", "aspect", "noise_norm")
