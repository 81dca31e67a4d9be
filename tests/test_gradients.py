"""E1, E2: both losses and gradients against the reference, differences, complex steps and autodiff."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from hypothesis import assume, given
from hypothesis import strategies as st

import numsim
from numsim.descent import reference
from numsim.descent.supervised import logistic_loss

Floats = npt.NDArray[np.float64]

SEEDS = st.integers(0, 2**32 - 1)
POWERS = st.one_of(st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 20.0]), st.floats(1.0, 20.0))


class Views(NamedTuple):
    """W (M, D), z and z_aug (n0, D), temperature."""

    W: Floats
    z: Floats
    z_aug: Floats
    temperature: float


class Task(NamedTuple):
    """W (2, m, D), x (n, P, D), y (n,), q, output_scale."""

    W: Floats
    x: Floats
    y: Floats
    q: float
    output_scale: float


@st.composite
def views(draw: st.DrawFn, largest: int = 8) -> Views:
    M, n, D = (draw(st.integers(1, size)) for size in (6, largest, 9))
    rng = np.random.default_rng(draw(SEEDS))
    scale = draw(st.sampled_from([1e-4, 0.1, 1.0, 3.0]))
    return Views(
        scale * rng.standard_normal((M, D)),
        rng.standard_normal((n, D)),
        rng.standard_normal((n, D)),
        draw(st.sampled_from([0.1, 1.0, 5.0])),
    )


@st.composite
def tasks(draw: st.DrawFn, power: st.SearchStrategy[float] = POWERS) -> Task:
    m, n, P, D = (draw(st.integers(1, size)) for size in (3, 8, 4, 7))
    rng = np.random.default_rng(draw(SEEDS))
    scale = draw(st.sampled_from([1e-2, 0.3, 1.0]))
    return Task(
        scale * rng.standard_normal((2, m, D)),
        rng.standard_normal((n, P, D)),
        rng.choice([-1.0, 1.0], size=n),
        draw(power),
        draw(st.sampled_from([0.5, 1.0, 10.0])),
    )


def contrastive_sizes(case: Views) -> tuple[float, float]:
    """Largest exponent |s|/tau, and bound of a gradient entry, both before cancellation."""
    W, z, z_aug, temperature = case
    longest = max(np.linalg.norm(z, axis=1).max(), np.linalg.norm(z_aug, axis=1).max())
    exponent = float(np.sum(W**2) * longest**2 / temperature)
    return exponent, float(4.0 * longest**2 * np.linalg.norm(W, axis=1).max() / temperature)


def assert_contrastive_agrees(case: Views, loss: float, grad: Floats) -> None:
    """Agreement with the reference: an exponent off by eps |s|/tau puts its weight off by as much."""
    expected_loss, expected = reference.info_nce(*case)
    exponent, size = contrastive_sizes(case)
    terms = sum(case.W.shape) + len(case.z)
    np.testing.assert_allclose(loss, expected_loss, rtol=0, atol=tolerances.roundoff(terms, 1.0 + exponent))
    np.testing.assert_allclose(
        grad, expected, rtol=0, atol=tolerances.roundoff(terms, (1.0 + exponent) * size)
    )


def ours(case: Task) -> tuple[float, Floats]:
    return logistic_loss(case.W, case.x, case.y, q=case.q, output_scale=case.output_scale)


def assert_logistic_agrees(case: Task, loss: float, grad: Floats) -> None:
    """Agreement with the reference: round-off of the inner products goes through sigma and sigma'."""
    expected_loss = float(reference.logistic_loss(*case))
    expected = reference.logistic_gradient(*case)
    terms = case.W.shape[1] + case.x.size
    loss_error = tolerances.response(lambda W: float(reference.logistic_loss(W, *case[1:])), case.W)
    grad_error = tolerances.response(lambda W: reference.logistic_gradient(W, *case[1:]), case.W)
    np.testing.assert_allclose(
        loss, expected_loss, rtol=0, atol=loss_error + tolerances.roundoff(terms, 1.0 + expected_loss)
    )
    size = 1.0 + float(np.abs(expected).max())
    np.testing.assert_allclose(grad, expected, rtol=0, atol=grad_error + tolerances.roundoff(terms, size))


# --- Against the reference -----------------------------------------------------------------------


@given(views())
def test_info_nce_is_the_reference(case: Views) -> None:
    loss, grad = numsim.info_nce(case.W, case.z, case.z_aug, temperature=case.temperature)
    assert_contrastive_agrees(case, loss, grad)


@given(tasks())
def test_logistic_loss_is_the_reference_for_any_patches(case: Task) -> None:
    assert_logistic_agrees(case, *ours(case))


@given(tasks())
def test_output_scale_is_one_by_default(case: Task) -> None:
    loss, grad = numsim.logistic_loss(case.W, case.x, case.y, q=case.q)
    assert_logistic_agrees(case._replace(output_scale=1.0), loss, grad)


# --- Against the loss itself ---------------------------------------------------------------------


@given(views(largest=5), SEEDS)
def test_info_nce_gradient_is_the_difference_of_the_loss(case: Views, seed: int) -> None:
    W, z, z_aug, temperature = case
    V = np.random.default_rng(seed).standard_normal(W.shape)
    V *= min(1.0, float(np.linalg.norm(W))) / np.linalg.norm(V)
    slope, error = tolerances.central_difference(
        lambda h: numsim.info_nce(W + h * V, z, z_aug, temperature=temperature)[0]
    )
    _, grad = numsim.info_nce(W, z, z_aug, temperature=temperature)
    exponent, _ = contrastive_sizes(case)
    noise = tolerances.roundoff(1, exponent / tolerances.CENTRAL_STEP)
    assert abs(np.sum(grad * V) - slope) <= error + noise


@given(tasks(), SEEDS)
def test_logistic_gradient_is_the_difference_of_the_loss(case: Task, seed: int) -> None:
    V = np.random.default_rng(seed).standard_normal(case.W.shape)
    V *= np.linalg.norm(case.W) / np.linalg.norm(V)
    inner = np.einsum("jrd,npd->jrnp", case.W, case.x)
    change = np.einsum("jrd,npd->jrnp", V, case.x)
    # The loss has one-sided derivatives only where a patch crosses the kink: keep away from it.
    assume(np.all(np.abs(inner) > 100 * tolerances.CENTRAL_STEP * np.abs(change)))
    slope, error = tolerances.central_difference(lambda h: ours(case._replace(W=case.W + h * V))[0])
    loss, grad = ours(case)
    size = loss + tolerances.response(lambda W: ours(case._replace(W=W))[0], case.W) / tolerances.EPS
    assert abs(np.sum(grad * V) - slope) <= error + tolerances.roundoff(1, size / tolerances.CENTRAL_STEP)


@given(views(largest=4))
def test_info_nce_gradient_is_the_complex_step_of_the_loss(case: Views) -> None:
    W, z, z_aug, temperature = case
    stepped = np.zeros_like(W)
    for index in np.ndindex(*W.shape):
        V = W.astype(complex)
        V[index] += 1j * tolerances.COMPLEX_STEP
        stepped[index] = reference.info_nce_loss(V, z, z_aug, temperature).imag / tolerances.COMPLEX_STEP
    _, grad = numsim.info_nce(W, z, z_aug, temperature=temperature)
    exponent, size = contrastive_sizes(case)
    terms = sum(W.shape) + len(z)
    np.testing.assert_allclose(
        grad, stepped, rtol=0, atol=tolerances.roundoff(terms, (1.0 + exponent) * size)
    )


@given(tasks())
def test_logistic_gradient_is_the_complex_step_of_the_loss(case: Task) -> None:
    stepped = np.zeros_like(case.W)
    for index in np.ndindex(*case.W.shape):
        V = case.W.astype(complex)
        V[index] += 1j * tolerances.COMPLEX_STEP
        stepped[index] = reference.logistic_loss(V, *case[1:]).imag / tolerances.COMPLEX_STEP
    loss, grad = ours(case)
    error = tolerances.response(lambda W: reference.logistic_gradient(W, *case[1:]), case.W)
    size = 1.0 + loss + float(np.abs(stepped).max())
    atol = error + tolerances.roundoff(case.x.size, case.q * size)
    np.testing.assert_allclose(grad, stepped, rtol=0, atol=atol)


@pytest.mark.compiled
@pytest.mark.parametrize("seed", range(4))
def test_info_nce_is_automatic_differentiation(seed: int) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    rng = np.random.default_rng(seed)
    W, z, z_aug = (rng.standard_normal((k, 6)) for k in (4, 7, 7))
    case = Views(W, z, z_aug, 0.5)

    def loss(W: Any) -> Any:
        F, F_aug = case.z @ W.T, case.z_aug @ W.T
        negatives = jnp.where(jnp.eye(7, dtype=bool), -jnp.inf, F @ F.T / case.temperature)
        positive = jnp.sum(F * F_aug, axis=1) / case.temperature
        return jnp.mean(jax.nn.logsumexp(jnp.c_[positive, negatives], axis=1) - positive)

    value, grad = jax.value_and_grad(loss)(jnp.asarray(case.W))
    assert_contrastive_agrees(case, float(value), np.asarray(grad))
    assert_contrastive_agrees(case, *numsim.info_nce(*case[:3], temperature=case.temperature))


@pytest.mark.compiled
@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 3.0, 4.5, 20.0])
def test_logistic_loss_is_automatic_differentiation(q: float) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    rng = np.random.default_rng(int(10 * q))
    case = Task(
        0.4 * rng.standard_normal((2, 3, 5)),
        rng.standard_normal((6, 3, 5)),
        np.array([1.0, -1.0] * 3),
        q,
        2.0,
    )

    def loss(W: Any) -> Any:
        inner = jnp.einsum("jrd,npd->jrnp", W, case.x)
        sigma = jnp.where(inner > 0, jnp.where(inner > 0, inner, 1.0) ** q, 0.0).sum(axis=(1, 3))
        f = case.output_scale / 3 * (sigma[0] - sigma[1])
        return jnp.mean(jnp.logaddexp(0.0, -case.y * f))

    value, grad = jax.value_and_grad(loss)(jnp.asarray(case.W))
    assert_logistic_agrees(case, float(value), np.asarray(grad))
    assert_logistic_agrees(case, *ours(case))


# --- Extreme values ------------------------------------------------------------------------------


@given(views(), st.sampled_from([3e2, 1e3, 1e4, 1e6]))
def test_info_nce_at_similarities_of_any_size(case: Views, size: float) -> None:
    exponent, _ = contrastive_sizes(case)
    case = case._replace(W=case.W * np.sqrt(size / exponent))
    loss, grad = numsim.info_nce(case.W, case.z, case.z_aug, temperature=case.temperature)
    assert np.isfinite(loss)
    assert loss >= 0
    assert np.isfinite(grad).all()
    assert_contrastive_agrees(case, loss, grad)


@pytest.mark.parametrize("similarity", [10.0, 200.0, 299.0, 301.0, 590.0, 605.0, 700.0])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_info_nce_of_a_dominant_positive_keeps_its_relative_precision(n: int, similarity: float) -> None:
    z = np.eye(n)
    z_aug = similarity * np.eye(n)
    loss, grad = numsim.info_nce(np.eye(n), z, z_aug)  # s_i+ = similarity, s_ii' = 0
    p = np.exp(-similarity) / (1 + (n - 1) * np.exp(-similarity))
    expected = (p / n) * (2 * (np.ones((n, n)) - np.eye(n)) - 2 * (n - 1) * similarity * np.eye(n))
    rtol = tolerances.roundoff(n, 1.0 + similarity)
    np.testing.assert_allclose(loss, np.log1p((n - 1) * np.exp(-similarity)), rtol=rtol)
    np.testing.assert_allclose(grad, expected, rtol=rtol)


@pytest.mark.parametrize("similarity", [299.0, 301.0, 590.0, 605.0, 1e3, 1e5])
@pytest.mark.parametrize("n", [2, 4])
def test_info_nce_of_a_hopeless_positive_is_linear(n: int, similarity: float) -> None:
    z, z_aug = np.ones((n, 1)), -np.ones((n, 1))
    loss, grad = numsim.info_nce([[np.sqrt(similarity)]], z, z_aug)  # s_ii' = -s_i+ = similarity
    rtol = tolerances.roundoff(n, 1.0 + similarity)
    np.testing.assert_allclose(loss, 2 * similarity + np.log(n - 1), rtol=rtol)
    np.testing.assert_allclose(grad, [[4 * np.sqrt(similarity)]], rtol=rtol)


@pytest.mark.parametrize("positive", [-1e6, -800.0, -40.0, 40.0, 700.0, 800.0, 1e6])
def test_info_nce_of_views_much_longer_than_their_samples(positive: float) -> None:
    """s_12 = 1e-12 bounds nothing: loss log(1 + exp(s_12 - s_i+)) of two samples."""
    z = np.full((2, 1), tolerances.SMALL)
    loss, grad = numsim.info_nce(np.full((1, 1), 100.0), z, positive * 1e-4 / z)
    expected = float(np.logaddexp(0.0, -positive))
    assert loss == pytest.approx(expected, rel=tolerances.SOLVED)
    assert np.isfinite(grad).all()


@given(tasks(), st.sampled_from([30.0, 800.0, 1e3, 1e6]))
def test_logistic_loss_at_margins_of_any_size(case: Task, size: float) -> None:
    f = reference.outputs(case.W, case.x, case.q, case.output_scale)
    assume(np.abs(f).max() > 0)
    case = case._replace(W=case.W * (size / np.abs(f).max()) ** (1.0 / case.q))
    loss, grad = ours(case)
    assert np.isfinite(loss)
    assert np.isfinite(grad).all()
    assert_logistic_agrees(case, loss, grad)


@pytest.mark.parametrize(
    "margin", [-1e6, -800.0, -708.0, -40.0, 0.0, 40.0, 700.0, 708.0, 709.0, 740.0, 800.0, 1e6]
)
def test_logistic_loss_of_one_sample_to_full_relative_precision(margin: float) -> None:
    W = np.array([[[max(margin, 0.0)]], [[max(-margin, 0.0)]]])
    loss, grad = numsim.logistic_loss(W, [[[1.0]]], [1.0], q=1)
    tail = np.exp(-abs(margin))
    rtol = tolerances.roundoff(1)
    np.testing.assert_allclose(loss, max(-margin, 0.0) + np.log1p(tail), rtol=rtol)
    weight = (tail if margin > 0 else 1.0) / (1 + tail)
    np.testing.assert_allclose(grad.ravel(), [-weight * (margin > 0), weight * (margin < 0)], rtol=rtol)


@pytest.mark.parametrize("margin", [-300.0, -1.0, 0.0, 1.0, 30.0, 300.0])
def test_logistic_loss_of_many_samples_is_that_of_one(margin: float) -> None:
    n = 2000  # the kernel multiplies the odds of samples before it takes a logarithm
    W = np.array([[[max(margin, 0.0)]], [[max(-margin, 0.0)]]])
    one, _ = numsim.logistic_loss(W, np.ones((1, 1, 1)), [1.0], q=1)
    many, _ = numsim.logistic_loss(W, np.ones((n, 1, 1)), np.ones(n), q=1)
    np.testing.assert_allclose(many, one, rtol=tolerances.roundoff(n))


@pytest.mark.parametrize("largest", [1.0, 40.0])
def test_logistic_loss_of_many_different_samples(largest: float) -> None:
    n = 1500
    x = np.random.default_rng(3).uniform(largest / 2, largest, (n, 1, 1))
    y = np.where(np.arange(n) % 3 > 0, 1.0, -1.0) if largest == 1.0 else np.ones(n)
    loss, grad = numsim.logistic_loss([[[1.0]], [[-1.0]]], x, y, q=1)
    margins = y * x[:, 0, 0]
    rtol = tolerances.roundoff(n)
    np.testing.assert_allclose(loss, np.mean(np.log1p(np.exp(-margins))), rtol=rtol)
    pull = np.mean(margins / (1 + np.exp(margins)))
    np.testing.assert_allclose(grad.ravel(), [-pull, 0.0], rtol=rtol)


# --- Special points ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7])
def test_info_nce_at_zero_is_log_n(n: int) -> None:
    z = np.random.default_rng(n).standard_normal((n, 3))
    loss, grad = numsim.info_nce(np.zeros((2, 3)), z, 2 * z)
    np.testing.assert_allclose(loss, np.log(n), rtol=0, atol=tolerances.roundoff(n))
    assert not grad.any()


@given(tasks())
def test_logistic_loss_at_zero_is_log_two_and_at_rest(case: Task) -> None:
    loss, grad = ours(case._replace(W=np.zeros_like(case.W)))
    np.testing.assert_allclose(loss, np.log(2), rtol=tolerances.roundoff(len(case.y)))
    assert not grad.any()  # sigma'(0) = 0, by convention also at q = 1


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 3.0, 17.0])
def test_a_patch_at_the_kink_pulls_nothing(q: float) -> None:
    W = np.array([[[1.0, 0.0]], [[-1.0, 0.0]]])
    x = np.array([[[0.0, 2.0], [0.0, -2.0]]])  # orthogonal to both filters
    loss, grad = numsim.logistic_loss(W, x, [1.0], q=q)
    np.testing.assert_allclose(loss, np.log(2), rtol=tolerances.roundoff(1))
    assert not grad.any()


def test_relu_has_slope_one_right_of_the_kink_and_zero_left_of_it() -> None:
    x = np.array([[[1.0]]])
    for start, slope in ((tolerances.TINY, 1.0), (0.0, 0.0), (-tolerances.TINY, 0.0)):
        _, grad = numsim.logistic_loss([[[start]], [[start]]], x, [1.0], q=1)
        np.testing.assert_allclose(grad.ravel(), [-slope / 2, slope / 2], rtol=tolerances.roundoff(1))


@given(views())
def test_one_sample_has_no_negatives_and_nothing_to_learn(case: Views) -> None:
    loss, grad = numsim.info_nce(case.W, case.z[:1], case.z_aug[:1], temperature=case.temperature)
    assert loss == 0
    assert not grad.any()


@given(views())
def test_info_nce_with_duplicate_samples(case: Views) -> None:
    doubled = case._replace(
        z=np.concatenate([case.z, case.z]), z_aug=np.concatenate([case.z_aug, case.z_aug])
    )
    assert_contrastive_agrees(doubled, *numsim.info_nce(*doubled[:3], temperature=doubled.temperature))


@given(tasks())
def test_duplicate_samples_change_no_mean(case: Task) -> None:
    doubled = case._replace(x=np.concatenate([case.x, case.x]), y=np.concatenate([case.y, case.y]))
    assert_logistic_agrees(case, *ours(doubled))


@given(tasks(), st.sampled_from([-1.0, 1.0]))
def test_all_labels_equal(case: Task, label: float) -> None:
    case = case._replace(y=np.full(len(case.y), label))
    loss, grad = ours(case)
    assert_logistic_agrees(case, loss, grad)
    # -dL/dw_jr = j y sum of positive multiples of patches the filter sees: all pull one way
    along = np.einsum("jrd,jrd->jr", grad, case.W)
    assert np.all(along[0] * label <= 0)
    assert np.all(along[1] * label >= 0)


@given(tasks())
def test_a_single_filter_a_sign(case: Task) -> None:
    case = case._replace(W=case.W[:, :1])
    assert_logistic_agrees(case, *ours(case))


# --- Refusals ------------------------------------------------------------------------------------

GOOD = np.ones((3, 4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", range(3))
def test_info_nce_refuses_what_is_not_finite(position: int, bad: float) -> None:
    arrays = [np.ones((3, 4)) for _ in range(3)]
    arrays[position][1, 2] = bad
    with pytest.raises(ValueError, match=rf"^{['W', 'z', 'z_aug'][position]} holds NaN or infinite entries$"):
        numsim.info_nce(*arrays)


@pytest.mark.parametrize(
    ("W", "z", "z_aug"),
    [
        (np.ones((2, 3)), GOOD, GOOD),
        (np.ones(4), GOOD, GOOD),
        (np.ones((0, 4)), GOOD, GOOD),
        (np.ones((2, 4)), GOOD, np.ones((2, 4))),
        (np.ones((2, 4)), np.ones(4), np.ones(4)),
        (np.ones((2, 4)), np.ones((0, 4)), np.ones((0, 4))),
    ],
)
def test_info_nce_refuses_shapes_that_do_not_fit(W: Floats, z: Floats, z_aug: Floats) -> None:
    with pytest.raises(ValueError, match=r"^(W|z) has shape [^\n]*expected[^\n]*$"):
        numsim.info_nce(W, z, z_aug)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_info_nce_refuses_temperatures_that_are_not_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"^temperature is [^\n]*expected a positive finite number$"):
        numsim.info_nce(GOOD, GOOD, GOOD, temperature=temperature)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", range(2))
def test_logistic_loss_refuses_what_is_not_finite(position: int, bad: float) -> None:
    arrays = [np.ones((2, 2, 4)), np.ones((3, 2, 4))]
    arrays[position][1, 1, 2] = bad
    with pytest.raises(ValueError, match=rf"^{'Wx'[position]} holds NaN or infinite entries$"):
        numsim.logistic_loss(arrays[0], arrays[1], np.ones(3), q=3)


@pytest.mark.parametrize(
    ("W", "x"),
    [
        ((2, 4), (3, 2, 4)),
        ((1, 2, 4), (3, 2, 4)),
        ((3, 2, 4), (3, 2, 4)),
        ((2, 0, 4), (3, 2, 4)),
        ((2, 2, 4), (3, 2, 5)),
        ((2, 2, 4), (3, 4)),
        ((2, 2, 4), (0, 2, 4)),
        ((2, 2, 4), (3, 0, 4)),
    ],
)
def test_logistic_loss_refuses_shapes_that_do_not_fit(W: tuple[int, ...], x: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^(W|x) has shape [^\n]*expected[^\n]*$"):
        numsim.logistic_loss(np.ones(W), np.ones(x), np.ones(x[0]), q=3)


@pytest.mark.parametrize("y", [[1.0, 1.0], [1.0, 0.0, 1.0], [1.0, np.nan, 1.0], [[1.0, 1.0, -1.0]]])
def test_logistic_loss_refuses_labels_other_than_signs(y: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^y must be 3 labels in \{-1, \+1\}[^\n]*$"):
        numsim.logistic_loss(np.ones((2, 2, 4)), np.ones((3, 2, 4)), y, q=3)


@pytest.mark.parametrize("q", [0.5, 0.0, -1.0, np.nan, np.inf])
def test_logistic_loss_refuses_powers_below_one(q: float) -> None:
    with pytest.raises(ValueError, match=r"^q is [^\n]*expected a finite number >= 1[^\n]*$"):
        numsim.logistic_loss(np.ones((2, 2, 4)), np.ones((3, 2, 4)), np.ones(3), q=q)


@pytest.mark.compiled  # interpreted kernels warn of the overflow first
def test_what_leaves_float64_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^similarities [^\n]*scale W or z down$"):
        numsim.info_nce(np.full((2, 4), 1e160), np.eye(3, 4), GOOD)
    with pytest.raises(ValueError, match=r"^products [^\n]*range of float64: scale them down$"):
        numsim.power_matrix(np.eye(3) * 1e200, np.eye(3) * 1e200, learning_rate=1.0)
    with pytest.raises(ValueError, match=r"^the gradient exceeds [^\n]*scale x down$"):
        numsim.logistic_loss(np.full((2, 2, 4), 1e-300), np.full((1, 1, 4), 1e308), [1.0], q=2)
    x = np.ones((3, 2, 4))
    with pytest.raises(ValueError, match=r"^activations [^\n]*scale W or x down$"):
        numsim.logistic_loss(np.full((2, 2, 4), 1e120), x, np.ones(3), q=3)


def test_negative_numbers_of_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_steps is -1, expected a whole number >= 0$"):
        numsim.pretrain(GOOD, GOOD, GOOD, learning_rate=0.1, max_steps=-1)
    with pytest.raises(ValueError, match=r"^max_steps is -1, expected a whole number >= 0$"):
        numsim.train(np.ones((2, 1, 4)), np.ones((3, 2, 4)), np.ones(3), q=3, learning_rate=0.1, max_steps=-1)
