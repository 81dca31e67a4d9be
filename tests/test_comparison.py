"""The statistics of verdicts: how often a true statement fails by chance, and what makes a false one fail."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from scipy.stats import binom, chi2, kstest, norm

from numsim.claims.comparison import (
    CLAIMS_AT_MOST,
    LEVEL,
    SUITE_LEVEL,
    Comparison,
    at_least,
    at_most,
    equals,
    failure_rate,
    follows,
    frequency,
    same_law,
    slope,
)
from numsim.claims.registry import builtin

Floats = npt.NDArray[np.float64]

_LEVEL = 0.02  # of the calibrations below, which need failures to count
_REPEATS = 3000


def failures(make: Callable[[np.random.Generator], Comparison], level: float = _LEVEL) -> int:
    rng = np.random.default_rng(1)
    return sum(make(rng).verdict(level) == "fails" for _ in range(_REPEATS))


def at_most_level(count: int) -> bool:
    """Whether so many failures are what a test of this level, or a more careful one, shows."""
    return bool(binom.sf(count - 1, _REPEATS, _LEVEL) > tolerances.SIGNIFICANCE)


def is_level(count: int) -> bool:
    return at_most_level(count) and bool(binom.cdf(count, _REPEATS, _LEVEL) > tolerances.SIGNIFICANCE)


# ---------------------------------------------------------------- calibration: a true statement


def test_a_suite_fails_by_chance_once_in_a_thousand() -> None:
    assert len(builtin()) <= CLAIMS_AT_MOST
    assert pytest.approx(SUITE_LEVEL) == CLAIMS_AT_MOST * LEVEL
    assert SUITE_LEVEL <= 1e-3


@pytest.mark.parametrize("size", [2, 5, 40])
def test_means_of_gaussian_draws_fail_at_the_level(size: int) -> None:
    assert is_level(failures(lambda rng: equals("", 3.0, rng.normal(3.0, 2.0, size), resolution=math.inf)))
    assert is_level(failures(lambda rng: at_most("", 3.0, rng.normal(3.0, 2.0, size), resolution=math.inf)))
    assert is_level(failures(lambda rng: at_least("", 3.0, rng.normal(3.0, 2.0, size), resolution=math.inf)))


def test_a_systematic_error_within_its_order_costs_nothing() -> None:
    assert at_most_level(failures(lambda rng: equals("", 1.0, rng.normal(1.01, 0.05, 20), order=0.01)))


def test_probabilities_fail_at_most_at_the_level() -> None:
    """Summed over all counts, exactly; discreteness makes the tests a little more careful than asked."""
    trials, p = 60, 0.3
    for make, least in ((frequency, 0.4), (failure_rate, 0.2)):
        fails = [make("", p, k, trials).verdict(_LEVEL) == "fails" for k in range(trials + 1)]
        size = float(binom.pmf(np.arange(trials + 1), trials, p) @ np.array(fails))
        assert least * _LEVEL <= size <= _LEVEL


def test_laws_fail_at_the_level() -> None:
    def cdf(x: Floats) -> Floats:
        return np.asarray(norm.cdf(x), dtype=np.float64)

    assert is_level(failures(lambda rng: follows("", cdf, rng.standard_normal(30))))
    assert at_most_level(failures(lambda rng: same_law("", rng.standard_normal(25), rng.standard_normal(40))))


def test_slopes_fail_about_at_the_level() -> None:
    """The bootstrap's standard error is itself random: the level is met to within a factor of two."""
    x = np.array([1.0, 2.0, 4.0, 8.0])

    def make(rng: np.random.Generator) -> Comparison:
        return slope("", -1.0, x, (1 / x)[:, None] * rng.normal(1.0, 0.1, (4, 20)), absolute=0.0)

    assert failures(make) <= 2 * _LEVEL * _REPEATS


# ---------------------------------------------------------------- power: a false statement


@pytest.mark.parametrize(
    "comparison",
    [
        equals("", 1.0, [1.1, 1.11, 1.09, 1.1, 1.105, 1.095] * 10),
        equals("", 1.0, 1.02, order=0.01),
        at_most("", 1.0, 1.001),
        at_least("", 1.0, 0.999),
        frequency("", 0.5, 65, 200),
        failure_rate("", 0.01, 20, 400),
        failure_rate("", 0.0, 1, 400),
        follows("", lambda x: np.asarray(norm.cdf(x)), np.linspace(-1, 1, 300)),
        same_law("", np.linspace(0, 1, 200), np.linspace(0.3, 1.3, 200)),
        slope("", -2.0, [1.0, 2.0, 4.0], [1.0, 0.5, 0.25], absolute=0.1),
    ],
)
def test_a_false_statement_fails(comparison: Comparison) -> None:
    assert comparison.verdict(LEVEL) == "fails"
    assert comparison.margin(LEVEL) < 0


@pytest.mark.parametrize(
    "comparison",
    [
        equals("", 1.0, 1.005, order=0.01),
        equals("", 0.0, 1e-12, absolute=1e-10),
        equals("", 2.0, 2.0),
        at_most("", 1.0, 0.2),
        at_least("", 1.0, 7.0),
        frequency("", 0.5, 104, 200),
        failure_rate("", 0.01, 0, 2000),
        slope("", -1.0, [1.0, 2.0, 4.0], [1.0, 0.51, 0.25], absolute=0.1),
    ],
)
def test_a_true_statement_holds(comparison: Comparison) -> None:
    assert comparison.verdict(LEVEL) == "holds"
    assert 0 <= comparison.margin(LEVEL) <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_fails(value: float) -> None:
    draws = [1.0, value, 1.0]
    for comparison in (
        equals("", 1.0, value, order=0.5),
        equals("", 1.0, draws),
        equals("", math.nan, 1.0),
        at_most("", 1.0, value),
        at_least("", 1.0, value),
        slope("", 1.0, [1.0, 2.0, 3.0], draws, absolute=1.0),
        follows("", lambda x: np.asarray(norm.cdf(x)), draws),
        same_law("", draws, [1.0]),
    ):
        assert comparison.verdict(LEVEL) == "fails"
        assert comparison.margin(LEVEL) == -math.inf


def test_nothing_measured_is_not_a_verdict_for_the_claim() -> None:
    assert equals("", 1.0, []).verdict(LEVEL) == "fails"
    assert failure_rate("", 0.1, 0, 0).verdict(LEVEL) == "inconclusive"
    assert frequency("", 0.1, 0, 0).verdict(LEVEL) == "inconclusive"


def test_too_few_trials_to_refute_are_inconclusive() -> None:
    for found in (failure_rate("", 0.5, 0, 5), frequency("", 0.5, 3, 5)):
        assert found.verdict(LEVEL) == "inconclusive"
        assert "5 trials cannot refute" in found.reason


def test_noise_that_nothing_could_fail_is_inconclusive() -> None:
    rng = np.random.default_rng(0)
    assert equals("", 1.0, rng.normal(1.0, 5.0, 10)).verdict(LEVEL) == "inconclusive"
    assert equals("", 1.0, rng.normal(50.0, 0.1, 10)).verdict(LEVEL) == "fails"


# ---------------------------------------------------------------- the numbers shown


def test_clopper_pearson() -> None:
    """Exact: P(X >= 3 | low) = P(X <= 3 | high) = 2.5 %."""
    interval = frequency("", 0.5, 3, 10).interval
    assert interval is not None
    assert binom.sf(2, 10, interval[0]) == pytest.approx(0.025, rel=tolerances.SOLVED)
    assert binom.cdf(3, 10, interval[1]) == pytest.approx(0.025, rel=tolerances.SOLVED)


def test_the_exponent_of_a_power_law_is_its_slope() -> None:
    x = np.geomspace(1, 100, 5)
    found = slope("", -2.5, x, 3 * x**-2.5, absolute=tolerances.SOLVED)
    assert found.measured == pytest.approx(-2.5, rel=tolerances.SOLVED)
    assert found.verdict(LEVEL) == "holds"


def test_bootstrap_interval_covers() -> None:
    """Of 400 intervals of 95 % at least 91 % hold the true exponent."""
    rng, x = np.random.default_rng(2), np.array([1.0, 2.0, 4.0])
    inside = 0
    for _ in range(400):
        found = slope("", 1.0, x, x[:, None] * chi2.rvs(20, size=(3, 40), random_state=rng), absolute=0.0)
        assert found.interval is not None
        inside += found.interval[0] <= 1.0 <= found.interval[1]
    assert inside >= 0.91 * 400


def test_margin_is_the_share_of_the_tolerance_left() -> None:
    assert equals("", 1.0, 1.004, order=0.01).margin(LEVEL) == pytest.approx(0.6)
    assert frequency("", 0.5, 100, 200).margin(LEVEL) == pytest.approx(1.0)
    p = kstest([0.1, 0.5, 0.7], norm.cdf).pvalue
    found = follows("", lambda x: np.asarray(norm.cdf(x)), [0.1, 0.5, 0.7])
    assert found.margin(LEVEL) == pytest.approx(1 - math.log(p) / math.log(LEVEL))
