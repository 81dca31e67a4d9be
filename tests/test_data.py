"""Samples: labels, flips, subsets, augmented views, and the dictionary of patches."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

from numsim.models.dictionary import dense_dictionary
from numsim.models.signal_noise import (
    Labelled,
    Unlabelled,
    draw_labelled,
    draw_labels,
    draw_unlabelled,
    draw_views,
    signal_noise_dictionary,
)
from numsim.models.space import Space, pad

Floats = npt.NDArray[np.float64]


def rngs(seed: int, *names: str) -> dict[str, Any]:
    return {f"{name}_rng": np.random.default_rng([seed, i]) for i, name in enumerate(names)}


def unlabelled_set(
    seed: int = 0, count: int = 40, dim: int = 10**8, **changes: Any
) -> tuple[Space, Unlabelled]:
    space = Space(dim)
    settings: dict[str, Any] = {
        "sigma_p": 1.0,
        "projected": True,
        "balanced": True,
        "overlap": 0.0,
        "fixed_views": True,
    }
    drawn = draw_unlabelled(space, count, **{**settings, **changes}, **rngs(seed, "label", "noise", "view"))
    return space, drawn


def labelled_set(space: Space, seed: int = 1, count: int = 20, **changes: Any) -> Labelled:
    settings: dict[str, Any] = {
        "sigma_p": 1.0,
        "projected": True,
        "balanced": True,
        "flip_probability": 0.0,
        "subset_of": None,
    }
    return draw_labelled(space, count, **{**settings, **changes}, **rngs(seed, "label", "noise", "flip"))


# ---------------------------------------------------------------- labels


@given(half=st.integers(0, 50), seed=st.integers(0, 10**6))
def test_balanced_labels(half: int, seed: int) -> None:
    labels = draw_labels(2 * half, True, np.random.default_rng(seed))
    assert labels.shape == (2 * half,)
    assert np.sum(labels == 1.0) == np.sum(labels == -1.0) == half


def test_random_labels_are_fair_and_in_random_order() -> None:
    count = 10_000
    labels = draw_labels(count, False, np.random.default_rng(0))
    assert set(labels) == {-1.0, 1.0}
    assert abs(np.mean(labels)) <= tolerances.monte_carlo(1.0, count)
    firsts = [draw_labels(4, True, np.random.default_rng(seed))[0] for seed in range(count)]
    assert abs(np.mean(firsts)) <= tolerances.monte_carlo(1.0, count)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("balanced", [True, False])
def test_flips_come_at_their_rate_and_leave_the_true_labels(p: float, balanced: bool) -> None:
    count = 5000
    clean = labelled_set(Space(3), count=count, balanced=balanced)
    flipped = labelled_set(Space(3), count=count, balanced=balanced, flip_probability=p)
    assert np.array_equal(clean.labels, clean.true_labels)
    assert np.array_equal(flipped.true_labels, clean.true_labels)
    assert np.array_equal(flipped.noise, clean.noise)
    rate = np.mean(flipped.labels != flipped.true_labels)
    assert abs(rate - p) <= tolerances.monte_carlo(math.sqrt(p * (1 - p)), count)
    if balanced:
        assert np.sum(clean.true_labels) == 0


# ---------------------------------------------------------------- subsets


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("count", [2, 20, 40])
def test_a_subset_shares_labels_and_noise_and_repeats_nothing(balanced: bool, count: int) -> None:
    space, unlabelled = unlabelled_set(balanced=True)
    before = space.revealed
    chosen = labelled_set(space, count=count, balanced=balanced, subset_of=unlabelled)
    assert space.revealed == before
    rows = [int(np.flatnonzero((unlabelled.noise == noise).all(axis=1))[0]) for noise in chosen.noise]
    assert len(set(rows)) == count
    assert np.array_equal(chosen.true_labels, unlabelled.labels[rows])
    if balanced:
        assert np.sum(chosen.true_labels) == 0


def test_a_subset_is_chosen_at_random() -> None:
    _, unlabelled = unlabelled_set(count=10)
    hits = np.zeros(10)
    draws = 2000
    for seed in range(draws):
        chosen = labelled_set(Space(50), seed, count=4, subset_of=unlabelled)
        hits += [np.any((chosen.noise == noise).all(axis=1)) for noise in unlabelled.noise]
    assert hits / draws == pytest.approx(np.full(10, 0.4), abs=tolerances.monte_carlo(0.5, draws))


# ---------------------------------------------------------------- augmented views


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("projected", [True, False])
def test_views_have_the_law_of_the_noise_and_correlate_by_the_overlap(
    overlap: float, projected: bool
) -> None:
    count, dim, sigma_p = 50, 10**6, 2.0
    _, unlabelled = unlabelled_set(
        count=count, dim=dim, overlap=overlap, projected=projected, sigma_p=sigma_p
    )
    assert unlabelled.augmented is not None
    noise, views = pad(unlabelled.noise, unlabelled.augmented.shape[1]), unlabelled.augmented
    own = np.sum(noise * views, axis=1) / (sigma_p**2 * dim)
    lengths = np.sum(views**2, axis=1) / (sigma_p**2 * dim)
    others = (noise @ views.T)[~np.eye(count, dtype=bool)] / (sigma_p**2 * dim)
    # Inner products of d coordinates: standard deviation at most sqrt(2/d) each.
    error = tolerances.monte_carlo(math.sqrt(2), dim)
    assert own == pytest.approx(np.full(count, overlap), abs=error)
    assert lengths == pytest.approx(np.ones(count), abs=error)
    assert others == pytest.approx(np.zeros(len(others)), abs=error)
    if projected:
        assert not np.any(views[:, 0])
    if overlap == 1:
        assert views == pytest.approx(noise, abs=tolerances.CLOSED_FORM * dim)


def test_fresh_views_are_not_kept() -> None:
    space, unlabelled = unlabelled_set(count=40, fixed_views=False)
    assert unlabelled.augmented is None
    assert space.revealed == 41
    with pytest.raises(ValueError, match="fresh views"):
        unlabelled.sums(np.zeros(41))


@pytest.mark.parametrize("projected", [True, False])
def test_views_of_overlap_zero_are_new_draws_and_of_overlap_one_the_samples(projected: bool) -> None:
    noise = Space(50).draw(3, 2.0, np.random.default_rng(0), projected=projected)
    spaces = [Space(50, 4) for _ in range(3)]
    rngs = [np.random.default_rng(1) for _ in spaces]
    new = spaces[0].draw(3, 2.0, rngs[0], projected=projected)
    assert np.array_equal(draw_views(spaces[1], noise, 0.0, 2.0, projected, rngs[1]), new)
    assert np.array_equal(
        draw_views(spaces[2], noise, 1.0, 2.0, projected, rngs[2]), pad(noise, new.shape[1])
    )


def test_sums_carry_the_label_on_the_signal() -> None:
    space, unlabelled = unlabelled_set(count=6, dim=100)
    mu = space.signal(3.0)
    padded = Unlabelled(unlabelled.labels, pad(unlabelled.noise, space.revealed), unlabelled.augmented)
    z, z_aug = padded.sums(mu)
    assert z[:, 0] == pytest.approx(3.0 * unlabelled.labels, rel=tolerances.CLOSED_FORM)
    assert np.array_equal(z[:, 1:], padded.noise[:, 1:])
    assert unlabelled.augmented is not None
    assert np.array_equal(z_aug - np.outer(unlabelled.labels, mu), unlabelled.augmented)


# ---------------------------------------------------------------- dictionaries


def test_signal_noise_dictionary() -> None:
    space = Space(10**4)
    labelled = labelled_set(space, count=6, flip_probability=0.4)
    mu = space.signal(2.0)
    dictionary = signal_noise_dictionary(mu, labelled)
    assert np.array_equal(dictionary.vectors[:2], [mu, -mu])
    assert np.array_equal(dictionary.vectors[2:], labelled.noise)
    assert np.array_equal(dictionary.labels, labelled.labels)
    signal, noise = dictionary.vectors[dictionary.patches].transpose(1, 0, 2)
    assert np.array_equal(signal, labelled.true_labels[:, None] * mu)  # the true label, not the observed one
    assert np.array_equal(noise, labelled.noise)
    assert np.array_equal(dictionary.gram(), dictionary.vectors @ dictionary.vectors.T)


def test_a_bias_is_one_more_coordinate_equal_to_one() -> None:
    space = Space(10**4)
    plain = signal_noise_dictionary(space.signal(2.0), labelled_set(space, count=4))
    biased = plain.with_bias()
    assert np.array_equal(biased.vectors[:, :-1], plain.vectors)
    assert np.array_equal(biased.gram(), plain.gram() + 1.0)
    assert np.array_equal(biased.patches, plain.patches)
    assert np.array_equal(biased.labels, plain.labels)


@given(n=st.integers(1, 6), patches=st.integers(1, 4), kinds=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_equal_patches_are_kept_once(n: int, patches: int, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    library = rng.standard_normal((kinds, 3))
    x = library[rng.integers(kinds, size=(n, patches))]
    y = rng.choice([-1.0, 1.0], n)
    dictionary = dense_dictionary(x, y)
    assert len(np.unique(dictionary.vectors, axis=0)) == len(dictionary.vectors) <= kinds
    assert np.array_equal(dictionary.vectors[dictionary.patches], x)
    assert np.array_equal(dictionary.labels, y)
    assert dictionary.patches.dtype == np.int64
