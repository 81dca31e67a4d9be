"""Boundaries of a sweep, their exponent, and refinement: on synthetic sweeps whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logit, ndtr
from scipy.stats import binom

from numsim.sweeps.boundary import Boundary, find_boundaries, fit_boundary, fit_exponent, next_points
from numsim.sweeps.boundary.bootstrap import resample_counts, resampled_ends
from numsim.sweeps.boundary.lines import fitted_lines

Floats = npt.NDArray[np.float64]

# A minimum is flat: its argument is known to the square root of the error of its value, sqrt(eps) at best,
# times the inverse of the curvature (widths and ranges of order 1 to 10 here). In units of log x.
FITTED = 1e-5

SHARED = 0.3
"""Correlation of cells through seeds in the synthetic sweeps."""

few = settings(max_examples=20)


def sweep(seed: int, u: Floats, t: npt.ArrayLike, width: float, seeds: int, shared: float = SHARED) -> Floats:
    """(L, K, S): success rises along u as the logistic around t; a part of the luck is the seed's own."""
    rng = np.random.default_rng(seed)
    lines = np.atleast_1d(np.asarray(t, dtype=np.float64))
    own = rng.standard_normal((lines.size, u.size, seeds))
    luck = math.sqrt(shared) * rng.standard_normal((1, 1, seeds)) + math.sqrt(1 - shared) * own
    return np.asarray(logit(ndtr(luck)) * width < (u[:, None] - lines[:, None, None]), dtype=np.float64)


def near(expected: Any, size: float = FITTED) -> Any:
    return pytest.approx(expected, rel=size, abs=size)


def covers(inside: int, of: int) -> bool:
    """Whether so many of the intervals hold the truth as 95 % ones do."""
    return bool(binom.cdf(inside, of, 0.95) > tolerances.SIGNIFICANCE)


AXIS = np.linspace(0.0, 7.0, 29)
GRID = np.linspace(0.0, 7.0, 60)
STEP = float(GRID[1] - GRID[0])


# ---------------------------------------------------------------- the fit


def naive(u: Floats, k: Floats, n: Floats) -> float:
    """Least loss found from several starts without gradients, in other coordinates: t and w as they are."""
    least, most = float(np.diff(u).min()) / 4, float(u[-1] - u[0])

    def loss(parameters: Floats) -> float:
        z = (u - parameters[0]) / parameters[1]
        return float(sum(n * np.logaddexp(0, z) - k * z))

    reach = (float(u[0]) - 30 * most, float(u[-1]) + 30 * most)
    found = [
        minimize(
            loss, [t, w], method="Nelder-Mead", bounds=[reach, (least, most)],
            options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000, "maxfev": 4000},
        )
        for t in (u[0], (u[0] + u[-1]) / 2, u[-1])
        for w in (least, most)
    ]  # fmt: skip
    return min(float(result.fun) for result in found)


@few
@given(seed=st.integers(0, 10**6), width=st.floats(0.05, 3), t=st.floats(1, 6))
def test_the_fit_is_the_maximum(seed: int, width: float, t: float) -> None:
    """No start of a method without gradients finds a higher likelihood (its value, known far better)."""
    u = np.linspace(0, 7, 8)
    n = np.full(8, 10.0)
    k = sweep(seed, u, t, width, 10)[0].sum(axis=1)
    position, found = fit_boundary(u, k, n, log=False)
    if math.isnan(position):
        return
    z = (u - position) / found
    assert float(sum(n * np.logaddexp(0, z) - k * z)) <= naive(u, k, n) + tolerances.SOLVED or (
        np.flatnonzero(k < n)[-1] < np.flatnonzero(k)[0]  # separated: the middle, not the maximum
    )


@few
@given(seed=st.integers(0, 10**6), width=st.floats(0.1, 2), t=st.floats(1, 6))
@example(seed=2841, width=0.1015625, t=5.71875)  # the width starts one rounding away from its limit
def test_fits_of_resamples_are_fits(seed: int, width: float, t: float) -> None:
    """Newton steps for all at once against scipy for each."""
    success = sweep(seed, AXIS, t, width, 8)
    (line,), draws = fitted_lines(AXIS, success, True), resample_counts(8, 12)
    low, high = resampled_ends(line, draws)
    for row, a, b in zip(draws, low, high, strict=True):
        position, _ = fit_boundary(AXIS, success[0] @ row, np.full(AXIS.size, row.sum()), log=False)
        if math.isnan(position) or not AXIS[0] <= position <= AXIS[-1]:
            assert math.isinf(a) or math.isinf(b)
        else:
            assert (a + b) / 2 == near(position)


def test_coverage_of_positions() -> None:
    """200 data sets, cells correlated through seeds: as many hold the truth as for 95 % intervals."""
    t = np.random.default_rng(0).uniform(2, 5, 200)
    inside = 0
    for i, truth in enumerate(t):
        (found,) = find_boundaries(AXIS, sweep(i, AXIS, truth, 0.4, 20), log=False)
        inside += found.low <= truth <= found.high
    assert covers(inside, t.size)


def test_intervals_of_independent_cells_would_miss() -> None:
    """The control of the coverage: seeds dealt anew in each cell give intervals that are too narrow."""
    rng, inside = np.random.default_rng(1), 0
    for i in range(100):
        success = sweep(i, AXIS, 3.5, 0.8, 20, shared=0.9)
        (found,) = find_boundaries(AXIS, rng.permuted(success, axis=2), log=False)
        inside += found.low <= 3.5 <= found.high
    assert not covers(inside, 100)


# ---------------------------------------------------------------- laws of the boundary


@few
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_scaling_x_scales_the_boundary(seed: int, scale: float) -> None:
    success = sweep(seed, AXIS, [2.0, 4.5], 0.5, 12)
    for a, b in zip(
        find_boundaries(np.exp(AXIS), success), find_boundaries(scale * np.exp(AXIS), success), strict=True
    ):
        assert (b.position, b.low, b.high) == near((scale * a.position, scale * a.low, scale * a.high))
        assert b.width == near(a.width)


@few
@given(seed=st.integers(0, 10**6))
def test_reversing_x_or_success(seed: int) -> None:
    """x -> 1/x makes falling of rising, as 1 - success does."""
    x, success = np.exp(AXIS), sweep(seed, AXIS, [2.0, 4.5], 0.5, 12)
    plain = find_boundaries(x, success)
    assert find_boundaries(x, 1 - success, rising=False) == plain
    for a, b in zip(plain, find_boundaries(1 / x[::-1], success[:, ::-1], rising=False), strict=True):
        assert (b.position, b.low, b.high) == near((1 / a.position, 1 / a.high, 1 / a.low))
        assert b.width == near(a.width)


@few
@given(seed=st.integers(0, 10**6))
def test_the_order_of_seeds_is_noise_of_the_bootstrap(seed: int) -> None:
    """Positions are the same; ends differ by no more than an end of 400 resamples does."""
    success = sweep(seed, AXIS, 3.0, 0.5, 20)
    order = np.random.default_rng(seed).permutation(20)
    (a,), (b,) = (find_boundaries(AXIS, s, log=False) for s in (success, success[:, :, order]))
    assert a.position == near(b.position)
    # A quantile at 1.6 % of a normal law is off by sqrt(p (1-p) / 400) / density = 0.16 deviations, the
    # difference of two by 0.23; a deviation is a quarter of the interval.
    noise = tolerances.STANDARD_ERRORS * 0.23 * (a.high - a.low) / 4
    assert max(abs(a.low - b.low), abs(a.high - b.high)) <= noise


def test_log_x_is_x_of_log() -> None:
    success = sweep(3, AXIS, 3.0, 0.5, 12)
    (a,), (b,) = find_boundaries(np.exp(AXIS), success), find_boundaries(AXIS, success, log=False)
    assert (math.log(a.position), math.log(a.low), math.log(a.high)) == near((b.position, b.low, b.high))
    assert find_boundaries(AXIS, success, log=False) == [b]


# ---------------------------------------------------------------- edges


def test_separated_points_have_their_boundary_anywhere_in_the_gap() -> None:
    success = np.repeat([0.0, 0.0, 1.0, 1.0, 1.0], 7).reshape(1, 5, 7)
    success[0, 4, 3:] = np.nan  # the middle does not depend on the number of runs
    (found,) = find_boundaries([1, 2, 8, 16, 32], success)
    assert (found.position, found.low, found.high) == near((4.0, 2.0, 8.0), tolerances.CLOSED_FORM)
    assert found.width == near(math.log(2) / 4, tolerances.CLOSED_FORM)
    assert fit_boundary([1, 2, 8, 16, 32], [0, 0, 7, 7, 3], [7, 7, 7, 7, 3])[0] == near(4.0)


@pytest.mark.parametrize("rising", [True, False])
def test_a_boundary_out_of_range_is_bounded_by_it(rising: bool) -> None:
    ones = np.ones((1, 3, 5))
    above, below = ("fails", "succeeds") if rising else ("succeeds", "fails")
    for success, side in ((ones if rising else 0 * ones, -1), (0 * ones if rising else ones, 1)):
        (found,) = find_boundaries([2, 4, 8], success, rising=rising)
        assert math.isnan(found.position)
        assert math.isnan(found.width)
        assert (found.low, found.high) == near((0, 2) if side < 0 else (8, math.inf))
        assert found.reason == f"{below if side < 0 else above} everywhere"
    (found,) = find_boundaries([0, 4, 8], ones, log=False)
    assert (found.low, found.high) == (-math.inf, 0)


def test_what_was_not_run_is_not_there() -> None:
    nothing, success = np.full((1, 29, 12), np.nan), sweep(5, AXIS, 3.0, 0.5, 12)
    (found,) = find_boundaries(np.exp(AXIS), nothing)
    assert math.isnan(found.position)
    assert found[1:3] == (0, math.inf)
    assert found.reason == "nothing was run"
    holes = success.copy()
    holes[:, 1::2] = np.nan
    assert find_boundaries(AXIS, holes, log=False) == find_boundaries(AXIS[::2], success[:, ::2], log=False)
    # A seed that was never run is none.
    more = np.concatenate([success, nothing[..., :1]], axis=2)
    (a,), (b,) = find_boundaries(AXIS, success, log=False), find_boundaries(AXIS, more, log=False)
    assert a.position == b.position


def test_one_point_has_no_boundary() -> None:
    (found,) = find_boundaries([3.0], [[[0.0, 1.0, 1.0]]])
    assert found.reason == "only one point was run"
    assert (found.low, found.high) == (0, math.inf)
    assert find_boundaries([3.0], [[[1.0, 1.0]]])[0].reason == "succeeds everywhere"
    assert np.isnan(fit_boundary([3.0], [1], [2])).all()


def test_one_seed_says_nothing_of_the_spread() -> None:
    (found,) = find_boundaries([1, 2, 4], [[[0.0], [0.0], [1.0]]])
    assert found.position == near(math.sqrt(8))
    assert (found.low, found.high) == (0, math.inf)


def test_falling_fractions_are_no_rise() -> None:
    """The width is then at its upper limit, the range."""
    position, width = fit_boundary([1, 2, 4, 8], [5, 5, 0, 0], [5, 5, 5, 5])
    assert (position, width) == near((math.sqrt(8), math.log(8)))


@pytest.mark.parametrize("end", [math.inf, 1e15])
def test_huge_ranges_do_not_overflow(end: float) -> None:
    x = np.geomspace(1e-12, min(end, 1e15), 12)
    (found,) = find_boundaries(x, sweep(0, np.log(x), 3.0, 2.0, 9))
    assert found.low <= found.position <= found.high


@pytest.mark.parametrize(
    ("x", "success", "options", "text"),
    [
        ([2, 1], np.zeros((1, 2, 3)), {}, "x: got .*, expected finite numbers in ascending order"),
        ([1, math.nan], np.zeros((1, 2, 3)), {}, "x: got .*, expected finite"),
        ([], np.zeros((1, 0, 3)), {}, "x: got .*, expected finite"),
        ([0, 1], np.zeros((1, 2, 3)), {}, "x: got 0 as its first, expected numbers above 0, or log=False"),
        ([1, 2], np.zeros((2, 3)), {}, r"success: got shape \(2, 3\), expected \(lines, 2 points"),
        ([1, 2], np.full((1, 2, 3), 0.5), {}, "success: got 0.5 in it, expected 0, 1, or NaN"),
        ([1, 2], np.zeros((1, 2, 0)), {}, "success: got no seeds"),
        ([1, 2], np.zeros((1, 2, 3)), {"resamples": 3}, "resamples: got 3, expected at least 40"),
    ],
)
def test_bad_input_is_one_sentence(x: Any, success: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        find_boundaries(x, success, **options)


def test_other_bad_input_is_one_sentence() -> None:
    success = np.zeros((2, 2, 3))
    with pytest.raises(ValueError, match=r"successes: got shape \(1,\), expected \(2,\) as x"):
        fit_boundary([1, 2], [0], [1, 1])
    with pytest.raises(ValueError, match=r"successes: got .*, expected numbers from 0 to those of trials"):
        fit_boundary([1, 2], [0, 2], [1, 1])
    with pytest.raises(ValueError, match=r"s: got shape \(1,\), expected \(2,\)"):
        fit_exponent([1], [1, 2], success)
    with pytest.raises(ValueError, match=r"s: got .*, expected finite numbers above 0, all different"):
        fit_exponent([1, 1], [1, 2], success)
    with pytest.raises(ValueError, match="width: got 0, expected a finite number above 0"):
        next_points([1, 2], success, width=0)


# ---------------------------------------------------------------- the exponent


@few
@given(slope=st.floats(-2, 2), scale=st.floats(0.1, 10))
def test_the_exponent_of_an_exact_power_law(slope: float, scale: float) -> None:
    """Separated at gaps centred on the law: slope and prefactor to round-off, the interval holds them."""
    s = scale * np.exp(np.linspace(-1, 1, 4))
    t = 1.0 + slope * np.log(s / scale)
    u = np.unique(np.concatenate([t - 0.05, t + 0.05]))
    u = np.sort(np.concatenate([u, [-9.0, 9.0]]))
    if np.diff(u).min() < tolerances.SMALL or abs(slope) < 0.2:
        return  # gaps that overlap are not centred
    success = np.repeat((u > t[:, None])[..., None], 6, axis=2)
    found = fit_exponent(s, np.exp(u), success)
    assert found.lines == 4
    assert found.slope == near(slope, tolerances.SOLVED)
    assert found.prefactor == pytest.approx(math.exp(1.0) * scale**-slope, rel=tolerances.SOLVED)
    assert found.low < slope < found.high


def test_coverage_of_exponents() -> None:
    s, inside = np.array([1.0, 2.0, 4.0, 8.0]), 0
    for i in range(100):
        success = sweep(i, AXIS, 6.0 - 1.7 * np.log(s), 0.4, 20)
        found = fit_exponent(s, np.exp(AXIS), success)
        inside += found.low <= -1.7 <= found.high
    assert covers(inside, 100)


def test_the_exponent_scales_and_turns_with_its_axes() -> None:
    s, x = np.array([1.0, 2.0, 5.0]), np.exp(AXIS)
    success = sweep(2, AXIS, 5.0 - 1.5 * np.log(s), 0.4, 12)
    plain = fit_exponent(s, x, success)
    scaled = fit_exponent(3 * s, 7 * x, success)
    assert scaled[:3] == near(plain[:3])
    assert scaled.prefactor == near(plain.prefactor * 7 * 3**-plain.slope)
    assert fit_exponent(s, x, 1 - success, rising=False) == plain
    assert fit_exponent(1 / s, x, success).slope == near(-plain.slope)


def test_lines_without_a_boundary_are_left_out() -> None:
    s, success = np.array([1.0, 2.0, 5.0]), sweep(2, AXIS, [5.0, 4.0, 3.0], 0.4, 12)
    success[1] = 1.0
    found = fit_exponent(s, np.exp(AXIS), success)
    assert found.lines == 2
    assert found.slope == near(fit_exponent(s[::2], np.exp(AXIS), success[::2]).slope)
    success[2] = np.nan
    found = fit_exponent(s, np.exp(AXIS), success)
    assert found.lines == 1
    assert np.isnan([found.slope, found.low, found.high, found.prefactor]).all()


# ---------------------------------------------------------------- refinement


def refined(u: Floats, truth: Floats, width: float, rising: bool = True) -> Floats:
    """What has been run when nothing more is proposed; no cell twice, and the answer is a function."""
    success = np.full_like(truth, np.nan)
    while proposed := next_points(u, success, width=width, log=False, rising=rising):
        assert len(set(proposed)) == len(proposed)
        for line, point in proposed:
            assert np.isnan(success[line, point]).all()
            success[line, point] = truth[line, point]
    return success


def cells(success: Floats) -> int:
    return int((~np.isnan(success).all(axis=2)).sum())


def widths(u: Floats, success: Floats) -> Floats:
    return np.array([b.high - b.low for b in find_boundaries(u, success, log=False)])


def test_refinement_needs_five_times_fewer_cells() -> None:
    """Against the coarsest uniform sub-grid on which all intervals are as narrow.

    A sub-grid is every n-th of the 60 points, the same on all 6 lines; both take the same runs with the same
    20 seeds in every cell. Boundaries are steep, four times narrower than a step of the grid, and asked for
    to less than two steps: every second point leaves gaps of two.
    """
    width = 1.9 * STEP
    truth = sweep(0, GRID, np.linspace(1.5, 5.5, 6), STEP / 4, 20)
    found = refined(GRID, truth, width)
    assert (widths(GRID, found) < width).all()
    stride = max(n for n in range(1, 60) if (widths(GRID[::n], truth[:, ::n]) < width).all())
    assert cells(truth[:, ::stride]) >= 5 * cells(found)
    for a, b in zip(
        find_boundaries(GRID, found, log=False), find_boundaries(GRID, truth, log=False), strict=True
    ):
        assert abs(a.position - b.position) < width


@few
@given(
    seed=st.integers(0, 10**6),
    points=st.integers(1, 40),
    width=st.floats(0.01, 3),
    scale=st.floats(0.01, 5),
    seeds=st.integers(1, 6),
)
def test_refinement_ends_and_runs_no_cell_twice(
    seed: int, points: int, width: float, scale: float, seeds: int
) -> None:
    """On any noise, boundaries in and out of range; what is wider than asked for is so for a reason."""
    u = np.linspace(0, 7, points)
    truth = sweep(seed, u, [-3.0, 1.0, 4.0, 12.0], scale, seeds)
    found = refined(u, truth, width)
    assert ((found == truth) | np.isnan(found)).all()
    assert next_points(u, found, width=width, log=False) == []
    assert (refined(u, 1 - truth, width, rising=False) == 1 - found)[~np.isnan(found)].all()


def test_an_interrupted_refinement_goes_on_as_if_it_had_not_been() -> None:
    """Whole answers run: the same cells every time. After each first cell: as narrow."""
    truth = sweep(4, GRID, [2.0, 5.0], STEP, 20)
    whole = refined(GRID, truth, 3 * STEP)
    assert np.array_equal(whole, refined(GRID, truth, 3 * STEP), equal_nan=True)
    success = np.full_like(truth, np.nan)
    while proposed := next_points(GRID, success, width=3 * STEP, log=False):
        line, point = proposed[0]
        success[line, point] = truth[line, point]
    assert (widths(GRID, success) < 3 * STEP).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_line_without_boundary_costs_its_start_and_its_end(value: float) -> None:
    found = refined(GRID, np.full((1, 60, 5), value), STEP)
    assert cells(found) == 3
    assert find_boundaries(GRID, found, log=False)[0].reason


def test_a_first_guess_is_cheap_and_a_wide_interval_is_enough() -> None:
    nothing = np.full((2, 60, 5), np.nan)
    assert next_points(GRID, nothing, width=1.0, log=False) == [(0, 15), (0, 30), (1, 15), (1, 30)]
    found = refined(GRID, sweep(1, GRID, 3.0, STEP, 20), 100.0)
    assert cells(found) <= math.ceil(math.log2(60)) + 2


def test_points_outward_narrow_the_interval() -> None:
    """Where one point cannot tell more, those around it do, nearest first."""
    truth = sweep(1, GRID, 3.0, 4 * STEP, 20, shared=0.0)
    wide, narrow = refined(GRID, truth, 7.0), refined(GRID, truth, 2 * STEP)
    assert cells(narrow) > cells(wide)
    assert widths(GRID, narrow)[0] < 2 * STEP
    run = np.flatnonzero(~np.isnan(narrow[0, :, 0]))
    (found,) = find_boundaries(GRID, narrow, log=False)
    assert isinstance(found, Boundary)
    assert np.min(np.abs(GRID[run] - found.position)) <= STEP


def test_half_of_the_runs_at_the_last_point_is_not_the_end() -> None:
    """A fit on the edge of the points run asks for the next one."""
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    half, none, every = np.repeat([0.0, 1.0], 5), np.zeros(10), np.ones(10)
    unknown = np.full(10, np.nan)
    assert next_points(x, [[unknown, none, half, unknown, unknown]], width=1e-9) == [(0, 3)]
    (found,) = find_boundaries(x, [[unknown, none, half, every, unknown]])
    assert found.reason == ""
