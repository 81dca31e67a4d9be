"""The kernels against their naive twins: step by step along whole descents, and what only a kernel has."""

import itertools
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from hypothesis import assume, given, reject
from hypothesis import strategies as st

import numsim
from numsim.descent import blocks, reference
from numsim.descent import driver as dynamics
from numsim.descent._kernels import descent, exponential, similarity, softmax
from numsim.descent.contrastive import info_nce
from numsim.descent.fresh_views import FreshDescent, FreshViews, _fewer_axes, pretrain_fresh_views
from numsim.descent.reference import Drawn, Trajectory
from numsim.descent.supervised import train_dictionary
from numsim.models.dictionary import dense_dictionary
from numsim.models.signal_noise import Labelled, signal_noise_dictionary

Floats = npt.NDArray[np.float64]

SEEDS = st.integers(0, 2**32 - 1)
POWERS = st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 17.0])


def fresh_views(
    W: Floats, mu: Floats, labels: Floats, noise: Floats, **settings: Any
) -> tuple[Floats, FreshDescent]:
    """``pretrain_fresh_views`` with the settings of its twin in the reference, and the dimension."""
    views = FreshViews(**{name: settings.pop(name) for name in FreshViews._fields})
    return pretrain_fresh_views(W, mu, labels, noise, views, **settings)


@st.composite
def experiments(draw: st.DrawFn, /, **fixed: Any) -> Drawn:
    """A whole experiment in R^d; dim also smaller than the number of vectors."""
    settings: dict[str, Any] = {
        "dim": draw(st.integers(1, 30)),
        "filters": draw(st.integers(1, 3)),
        "unlabelled": draw(st.integers(1, 6)),
        "labelled": draw(st.integers(1, 6)),
        "signal_norm": draw(st.sampled_from([0.5, 1.0, 2.0])),
        "sigma_p": draw(st.sampled_from([0.3, 1.0])),
        "init_scale": draw(st.sampled_from([0.01, 0.1])),
        "overlap": draw(st.sampled_from([0.0, 0.6, 1.0])),
        "projected": draw(st.booleans()),
        "flip_probability": draw(st.sampled_from([0.0, 0.3])),
        "first_axis": draw(st.booleans()),
    }
    return reference.draw(np.random.default_rng(draw(SEEDS)), **(settings | fixed))


def pair(case: Drawn) -> Floats:
    return case.W.reshape(2, -1, case.W.shape[1])


def assert_follows(
    run: Any, filters: list[Floats], expected: Trajectory, disturbed: list[Trajectory]
) -> None:
    """Every state of the descent is that of the reference, within the tolerance of E4."""
    steps = len(expected.filters) - 1
    assert run.status == expected.status
    assert run.steps == steps
    np.testing.assert_array_equal(run.recorded_steps, np.arange(steps + 1))
    atols = tolerances.trajectory(expected.filters, [other.filters for other in disturbed])
    for W, reference_W, atol in zip(filters, expected.filters, atols, strict=True):
        np.testing.assert_allclose(W.reshape(reference_W.shape), reference_W, rtol=0, atol=atol)
    values = [np.array([loss]) for loss in expected.losses]
    others = [[np.array([loss]) for loss in other.losses] for other in disturbed]
    atols = tolerances.trajectory(values, others)
    for loss, reference_loss, atol in zip(run.recorded_losses, expected.losses, atols, strict=True):
        assert abs(loss - reference_loss) <= atol + tolerances.roundoff(1)
    assert run.loss == run.recorded_losses[-1]


def twins(descend: Callable[[Floats], Trajectory], W: Floats) -> tuple[Trajectory, list[Trajectory]]:
    """The reference descent from W, and from W disturbed by round-off.

    Draws are left out that overflow, and those where round-off moves the last step: a stop rule met to
    the last digit is no test.
    """
    try:
        with np.errstate(over="raise", invalid="raise"):
            expected, *disturbed = (descend(V) for V in [W, *tolerances.perturbed(W)])
    except FloatingPointError:
        reject()
    assume(all(len(other.filters) == len(expected.filters) for other in disturbed))
    return expected, disturbed


# --- Pre-training --------------------------------------------------------------------------------


@given(
    case=experiments(),
    temperature=st.sampled_from([0.5, 1.0, 4.0]),
    learning_rate=st.sampled_from([0.02, 0.1]),
    max_steps=st.sampled_from([1, 7, 30]),
    stop=st.booleans(),
)
def test_pretraining_is_the_reference_step_by_step(
    case: Drawn, temperature: float, learning_rate: float, max_steps: int, stop: bool
) -> None:
    settings: dict[str, Any] = {
        "learning_rate": learning_rate,
        "temperature": temperature,
        "max_steps": max_steps,
        "stop_at_linear_end": stop,
    }
    expected, disturbed = twins(lambda W: reference.pretrain(W, case.z, case.z_aug, **settings), case.W)
    W, run = numsim.pretrain(case.W, case.z, case.z_aug, record=max_steps + 1, **settings)
    n = len(case.z)
    moves = [c[:, :n] @ case.z + c[:, n:] @ case.z_aug for c in run.recorded_coefficients]
    filters = [case.W + move for move in moves]
    size = float(np.max(np.abs(case.W)) + max(np.max(np.abs(move)) for move in moves))
    atol = tolerances.roundoff(2 * n * max_steps, size)  # samples far from the origin move W itself
    np.testing.assert_allclose(filters[-1], W, rtol=0, atol=atol)
    assert_follows(run, filters, expected, disturbed)


@pytest.mark.parametrize("overlap", [0.0, 0.7])
@pytest.mark.parametrize("projected", [True, False])
def test_pretraining_stops_at_the_first_step_above_the_linear_end(overlap: float, projected: bool) -> None:
    case = reference.draw(
        np.random.default_rng(3), dim=20, unlabelled=6, init_scale=0.02, overlap=overlap, projected=projected
    )
    W, run = numsim.pretrain(case.W, case.z, case.z_aug, learning_rate=0.1, max_steps=500, record=501)
    assert run.status == "linear_end"
    assert 1 < run.steps < 500
    both = np.concatenate([case.z, case.z_aug])
    for step, c in enumerate(run.recorded_coefficients):
        s, _ = reference.similarities(case.W + c @ both, case.z, case.z_aug)
        largest = np.max(np.abs(s[~np.eye(len(s), dtype=bool)]))
        assert (largest > 0.3) == (step == run.steps)
    assert run.loss == pytest.approx(numsim.info_nce(W, case.z, case.z_aug)[0], abs=tolerances.roundoff(100))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("side", "status"), [(1.0, "linear_end"), (-1.0, "max_steps")])
def test_the_linear_end_is_a_similarity_above_three_tenths_of_the_temperature(
    temperature: float, sign: float, side: float, status: str
) -> None:
    z = np.array([[1.0], [sign * 0.3 * (1 + side * tolerances.SMALL)], [0.1]])
    W = np.array([[np.sqrt(temperature)]])
    _, run = numsim.pretrain(W, z, z, learning_rate=1.0, temperature=temperature, max_steps=0)
    assert run.status == status


@given(
    case=experiments(first_axis=True),
    overlap=st.sampled_from([0.0, 0.6, 1.0]),
    projected=st.booleans(),
    max_steps=st.sampled_from([0, 1, 12]),
    stop=st.booleans(),
    seed=SEEDS,
)
def test_fresh_views_of_a_revealed_space_are_the_reference(
    case: Drawn, overlap: float, projected: bool, max_steps: int, stop: bool, seed: int
) -> None:
    """With all d axes revealed the views are dense draws: the same generator gives the same vectors."""
    case = case._replace(noise=case.noise - (case.noise * (np.arange(len(case.mu)) == 0) if projected else 0))
    settings: dict[str, Any] = {
        "sigma_p": 0.8,
        "projected": projected,
        "overlap": overlap,
        "learning_rate": 0.1,
        "temperature": 2.0,
        "max_steps": max_steps,
        "stop_at_linear_end": stop,
    }
    data = (case.mu, case.labels, case.noise)
    expected, disturbed = twins(
        lambda W: reference.pretrain_fresh_views(W, *data, rng=np.random.default_rng(seed), **settings),
        case.W,
    )
    W, run = fresh_views(case.W, *data, dim=len(case.mu), rng=np.random.default_rng(seed), **settings)
    last = Trajectory(expected.filters[-1:], expected.losses[-1:], expected.status)
    others = [other.filters[-1:] for other in disturbed]
    atol = tolerances.trajectory(last.filters, others)[0]
    np.testing.assert_allclose(W, last.filters[0], rtol=0, atol=atol)
    assert (run.status, run.steps) == (expected.status, len(expected.filters) - 1)
    np.testing.assert_array_equal(run.recorded_steps, np.arange(run.steps + 1))
    np.testing.assert_allclose(
        run.recorded_losses, expected.losses, rtol=0, atol=atol + tolerances.roundoff(9)
    )
    if projected:  # the noise has no part along mu: the growth there is gamma
        growth = np.array([(V - case.W) @ case.mu for V in expected.filters])
        np.testing.assert_allclose(run.recorded_gamma, growth, rtol=0, atol=atol * (1 + len(case.mu)))


@given(case=experiments(overlap=1.0), max_steps=st.sampled_from([0, 1, 12]), stop=st.booleans())
def test_fresh_views_of_overlap_one_are_fixed_views(case: Drawn, max_steps: int, stop: bool) -> None:
    """Nothing fresh is mixed in; the axes revealed for it are rotated away again."""
    shared: dict[str, Any] = {
        "learning_rate": 0.1,
        "temperature": 2.0,
        "max_steps": max_steps,
        "stop_at_linear_end": stop,
    }
    fixed_W, fixed = numsim.pretrain(case.W, case.z, case.z_aug, record=max_steps + 1, **shared)
    W, run = fresh_views(
        case.W,
        case.mu,
        case.labels,
        case.noise,
        dim=10**9,
        sigma_p=1.0,
        projected=False,
        overlap=1.0,
        rng=np.random.default_rng(0),
        **shared,
    )
    assert (run.status, run.steps) == (fixed.status, fixed.steps)
    size = 1.0 + float(np.sum(case.z**2)) ** 2
    atol = tolerances.roundoff((max_steps + 1) * case.z.size, size)
    width = len(case.mu)
    np.testing.assert_allclose(W[:, :width], fixed_W, rtol=0, atol=atol)
    np.testing.assert_allclose(W[:, width:], 0.0, rtol=0, atol=atol)
    np.testing.assert_allclose(run.recorded_losses, fixed.recorded_losses, rtol=0, atol=atol)
    n = len(case.labels)
    on_noise = fixed.recorded_coefficients[..., :n] * np.sum(case.noise**2, axis=1)
    np.testing.assert_allclose(run.recorded_rho, on_noise, rtol=0, atol=atol)
    on_signal = (fixed.recorded_coefficients[..., :n] + fixed.recorded_coefficients[..., n:]) @ case.labels
    np.testing.assert_allclose(run.recorded_gamma, on_signal * (case.mu @ case.mu), rtol=0, atol=atol)


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 9), SEEDS)
def test_turning_new_axes_away_keeps_every_inner_product(M: int, base: int, extra: int, seed: int) -> None:
    W = np.random.default_rng(seed).standard_normal((M, base + extra))
    turned = _fewer_axes(W, base)
    assert turned.shape == (M, base + min(M, extra))
    np.testing.assert_array_equal(turned[:, :base], W[:, :base])
    atol = tolerances.roundoff(W.size, float(np.sum(W**2)))
    np.testing.assert_allclose(turned @ turned.T, W @ W.T, rtol=0, atol=atol)


@pytest.mark.compiled
@pytest.mark.parametrize("overlap", [0.0, 0.6])
@pytest.mark.parametrize("projected", [True, False])
def test_fresh_views_in_few_axes_have_the_law_of_dense_ones(overlap: float, projected: bool) -> None:
    """Mean squared length on new axes and along mu, and loss, after three steps, over many draws."""
    case = reference.draw(
        np.random.default_rng(5),
        dim=12,
        filters=1,
        unlabelled=6,
        init_scale=0.3,
        projected=projected,
        first_axis=True,
    )
    W, mu, noise = case.W[:, :6], case.mu[:6], case.noise[:, :6]  # six axes revealed, six still to come
    padding = ((0, 0), (0, 6))
    dense_W, dense_noise = np.pad(W, padding), np.pad(noise, padding)
    settings: dict[str, Any] = {
        "sigma_p": 1.0,
        "projected": projected,
        "overlap": overlap,
        "learning_rate": 0.2,
        "temperature": 1.0,
        "max_steps": 3,
        "stop_at_linear_end": False,
    }
    few, dense = [], []
    runs = 800
    for seed in range(runs):
        rng = np.random.default_rng([1, seed])
        V, run = fresh_views(W, mu, case.labels, noise, dim=12, rng=rng, **settings)
        few.append([np.sum(V[:, 6:] ** 2), np.sum((V[:, :6] @ mu) ** 2), run.loss])
        rng = np.random.default_rng([2, seed])
        twin = reference.pretrain_fresh_views(dense_W, case.mu, case.labels, dense_noise, rng=rng, **settings)
        V = twin.filters[-1]
        dense.append([np.sum(V[:, 6:] ** 2), np.sum((V @ case.mu) ** 2), twin.losses[-1]])
    deviation = np.sqrt(np.var(few, axis=0) + np.var(dense, axis=0))
    for difference, sd in zip(np.mean(few, axis=0) - np.mean(dense, axis=0), deviation, strict=True):
        assert abs(difference) <= tolerances.monte_carlo(sd, runs)


# --- Supervised training -------------------------------------------------------------------------


@given(
    case=experiments(),
    q=POWERS,
    output_scale=st.sampled_from([0.5, 1.0, 5.0]),
    learning_rate=st.sampled_from([0.02, 0.2]),
    max_steps=st.sampled_from([1, 7, 25]),
    target_loss=st.sampled_from([0.0, 0.5, 0.69]),
    bias=st.booleans(),
)
def test_training_on_the_dictionary_is_the_reference_step_by_step(
    case: Drawn,
    q: float,
    output_scale: float,
    learning_rate: float,
    max_steps: int,
    target_loss: float,
    bias: bool,
) -> None:
    settings: dict[str, Any] = {
        "q": q,
        "output_scale": output_scale,
        "learning_rate": learning_rate,
        "max_steps": max_steps,
        "target_loss": target_loss,
    }
    dictionary = signal_noise_dictionary(
        case.mu, Labelled(case.true_labels, case.observed, case.labelled_noise)
    )
    W, x = pair(case), case.x
    if bias:  # one more coordinate that every patch has equal to 1
        dictionary = dictionary.with_bias()
        W = np.concatenate([W, W[..., :1]], axis=2)
        x = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)
    expected, disturbed = twins(lambda V: reference.train(V, x, case.observed, **settings), W)
    last, run = train_dictionary(W, dictionary, record=max_steps + 1, **settings)
    flat = W.reshape(-1, W.shape[2])
    filters = [flat + c @ dictionary.vectors for c in run.recorded_coefficients]
    np.testing.assert_array_equal(filters[-1].reshape(W.shape), last)
    assert_follows(run, filters, expected, disturbed)


@st.composite
def patch_data(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """W (2, m, D), x (n, P, D) with P = 1..3 and, sometimes, the same patch in many places, y (n,)."""
    m, n, P, D = (draw(st.integers(1, size)) for size in (3, 6, 3, 8))
    rng = np.random.default_rng(draw(SEEDS))
    x = rng.standard_normal((n, P, D))
    if draw(st.booleans()):
        x = x[0, 0] * rng.choice([-1.0, 1.0, 2.0], size=(n, P, 1))
    return 0.2 * rng.standard_normal((2, m, D)), x, rng.choice([-1.0, 1.0], size=n)


@given(patch_data(), POWERS, st.sampled_from([1, 7, 25]), st.sampled_from([0.0, 0.6]))
def test_training_on_any_patches_is_the_reference_step_by_step(
    data: tuple[Floats, Floats, Floats], q: float, max_steps: int, target_loss: float
) -> None:
    W, x, y = data
    settings: dict[str, Any] = {
        "q": q,
        "learning_rate": 0.1,
        "max_steps": max_steps,
        "target_loss": target_loss,
    }
    expected, disturbed = twins(lambda V: reference.train(V, x, y, **settings), W)
    last, run = numsim.train(W, x, y, record=max_steps + 1, **settings)
    rows = x.reshape(-1, x.shape[2])
    vectors = rows[np.sort(np.unique(rows, axis=0, return_index=True)[1])]  # as they first appear
    assert run.coefficients.shape == (2 * W.shape[1], len(vectors))
    flat = W.reshape(-1, W.shape[2])
    filters = [flat + c @ vectors for c in run.recorded_coefficients]
    np.testing.assert_allclose(filters[-1].reshape(W.shape), last, rtol=tolerances.roundoff(len(vectors)))
    assert_follows(run, filters, expected, disturbed)


@given(patch_data())
def test_the_dense_dictionary_keeps_every_patch_once(data: tuple[Floats, Floats, Floats]) -> None:
    _, x, y = data
    dictionary = dense_dictionary(x, y)
    np.testing.assert_array_equal(dictionary.vectors[dictionary.patches], x)
    assert len(np.unique(dictionary.vectors, axis=0)) == len(dictionary.vectors)


def test_training_stops_at_the_first_step_at_or_below_the_target() -> None:
    case = reference.draw(np.random.default_rng(1), dim=9, init_scale=0.2)
    settings: dict[str, Any] = {"q": 3.0, "learning_rate": 0.3, "max_steps": 400, "record": 401}
    _, run = numsim.train(pair(case), case.x, case.observed, target_loss=0.1, **settings)
    assert run.status == "target_loss"
    assert 1 < run.steps < 400
    assert np.all(run.recorded_losses[:-1] > 0.1)
    assert run.loss == run.recorded_losses[-1] <= 0.1
    _, again = numsim.train(pair(case), case.x, case.observed, target_loss=run.loss, **settings)
    assert again.steps == run.steps  # equality stops too


# --- The whole experiment, compressed ------------------------------------------------------------


@given(case=experiments(), q=st.sampled_from([1.0, 2.0, 3.0]), seed=SEEDS)
def test_both_stages_on_compressed_data_are_those_in_full_space(case: Drawn, q: float, seed: int) -> None:
    """E4: dense data in R^d, and the same in the few coordinates of its span."""
    order = np.random.default_rng(seed).permutation(len(case.W))
    rates: dict[str, Any] = {"learning_rate": 0.1, "max_steps": 8}

    def two_stages(W: Floats) -> Trajectory:
        before = reference.pretrain(W, case.z, case.z_aug, stop_at_linear_end=False, **rates)
        halves = before.filters[-1][order].reshape(pair(case).shape)
        after = reference.train(halves, case.x, case.observed, q=q, target_loss=0.0, **rates)
        everything = np.concatenate([case.z, case.z_aug, case.x.reshape(-1, len(case.mu))])
        inner = [V.reshape(-1, len(case.mu)) @ everything.T for V in after.filters]
        return Trajectory(inner, after.losses, after.status)

    expected, disturbed = twins(two_stages, case.W)
    mu, W, noise, views, labelled = numsim.compress(
        case.mu[None], case.W, case.noise, case.views, case.labelled_noise
    )
    small = case._replace(mu=mu[0], W=W, noise=noise, views=views, labelled_noise=labelled)
    filters, _ = numsim.pretrain(W, small.z, small.z_aug, stop_at_linear_end=False, **rates)
    dictionary = signal_noise_dictionary(small.mu, Labelled(case.true_labels, case.observed, labelled))
    halves = filters[order].reshape(2, -1, W.shape[1])
    trained, _ = train_dictionary(halves, dictionary, q=q, output_scale=1.0, target_loss=0.0, **rates)
    everything = np.concatenate([small.z, small.z_aug, small.x.reshape(-1, W.shape[1])])
    atol = tolerances.trajectory(expected.filters, [other.filters for other in disturbed])[-1]
    inner = trained.reshape(-1, W.shape[1]) @ everything.T
    np.testing.assert_allclose(inner, expected.filters[-1], rtol=0, atol=atol)


# --- The exponential and the two softmax paths ---------------------------------------------------


def exp(x: Floats) -> Floats:
    result = x.copy()
    largest = float(np.max(np.abs(x), initial=0.0))
    exponential.exponentials(result, largest, np.empty(exponential.TILE))
    return result


def test_the_exponential_agrees_with_numpy_over_its_whole_range() -> None:
    grid = np.linspace(-exponential.LARGEST, exponential.LARGEST, 4001)
    halves = (np.arange(-1021, 1021) + 0.5) * np.log(2)  # where the power of two changes
    points = np.concatenate([grid, halves, np.nextafter(halves, -1e3), np.nextafter(halves, 1e3)])
    x = np.concatenate([points, np.random.default_rng(0).uniform(-1, 1, 2000), [0.0, -0.0, 708.0, -708.0]])
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=tolerances.EXPONENTIAL)
    assert exp(np.zeros(1))[0] == 1.0


@pytest.mark.parametrize("largest", [0.0043, 0.0044, 0.02, 0.1, 0.3464, 0.3465, 0.3466, 0.5, 0.7, 1.0])
def test_the_exponential_of_small_arguments_agrees_with_numpy(largest: float) -> None:
    """Around the sizes from which on the polynomial is longer, and the argument reduced."""
    x = np.concatenate([np.linspace(-largest, largest, 2001), np.geomspace(tolerances.TINY, largest, 100)])
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=tolerances.EXPONENTIAL)


def in_blocks_of(size: int) -> Any:
    """Everything in blocks of at most ``size`` samples, the Gram matrix included."""
    return patch.multiple(blocks, block_size=lambda filters, n, threads=1: min(size, n), _SMALL_PRODUCT=0.0)


def weights(
    P: Floats, P_aug: Floats, temperature: float, *, shifted: bool, block: int
) -> tuple[Floats, Floats, Floats]:
    """p + p^T, 1 - p_i+ and the sum of losses (1,), by one of the two paths and in blocks."""
    n = P.shape[1]
    inner = np.concatenate([P, P_aug], axis=1)
    with in_blocks_of(block):
        buffers = blocks.contrastive_buffers(len(P), n)
    bound = similarity.set_exponents(inner, temperature, buffers)
    bound = max(bound, float(np.abs(buffers.rows[0]).max()))
    if shifted:
        loss = softmax._totals_by_rows(inner, temperature, buffers)
        bound = np.inf
    else:
        loss = softmax._totals_without_shift(inner, temperature, bound, buffers)
    both = np.zeros((n, n))
    buffers.similarity[:] = np.nan  # nothing may be left over from the totals
    for i, j in itertools.combinations_with_replacement(range(-(-n // buffers.block)), 2):
        part = softmax._weight_block(inner, temperature, bound, buffers, i, j).copy()
        first, second = i * buffers.block, j * buffers.block
        both[first : first + part.shape[0], second : second + part.shape[1]] = part
        both[second : second + part.shape[1], first : first + part.shape[0]] = part.T
    return both, buffers.rows[1].copy(), np.array([loss])


@given(
    st.integers(1, 8),
    st.integers(1, 9),
    SEEDS,
    st.sampled_from([0.1, 1.0, 7.0]),
    st.sampled_from([1e-3, 0.0043, 0.0044, 0.346, 0.347, 1.0, 30.0, 290.0, 299.0]),
)
def test_both_softmax_paths_agree(n: int, block: int, seed: int, temperature: float, size: float) -> None:
    rng = np.random.default_rng(seed)
    P, P_aug = rng.standard_normal((2, n, n))
    largest = max(np.sum(P**2, axis=0).max(), np.abs(np.sum(P * P_aug, axis=0)).max())
    P, P_aug = (np.sqrt(size * temperature / largest) * array for array in (P, P_aug))
    fast = weights(P, P_aug, temperature, shifted=False, block=block)
    slow = weights(P, P_aug, temperature, shifted=True, block=block)
    rtol = tolerances.roundoff(2 * n, 1.0 + size)
    for ours, theirs in zip(fast, slow, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=tolerances.TINY)
    s, s_plus = P.T @ P, np.sum(P * P_aug, axis=0)
    rows = [reference.softmax_row(i, s, s_plus, temperature) for i in range(n)]
    p = np.array([row[1] for row in rows])
    p[np.eye(n, dtype=bool)] = 0.0
    np.testing.assert_allclose(fast[0], p + p.T, rtol=rtol, atol=tolerances.TINY)
    np.testing.assert_allclose(fast[1], p.sum(axis=1), rtol=rtol, atol=tolerances.TINY)
    np.testing.assert_allclose(fast[2], [-sum(row[2] for row in rows)], rtol=0, atol=n * rtol)


@given(case=experiments(), block=st.integers(1, 5), size=st.sampled_from([1e-6, 0.3, 3.0, 1e3, 1e5]))
def test_blocks_change_nothing(case: Drawn, block: int, size: float) -> None:
    """Loss, gradient and whole descents, in one block and in several, at similarities of any size."""
    s, s_plus = reference.similarities(case.W, case.z, case.z_aug)
    W = case.W * np.sqrt(size / max(np.abs(s).max(), np.abs(s_plus).max(), tolerances.TINY))
    loss, grad = info_nce(W, case.z, case.z_aug)
    with in_blocks_of(block):
        blocked_loss, blocked_grad = info_nce(W, case.z, case.z_aug)
    error = tolerances.roundoff(sum(case.z.shape), 1 + size)  # of an exponent, and so of a softmax weight
    lengths = sum(np.linalg.norm(views, axis=1).sum() for views in (case.z, case.z_aug))
    np.testing.assert_allclose(blocked_loss, loss, rtol=0, atol=error)
    np.testing.assert_allclose(
        blocked_grad, grad, rtol=0, atol=error * float(lengths**2 * np.linalg.norm(W, axis=1).max())
    )


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 4),
    SEEDS,
    st.sampled_from([1e-3, 0.3, 30.0, 1e3]),
    st.sampled_from([0.1, 1.0, 7.0]),
)
def test_panels_of_any_height_make_the_same_step(
    n: int, height: int, filters: int, seed: int, size: float, temperature: float
) -> None:
    """Loss, coefficients and largest similarity, whatever part of the lower triangle is spared."""
    inner = np.random.default_rng(seed).standard_normal((filters, 2 * n))
    inner *= np.sqrt(size * temperature / np.max(np.sum(inner[:, :n] ** 2, axis=0)))
    found = []
    for panel in (height, n):
        buffers = blocks.contrastive_buffers(filters, n)._replace(panel=min(panel, n))
        bound = similarity.set_exponents(inner, temperature, buffers)
        largest = similarity.largest_similarity(inner, temperature, buffers)
        loss = softmax.info_nce_increments(inner, temperature, 0.7, buffers)
        found.append(np.concatenate([[bound, largest, loss], buffers.increments.ravel()]))
    error = tolerances.roundoff(n + filters, (1.0 + size) * max(1.0, float(np.abs(inner).max())))
    np.testing.assert_allclose(found[0], found[1], rtol=tolerances.roundoff(n + filters), atol=error)
    np.testing.assert_allclose(found[0][0], size, rtol=tolerances.roundoff(filters))
    if n > 1:
        s = np.abs(inner[:, :n].T @ inner[:, :n]) / temperature
        np.testing.assert_allclose(found[0][1], s[~np.eye(n, dtype=bool)].max(), rtol=0, atol=error)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [1, 31, 32, 47, 48, 100, 200])
def test_panels_cover_the_triangle_and_leave_no_sliver(n: int, threads: int) -> None:
    buffers = blocks.contrastive_buffers(20, n, threads)
    start, done, heights = 0, 0, []
    while start < n:
        panel = similarity.panel_of(buffers, start, done)
        assert panel.shape[1] == n - start
        heights.append(panel.shape[0])
        start, done = start + panel.shape[0], done + panel.size
    assert start == n
    assert done <= buffers.similarity.size
    assert len(heights) == 1 or (threads == 1 and min(heights) >= 16 and max(heights) < 48)


def test_a_descent_in_blocks_is_the_descent_in_one() -> None:
    case = reference.draw(np.random.default_rng(5), dim=30, unlabelled=11, init_scale=0.02)
    settings: dict[str, Any] = {"learning_rate": 0.05, "max_steps": 40, "record": 41}
    W, run = numsim.pretrain(case.W, case.z, case.z_aug, **settings)
    assert run.steps > 5
    for size in (1, 2, 4, 5, 10):
        with in_blocks_of(size):
            blocked, other = numsim.pretrain(case.W, case.z, case.z_aug, **settings)
        assert (other.status, other.steps) == (run.status, run.steps)
        atol = tolerances.roundoff(30 * run.steps, float(np.abs(W).max()))
        np.testing.assert_allclose(blocked, W, rtol=0, atol=atol)
        np.testing.assert_allclose(other.recorded_losses, run.recorded_losses, rtol=tolerances.roundoff(30))
        np.testing.assert_allclose(
            other.recorded_coefficients,
            run.recorded_coefficients,
            rtol=0,
            atol=tolerances.roundoff(30 * run.steps),
        )


@pytest.mark.parametrize("filters", [1, 2, 20, 64, 200, 201, 1024])
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_are_even_and_their_products_small(filters: int, threads: int) -> None:
    for n in (2, 31, 32, 33, 100, 250, 999, 1000, 4000, 10_000):
        size = blocks.block_size(filters, n, threads)
        assert 1 <= size <= n
        rest = n % size
        assert rest == 0 or rest > size - 8 * -(-n // size)  # the last block is not a sliver
        if threads == 1 and filters <= 200:
            assert filters * size**2 <= blocks._SMALL_PRODUCT
        assert size <= 1024


@pytest.mark.parametrize("temperature", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("n", [2, 5])
def test_nothing_jumps_where_the_softmax_path_changes(n: int, temperature: float) -> None:
    rng = np.random.default_rng(n)
    W, z, z_aug = (rng.standard_normal((k, 4)) for k in (3, n, n))
    s, s_plus = reference.similarities(W, z, z_aug)
    at = np.sqrt(300.0 * temperature / max(np.diag(s).max(), np.abs(s_plus).max()))
    for factor in (at * (1 - tolerances.SMALL), at, at * (1 + tolerances.SMALL)):
        loss, grad = info_nce(factor * W, z, z_aug, temperature=temperature)
        expected_loss, expected = reference.info_nce(factor * W, z, z_aug, temperature)
        size = 300.0 * (1.0 + float(np.abs(expected).max()))
        np.testing.assert_allclose(loss, expected_loss, rtol=0, atol=tolerances.roundoff(n + 4, size))
        np.testing.assert_allclose(grad, expected, rtol=0, atol=tolerances.roundoff(n + 4, size))


@pytest.mark.compiled
def test_more_similarities_than_a_tile_of_the_exponential() -> None:
    rng = np.random.default_rng(0)
    W, z, z_aug = (rng.standard_normal((k, 3)) / 2 for k in (3, 50, 50))  # 2500 similarities, tiles of 1024
    loss, grad = info_nce(W, z, z_aug)
    expected_loss, expected = reference.info_nce(W, z, z_aug)
    np.testing.assert_allclose(loss, expected_loss, rtol=tolerances.roundoff(50))
    np.testing.assert_allclose(grad, expected, rtol=0, atol=tolerances.roundoff(50))


# --- The recorder, pauses, statuses --------------------------------------------------------------


def simple(steps: int, record: int | None, **options: Any) -> Any:
    """A short pre-training that runs ``steps`` steps, or (supervised) a short training."""
    case = reference.draw(np.random.default_rng(7), dim=5, unlabelled=3, labelled=3, init_scale=0.1)
    settings: dict[str, Any]
    if options.pop("supervised", False):
        settings = {"q": 3.0, "learning_rate": 0.01, "max_steps": steps, "target_loss": 0.0}
        return numsim.train(pair(case), case.x, case.observed, record=record, **settings, **options)[1]
    settings = {"learning_rate": 0.01, "max_steps": steps, "stop_at_linear_end": False}
    return numsim.pretrain(case.W, case.z, case.z_aug, record=record, **settings, **options)[1]


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("record", [0, 1, 2, 3, 4, 5, 8, 13, 60, 1000, None])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 16, 37, 60])
def test_the_recorder_keeps_evenly_spaced_states(steps: int, record: int | None, supervised: bool) -> None:
    run = simple(steps, record, supervised=supervised)
    full = simple(steps, steps + 1, supervised=supervised)
    np.testing.assert_array_equal(full.recorded_steps, np.arange(steps + 1))
    kept = run.recorded_steps
    assert kept[0] == 0
    assert kept[-1] == steps
    rows = max(2, 200 if record is None else record)
    assert len(kept) <= rows + 1  # the last one may be extra
    spacing = np.diff(kept)
    stride = spacing[0] if steps else 1
    assert np.all(spacing[:-1] == stride)
    assert steps == 0 or 0 < spacing[-1] <= stride
    assert stride == 1 << int(stride).bit_length() - 1  # it doubles
    if steps < rows:
        assert len(kept) == steps + 1  # all are kept where they fit
    else:
        assert len(kept) > rows // 2
    np.testing.assert_array_equal(run.recorded_losses, full.recorded_losses[kept])
    np.testing.assert_array_equal(run.recorded_coefficients, full.recorded_coefficients[kept])
    np.testing.assert_array_equal(run.coefficients, full.coefficients)


def test_fresh_views_are_recorded_as_evenly() -> None:
    case = reference.draw(np.random.default_rng(7), dim=3, filters=1, unlabelled=2, first_axis=True)

    def descent(steps: int) -> FreshDescent:
        return fresh_views(
            case.W,
            case.mu,
            case.labels,
            case.noise,
            dim=3,
            sigma_p=1.0,
            projected=True,
            overlap=0.0,
            learning_rate=1e-3,
            temperature=1.0,
            max_steps=steps,
            stop_at_linear_end=False,
            rng=np.random.default_rng(0),
        )[1]

    steps = 450  # more than twice the 200 states kept
    run, full = descent(steps), descent(100)
    np.testing.assert_array_equal(run.recorded_steps, [*range(0, steps, 4), steps])
    np.testing.assert_array_equal(full.recorded_steps, range(101))
    for name in ("losses", "gamma", "rho", "signal", "alignment"):
        values, all_values = (getattr(each, f"recorded_{name}") for each in (run, full))
        assert len(values) == len(run.recorded_steps)
        np.testing.assert_array_equal(values[:26], all_values[::4])
    assert run.recorded_losses[-1] == run.loss


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 7, 23, 1000])
def test_where_it_pauses_changes_no_bit(
    stride: int, supervised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simple(23, 5, supervised=supervised)
    filters, entries = whole.inner.shape
    work = filters * entries**2 + dynamics.WORK_OF_A_STEP
    monkeypatch.setattr(dynamics, "WORK_BETWEEN_PAUSES", stride * work)
    seen: list[tuple[int, float]] = []
    paused = simple(23, 5, supervised=supervised, progress=lambda *state: seen.append(state))
    assert_identical(paused, whole)
    expected = [*range(stride, 23, stride), 23]
    assert [step for step, _ in seen] == expected
    assert seen[-1] == (23, whole.loss)
    with pytest.raises(KeyboardInterrupt):
        simple(23, 5, supervised=supervised, progress=_interrupt)


def _interrupt(step: int, loss: float) -> None:
    raise KeyboardInterrupt


def assert_identical(first: Any, second: Any) -> None:
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)


@pytest.mark.parametrize("supervised", [False, True])
def test_repetition_repeats_every_bit(supervised: bool) -> None:
    assert_identical(simple(40, None, supervised=supervised), simple(40, None, supervised=supervised))


def test_the_caller_keeps_its_arrays() -> None:
    case = reference.draw(np.random.default_rng(7), dim=5, labelled=3)
    arrays = [case.W, case.z, case.z_aug, pair(case), case.x, case.observed]
    copies = [array.copy() for array in arrays]
    numsim.pretrain(*arrays[:3], learning_rate=0.1, max_steps=3, stop_at_linear_end=False)
    numsim.train(*arrays[3:], q=3, learning_rate=0.1, max_steps=3)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_statuses_stand_in_the_order_of_the_codes() -> None:
    codes = (descent.LINEAR_END, descent.TARGET_LOSS, descent.MAX_STEPS, descent.NON_FINITE)
    assert codes == tuple(range(4))
    assert dynamics.STATUSES == ("linear_end", "target_loss", "max_steps", "non_finite")
    assert descent.PAUSED not in codes


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # interpreted kernels overflow aloud
@pytest.mark.parametrize(("supervised", "q"), [(False, 0.0), (True, 2.0), (True, 3.0), (True, 3.5)])
def test_a_step_size_too_large_is_a_status(supervised: bool, q: float) -> None:
    case = reference.draw(np.random.default_rng(2), dim=6, init_scale=0.5)
    settings: dict[str, Any]
    if supervised:
        settings = {"q": q, "learning_rate": 1e150, "target_loss": 0.0}
        _, run = numsim.train(pair(case), case.x, case.observed, max_steps=50, **settings)
    else:
        settings = {"learning_rate": 1e150, "stop_at_linear_end": False}
        _, run = numsim.pretrain(case.W, case.z, case.z_aug, max_steps=50, **settings)
    assert run.status == "non_finite"
    assert 0 < run.steps < 50
    beyond = np.sum(run.inner[:, : run.inner.shape[1] // 2] ** 2, axis=0).max()
    assert not np.isfinite(run.loss) or not beyond < similarity.MEANINGLESS
    assert "reduce the learning_rate" in run.explanation
    assert np.isfinite(run.recorded_losses).all()
    assert run.recorded_steps[0] == 0
    assert run.recorded_steps[-1] == run.steps - 1


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf])
def test_step_sizes_that_are_not_positive_are_refused(rate: float) -> None:
    case = reference.draw(np.random.default_rng(2), dim=6)
    with pytest.raises(ValueError, match=r"^learning_rate is [^\n]*expected a positive finite number$"):
        numsim.pretrain(case.W, case.z, case.z_aug, learning_rate=rate, max_steps=1)
    with pytest.raises(ValueError, match=r"^learning_rate is [^\n]*expected a positive finite number$"):
        numsim.train(pair(case), case.x, case.observed, q=3, learning_rate=rate, max_steps=1)
    with pytest.raises(ValueError, match=r"^learning_rate is [^\n]*expected a positive finite number$"):
        numsim.power_matrix(case.z, case.z_aug, learning_rate=rate)
