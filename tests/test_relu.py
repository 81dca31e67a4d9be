"""numsim.theory.relu: limits, laws and brute force for the closed forms of K1 and K2."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

from numsim.theory import (
    coefficient_balance,
    derivative_bound,
    derivative_ratio,
    inverse_active,
    memorisation_speed,
    memorisation_steps,
    memorised_loss,
    memorised_margin,
    relu_mean_error,
    relu_signal,
    relu_test_error,
)

near = pytest.approx

SETTINGS: dict[str, Any] = {"samples": 10, "filters": 20, "learning_rate": 1e-3, "noise_norm": 50.0}


def test_speed_of_one_sample() -> None:
    speed = memorisation_speed([0.25, 1.0], output_scale=2.0, **SETTINGS)
    assert speed == near([1e-3 * 4 * 0.25 * 2500 / 200, 1e-3 * 4 * 2500 / 200], rel=tolerances.CLOSED_FORM)


@given(speed=st.floats(1e-6, 1e3), steps=st.floats(0, 1e6))
def test_margin_solves_its_equation(speed: float, steps: float) -> None:
    """F + e^F = 1 + c t, from 0."""
    margin = float(memorised_margin(steps, speed))
    assert margin + math.exp(margin) == near(1 + speed * steps, rel=tolerances.SOLVED)
    assert margin >= -tolerances.SOLVED


def test_margin_is_a_function_of_speed_times_time() -> None:
    assert memorised_margin([0.0, 6.0], 2.0) == near(memorised_margin([0.0, 3.0], 4.0))
    assert memorised_loss(0.0, [1.0, 5.0]) == near(math.log(2), rel=tolerances.CLOSED_FORM)


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=8))
def test_steps_are_those_of_gradient_descent(speeds: list[float]) -> None:
    """F <- F + c / (1 + e^F), counted: within a step and the order of c."""
    target, margins, steps = 0.02, np.zeros(len(speeds)), 0
    while np.mean(np.log1p(np.exp(-margins))) > target:
        margins += np.array(speeds) / (1 + np.exp(margins))
        steps += 1
    assert abs(steps - 0.5 - memorisation_steps(target, speeds)) <= 0.5 + max(speeds)


def test_steps_at_a_small_target() -> None:
    """beta / epsilon at leading order, corrections of order epsilon log(1/epsilon)."""
    speeds, target = np.array([0.1, 0.2, 0.4]), 1e-6
    order = 2 * target * math.log(1 / target)
    assert memorisation_steps(target, speeds) == near(np.mean(1 / speeds) / target, rel=order)


@pytest.mark.parametrize("target", [0.0, -1.0, math.log(2), 1.0, math.nan])
def test_targets_that_are_none(target: float) -> None:
    with pytest.raises(ValueError, match="between 0 and log 2"):
        memorisation_steps(target, [1.0])


@pytest.mark.parametrize("filters", [1, 2, 5, 10])
def test_inverse_share_by_enumeration(filters: int) -> None:
    patterns = [sum(p) for p in itertools.product((0, 1), repeat=filters) if any(p)]
    exact = np.mean([filters / k for k in patterns])
    assert inverse_active(filters) == near(exact, rel=tolerances.SOLVED)


def test_inverse_share_of_many_filters() -> None:
    m = 2000
    assert inverse_active(m) == near(2 * (1 + 1 / m), rel=4 / m**2)
    assert inverse_active(m, kicked=True) == near(2 * math.log(2), rel=1 / m)


def test_inverse_share_after_a_kick_by_monte_carlo() -> None:
    rng, m, draws = np.random.default_rng(0), 12, 200_000
    share = rng.binomial(m, rng.uniform(0.5, 1.0, draws))
    found = m / share[share > 0]
    error = tolerances.monte_carlo(float(np.std(found)), draws)
    assert inverse_active(m, kicked=True) == near(float(np.mean(found)), abs=error)


def test_balance_of_equal_margins() -> None:
    shares = np.array([0.5, 0.75, 1.0])
    balance = coefficient_balance(shares, [3.0, 3.0, 3.0], 0.8)
    assert balance == near(0.8 * np.mean(1 / shares), rel=tolerances.CLOSED_FORM)
    flipped = coefficient_balance(shares, [1.0, 2.0, 4.0], [1, -1, 1])
    assert flipped == near((2 - 2 / 0.75 + 4) / 7, rel=tolerances.CLOSED_FORM)


@given(st.floats(0.01, 1.0), st.floats(1.0, 10.0), st.floats(0, 1e5))
def test_ratio_stays_below_its_bound(slow: float, times: float, steps: float) -> None:
    speeds = [slow, slow * times]
    ratio = derivative_ratio(steps, speeds)
    assert ratio * (1 + tolerances.SOLVED) >= 1
    assert ratio <= derivative_bound(speeds) * (1 + tolerances.SOLVED)


def test_ratio_at_both_ends() -> None:
    assert derivative_ratio(0.0, [1.0, 3.0]) == near(1.0)
    assert derivative_ratio(1e9, [1.0, 3.0]) == near(3.0, rel=tolerances.LINEARISED)
    steepest = math.log(derivative_bound([1.0, math.e]))
    assert steepest == near(1.0175, abs=tolerances.THREE_DIGITS)


def test_bound_is_reached_by_nearly_equal_speeds() -> None:
    speeds = [1.0, 1.01]
    largest = max(derivative_ratio(t, speeds) for t in np.linspace(20, 200, 400))
    assert largest == near(derivative_bound(speeds), rel=tolerances.LINEARISED)


def test_signal_of_equal_classes() -> None:
    n, p, snr, dim, beta = 20, 0.1, 0.05, 10**4, 1.3
    x = relu_signal(majority=(1 - 2 * p) * n / 2, own=n / 2, snr=snr, dim=dim, inverse=beta)
    assert x == near((1 - 2 * p) * beta * math.sqrt(n / 2) * snr**2 * 100, rel=tolerances.CLOSED_FORM)


@pytest.mark.parametrize(("x", "beta", "m", "other", "initial"), [
    (0.5, 1.3, 5, 1.0, 0.0),
    (1.5, 2.0, 50, 0.6, 0.0),
    (3.0, 1.1, 20, 1.5, 4.0),
])  # fmt: skip
def test_error_of_many_filters_by_monte_carlo(
    x: float, beta: float, m: int, other: float, initial: float
) -> None:
    """Outputs of m Gaussian activations around each sign's mean, and how often the wrong one is larger."""
    rng, draws = np.random.default_rng(1), 40_000
    outputs = []
    for share in (1.0, other):
        spread = math.sqrt(share * (beta - 1) + initial)
        mean = math.sqrt(share) * rng.standard_normal((draws, 1))
        outputs.append(np.maximum(mean + spread * rng.standard_normal((draws, m)), 0).mean(axis=1))
    wrong = x + outputs[0] - outputs[1] < 0
    found = relu_test_error(x, inverse=beta, filters=m, other=other, initial=initial)
    # The mean of m activations is taken as Gaussian; its skewness is felt at order 1/m.
    normal = 0.1 / m
    assert found == near(float(np.mean(wrong)), abs=tolerances.monte_carlo(0.5, draws) + normal)


@given(x=st.floats(0, 5), beta=st.floats(1.01, 2.2), p=st.floats(0, 0.49))
def test_error_between_its_limits(x: float, beta: float, p: float) -> None:
    clean = relu_test_error(x, inverse=beta, filters=40)
    error = relu_test_error(x, inverse=beta, filters=40, flip_probability=p)
    assert error == near(p + (1 - 2 * p) * clean, rel=tolerances.SOLVED)
    assert clean <= 0.5 + tolerances.SOLVED
    assert relu_test_error(0.0, inverse=beta, filters=40) == near(0.5, rel=tolerances.SOLVED)
    assert relu_test_error(x + 0.1, inverse=beta, filters=40) < clean


def test_error_of_great_signal_is_gaussian_to_exponential_order() -> None:
    """-2 log(error) / x^2 -> 1: slopes in x^2 / 2 within the logarithm of Mills' ratio."""
    low, high = (math.log(relu_test_error(x, inverse=1.2, filters=2000)) for x in (3.0, 5.0))
    assert -(high - low) / 8 == near(1.0, abs=math.log(5 / 3) / 8 + 0.1)


# ---------------------------------------------------------------- averaged over the labels


LAW: dict[str, Any] = {"inverse": 1.3, "filters": 12}


def test_mean_error_is_the_sum_over_flips() -> None:
    """K1 (15) in balanced classes of three, every pair of flip counts by hand."""
    p, half, x, initial = 0.2, 3, 1.1, 0.4
    mean, weight = 0.0, 0.0
    for mine, other in itertools.product(range(half + 1), repeat=2):
        own, across = half - mine + other, half - other + mine
        if not own or not across:
            continue
        chance = float(math.comb(half, mine) * math.comb(half, other))
        chance *= p ** (mine + other) * (1 - p) ** (2 * half - mine - other)
        signal = x * (half - 2 * mine) / ((1 - 2 * p) * half) * math.sqrt(half / own)
        error = relu_test_error(
            signal, flip_probability=p, other=across / own, initial=initial * half / own, **LAW
        )
        mean, weight = mean + chance * error, weight + chance
    found = relu_mean_error(x, samples=2 * half, flip_probability=p, initial=initial, **LAW)
    assert found == near(mean / weight, rel=tolerances.INTERPOLATED)


def test_mean_error_without_flips_is_that_of_one_training_set() -> None:
    alone = relu_test_error(1.4, **LAW)
    assert relu_mean_error(1.4, samples=8, flip_probability=0.0, **LAW) == near(alone)


def test_scatter_of_labels_dies_out_with_many_samples() -> None:
    limit = relu_test_error(1.6, flip_probability=0.1, **LAW)
    excess = [
        relu_mean_error(1.6, samples=n, flip_probability=0.1, balanced=False, **LAW) - limit
        for n in (40, 80, 160)
    ]
    assert excess[0] > excess[1] > excess[2] > 0
    assert excess[0] / excess[2] == near(4, rel=0.25)  # of order 1/n


def test_mean_error_has_a_floor() -> None:
    """However strong the signal, a class that is mostly flipped is misread, and half of one that is half."""
    p, n = 0.3, 10
    lost = sum(math.comb(5, k) * p**k * (1 - p) ** (5 - k) for k in range(3, 6))
    found = relu_mean_error(1e3, samples=n, flip_probability=p, **LAW)
    assert found == near(p + (1 - 2 * p) * lost, rel=0.01)
