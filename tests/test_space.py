"""The dimension-free space: compression keeps inner products, draws have the law of dense ones."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

import numsim
from numsim.models.space import Space, compress, lower_factor, pad

Floats = npt.NDArray[np.float64]

# ---------------------------------------------------------------- compress


def assert_isometric(before: tuple[Floats, ...], after: tuple[Floats, ...]) -> None:
    """Inner products over the products of lengths, which round-off is proportional to."""
    x, y = np.concatenate(before), np.concatenate(after)
    scale = np.max(np.abs(x), initial=0.0)
    if scale == 0:
        assert not np.any(y)
        return
    x, y = x / scale, y / scale
    lengths = np.sqrt(np.sum(x**2, axis=1))
    error = tolerances.roundoff(sum(x.shape)) * np.outer(lengths, lengths)
    assert np.all(np.abs(x @ x.T - y @ y.T) <= error + tolerances.TINY)


@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    d=st.integers(1, 40),
    seed=st.integers(0, 10**6),
)
def test_inner_products_are_kept(counts: list[int], d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = tuple(rng.standard_normal((k, d)) * 10.0 ** rng.integers(-3, 4, (k, 1)) for k in counts)
    parts = compress(*arrays)
    width = min(d, sum(counts))
    assert [part.shape for part in parts] == [(k, width) for k in counts]
    assert all(part.dtype == np.float64 for part in parts)
    assert_isometric(arrays, parts)


def test_rank_deficient_vectors() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((3, 50))
    mixed = rng.standard_normal((4, 3)) @ first
    arrays = (first, mixed, np.zeros((2, 50)), first[:1])
    parts = compress(*arrays)
    assert_isometric(arrays, parts)
    assert not np.any(parts[2])
    assert parts[3] == pytest.approx(parts[0][:1], abs=tolerances.SOLVED)


@pytest.mark.parametrize("scale", [1e-150, 1e-100, 1.0, 1e100, 1e150])
def test_huge_and_tiny_vectors(scale: float) -> None:
    arrays = (scale * np.random.default_rng(1).standard_normal((5, 30)),)
    assert_isometric(arrays, compress(*arrays))


def test_few_dimensions_come_back_as_copies() -> None:
    whole = np.arange(12).reshape(6, 2)
    (part,) = compress(whole)
    assert part.dtype == np.float64
    assert np.array_equal(part, whole)
    same = np.eye(2)
    (copy,) = compress(same)
    assert not np.shares_memory(copy, same)


def test_no_vectors() -> None:
    assert [part.shape for part in compress(np.empty((0, 7)), np.empty((0, 7)))] == [(0, 0), (0, 0)]
    first, second = compress(np.empty((0, 7)), np.ones((1, 7)))
    assert (first.shape, second.shape) == ((0, 1), (1, 1))
    assert abs(second[0, 0]) == pytest.approx(math.sqrt(7), rel=tolerances.CLOSED_FORM)


def test_public_name() -> None:
    assert numsim.compress is compress


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ((), "got no arrays"),
        ((np.ones(3),), r"shape \(3,\), expected \(k, d\)"),
        ((np.ones((1, 2, 3)),), "array 0 has shape"),
        ((np.ones((1, 3)), np.ones((1, 4))), "length 4"),
        ((np.ones((1, 3)), np.array([[1.0, math.nan, 0.0]])), "array 1 holds NaN"),
        ((np.array([[math.inf]]),), "array 0 holds NaN or infinite"),
    ],
    ids=["nothing", "one axis", "three axes", "lengths", "NaN", "infinite"],
)
def test_compress_refuses(arrays: tuple[Floats, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compress(*arrays)


@given(k=st.integers(1, 8), d=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_lower_factor(k: int, d: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((k, d))
    factor = lower_factor(rows)
    assert factor.shape == (k, min(k, d))
    assert np.array_equal(factor, np.tril(factor))
    assert_isometric((rows,), (factor,))


def test_pad() -> None:
    short = np.ones((2, 3))
    assert pad(short, 3) is short
    wide = pad(short, 5)
    assert wide.shape == (2, 5)
    assert np.array_equal(wide[:, :3], short)
    assert not np.any(wide[:, 3:])


# ---------------------------------------------------------------- what a draw reveals


@pytest.mark.parametrize("dim", [1, 2, 5, 10**15])
def test_widths_revealed(dim: int) -> None:
    rng, space = np.random.default_rng(0), Space(dim)
    assert space.revealed == 1
    drawn = 0
    for count in (0, 1, 2, 3, 4):
        vectors = space.draw(count, 1.0, rng)
        drawn += count
        assert space.revealed == min(dim, 1 + drawn)
        assert vectors.shape == (count, space.revealed)
        assert np.all(np.isfinite(vectors))
    assert np.array_equal(space.signal(3.0), 3.0 * np.eye(space.revealed)[0])


def test_every_vector_reveals_one_axis() -> None:
    space = Space(10**8)
    vectors = space.draw(4, 1.0, np.random.default_rng(0))
    corner = vectors[:, 1:]
    assert np.array_equal(corner, np.tril(corner))
    assert np.all(np.diag(corner) > 0)


@pytest.mark.parametrize("dim", [1, 2, 5, 10**15])
def test_projected_noise_has_no_part_along_the_signal(dim: int) -> None:
    vectors = Space(dim).draw(6, 2.0, np.random.default_rng(0), projected=True)
    assert not np.any(vectors[:, 0])
    assert bool(np.any(vectors)) == (dim > 1)


@pytest.mark.parametrize(("dim", "revealed"), [(0, 1), (5, 0), (5, 6), (-1, 1)])
def test_spaces_that_cannot_be(dim: int, revealed: int) -> None:
    with pytest.raises(ValueError, match="1 <= revealed <= dim"):
        Space(dim, revealed)


# ---------------------------------------------------------------- the law of a draw

DRAWS = 2000
SCALE = 1.7


def revealed_vectors(dim: int, counts: tuple[int, ...], projected: bool, seed: int) -> Floats:
    """Groups drawn one after another, in the coordinates revealed in the end; mu first."""
    rng, space = np.random.default_rng(seed), Space(dim)
    groups = [space.draw(count, SCALE, rng, projected=projected) for count in counts]
    return np.concatenate([space.signal(1.0)[None], *(pad(group, space.revealed) for group in groups)])


def dense_vectors(dim: int, counts: tuple[int, ...], projected: bool, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    vectors = SCALE * rng.standard_normal((sum(counts), dim))
    if projected:
        vectors[:, 0] = 0.0
    return np.concatenate([np.eye(dim)[:1], vectors])


def statistics(sampler: Callable[..., Floats], seed: int, *law: object) -> Floats:
    """Of the Gram matrix of mu and two groups of vectors: lengths, angles within and across, a volume."""
    grams = []
    for draw in range(DRAWS):
        vectors = sampler(*law, seed * DRAWS + draw)
        gram = vectors @ vectors.T
        grams.append(
            [
                gram[1, 1],
                gram[-1, -1],
                gram[0, 1],
                gram[0, -1],
                gram[1, 2],
                gram[1, -1],
                gram[-2, -1],
                np.sum(gram[1:, 1:] ** 2),
                np.linalg.eigvalsh(gram)[-1],
            ]
        )
    return np.array(grams).T


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("dim", [2, 3, 5, 8, 60])
def test_the_law_is_that_of_dense_draws(dim: int, projected: bool) -> None:
    """Seven vectors in two groups: the axes run out within the first group, the second, or not."""
    law = (dim, (3, 4), projected)
    revealed, dense = statistics(revealed_vectors, 0, *law), statistics(dense_vectors, 1, *law)
    for ours, theirs in zip(revealed, dense, strict=True):
        if np.ptp(theirs) == 0:
            assert np.array_equal(ours, theirs)
        else:
            assert ks_2samp(ours, theirs).pvalue >= tolerances.SIGNIFICANCE


def test_the_law_notices_one_degree_of_freedom() -> None:
    """The control: in R^5 against R^6 the same test fails."""
    ours = statistics(revealed_vectors, 0, 5, (3, 4), False)
    theirs = statistics(dense_vectors, 1, 6, (3, 4), False)
    assert ks_2samp(ours[0], theirs[0]).pvalue < tolerances.SIGNIFICANCE


def test_lengths_in_very_high_dimension() -> None:
    """|xi|^2 is sigma^2 chi^2_d: mean d, variance 2d, here at d = 1e15 (relative spread 4.5e-8)."""
    dim, count = 10**15, 300
    vectors = Space(dim).draw(count, 1.0, np.random.default_rng(0))
    squares = np.sum(vectors**2, axis=1)
    standard = (squares - dim) / math.sqrt(2 * dim)
    assert abs(np.mean(standard)) <= tolerances.monte_carlo(1.0, count)
    assert abs(np.var(standard) - 1) <= tolerances.monte_carlo(math.sqrt(2), count)


@pytest.mark.parametrize("dim", [4, 10, 10**6, 10**15])
def test_covariance_of_pairs(dim: int) -> None:
    """<x, y> has variance sigma^4 d and is not correlated with another y; <x, mu> is N(0, sigma^2)."""
    products = []
    for seed in range(DRAWS):
        mu, x, y, other = revealed_vectors(dim, (2, 1), False, seed)
        products.append([x @ y / math.sqrt(dim), x @ other / math.sqrt(dim), x @ mu * SCALE])
    found = np.array(products) / SCALE**2
    # Fourth moments: at most 3 (1 + 2/d) + ... of a Gaussian mixture, twice those of a Gaussian to be safe.
    error = tolerances.monte_carlo(math.sqrt(2 * (1 + 6 / dim)), DRAWS)
    assert np.mean(found, axis=0) == pytest.approx(np.zeros(3), abs=tolerances.monte_carlo(1.0, DRAWS))
    assert np.cov(found.T) == pytest.approx(np.eye(3), abs=error)
