"""numsim.theory.outcome and boundary: laws against Monte Carlo, clocks against differential equations."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from scipy.integrate import solve_ivp

from numsim.theory import (
    after_clock,
    along_test_error,
    bounded_noise_probability,
    critical_strength,
    elapsed_clock,
    end_to_end_boundary,
    finetuning_strength,
    learned_test_loss,
    linear_end_ratio,
    loss_bound,
    memorised_test_loss,
    noise_power_mean,
    noisy_test_error,
    outcome_ratio,
    success_probability,
    time_to_loss,
)
from numsim.theory.outcome import noise_output_tail

Floats = npt.NDArray[np.float64]

DRAWS = 100_000
GRID = 2e-3
"""Trapezoidal rule in log x with 300 points: the square of its step, 0.015, times that of q f."""


@pytest.mark.parametrize("q", [2.5, 3.0, 4.0, 5.0])
def test_clocks_are_each_others_inverse(q: float) -> None:
    start = np.array([0.01, 0.05, 0.2])
    for end in (0.3, 2.0):
        clock = elapsed_clock(start, end, q)
        assert after_clock(start, clock, q) == pytest.approx(end, rel=tolerances.SOLVED)
    assert np.isinf(after_clock(start, elapsed_clock(start, math.inf, q) * 1.1, q)).all()
    assert after_clock(-0.3, 1.0, q) == -0.3
    assert after_clock(0.1, -1.0, q) < 0.1


@pytest.mark.parametrize("q", [3.0, 4.0])
def test_clocks_of_steps_of_finite_size(q: float) -> None:
    """x <- x + h x^(q-1)/2: the correction of the clock is right to second order in h."""
    start, pull, steps = 0.05, 0.2, 0
    x = start
    while x < 1.0:
        x += pull / 2 * x ** (q - 1)
        steps += 1
    true = (q - 2) * pull / 2 * steps
    flow, corrected = (float(elapsed_clock(start, x, q, h)) for h in (0.0, pull))
    assert abs(corrected - true) <= 0.1 * abs(flow - true)
    ended = float(after_clock(start, true / 2, q, pull))
    x = start
    for _ in range(steps // 2):
        x += pull / 2 * x ** (q - 1)
    assert ended == pytest.approx(x, rel=0.01)


def test_the_outcome_ratio_is_that_of_the_power_mean() -> None:
    noise, q, snr = np.array([0.3, 0.7, 1.1]), 3.5, 0.6
    mean = noise_power_mean(noise, q)
    assert outcome_ratio(0.5, noise, snr=snr, q=q) == pytest.approx(
        3 * snr**2 * (0.5 / mean) ** (q - 2), rel=tolerances.SOLVED
    )
    assert outcome_ratio(0.0, noise, snr=snr, q=q) == 0.0
    assert outcome_ratio(0.5, [0.3, -0.1], snr=snr, q=q) == math.inf


def test_flipped_samples_take_from_the_pull() -> None:
    """S1 (13) by hand at q = 3: snr^2 (1/0.5 + 1/0.25 - 1/1) a_0."""
    law = {"snr": 0.4, "q": 3.0}
    kept = [0.5, 0.25]
    assert outcome_ratio(0.5, kept, flipped=[1.0], **law) == pytest.approx(0.16 * 5 * 0.5)
    assert outcome_ratio(0.5, kept, flipped=[0.1], **law) == 0.0  # they take more than there is
    assert outcome_ratio(0.5, kept, flipped=[-0.1], **law) == 0.0  # one that is never memorised, for ever


@pytest.mark.parametrize("q", [3.0, 4.0])
def test_time_to_a_loss_is_that_of_the_differential_equation(q: float) -> None:
    starts, pulls, shares, scale, loss = (
        [[0.2, 0.15, -0.3], [0.1, 0.02]],
        [0.003, 0.004],
        [0.4, 0.6],
        0.1,
        0.05,
    )
    fit = time_to_loss(starts, pulls, shares, loss=loss, q=q, scale=scale)
    total = 0.0
    for x, pull, share, margin, top in zip(starts, pulls, shares, fit.margins, fit.tops, strict=True):

        def flow(_: float, x: Floats, pull: float = pull) -> Floats:
            f = scale * np.sum(np.maximum(x, 0.0) ** q)
            speed: Floats = pull / (1 + math.exp(f)) * np.maximum(x, 0.0) ** (q - 1)
            return speed

        speeds = [flow(0.0, np.array(y)).max() for y in (x, [top, *x[1:]])]
        late = math.log(speeds[1] / speeds[0]) / 2  # by so much are steps slower than the flow
        end = solve_ivp(flow, (0, fit.steps - late), x, rtol=1e-9, atol=1e-12).y[:, -1]
        f = scale * float(np.sum(np.maximum(end, 0.0) ** q))
        assert f == pytest.approx(margin, rel=GRID)
        assert end.max() == pytest.approx(top, rel=GRID)
        total += share * math.log1p(math.exp(-margin))
    assert total == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(("q", "filters"), [(3.0, 4), (3.0, 16), (4.0, 8), (2.5, 10)])
def test_the_law_of_the_noise_output(q: float, filters: int) -> None:
    rng = np.random.default_rng(0)
    g = np.maximum(rng.standard_normal((DRAWS, 2, filters)), 0.0) ** q
    drawn = g[:, 0].sum(axis=1) - g[:, 1].sum(axis=1)
    values = np.array([-3.0, 0.0, 0.5, 2.0, 10.0])
    shares = np.mean(drawn[:, None] > values, axis=0) + np.mean(drawn[:, None] == values, axis=0) / 2
    error = tolerances.monte_carlo(1.0, DRAWS)
    assert np.max(np.abs(noise_output_tail(values, filters, q) - shares)) <= error
    assert noisy_test_error([0.5, 2.0], 1.0, filters, q) == pytest.approx(np.mean(shares[2:4]), abs=error)
    small = 1e-2
    expected = -np.mean(np.log1p(np.exp(-small * drawn)) + np.log1p(np.exp(small * drawn))) / 2 + math.log(2)
    assert memorised_test_loss([0.0, 0.0], small, filters, q) == pytest.approx(expected, rel=0.1)
    assert memorised_test_loss([0.1, 0.3], 0.0, filters, q) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize(
    ("q", "filters", "count"), [(3.0, 16, 3), (3.0, 10, 20), (4.0, 10, 10), (5.0, 16, 8)]
)
def test_probabilities_of_outcomes(q: float, filters: int, count: int) -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((DRAWS // 10, count, filters)).max(axis=2)
    signal = np.maximum(rng.standard_normal((DRAWS // 10, filters)).max(axis=1), 0.0)
    error = tolerances.monte_carlo(1.0, DRAWS // 10)
    clocks = np.where(noise > 0, np.maximum(noise, 1e-9) ** (2 - q), np.inf).sum(axis=1)
    for strength in (0.5 / count, 1.0 / count, 4.0 / count):
        found = np.mean(strength * clocks * signal ** (q - 2) > 1)
        assert abs(success_probability(strength, [count], filters=filters, q=q) - found) <= error
        bound = strength * count * (1 - 2 ** (2 - q)) * (signal / noise.max(axis=1)) ** (q - 2)
        expected = bounded_noise_probability(strength, [count], filters=filters, q=q)
        assert abs(expected - np.mean(bound > 1)) <= error
    both = success_probability(1.0, [count, count], filters=filters, q=q)
    assert both == pytest.approx(success_probability(1.0, [count], filters=filters, q=q) ** 2)
    assert success_probability(1.0, [count, 0], filters=filters, q=q) == 0.0
    half = critical_strength([count, count], filters=filters, q=q)
    assert success_probability(half, [count, count], filters=filters, q=q) == pytest.approx(0.5)


def test_probability_where_sums_of_clocks_have_heavy_tails() -> None:
    """S2 (9) at m = 10, q = 5, n_j = 100: a quarter of all sums lie beyond the grid."""
    draws, count, filters, q = 6000, 100, 10, 5.0
    rng = np.random.default_rng(3)
    alpha = np.maximum(rng.standard_normal((draws, filters)).max(axis=1), 0.0)
    beta = np.maximum(rng.standard_normal((draws, count, filters)).max(axis=2), 1e-50)
    sums = np.sum(beta ** (2 - q), axis=1)
    for strength in (0.002, 0.004, 0.01):
        found = float(np.mean(strength * alpha ** (q - 2) * sums > 1))
        error = math.sqrt(found * (1 - found) / draws)
        predicted = success_probability(strength, [count], filters=filters, q=q)
        assert abs(found - predicted) < 4 * error + 5e-3  # the long one alone: others are typical


def test_a_success_that_no_strength_decides_is_refused() -> None:
    with pytest.raises(ValueError, match="does not pass"):
        critical_strength([50, 50], filters=3, q=3.0)


def test_losses() -> None:
    assert learned_test_loss([800.0, 0.0]) == pytest.approx(math.log(2) / 2)
    assert loss_bound(0.5, 1) == pytest.approx(3 + math.exp(-1))
    assert along_test_error(1.0, 0.0) == 0.5
    assert along_test_error(3.0, 2.0) == pytest.approx(along_test_error(1 / 3, 2.0))


def test_the_end_of_the_linear_stage_where_the_top_direction_rules() -> None:
    """S5 (5), but for the half step and what the bulk adds to the largest similarity."""
    kappa, n0, m, scale = 50.0, 1000, 10, 1e-5
    ratio = linear_end_ratio(kappa, samples=n0, dim=n0**5, filters=m, relative_init_scale=scale, growth=1e-4)
    expected = 2 * kappa / (1 + 2 * kappa) * math.sqrt(0.3 / (2 * m)) / scale
    assert ratio == pytest.approx(expected, rel=0.02)
    assert linear_end_ratio(kappa, samples=n0, dim=n0**5, filters=m, relative_init_scale=10.0) > 0


def test_the_boundary_is_where_half_of_all_networks_learn() -> None:
    settings: dict[str, Any] = {"samples": 100, "dim": 10**8, "filters": 10, "relative_init_scale": 1e-3}
    kappa = end_to_end_boundary([10, 10], q=3.0, **settings)
    strength = finetuning_strength(math.sqrt(kappa / 100), linear_end_ratio(kappa, **settings), 3.0)
    assert success_probability(strength, [10, 10], filters=10, q=3.0) == pytest.approx(0.5)
    assert finetuning_strength(0.2, 0.2, 3.5) == pytest.approx(0.2**3.5)
    with pytest.raises(ValueError, match="no boundary"):
        end_to_end_boundary([1, 1], q=3.0, **{**settings, "relative_init_scale": 1.0})
