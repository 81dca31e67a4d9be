"""Closed forms of C1 to C3 against the laws of scipy.stats, counting, elementary cases and limits."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import tolerances
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom, chi, chi2, norm

from numsim.theory import (
    balance_probability,
    balance_rate,
    balance_samples,
    balance_samples_bound,
    cross_term_bound,
    cross_term_quantile,
    cross_term_tail,
    expected_maximum,
    filters_needed,
    initialisation_probability,
    maximum_quantile,
    noise_norm_dimension,
    noise_norm_dimension_bound,
    noise_norm_failure,
    noise_norm_interval,
    noise_overlap_bound,
    overlap_missed,
    signal_overlap_bound,
    split_probability,
)

DELTAS = st.floats(1e-12, 0.9)
COUNTS = st.integers(1, 10**6)


def near(value: float) -> object:
    return pytest.approx(value, rel=tolerances.SOLVED)


# ---------------------------------------------------------------- norms


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("dim", [2, 3, 10, 100, 10**8])
def test_failure_of_one_norm_is_two_tails_of_chi_squared(dim: int, projected: bool) -> None:
    low, high = noise_norm_interval(dim)
    law = chi2(dim - 1 if projected else dim)
    assert (low, high) == (dim / 2, 1.5 * dim)
    assert noise_norm_failure(dim, projected=projected) == near(law.cdf(low) + law.sf(high))


@given(n=COUNTS)
def test_failure_of_n_norms(n: int) -> None:
    once = noise_norm_failure(90)
    assert noise_norm_failure(90, n) == pytest.approx(-math.expm1(n * math.log1p(-once)))
    assert noise_norm_failure(90, n) <= n * once * (1 + tolerances.CLOSED_FORM)


def test_no_noise_in_one_projected_dimension() -> None:
    assert noise_norm_failure(1) == 1.0
    assert noise_norm_failure(1, projected=False) < 1.0
    with pytest.raises(ValueError, match="dim = 1 is 0"):
        cross_term_tail(1.0, 1)


def test_the_interval_is_in_the_units_of_the_noise() -> None:
    low, high = noise_norm_interval(10, 3.0)
    assert (low, high) == (9 * 5.0, 9 * 15.0)


def test_failure_falls_with_the_dimension() -> None:
    for projected in (True, False):
        failures = [noise_norm_failure(d, projected=projected) for d in range(1, 1500)]
        assert all(a >= b for a, b in itertools.pairwise(failures))


@given(n=st.integers(1, 10**9), delta=DELTAS, projected=st.booleans())
@example(n=1, delta=0.75, projected=False)  # one dimension is enough
def test_the_smallest_dimension(n: int, delta: float, projected: bool) -> None:
    d = noise_norm_dimension(n, delta, projected=projected)
    assert noise_norm_failure(d, n, projected=projected) <= delta
    assert d == 1 or noise_norm_failure(d - 1, n, projected=projected) > delta
    assert d <= math.ceil(noise_norm_dimension_bound(n, delta))


def test_the_exponent_of_the_dimension_is_sharp() -> None:
    """What is left is the prefactor of chi^2's tail, log(d)/2 in the exponent, and a constant."""
    n, delta = 10**9, 1e-290
    d, bound = noise_norm_dimension(n, delta), noise_norm_dimension_bound(n, delta)
    per_log = bound / math.log(2 * n / delta)
    assert per_log == pytest.approx(21.156, abs=tolerances.THREE_DIGITS)
    assert 0 < bound - d < per_log * (math.log(d) / 2 + 2)


# ---------------------------------------------------------------- products


@pytest.mark.parametrize("x", [0.0, 0.1, 1.0, 10.0, 60.0])
def test_products_in_few_dimensions(x: float) -> None:
    assert cross_term_tail(x, 3) == near(math.exp(-x))
    assert cross_term_tail(x, 5) == near(math.exp(-x) * (1 + x / 2))
    assert cross_term_tail(x, 4, projected=False) == near(math.exp(-x) * (1 + x / 2))


@pytest.mark.parametrize("freedom", [1, 2, 7, 40])
@pytest.mark.parametrize("x", [0.5, 3.0, 12.0])
def test_products_are_mixtures_of_gaussians(freedom: int, x: float) -> None:
    expected, _ = quad(lambda r: 2 * norm.sf(x / r) * chi.pdf(r, freedom), 0, np.inf, epsabs=0)
    assert cross_term_tail(x, freedom, projected=False) == pytest.approx(
        expected, rel=1e3 * tolerances.SOLVED
    )


def test_products_in_many_dimensions_are_gaussian() -> None:
    x = np.array([[0.0, 1.0], [3.0, 6.0]])
    found = cross_term_tail(x * 1e7, 10**14)
    np.testing.assert_allclose(found, 2 * norm.sf(x), rtol=tolerances.SOLVED)


@given(n=st.integers(2, 10**6), failure=st.floats(1e-9, 0.999), dim=st.sampled_from([10, 10**3, 10**10]))
def test_quantiles_of_the_largest_product(n: int, failure: float, dim: int) -> None:
    x = cross_term_quantile(dim, n, failure)
    once = float(cross_term_tail(x, dim))
    assert -math.expm1(n * (n - 1) / 2 * math.log1p(-once)) == pytest.approx(
        failure, rel=1e3 * tolerances.SOLVED
    )


@given(n=st.integers(2, 10**4), delta=DELTAS)
def test_the_bound_of_products_covers_them(n: int, delta: float) -> None:
    """At every dimension that C1's norms ask for, and with the square root of 2 to spare at the least."""
    d = math.ceil(noise_norm_dimension_bound(n, delta / 2))
    for dim in (d, 10**4 * d):
        bound = cross_term_bound(dim, n, delta)
        assert n * (n - 1) / 2 * float(cross_term_tail(bound, dim)) <= delta / 2
    assert bound > math.sqrt(2) * cross_term_quantile(10**4 * d, n, delta / 2)


# ---------------------------------------------------------------- initial filters


@given(m=COUNTS, n=COUNTS, delta=DELTAS)
def test_upper_bounds_leave_a_quarter(m: int, n: int, delta: float) -> None:
    signal = signal_overlap_bound(m, delta, init_scale=0.5, signal_norm=4.0) / 2.0
    noise = noise_overlap_bound(m, n, delta, init_scale=0.5, noise_norm=4.0) / 2.0
    assert 2 * m * math.exp(-(signal**2) / 2) == near(delta / 4)
    assert 2 * m * n * math.exp(-(noise**2) / 4) == near(delta / 4)
    assert 2 * m * 2 * norm.sf(signal) <= delta / 4
    assert maximum_quantile(2 * m, delta / 4) < signal


@given(n=COUNTS, delta=DELTAS)
def test_lower_bounds_leave_a_quarter(n: int, delta: float) -> None:
    signal, noise = filters_needed(n, delta)
    assert norm.cdf(0.5) ** signal == near(delta / 4)
    assert n * norm.cdf(0.25) ** noise == near(delta / 4)


@given(level=st.floats(-2, 2), m=st.integers(1, 50))
@example(level=-1.875, m=7)
@example(level=-2.0, m=50)
def test_missed_levels(level: float, m: int) -> None:
    limit = norm.cdf(level) ** m
    assert overlap_missed(level, m) == near(limit)
    assert overlap_missed(level, m, 1e14) == near(limit)
    # As small as 1e-42: the quadrature's error has to be relative too.
    of = quad(lambda r: norm.cdf(level * 3 / r) ** m * chi.pdf(r, 8), 0, np.inf, epsabs=0, epsrel=1e-10)
    assert overlap_missed(level, m, 9) == pytest.approx(of[0], rel=tolerances.SOLVED)


def test_the_noise_level_at_finite_dimension() -> None:
    """E Phi(sqrt(d)/(4R))^m = Phi(1/4)^m (1 + (0.193 m + 0.0065 m^2)/d + ...), C2."""
    h = norm.pdf(0.25) / norm.cdf(0.25)
    slope, curvature = -h / 8, 3 * h / 16 - h * (h + 0.25) / 64
    for m in (5, 20, 40):
        excess = (-slope * m + (slope * m) ** 2 + curvature * m) / 1e6
        assert overlap_missed(0.25, m, 1e6) / overlap_missed(0.25, m) - 1 == pytest.approx(
            excess, rel=tolerances.REMAINDER
        )


@given(count=st.integers(1, 10**6), failure=st.floats(1e-9, 0.999))
def test_quantiles_of_the_largest_gaussian(count: int, failure: float) -> None:
    x = maximum_quantile(count, failure)
    assert -math.expm1(count * math.log1p(-2 * norm.sf(x))) == near(failure)


@pytest.mark.parametrize(
    ("count", "absolute", "expected"),
    [
        (1, False, 0.0),
        (2, False, 1 / math.sqrt(math.pi)),
        (3, False, 1.5 / math.sqrt(math.pi)),
        (1, True, math.sqrt(2 / math.pi)),
        (2, True, 2 / math.sqrt(math.pi)),
    ],
)
def test_elementary_means_of_maxima(count: int, absolute: bool, expected: float) -> None:
    assert expected_maximum(count, absolute=absolute) == pytest.approx(expected, abs=tolerances.SOLVED)


@pytest.mark.parametrize("count", [10, 1000, 10**6])
def test_means_of_maxima(count: int) -> None:
    expected, _ = quad(
        lambda x: x * count * norm.pdf(x) * norm.cdf(x) ** (count - 1), -12, 12, points=[0, 3, 6]
    )
    assert expected_maximum(count) == pytest.approx(expected, rel=1e3 * tolerances.SOLVED)
    assert (
        expected_maximum(count) < expected_maximum(count, absolute=True) < math.sqrt(2 * math.log(2 * count))
    )
    # g and -g are one size but two numbers: about as large as twice as many numbers.
    assert expected_maximum(2 * count) == pytest.approx(
        expected_maximum(count, absolute=True), rel=tolerances.REMAINDER
    )


def test_all_four_statements() -> None:
    m, n, delta = 8, 5, 0.2
    a, b = signal_overlap_bound(m, delta), noise_overlap_bound(m, n, delta)
    rng = np.random.default_rng(0)
    draws = 40_000
    good = np.ones(draws, dtype=bool)
    for level, bound, vectors in ((0.5, a, 1), (0.25, b, n)):
        g = rng.standard_normal((draws, vectors, 2, m))
        good &= ((np.abs(g) <= bound).all(axis=3) & (g.max(axis=3) >= level)).all(axis=(1, 2))
    error = tolerances.monte_carlo(0.5, draws)
    assert initialisation_probability(m, n, delta) == pytest.approx(np.mean(good), abs=error)


def test_both_signs_at_the_least_number_of_filters() -> None:
    """C2: a quarter of delta for one sign is a half for two, and then delta does not suffice."""
    m, n = 16, 10
    delta = 4 * norm.cdf(0.5) ** m
    assert max(filters_needed(n, delta)) == near(m)
    assert 1.03 * delta < 1 - initialisation_probability(m, n, delta) < 1.04 * delta
    assert 1 - initialisation_probability(m, n, 2 * delta) < 2 * delta


# ---------------------------------------------------------------- labels


@given(
    n=st.integers(1, 60), share=st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.5]), positive=st.floats(0.05, 0.95)
)
def test_balance_by_counting(n: int, share: float, positive: float) -> None:
    counts = np.arange(n + 1)
    good = np.minimum(counts, n - counts) >= share * n - tolerances.SOLVED
    expected = binom.pmf(counts, n, positive)[good].sum()
    assert balance_probability(n, share, positive) == pytest.approx(expected, abs=tolerances.SOLVED)


@pytest.mark.parametrize(("share", "n"), [(0.25, 40), (0.4, 45), (0.1, 30), (0.3, 110)])
def test_a_share_that_is_a_whole_number_counts(share: float, n: int) -> None:
    """0.3 * 110 is above 33 in floating point."""
    least = round(share * n)
    assert balance_probability(n, share) == near(1 - 2 * binom.cdf(least - 1, n, 0.5))


@given(delta=st.floats(1e-9, 0.9), share=st.sampled_from([0.1, 0.25, 0.4]))
def test_the_smallest_number_of_samples(delta: float, share: float) -> None:
    n = balance_samples(delta, share)
    later = [balance_probability(k, share) for k in range(n, n + 100)]
    assert min(later) >= 1 - delta
    assert n == 1 or balance_probability(n - 1, share) < 1 - delta
    if share == 0.25:
        assert n <= math.ceil(balance_samples_bound(delta))
        assert 2 * math.exp(-balance_samples_bound(delta) / 8) == near(delta / 2)


def test_the_rate_of_imbalance() -> None:
    assert balance_rate() == pytest.approx(0.131, abs=tolerances.THREE_DIGITS)
    assert balance_rate(0.5) == pytest.approx(0.0, abs=tolerances.CLOSED_FORM)
    assert balance_rate(0.0) == math.log(2)
    n = 4000
    tail = math.log(2 * sum(math.comb(n, k) for k in range(n // 4))) - n * math.log(2)
    assert 0 < -tail / n - balance_rate() < math.log(n) / n  # C3: the prefactor is sqrt(8 / (3 pi n))


@pytest.mark.parametrize(("m", "expected"), [(1, 0.0), (2, 0.25), (3, 0.5625)])
def test_splits(m: int, expected: float) -> None:
    assert split_probability(m) == expected


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: noise_norm_failure(0), "dim is 0"),
        (lambda: noise_norm_interval(math.nan), "dim is nan"),
        (lambda: noise_norm_failure(5, 0), "samples is 0"),
        (lambda: noise_norm_dimension(0, 0.1), "samples is 0"),
        (lambda: noise_norm_dimension_bound(5, 0.0), "delta is 0"),
        (lambda: cross_term_bound(5, 3, 1.0), "delta is 1"),
        (lambda: cross_term_bound(5, 0, 0.1), "samples is 0"),
        (lambda: cross_term_quantile(5, 1, 0.1), "samples is 1, expected at least 2"),
        (lambda: cross_term_quantile(5, 4, 0.0), "failure is 0"),
        (lambda: signal_overlap_bound(0, 0.1), "filters is 0"),
        (lambda: signal_overlap_bound(3, -0.1), "delta is -0.1"),
        (lambda: noise_overlap_bound(3, 0, 0.1), "samples is 0"),
        (lambda: filters_needed(0, 0.1), "samples is 0"),
        (lambda: filters_needed(3, 2.0), "delta is 2"),
        (lambda: overlap_missed(0.5, 0), "filters is 0"),
        (lambda: overlap_missed(0.5, 1, 0.5), "dim is 0.5"),
        (lambda: maximum_quantile(0, 0.1), "count is 0"),
        (lambda: maximum_quantile(5, 1.0), "failure is 1"),
        (lambda: expected_maximum(0), "count is 0"),
        (lambda: initialisation_probability(3, 2, 0.0), "delta is 0"),
        (lambda: balance_probability(0), "samples is 0"),
        (lambda: balance_probability(5, 0.6), "share is 0.6"),
        (lambda: balance_probability(5, 0.2, 1.5), "positive is 1.5"),
        (lambda: balance_samples(0.0), "delta is 0"),
        (lambda: balance_samples(0.1, 0.5), "share is 0.5"),
        (lambda: balance_samples_bound(1.0), "delta is 1"),
        (lambda: balance_rate(-0.1), "share is -0.1"),
    ],
)
def test_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
