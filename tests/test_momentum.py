"""Races with a velocity against the recursion itself, and the clocks of clusters against quadrature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tolerances
from scipy.integrate import quad

import numsim
from numsim.theory import (
    cluster_clock,
    crossing_inertia,
    inertia,
    momentum_race,
    momentum_steps,
    noise_output_tail,
    steps_to_reach,
)

STEPS = 1.0
"""The flow is one of steps to second order: what is left is of the order of the last one."""


def recursion(pull: float, momentum: float, q: float, level: float) -> float:
    """Steps from 1 to ``level``, interpolated in log a."""
    a, v, steps = 1.0, 0.0, 0
    while True:
        v = momentum * v + pull * a ** (q - 1)
        if a + v >= level:
            return steps + math.log(level / a) / math.log((a + v) / a)
        a, steps = a + v, steps + 1


@pytest.mark.parametrize("q", [2.5, 3.0, 4.0])
@pytest.mark.parametrize(
    ("momentum", "strength"), [(0.0, 1e-3), (0.9, 1e-3), (0.9, 0.3), (0.99, 0.3), (0.99, 30)]
)
def test_steps_of_a_race_are_those_of_the_recursion(q: float, momentum: float, strength: float) -> None:
    pull = strength * 2 * (1 - momentum) ** 2 / (1 + momentum)
    assert inertia(start=1.0, pull=pull, momentum=momentum, q=q) == pytest.approx(strength)
    found = momentum_steps(3.0, start=1.0, pull=pull, momentum=momentum, q=q)
    assert found == pytest.approx(recursion(pull, momentum, q, 3.0), abs=STEPS / 4)
    blow_up = momentum_steps(math.inf, start=1.0, pull=pull, momentum=momentum, q=q)
    # In the end a step more than doubles the activation: the flow loses a few steps, or part of its memory.
    assert blow_up == pytest.approx(recursion(pull, momentum, q, 1e9), abs=5 / (1 - momentum) ** 0.5 + 4)


def test_without_momentum_it_is_the_race_of_s1() -> None:
    pull, q = 1e-4, 3.0
    race = steps_to_reach(5.0, start=1.0, blow_up=1 / (pull * (q - 2)), q=q)
    assert momentum_steps(5.0, start=1.0, pull=pull, momentum=0.0, q=q) == pytest.approx(race, abs=STEPS)


@pytest.mark.parametrize("strength", [1e-6, 1e6])
def test_the_flow_meets_its_limits(strength: float) -> None:
    momentum, q = 0.9, 3.0
    pull = strength * 2 * (1 - momentum) ** 2 / (1 + momentum)
    below, above = (
        momentum_steps(math.inf, start=1.0, pull=pull * factor, momentum=momentum, q=q) + 0.5
        for factor in (1 - 1e-9, 1 + 1e-9)
    )
    assert above == pytest.approx(below, rel=2e-4)  # 1/root(Lambda) of what is neglected


def test_a_filter_crosses_zero_above_the_critical_inertia() -> None:
    q, momentum, small = 4.0, 0.999, 1e-3
    crossed = []
    for share in (0.99, 1.01):
        strength = share * crossing_inertia(q)
        pull = strength * 2 * (1 - momentum) ** 2 / (1 + momentum) / small ** (q - 2)
        a, v = -small, 0.0
        for _ in range(60_000):
            v = momentum * v + pull * abs(a) ** (q - 1)
            a += v
            if a > 0:
                break
        crossed.append(a > 0)
    assert crossed == [False, True]


@pytest.mark.parametrize("of", [0, 1])
def test_clocks_of_clusters_against_quadrature(of: int) -> None:
    strengths, counts, snr, scale, q, start = (1.0, 0.3), (30, 10), 0.5, 0.1, 3.0, 0.02

    def clock(log_a: float) -> float:
        a = start * math.exp(log_a)
        logs = [-float(np.logaddexp(0.0, scale * (c * a) ** q)) for c in strengths]
        pull = sum(
            n * c**q * math.exp(min(g - logs[of], 700))
            for n, c, g in zip(counts, strengths, logs, strict=True)
        )
        return float((q - 2) * a ** (2 - q) / (snr**2 * pull))

    exact = sum(quad(clock, low, low + 1, epsrel=1e-11)[0] for low in range(40))
    found = cluster_clock(start, of=of, strengths=strengths, counts=counts, snr=snr, q=q, scale=scale)
    assert found == pytest.approx(exact, rel=1e-6)


def test_the_race_of_leading_activations_is_training_on_orthogonal_patches() -> None:
    rng = np.random.default_rng(3)
    n, m, q, c = 4, 3, 3.0, np.array([1.0, 1.0, 0.4, 0.4])
    y = np.array([1.0, -1.0, 1.0, -1.0])
    W = 0.05 * rng.standard_normal((2, m, n + 1))
    x = np.zeros((n, 2, n + 1))
    x[:, 0, 0] = y * c * 0.8
    x[np.arange(n), 1, np.arange(n) + 1] = 1.5
    rule: dict[str, Any] = {"learning_rate": 0.05, "momentum": 0.95}
    _, descent = numsim.train(W, x, y, q=q, activation="power", max_steps=10_000, target_loss=0.05, **rule)
    u = W * np.array([1.0, -1.0])[:, None, None]
    signal = np.sort(0.8 * u[..., 0].ravel())
    noise = np.sort(1.5 * u[..., 1:].reshape(-1, n).T * y[:, None], axis=1)
    # All filters are followed; those that start below 0 add nothing, and pull little, below Lambda_c.
    race = momentum_race(
        signal, noise, strengths=c, filters=m, q=q, signal_norm=0.8, noise_norm=1.5, loss=0.05, **rule
    )
    assert int(race.steps) == pytest.approx(descent.steps, abs=2)


@pytest.mark.parametrize(("filters", "q"), [(3, 3.0), (10, 4.0)])
@pytest.mark.parametrize("odd", [False, True])
def test_the_tail_of_noise_outputs_against_draws(filters: int, q: float, odd: bool) -> None:
    rng = np.random.default_rng(7)
    draws = np.zeros(400_000)
    for sign in (1, -1):
        for _ in range(filters):
            g = rng.standard_normal(draws.size)
            draws += sign * (np.sign(g) * np.abs(g) ** q if odd else np.maximum(g, 0) ** q)
    spread = draws.std()
    for x in (0.1, 1.0, spread, 4 * spread, -spread):
        share = float(np.mean(draws > x))
        error = math.sqrt(share * (1 - share) / draws.size)
        found = float(noise_output_tail(x, filters, q, odd=odd))
        assert abs(found - share) < tolerances.STANDARD_ERRORS * error + 3e-4


@pytest.mark.parametrize(
    "wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"q": 2.0}, {"start": 0.0}, {"start": 2.0}]
)
def test_what_a_race_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"expected|blow up"):
        momentum_steps(1.0, **{"start": 0.5, "pull": 1e-3, "momentum": 0.9, "q": 3.0, **wrong})
