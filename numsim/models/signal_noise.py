"""Signal-noise samples: labels, noise patches, augmented views, and their dictionaries.

A sample has the patches y mu and xi in random order; the network sums over patches, so the order changes
nothing and is not drawn. derivations/model.md; Zhang and Cao, Definition 3.1 (= Cao et al. 2022,
Definition 1.1); flips: Kou et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .dictionary import PatchDictionary
from .space import Rng, Space, each

__all__ = [
    "Labelled",
    "Unlabelled",
    "draw_labelled",
    "draw_labels",
    "draw_unlabelled",
    "draw_views",
    "signal_noise_dictionary",
    "signal_noise_entries",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unlabelled:
    """The contrastive stage's samples: latent labels (n0,), noise and augmented noise (n0, D).

    ``augmented`` is None where every step draws fresh views. Of a mixture of N noises they are (N n0, D),
    noise v of sample i in row v n0 + i; clusters (n0,), and kept (n0,), 0 where a view has lost its signals.
    """

    labels: Floats
    noise: Floats
    augmented: Floats | None
    clusters: Integers | None = None
    kept: Floats | None = None

    def dictionary(self, mu: Floats) -> PatchDictionary:
        """The sums of patches, all a linear CNN sees: an entry a sample, with its latent label, and its view.

        Parts: "samples", z_i = y_i mu + xi_i, and "views", z~_i = y_i mu + xi~_i.
        """
        if self.augmented is None:
            raise ValueError("fresh views are drawn at every step: there is no one set of augmented samples")
        n = len(self.labels)
        parts = {"samples": slice(0, n), "views": slice(n, 2 * n)}
        axes = mu != 0.0  # one, unless somebody rotated the space
        vectors = np.concatenate([self.noise, self.augmented])
        for part in parts.values():
            vectors[part, axes] += self.labels[:, None] * mu[axes]
        return PatchDictionary(vectors, np.arange(n, dtype=np.int64)[:, None], self.labels, parts)

    def sums(self, mu: Floats) -> tuple[Floats, Floats]:
        """z and z~, (n0, D) each: the two parts of the dictionary."""
        whole = self.dictionary(mu)
        return whole.vectors[whole.part("samples")], whole.vectors[whole.part("views")]


@dataclass(frozen=True)
class Labelled:
    """The supervised samples: true and observed labels (..., n), noise patches (..., n, D).

    Of a mixture of N noises (N n, D), noise v of sample i in row v n + i, and clusters (n,).
    """

    true_labels: Floats
    labels: Floats
    noise: Floats
    clusters: Integers | None = None


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


def signal_noise_entries(samples: int) -> int:
    """How many distinct patches n samples have: a signal patch a class, a noise patch a sample."""
    return 2 + samples


def signal_noise_dictionary(mu: Floats, labelled: Labelled) -> PatchDictionary:
    """Sample i has the patches y_i mu and xi_i; leading axes of ``labelled`` are replicates.

    Parts: "signal", the patches +mu and -mu of the classes +1 and -1, and "noise", xi_1 ... xi_n. The signal
    patch carries the true label, the loss the observed one.
    """
    *stack, n, width = labelled.noise.shape
    entries = signal_noise_entries(n)
    signal, noise = slice(0, entries - n), slice(entries - n, entries)
    vectors = np.zeros((*stack, entries, width))
    vectors[..., signal, : len(mu)] = mu, -mu
    vectors[..., noise, :] = labelled.noise
    patches = np.empty((*stack, n, 2), dtype=np.int64)
    patches[..., 0] = labelled.true_labels <= 0
    patches[..., 1] = np.arange(entries)[noise]
    return PatchDictionary(vectors, patches, labelled.labels, {"signal": signal, "noise": noise})
