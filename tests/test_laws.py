"""Laws: what must hold for every filter and every sample, whatever the numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
import words
from hypothesis import given
from hypothesis import strategies as st

import numsim
from numsim.descent import reference
from numsim.descent.evaluation import evaluate
from numsim.descent.network import forward, split_filters
from numsim.descent.power_matrix import top_eigenpairs
from numsim.descent.reference import Drawn
from numsim.descent.supervised import logistic_loss, train_dictionary
from numsim.models.decomposition import pretraining_coefficients, reassemble, supervised_coefficients
from numsim.models.signal_noise import Labelled, Unlabelled, signal_noise_dictionary

Floats = npt.NDArray[np.float64]

SEEDS = st.integers(0, 2**32 - 1)
POWERS = st.one_of(st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0]), st.floats(1.0, 5.0))


@st.composite
def experiments(draw: st.DrawFn, /, **fixed: Any) -> Drawn:
    """A whole experiment in R^d: m up to 3, n and n0 up to 7."""
    settings: dict[str, Any] = {
        "dim": draw(st.integers(1, 12)),
        "filters": draw(st.integers(1, 3)),
        "unlabelled": draw(st.integers(1, 7)),
        "labelled": draw(st.integers(1, 7)),
        "signal_norm": draw(st.sampled_from([0.3, 1.0, 2.0])),
        "init_scale": draw(st.sampled_from([0.03, 0.3])),
        "overlap": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "projected": draw(st.booleans()),
        "flip_probability": draw(st.sampled_from([0.0, 0.3])),
    }
    return reference.draw(np.random.default_rng(draw(SEEDS)), **(settings | fixed))


def pair(case: Drawn) -> Floats:
    """The filters as (2, m, d)."""
    return case.W.reshape(2, -1, case.W.shape[1])


def close(value: Any, expected: Any, terms: int, size: float = 1.0) -> None:
    """Equal but for the round-off of sums of ``terms`` numbers, relative to the largest entry."""
    largest = max(float(np.max(np.abs(expected))), size)
    np.testing.assert_allclose(value, expected, rtol=0, atol=tolerances.roundoff(terms, largest))


def terms_of(case: Drawn) -> int:
    return case.W.size + 2 * case.z.size + case.x.size


# --- Symmetries ----------------------------------------------------------------------------------


@given(experiments(), st.randoms(use_true_random=False))
def test_permuting_filters_permutes_the_gradient(case: Drawn, random: Any) -> None:
    order = random.sample(range(len(case.W)), len(case.W))
    loss, grad = numsim.info_nce(case.W, case.z, case.z_aug)
    other_loss, other_grad = numsim.info_nce(case.W[order], case.z, case.z_aug)
    close(other_loss, loss, terms_of(case))
    close(other_grad, grad[order], terms_of(case))


@given(experiments(), POWERS, st.randoms(use_true_random=False))
def test_permuting_filters_of_a_sign_permutes_the_gradient(case: Drawn, q: float, random: Any) -> None:
    W = pair(case)
    order = random.sample(range(W.shape[1]), W.shape[1])
    loss, grad = logistic_loss(W, case.x, case.observed, q=q)
    other_loss, other_grad = logistic_loss(W[:, order], case.x, case.observed, q=q)
    close(other_loss, loss, terms_of(case))
    close(other_grad, grad[:, order], terms_of(case))


@given(experiments(), st.randoms(use_true_random=False))
def test_permuting_samples_changes_no_contrastive_gradient(case: Drawn, random: Any) -> None:
    order = random.sample(range(len(case.z)), len(case.z))
    loss, grad = numsim.info_nce(case.W, case.z, case.z_aug)
    other_loss, other_grad = numsim.info_nce(case.W, case.z[order], case.z_aug[order])
    close(other_loss, loss, terms_of(case))
    close(other_grad, grad, terms_of(case))


@given(experiments(), POWERS, st.randoms(use_true_random=False))
def test_permuting_samples_and_patches_changes_no_supervised_gradient(
    case: Drawn, q: float, random: Any
) -> None:
    n = len(case.x)
    order = random.sample(range(n), n)
    patches = np.array([random.sample(range(2), 2) for _ in range(n)])
    x = case.x[np.arange(n)[:, None], patches][order]
    loss, grad = logistic_loss(pair(case), case.x, case.observed, q=q)
    other_loss, other_grad = logistic_loss(pair(case), x, case.observed[order], q=q)
    close(other_loss, loss, terms_of(case))
    close(other_grad, grad, terms_of(case))


@given(experiments(), POWERS)
def test_swapping_signs_and_labels_swaps_the_gradient(case: Drawn, q: float) -> None:
    loss, grad = logistic_loss(pair(case), case.x, case.observed, q=q)
    other_loss, other_grad = logistic_loss(pair(case)[::-1], case.x, -case.observed, q=q)
    close(other_loss, loss, terms_of(case))
    close(other_grad, grad[::-1], terms_of(case))


@given(experiments(), POWERS)
def test_flipping_the_signal_and_the_filters_along_it_changes_nothing(case: Drawn, q: float) -> None:
    """Reflecting space at the hyperplane of mu turns mu to -mu: losses stay, gradients are reflected."""
    unit = case.mu / np.linalg.norm(case.mu)
    mirror = np.eye(len(unit)) - 2 * np.outer(unit, unit)
    flipped = case._replace(
        mu=-case.mu, W=case.W @ mirror, noise=case.noise @ mirror, views=case.views @ mirror
    )._replace(labelled_noise=case.labelled_noise @ mirror)
    loss, grad = numsim.info_nce(case.W, case.z, case.z_aug)
    other_loss, other_grad = numsim.info_nce(flipped.W, flipped.z, flipped.z_aug)
    close(other_loss, loss, terms_of(case))
    close(other_grad, grad @ mirror, terms_of(case), float(np.abs(case.z).max() ** 2))
    value = logistic_loss(pair(case), case.x, case.observed, q=q)[0]
    other = logistic_loss(pair(flipped), flipped.x, flipped.observed, q=q)[0]
    error = tolerances.response(lambda W: logistic_loss(W, case.x, case.observed, q=q)[0], pair(case))
    assert abs(other - value) <= error + tolerances.roundoff(terms_of(case))


@given(experiments())
def test_flipping_the_signal_and_all_latent_labels_is_the_same_data(case: Drawn) -> None:
    flipped = case._replace(mu=-case.mu, labels=-case.labels, true_labels=-case.true_labels)
    value = numsim.info_nce(case.W, case.z, case.z_aug)
    other = numsim.info_nce(flipped.W, flipped.z, flipped.z_aug)
    assert value[0] == other[0]
    np.testing.assert_array_equal(value[1], other[1])
    np.testing.assert_array_equal(flipped.x, case.x)


@given(experiments(), SEEDS)
def test_rotating_space_rotates_the_gradients(case: Drawn, seed: int) -> None:
    d = case.W.shape[1]
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    size = 1.0 + float(np.abs(case.z).max() ** 2)
    loss, grad = numsim.info_nce(case.W, case.z, case.z_aug)
    other_loss, other_grad = numsim.info_nce(case.W @ Q, case.z @ Q, case.z_aug @ Q)
    close(other_loss, loss, terms_of(case), size)
    close(other_grad, grad @ Q, terms_of(case), size)
    loss, grad = logistic_loss(pair(case), case.x, case.observed, q=3)
    other_loss, other_grad = logistic_loss(pair(case) @ Q, case.x @ Q, case.observed, q=3)
    close(other_loss, loss, terms_of(case), size)
    close(other_grad, grad @ Q, terms_of(case), size)


# --- Scaling -------------------------------------------------------------------------------------


@given(experiments(), POWERS, st.floats(0.01, 100.0), st.sampled_from([0.5, 1.0, 5.0]))
def test_the_network_is_homogeneous_and_is_the_reference(
    case: Drawn, q: float, factor: float, output_scale: float
) -> None:
    f = forward(pair(case), case.x, q=q, output_scale=output_scale)
    error = tolerances.response(lambda W: reference.outputs(W, case.x, q, output_scale), pair(case))
    atol = error + tolerances.roundoff(terms_of(case), float(np.abs(f).max()))
    np.testing.assert_allclose(f, reference.outputs(pair(case), case.x, q, output_scale), rtol=0, atol=atol)
    scaled = forward(factor * pair(case), case.x, q=q, output_scale=output_scale)
    np.testing.assert_allclose(scaled / factor**q, f, rtol=0, atol=q * atol)


@given(experiments(), st.floats(0.1, 10.0))
def test_filters_and_temperature_scale_together(case: Drawn, factor: float) -> None:
    loss, grad = numsim.info_nce(case.W, case.z, case.z_aug)
    other, scaled = numsim.info_nce(factor * case.W, case.z, case.z_aug, temperature=factor**2)
    exponent = 1.0 + float(np.sum(case.W**2) * np.abs(case.z).max() ** 2 * case.W.shape[1])
    close(other, loss, terms_of(case), exponent)
    close(factor * scaled, grad, terms_of(case), exponent * (1.0 + float(np.abs(case.z).max() ** 2)))


# --- The contrastive map H(W) and the power matrix -----------------------------------------------


@given(experiments(init_scale=0.3))
def test_all_filters_share_one_symmetric_map(case: Drawn) -> None:
    H = reference.info_nce_matrix(case.W, case.z, case.z_aug)
    size = 1.0 + float(np.sum(case.z**2) + np.sum(case.z_aug**2))
    close(H, H.T, terms_of(case))
    _, grad = numsim.info_nce(case.W, case.z, case.z_aug)
    exponent = 1.0 + float(np.sum(case.W**2)) * size
    close(grad, case.W @ H, terms_of(case), size * exponent)


@given(experiments(), st.sampled_from([0.2, 1.0, 3.0]), st.sampled_from([1e-3, 1.0]))
def test_power_matrix_is_minus_eta_times_the_map_at_zero(
    case: Drawn, temperature: float, learning_rate: float
) -> None:
    A = numsim.power_matrix(case.z, case.z_aug, learning_rate=learning_rate, temperature=temperature)
    size = learning_rate / temperature * float(np.sum(case.z**2) + np.sum(case.z_aug**2))
    atol = tolerances.roundoff(terms_of(case), size)
    zero = np.zeros_like(case.W)
    H = reference.info_nce_matrix(zero, case.z, case.z_aug, temperature)
    np.testing.assert_allclose(A, -learning_rate * H, rtol=0, atol=atol)
    explicit = reference.power_matrix(case.z, case.z_aug, learning_rate, temperature)
    np.testing.assert_allclose(A, explicit, rtol=0, atol=atol)


@pytest.mark.parametrize(("n", "width", "count"), [(6, 9, 3), (5, 7, 7), (6, 401, 2), (3, 401, 3)])
def test_top_eigenpairs_are_those_of_the_power_matrix(n: int, width: int, count: int) -> None:
    """By both methods: of the whole matrix, and by Lanczos beyond a width of 400."""
    z, z_aug = np.random.default_rng(n).standard_normal((2, n, width))
    z[:, 0] *= 3.0
    z_aug[:, 0] = z[:, 0]
    rates: dict[str, Any] = {"learning_rate": 0.4, "temperature": 3.0}
    values, vectors = top_eigenpairs(z, z_aug, count=count, **rates)
    A = reference.power_matrix(z, z_aug, **rates)
    expected = np.linalg.eigvalsh(A)[::-1][:count]
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerances.SOLVED * expected[0])
    np.testing.assert_allclose(A @ vectors, vectors * values, rtol=0, atol=tolerances.SOLVED * expected[0])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), rtol=0, atol=tolerances.SOLVED)
    one, vector = top_eigenpairs(z, z_aug, **rates)
    assert vector.shape == (width, 1)
    np.testing.assert_allclose(one, values[:1], rtol=tolerances.SOLVED)


@given(experiments(init_scale=tolerances.SMALL))
def test_small_filters_take_one_step_of_the_power_method(case: Drawn) -> None:
    A = numsim.power_matrix(case.z, case.z_aug, learning_rate=0.1)
    W, _ = numsim.pretrain(case.W, case.z, case.z_aug, learning_rate=0.1, max_steps=1)
    np.testing.assert_allclose(W, case.W + case.W @ A, rtol=0, atol=tolerances.LINEARISED * tolerances.SMALL)


@given(experiments())
def test_the_loss_of_small_filters_is_log_n(case: Drawn) -> None:
    """E5, first half."""
    loss, _ = numsim.info_nce(tolerances.SMALL * case.W, case.z, case.z_aug)
    close(loss, np.log(len(case.z)), terms_of(case))


@given(st.lists(st.sampled_from([-1.0, 1.0]), min_size=1, max_size=12))
def test_the_loss_of_a_pure_signal_representation_counts_negatives_of_the_same_label(
    signs: list[float],
) -> None:
    """E5, second half: e^(-s/tau) vanishes for opposite labels, equal labels cannot be told apart."""
    labels = np.array(signs)
    z = labels[:, None] * np.array([100.0, 0.0])
    loss, _ = numsim.info_nce(np.ones((1, 2)), z, z)
    same = np.array([np.sum(labels == y) - 1 for y in labels])
    close(loss, np.mean(np.log1p(same)), len(labels))


# --- Descents ------------------------------------------------------------------------------------


@given(experiments())
def test_small_steps_decrease_the_contrastive_loss(case: Drawn) -> None:
    settings: dict[str, Any] = {"temperature": 10.0, "max_steps": 10, "stop_at_linear_end": False}
    _, run = numsim.pretrain(case.W, case.z, case.z_aug, learning_rate=0.01, **settings)
    assert np.all(np.diff(run.recorded_losses) <= tolerances.roundoff(terms_of(case), run.loss))


@given(experiments(), st.sampled_from([2.0, 3.0, 4.0]))
def test_small_steps_decrease_the_supervised_loss(case: Drawn, q: float) -> None:
    _, run = numsim.train(pair(case), case.x, case.observed, q=q, learning_rate=1e-3, max_steps=10)
    assert np.all(np.diff(run.recorded_losses) <= tolerances.roundoff(terms_of(case), run.loss))


@given(experiments(), POWERS)
def test_zero_steps_change_nothing(case: Drawn, q: float) -> None:
    W, run = numsim.pretrain(case.W, case.z, case.z_aug, learning_rate=0.1, max_steps=0)
    np.testing.assert_array_equal(W, case.W)
    assert run.steps == 0
    # A descent forms inner products by another route (far offsets, few axes) than one gradient does.
    close(run.loss, numsim.info_nce(case.W, case.z, case.z_aug)[0], terms_of(case))
    V, other = numsim.train(pair(case), case.x, case.observed, q=q, learning_rate=0.1, max_steps=0)
    np.testing.assert_array_equal(V, pair(case))
    assert other.steps == 0
    close(other.loss, logistic_loss(pair(case), case.x, case.observed, q=q)[0], terms_of(case))


def pretrained(case: Drawn, W: Floats, steps: int) -> Floats:
    settings: dict[str, Any] = {"learning_rate": 0.1, "max_steps": steps, "stop_at_linear_end": False}
    return numsim.pretrain(W, case.z, case.z_aug, **settings)[0]


def trained(case: Drawn, W: Floats, steps: int, q: float) -> Floats:
    settings: dict[str, Any] = {"q": q, "learning_rate": 0.05, "max_steps": steps, "target_loss": 0.0}
    return numsim.train(W, case.x, case.observed, **settings)[0]


@given(experiments(), st.integers(0, 8), st.integers(0, 8))
def test_two_pretrainings_are_one(case: Drawn, first: int, second: int) -> None:
    once = pretrained(case, case.W, first + second)
    twice = pretrained(case, pretrained(case, case.W, first), second)
    disturbed = [[pretrained(case, V, first + second)] for V in tolerances.perturbed(case.W)]
    np.testing.assert_allclose(twice, once, rtol=0, atol=tolerances.trajectory([once], disturbed)[0])


@given(experiments(), st.integers(0, 8), st.integers(0, 8), st.sampled_from([1.0, 2.0, 2.5, 3.0]))
def test_two_trainings_are_one(case: Drawn, first: int, second: int, q: float) -> None:
    once = trained(case, pair(case), first + second, q)
    twice = trained(case, trained(case, pair(case), first, q), second, q)
    disturbed = [[trained(case, V, first + second, q)] for V in tolerances.perturbed(pair(case))]
    np.testing.assert_allclose(twice, once, rtol=0, atol=tolerances.trajectory([once], disturbed)[0])


# --- Recomposition, E3 ---------------------------------------------------------------------------


@given(experiments(), st.integers(0, 10), st.sampled_from([1.0, 2.0, 3.0]))
def test_gamma_and_rho_follow_their_recursion_and_reassemble_the_filters(
    case: Drawn, steps: int, q: float
) -> None:
    labelled = Labelled(case.true_labels, case.observed, case.labelled_noise)
    dictionary = signal_noise_dictionary(case.mu, labelled)
    settings: dict[str, Any] = {"q": q, "learning_rate": 0.05, "output_scale": 2.0}
    W, run = train_dictionary(pair(case), dictionary, max_steps=steps, target_loss=0.0, **settings)
    gamma, rho = supervised_coefficients(run.recorded_coefficients, dictionary, case.mu, case.labelled_noise)
    assert gamma.shape == (steps + 1, *pair(case).shape[:2])
    assert rho.shape == (*gamma.shape, len(case.observed))
    assert not gamma[0].any()
    assert not rho[0].any()
    filters = [pair(case)]
    for t in range(steps):
        more_gamma, more_rho = reference.supervised_coefficients(
            filters[-1], case.mu, case.labelled_noise, case.true_labels, case.observed, **settings
        )
        size = 1.0 + float(np.max(np.abs(rho))) + float(np.max(np.abs(gamma)))
        close(gamma[t + 1] - gamma[t], more_gamma, steps * terms_of(case), size)
        close(rho[t + 1] - rho[t], more_rho, steps * terms_of(case), size)
        filters.append(reassemble(pair(case), gamma[t + 1], rho[t + 1], case.mu, case.labelled_noise))
    size = 1.0 + float(np.max(np.abs(W)))
    close(filters[-1], W, terms_of(case), size)
    inner = W.reshape(len(case.W), -1) @ dictionary.vectors.T
    close(run.inner, inner, (steps + 1) * terms_of(case), size * float(np.sum(dictionary.vectors**2)))


@given(experiments(), st.integers(0, 10))
def test_pretraining_coefficients_follow_their_recursion_and_reassemble_the_filters(
    case: Drawn, steps: int
) -> None:
    W, run = numsim.pretrain(
        case.W, case.z, case.z_aug, learning_rate=0.1, max_steps=steps, stop_at_linear_end=False
    )
    dictionary = Unlabelled(case.labels, case.noise, case.views).dictionary(case.mu)
    gamma, rho, rho_aug = pretraining_coefficients(
        run.recorded_coefficients, dictionary, case.mu, case.noise, case.views
    )
    size = (1.0 + float(np.sum(W**2))) * (1.0 + float(np.sum(case.z**2) + np.sum(case.z_aug**2))) ** 2
    current = case.W
    for t in range(steps):
        more = reference.pretraining_coefficients(
            current, case.mu, case.labels, case.noise, case.views, learning_rate=0.1
        )
        for kept, increment in zip((gamma, rho, rho_aug), more, strict=True):
            close(kept[t + 1] - kept[t], increment, (steps + 1) * terms_of(case), size)
        current = case.W + _on(gamma[t + 1][:, None], case.mu[None])
        current = current + _on(rho[t + 1], case.noise) + _on(rho_aug[t + 1], case.views)
    close(current, W, terms_of(case), size)
    both = np.concatenate([case.z, case.z_aug])
    close(case.W + run.coefficients @ both, W, terms_of(case), size)
    close(run.inner, W @ both.T, (steps + 1) * terms_of(case), size)


def _on(coefficients: Floats, vectors: Floats) -> Floats:
    """sum_i c_i v_i / |v_i|^2, where a vector of length zero contributes nothing."""
    squares = np.sum(vectors**2, axis=1)
    result: Floats = (coefficients / np.where(squares > 0, squares, 1.0)) @ vectors
    return result


@given(experiments(projected=True), st.integers(0, 10))
def test_with_projected_noise_gamma_is_the_growth_along_the_signal(case: Drawn, steps: int) -> None:
    labelled = Labelled(case.true_labels, case.observed, case.labelled_noise)
    dictionary = signal_noise_dictionary(case.mu, labelled)
    settings: dict[str, Any] = {"q": 3.0, "learning_rate": 0.05, "output_scale": 1.0}
    W, run = train_dictionary(pair(case), dictionary, max_steps=steps, target_loss=0.0, **settings)
    gamma, rho = supervised_coefficients(run.coefficients, dictionary, case.mu, case.labelled_noise)
    growth = np.array([1.0, -1.0])[:, None] * ((W - pair(case)) @ case.mu)
    close(growth, gamma, terms_of(case), 1.0 + float(np.max(np.abs(W))) + float(np.max(np.abs(rho))))


# --- The split and the test set ------------------------------------------------------------------


@given(experiments(), st.randoms(use_true_random=False))
def test_the_split_gives_every_filter_one_place(case: Drawn, random: Any) -> None:
    order = np.array(random.sample(range(len(case.W)), len(case.W)))
    halves = split_filters(case.W, order)
    assert halves.shape == (2, len(case.W) // 2, case.W.shape[1])
    np.testing.assert_array_equal(halves.reshape(case.W.shape)[np.argsort(order)], case.W)


@pytest.mark.parametrize("projected", [True, False])
@given(case=experiments(), q=POWERS, p=st.sampled_from([0.0, 0.2]), seed=SEEDS)
def test_the_test_error_is_that_of_dense_samples(
    projected: bool, case: Drawn, q: float, p: float, seed: int
) -> None:
    """The same noise, once as 2m inner products from the filters' LQ factor, once as vectors of R^d."""
    unit = case.mu / np.linalg.norm(case.mu)
    across = case.W - np.outer(case.W @ unit, unit) if projected else case.W
    Q, _ = np.linalg.qr(across.T)
    draws = words.noise(words.lanes(np.random.default_rng(seed)), Q.shape[1], 10)
    noise = 0.5 * (Q @ draws).T
    if projected:
        noise -= np.outer(noise @ unit, unit)
    result = evaluate(
        pair(case),
        unit,
        signal_norm=float(np.linalg.norm(case.mu)),
        sigma_p=0.5,
        q=q,
        output_scale=3.0,
        projected=projected,
        flip_probability=p,
        samples=10,
        rng=np.random.default_rng(seed),
    )
    margins = reference.margins(pair(case), case.mu, noise, q, 3.0)
    loss, error = reference.evaluate(margins, p)
    slack = tolerances.response(lambda W: reference.margins(W, case.mu, noise, q, 3.0), pair(case))
    slack += tolerances.roundoff(terms_of(case), 1.0 + float(np.max(np.abs(margins))))
    np.testing.assert_allclose(result.loss, loss, rtol=0, atol=slack)
    undecided = np.mean(np.abs(margins) <= slack)  # round-off may push these to either side of zero
    assert abs(result.error - error) <= undecided + tolerances.roundoff(margins.size)


@pytest.mark.parametrize("p", [0.0, 0.2])
def test_a_network_that_says_nothing_is_half_wrong(p: float) -> None:
    rng = np.random.default_rng(0)
    result = evaluate(
        np.zeros((2, 2, 3)),
        np.eye(3)[0],
        signal_norm=1.0,
        sigma_p=1.0,
        q=3,
        flip_probability=p,
        samples=8,
        rng=rng,
    )
    close([result.loss, result.error], [np.log(2), 0.5], terms=8)
