"""Losses in limits (E5): closed forms against sums, differences, limits and each other."""

import math
from itertools import pairwise

import numpy as np
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

from numsim.theory import (
    flipped_loss,
    mean_signal_loss,
    signal_loss,
    signal_loss_expansion,
    signal_loss_slope,
    small_filter_loss,
    zero_filter_loss,
)

COUNTS = st.integers(0, 60)
SIMILARITIES = st.floats(0.0, 30.0)


@given(COUNTS, COUNTS, SIMILARITIES)
def test_signal_loss_is_the_mean_over_rows(positive: int, negative: int, s: float) -> None:
    if positive + negative == 0:
        return
    y = np.repeat([1.0, -1.0], [positive, negative])
    exponents = s * np.multiply.outer(y, y)
    np.fill_diagonal(exponents, s)  # the positive in the place of the sample itself
    rows = np.log(np.sum(np.exp(exponents - s), axis=1))
    expected = float(np.mean(rows))
    assert signal_loss(positive, negative, s) == pytest.approx(expected, abs=tolerances.roundoff(4 * len(y)))


@given(COUNTS, COUNTS, SIMILARITIES, SIMILARITIES)
def test_signal_loss_falls_between_its_limits(positive: int, negative: int, s: float, more: float) -> None:
    if positive + negative == 0:
        return
    slack = tolerances.roundoff(8)
    start, end = zero_filter_loss(positive + negative), signal_loss(positive, negative)
    values = [start, signal_loss(positive, negative, s), signal_loss(positive, negative, s + more), end]
    assert values[0] == pytest.approx(signal_loss(positive, negative, 0.0), abs=slack)
    assert all(first >= second - slack for first, second in pairwise(values))
    assert signal_loss(positive, negative, s) == signal_loss(negative, positive, s)


@given(st.integers(1, 60), st.integers(1, 60))
def test_signal_alone_learns_the_entropy_of_the_labels(positive: int, negative: int) -> None:
    share = positive / (positive + negative)
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    gained = zero_filter_loss(positive + negative) - signal_loss(positive, negative)
    assert gained == pytest.approx(entropy, abs=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("positive", [1, 2, 7])
@pytest.mark.parametrize("s", [0.0, 1.0, 1e3])
def test_equal_labels_teach_nothing(positive: int, s: float) -> None:
    assert signal_loss(positive, 0, s) == signal_loss(0, positive, s) == math.log(positive)
    assert signal_loss_slope(positive, 0, s) == signal_loss_slope(0, positive, s) == 0.0


@given(COUNTS, COUNTS, st.floats(1e-3, 10.0))
def test_the_slope_is_the_difference_of_the_loss(positive: int, negative: int, s: float) -> None:
    if positive + negative == 0:
        return
    slope, error = tolerances.central_difference(lambda h: signal_loss(positive, negative, s + h))
    size = zero_filter_loss(positive + negative) / tolerances.CENTRAL_STEP
    assert abs(signal_loss_slope(positive, negative, s) - slope) <= error + tolerances.roundoff(1, size)


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_first_pull_knows_the_imbalance(positive: int, negative: int) -> None:
    mean = (positive - negative) / (positive + negative)
    expected = -(1 - mean**2)
    assert signal_loss_slope(positive, negative, 0.0) == pytest.approx(expected, rel=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("samples", [1, 2, 3, 10, 31])
def test_the_mean_is_that_over_all_counts_of_labels(samples: int) -> None:
    terms = [math.comb(samples, k) / 2**samples * signal_loss(k, samples - k) for k in range(samples + 1)]
    assert mean_signal_loss(samples) == pytest.approx(sum(terms), abs=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("samples", [2, 10, 500])
def test_balanced_labels(samples: int) -> None:
    half = samples // 2
    assert mean_signal_loss(samples, balanced=True) == pytest.approx(
        signal_loss(half, half), abs=tolerances.CLOSED_FORM
    )


def test_the_expansion_is_off_by_a_third_of_the_cube() -> None:
    """1/(3 n0^3), itself off by O(1/n0): E5 (8)."""
    for samples in (100, 400):
        rest = (mean_signal_loss(samples) - signal_loss_expansion(samples)) * samples**3
        assert rest == pytest.approx(1 / 3, rel=5 / samples)


def test_small_filters_start_at_zero_filters() -> None:
    assert small_filter_loss(7, 0.0, 0.3) == zero_filter_loss(7) == math.log(7)
    assert small_filter_loss(7, 0.12, 0.3) == pytest.approx(math.log(7) - 0.2, rel=tolerances.CLOSED_FORM)


@given(st.floats(-700.0, 700.0), st.floats(0.0, 0.5))
def test_flipped_labels_mix_two_margins(margin: float, p: float) -> None:
    expected = (1 - p) * np.logaddexp(0.0, -margin) + p * np.logaddexp(0.0, margin)
    assert flipped_loss(margin, p) == pytest.approx(expected, abs=tolerances.roundoff(4, 1 + abs(margin)))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.4])
def test_a_blind_network_costs_log_two(p: float) -> None:
    assert flipped_loss(0.0, p) == math.log(2)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_the_best_margin_is_the_log_odds(p: float) -> None:
    """The least loss under flips is the entropy of a flip."""
    best = math.log((1 - p) / p)
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert flipped_loss(best, p) == pytest.approx(entropy, rel=tolerances.CLOSED_FORM)
    assert min(flipped_loss(best - 0.1, p), flipped_loss(best + 0.1, p)) > entropy
