"""Signal-noise samples: labels, noise patches, augmented views, and the dictionary of patches.

A sample has the patches y mu and xi in random order; the network sums over patches, so the order changes
nothing and is not drawn. theory.md section 1; Zhang and Cao, Definition 3.1 (= Cao et al. 2022,
Definition 1.1); flips: Kou et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .space import Rng, Space, each

__all__ = [
    "Labelled",
    "PatchDictionary",
    "Unlabelled",
    "dense_dictionary",
    "draw_labelled",
    "draw_labels",
    "draw_unlabelled",
    "draw_views",
    "signal_noise_dictionary",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unlabelled:
    """The contrastive stage's samples: latent labels (n0,), noise and augmented noise (n0, D).

    ``augmented`` is None where every step draws fresh views.
    """

    labels: Floats
    noise: Floats
    augmented: Floats | None

    def sums(self, mu: Floats) -> tuple[Floats, Floats]:
        """z_i = y_i mu + xi_i and z~_i = y_i mu + xi~_i, each (n0, D): all a linear CNN sees."""
        if self.augmented is None:
            raise ValueError("fresh views are drawn at every step: there is no one set of augmented samples")
        axes = mu != 0.0  # one, unless somebody rotated the space
        sums = self.noise.copy(), self.augmented.copy()
        for views in sums:
            views[:, axes] += self.labels[:, None] * mu[axes]
        return sums


@dataclass(frozen=True)
class Labelled:
    """The supervised samples: true and observed labels (..., n), noise patches (..., n, D)."""

    true_labels: Floats
    labels: Floats
    noise: Floats


def draw_labels(count: int, balanced: bool, rng: Rng) -> Floats:
    """Labels (count,) uniform on {-1, +1}; balanced: exactly half of each sign, in random order."""
    if balanced:
        halves = np.repeat([1.0, -1.0], count // 2)
        return each(lambda generator: generator.permutation(halves), rng)
    return np.where(_uniforms(count, rng) < 0.5, 1.0, -1.0)


def _uniforms(count: int, rng: Rng) -> Floats:
    return each(lambda generator: generator.random(count), rng)


def draw_views(
    space: Space, noise: Floats, overlap: float, sigma_p: float, projected: bool, rng: Rng
) -> Floats:
    """One augmented noise vector a xi + sqrt(1 - a^2) xi' per sample, again N(0, sigma_p^2 I).

    xi' is independent; overlap a = 0 is the ideal view. Shape (..., n0, axes revealed afterwards).
    """
    views = space.draw(noise.shape[-2], sigma_p, rng, projected=projected)
    if overlap:
        views *= np.sqrt((1.0 - overlap) * (1.0 + overlap))
        views[..., : noise.shape[-1]] += overlap * noise
    return views


def draw_unlabelled(
    space: Space,
    count: int,
    *,
    sigma_p: float,
    projected: bool,
    balanced: bool,
    overlap: float,
    fixed_views: bool,
    label_rng: np.random.Generator,
    noise_rng: np.random.Generator,
    view_rng: np.random.Generator,
) -> Unlabelled:
    """n0 unlabelled samples, with one fixed augmented view each if ``fixed_views``."""
    labels = draw_labels(count, balanced, label_rng)
    noise = space.draw(count, sigma_p, noise_rng, projected=projected)
    augmented = draw_views(space, noise, overlap, sigma_p, projected, view_rng) if fixed_views else None
    return Unlabelled(labels, noise, augmented)


def draw_labelled(
    space: Space,
    count: int,
    *,
    sigma_p: float,
    projected: bool,
    balanced: bool,
    flip_probability: float,
    subset_of: Unlabelled | None,
    label_rng: Rng,
    noise_rng: Rng,
    flip_rng: Rng,
) -> Labelled:
    """n labelled samples, fresh or (``subset_of``) chosen among the unlabelled ones without repetition.

    Observed labels differ from the true ones with ``flip_probability`` after the patches are built; a
    balanced set has balanced true labels. Fresh ones may be drawn for several replicates, with a list of
    generators a purpose.
    """
    if subset_of is None:
        true = draw_labels(count, balanced, label_rng)
        noise = space.draw(count, sigma_p, noise_rng, projected=projected)
    else:
        assert isinstance(label_rng, np.random.Generator)
        chosen = _choose(subset_of.labels, count, balanced, label_rng)
        true = subset_of.labels[chosen]
        noise = subset_of.noise[chosen]
    flips = np.where(_uniforms(count, flip_rng) < flip_probability, -1.0, 1.0)
    return Labelled(true, true * flips, noise)


def _choose(labels: Floats, count: int, balanced: bool, rng: np.random.Generator) -> Integers:
    if not balanced:
        return rng.permutation(len(labels))[:count]
    sides = [rng.permutation(np.flatnonzero(labels == sign))[: count // 2] for sign in (1.0, -1.0)]
    return rng.permutation(np.concatenate(sides))


@dataclass(frozen=True)
class PatchDictionary:
    """K distinct patch vectors and samples that index into them: all that training needs of a data set.

    vectors : (..., K, D); patches : (..., n, P) indices into them; labels : (..., n) of +-1. Leading axes are
    replicates, data sets of one shape.
    """

    vectors: Floats
    patches: Integers
    labels: Floats

    def gram(self) -> Floats:
        """Inner products <v_k, v_l> of the dictionary, (..., K, K)."""
        products: Floats = self.vectors @ self.vectors.swapaxes(-1, -2)
        return products

    def with_bias(self) -> PatchDictionary:
        """The same with one more coordinate, 1 in every patch: a filter's weight there is its bias."""
        *stack, width = self.vectors.shape
        vectors = np.ones((*stack, width + 1))
        vectors[..., :width] = self.vectors
        return PatchDictionary(vectors, self.patches, self.labels)


def signal_noise_dictionary(mu: Floats, labelled: Labelled) -> PatchDictionary:
    """Dictionary [+mu, -mu, xi_1 ... xi_n] (..., n + 2, D); sample i has the patches y_i mu and xi_i.

    The signal patch carries the true label, the loss the observed one.
    """
    *stack, n, width = labelled.noise.shape
    vectors = np.zeros((*stack, n + 2, width))
    vectors[..., 0, : len(mu)] = mu
    vectors[..., 1, :] = -vectors[..., 0, :]
    vectors[..., 2:, :] = labelled.noise
    patches = np.empty((*stack, n, 2), dtype=np.int64)
    patches[..., 0] = labelled.true_labels <= 0
    patches[..., 1] = np.arange(2, n + 2)
    return PatchDictionary(vectors, patches, labelled.labels)


def dense_dictionary(x: Floats, y: Floats) -> PatchDictionary:
    """Dictionary of user data: patches x (n, P, D), equal patches kept once; labels y (n,)."""
    n, per_sample, width = x.shape
    rows = np.ascontiguousarray(x.reshape(n * per_sample, width)) + 0.0  # -0.0 becomes 0.0: equal bytes
    places: dict[bytes, int] = {}
    index = [places.setdefault(row.tobytes(), len(places)) for row in rows]
    first = np.unique(index, return_index=True)[1]
    return PatchDictionary(rows[first], np.array(index, dtype=np.int64).reshape(n, per_sample), y)
