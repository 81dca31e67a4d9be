"""Test samples in kernels: words of SFC64, normals exact in law, logarithms, losses and errors."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
import words as drawn
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from numsim.descent._kernels import readout
from numsim.descent._kernels.readout import (
    LANES,
    LARGEST,
    TILE,
    Readout,
    fill_words,
    normals_in_place,
    sample_sums,
)

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

FILTERS = 20  # more than one piece of normals a tile
DRAWS = 1 << 16


def lanes(seed: int) -> Words:
    return drawn.lanes(np.random.default_rng(seed))


def words(count: int, seed: int) -> Words:
    found = np.empty(count, dtype=np.uint64)
    with np.errstate(over="ignore"):  # interpreted, NumPy's scalars warn
        fill_words(found, lanes(seed))
    return found


def normals(raw: Words) -> Floats:
    """The normals made of the words, N/2 radii and N/2 angles."""
    x = raw.view(np.float64).copy()
    normals_in_place(x, np.empty(x.size // 2))
    return x


def test_words_are_those_of_numpys_sfc64() -> None:
    found = words(5 * LANES, 3).reshape(5, LANES)
    for lane, state in enumerate(lanes(3).T):
        generator = np.random.SFC64()
        generator.state = {**generator.state, "state": {"state": state}}
        np.testing.assert_array_equal(found[:, lane], generator.random_raw(5))


def test_words_go_on_where_they_were() -> None:
    state, parts = lanes(4), np.empty(4 * LANES, dtype=np.uint64)
    with np.errstate(over="ignore"):
        fill_words(parts[:LANES], state)
        fill_words(parts[LANES:], state)
    np.testing.assert_array_equal(parts, words(4 * LANES, 4))


def box_muller(raw: Words) -> tuple[Floats, Floats]:
    """Radius and both normals by NumPy's functions, from the same bits."""
    first, second = np.split(raw, 2)
    u = 1.0 - (first >> np.uint64(12)).astype(np.float64) * 2.0**-52
    t = ((second >> np.uint64(12)).astype(np.float64) * 2.0**-52 - 0.5) * (math.pi / 2)
    radius = np.sqrt(-2.0 * np.log(u))
    sign = np.where(second & np.uint64(2), -1.0, 1.0)
    exchanged = (second & np.uint64(1)).astype(bool)
    one, other = np.where(exchanged, np.sin(t), np.cos(t)), np.where(exchanged, np.cos(t), np.sin(t))
    return radius, np.concatenate([sign * radius * one, sign * radius * other])


def test_normals_are_box_and_mullers_to_a_few_eps() -> None:
    raw = words(4096, 5)
    raw[:8] = [0, 2**64 - 1, 1 << 12, 2**63, 2**63 - 1, 2**52, 0x4AFB0CCC06219B80, 0x4AFB0CCC0621A000]
    raw[2048:2056] = [0, 2**64 - 1, 1, 2, 3, 2**63, 2**63 - 1, 2**63 | 1]
    found, (radius, expected) = normals(raw), box_muller(raw)
    np.testing.assert_allclose(np.hypot(*np.split(found, 2)), radius, rtol=tolerances.ELEMENTARY)
    assert (np.abs(found - expected) <= tolerances.ELEMENTARY * np.abs(expected)).all()
    assert np.abs(found).max() <= LARGEST
    np.testing.assert_allclose(radius[1], math.sqrt(104 * math.log(2)), rtol=tolerances.ELEMENTARY)
    assert radius[0] == 0.0


@pytest.fixture(scope="module")
def sample() -> Floats:
    """Pairs (2, DRAWS / 2)."""
    return normals(words(DRAWS, 6)).reshape(2, -1)


def test_normals_have_the_normal_law(sample: Floats) -> None:
    for part in (*sample, sample.ravel()):
        assert stats.kstest(part, "norm").pvalue >= tolerances.SIGNIFICANCE
        for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
            spread = math.sqrt(stats.norm.moment(2 * power) - moment**2)
            assert abs(np.mean(part**power) - moment) <= tolerances.monte_carlo(spread, part.size)


@pytest.mark.parametrize("threshold", [2.0, 3.0, 3.7])
def test_the_tails_hold_what_they_should(sample: Floats, threshold: float) -> None:
    for side in (sample, -sample):
        beyond = int((side > threshold).sum())
        assert stats.binomtest(beyond, side.size, stats.norm.sf(threshold)).pvalue >= tolerances.SIGNIFICANCE


def test_far_tails_by_the_words_that_lead_there() -> None:
    """P(R > x) = exp(-x^2 / 2), counted over the 2^52 values of u: exact to one of them."""
    x = np.arange(1.0, 8.5, 0.5)
    largest_u = np.floor(np.exp(-(x**2) / 2) * 2.0**52)  # in units of 2^-52
    for shift in (0.0, 1.0):
        raw = np.zeros(2 * x.size, dtype=np.uint64)
        raw[: x.size] = (2.0**52 - largest_u - shift).astype(np.uint64) << np.uint64(12)
        radius = np.hypot(*np.split(normals(raw), 2))
        at = -2.0 * np.log((largest_u + shift) * 2.0**-52)
        np.testing.assert_allclose(radius**2, at, rtol=4 * tolerances.ELEMENTARY)


def test_pairs_and_neighbours_are_independent(sample: Floats) -> None:
    first, second = sample
    pairs = {
        "of a pair": (first, second),
        "neighbouring lanes": (first[:-1], first[1:]),
        "one lane": (first[:-LANES], first[LANES:]),
    }
    for name, (a, b) in pairs.items():
        for f, g in (
            (np.abs, np.abs),
            (np.positive, np.positive),
            (np.square, np.positive),
            (np.sign, np.abs),
        ):
            assert stats.pearsonr(f(a), g(b)).pvalue >= tolerances.SIGNIFICANCE, name
        quadrants = np.histogram2d(stats.norm.cdf(a), stats.norm.cdf(b), bins=8, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(quadrants.ravel()).pvalue >= tolerances.SIGNIFICANCE, name
    assert stats.kstest(np.arctan2(second, first) / (2 * math.pi) + 0.5, "uniform").pvalue >= 1e-4


@given(exponent=st.floats(-300.0, math.log10(3.0)))
def test_log1p(exponent: float) -> None:
    x = np.array([10.0**exponent, 0.0, 1.0, math.sqrt(2) - 1, 2 * math.sqrt(2) - 1, 3.0, math.nan])
    found = x.copy()
    readout.log1p_in_place(found)
    np.testing.assert_allclose(found, np.log1p(x), rtol=tolerances.ELEMENTARY)


def network(power: float, *, flips: float = 0.1) -> Readout:
    rng = np.random.default_rng(7)
    factor = np.tril(rng.standard_normal((FILTERS, FILTERS)))
    bias, reach = rng.standard_normal((2, FILTERS))
    return Readout(factor, bias, reach, 0.3, power, flips)


def stacked(*nets: Readout) -> Readout:
    factor, bias, reach = (np.stack([net[k] for net in nets]) for k in range(3))
    return nets[0]._replace(factor=factor, bias=bias, reach=reach)


def measured(net: Readout, samples: int, seed: int = 8) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        found: Floats = sample_sums(stacked(net), samples, lanes(seed)[None])[0]
    return found


def test_networks_beside_one_another_do_not_meet() -> None:
    nets, seeds = [network(3.0), network(1.0)._replace(power=3.0), network(3.0)], (8, 9, 8)
    nets[1].factor[...] *= 0.5
    with np.errstate(over="ignore"):  # of words, interpreted
        found = sample_sums(stacked(*nets), 300, np.stack([lanes(seed) for seed in seeds]))
    for sums, net, seed in zip(found, nets, seeds, strict=True):
        np.testing.assert_array_equal(sums, measured(net, 300, seed))
    assert not np.array_equal(found[0], found[1])


def expected(net: Readout, samples: int, seed: int = 8) -> Floats:
    """Losses and errors (2, samples) of the same draws, by NumPy."""
    noise = drawn.noise(lanes(seed), FILTERS, samples)
    weights = net.scale * np.repeat([1.0, -1.0], FILTERS // 2)

    def read(inner: Floats) -> Floats:
        return np.asarray(weights @ np.maximum(inner + net.bias[:, None], 0.0) ** net.power)

    f = [y * (read(net.factor @ noise) + read(y * net.reach[:, None])) for y in (1.0, -1.0)]
    losses = [np.logaddexp(0.0, -v) * (1 - net.flips) + np.logaddexp(0.0, v) * net.flips for v in f]
    return np.array([(losses[0] + losses[1]) / 2, np.mean([v < 0 for v in f], axis=0)])


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 4.0, 17.0])
@pytest.mark.parametrize("samples", [1, 2, TILE - 1, TILE, 2 * TILE + 3])
def test_sums_over_any_number_of_samples(power: float, samples: int) -> None:
    net = network(power)
    losses, wrong = expected(net, samples)
    found = measured(net, samples)
    np.testing.assert_allclose(found[4], losses[0], rtol=tolerances.CLOSED_FORM)
    total = tolerances.roundoff(samples * FILTERS, float(np.abs(losses).max()))
    assert abs(found[0] + samples * found[4] - losses.sum()) <= total
    np.testing.assert_allclose(found[1], np.sum((losses - losses[0]) ** 2), rtol=tolerances.SOLVED)
    assert tuple(found[2:4]) == (wrong.sum(), np.sum(wrong**2))


def test_fewer_samples_are_the_first_of_more() -> None:
    net = network(1.0)
    few, more = expected(net, 5), expected(net, 3 * TILE)
    np.testing.assert_array_equal(few, more[:, :5])
    assert measured(net, 5)[4] == measured(net, 3 * TILE)[4]


@pytest.mark.parametrize("field", ["factor", "bias", "reach"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_a_number_of_errors(field: str, value: float) -> None:
    """NaN anywhere is NaN in both; two infinite outputs of either sign too."""
    net = network(1.0)
    broken = getattr(net, field).copy()
    broken[(3, 1) if field == "factor" else 3] = value
    broken[(15, 1) if field == "factor" else 15] = value
    found = measured(net._replace(**{field: broken}), 3 * TILE)
    assert np.isnan(found[:4]).all()


def test_a_rank_below_the_number_of_filters() -> None:
    net = network(2.0)
    thin = net._replace(factor=np.ascontiguousarray(net.factor[:, :1]))
    wide = net._replace(factor=np.hstack([thin.factor, np.zeros((FILTERS, 3))]))
    a, b = measured(thin, 5000), measured(wide, 5000)
    k = tolerances.STANDARD_ERRORS
    means, spreads = [], []
    for sums in (a, b):
        means.append(sums[4] + sums[0] / 5000)
        spreads.append(math.sqrt((sums[1] / 5000 - (sums[0] / 5000) ** 2) / 5000))
    assert abs(means[0] - means[1]) <= k * math.hypot(*spreads)


@pytest.mark.compiled
@pytest.mark.parametrize("power", [1.0, 2.5, 3.0, 5.0])
def test_compiled_is_interpreted(power: float) -> None:
    raw = words(4 * LANES, 9)
    slow = raw.view(np.float64).copy()
    normals_in_place.py_func(slow, np.empty(slow.size // 2))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(normals(raw), slow)
    net = network(power)
    with np.errstate(over="ignore"):
        interpreted = sample_sums.py_func(stacked(net), 5, lanes(8)[None])[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(measured(net, 5), interpreted, rtol=tolerances.SOLVED)
