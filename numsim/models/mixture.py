"""Mixtures: data as a table of clusters over a handful of signals and kinds of noise.

A sample of cluster c has the patches

    x^(p) = sum_s A_cps mu_s + sum_v B_cpv xi_v,   xi_v ~ N(0, s_v^2 I), drawn afresh for every sample
    (1)

(projected: orthogonal to the span of all signals), the cluster's label, and with its chance a flipped one.
Signals mu_s are fixed, of any lengths and cosines; a noise named in two patches is the same draw.
Signal-noise data is the table with one signal, one noise and the clusters +-1. derivations/model.md (13).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .dictionary import PatchDictionary
from .signal_noise import Labelled, Unlabelled
from .space import Space, pad

__all__ = [
    "FreshTable",
    "Mixture",
    "Mixtures",
    "draw_table_labelled",
    "draw_table_unlabelled",
    "label_dictionary",
    "sums_of",
    "view_patches",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Generator = np.random.Generator


@dataclass(frozen=True, eq=False)
class Mixture:
    """A table of C clusters over S signals and N noises, P patches a sample.

    signals, noises, clusters : names; norms (S,), a signal of length 0 keeps its direction; cosines (S, S);
    scales (N,) standard deviation of a coordinate; labels (C,) of +-1; weights (C,) adding up to 1; flips
    (C,) chances of a flipped label; on_signals (C, P, S), on_noises (C, P, N) : A and B of (1).
    """

    signals: tuple[str, ...]
    norms: Floats
    cosines: Floats
    noises: tuple[str, ...]
    scales: Floats
    clusters: tuple[str, ...]
    labels: Floats
    weights: Floats
    flips: Floats
    on_signals: Floats
    on_noises: Floats
    dim: int
    projected: bool
    balanced: bool

    @cached_property
    def directions(self) -> Floats:
        """Unit vectors of the signals on the first axes, (S, rank): the first along axis 0."""
        owners: list[int] = []  # the signal that opened each axis
        rows = np.zeros((len(self.signals), len(self.signals)))
        for s in range(len(self.signals)):
            left = 1.0
            for axis, owner in enumerate(owners):
                known = rows[owner, :axis] @ rows[s, :axis]
                rows[s, axis] = (self.cosines[s, owner] - known) / rows[owner, axis]
                left -= rows[s, axis] ** 2
            if left > _RANK:
                rows[s, len(owners)] = np.sqrt(left)
                owners.append(s)
        return np.ascontiguousarray(rows[:, : len(owners)])

    @property
    def rank(self) -> int:
        """Dimensions that the signals span."""
        return int(self.directions.shape[1])

    @property
    def vectors(self) -> Floats:
        """mu_s on the first axes, (S, rank)."""
        return self.norms[:, None] * self.directions

    @property
    def gram(self) -> Floats:
        """<mu_s, mu_t>, (S, S)."""
        return np.outer(self.norms, self.norms) * self.cosines

    @property
    def is_signal_noise(self) -> bool:
        """Whether it is signal-noise data: one signal, one noise, the clusters +-1 with [+-mu] and [xi]."""
        one = len(self.signals) == 1 and len(self.noises) == 1 and self.on_signals.shape[:2] == (2, 2)
        return bool(
            one
            and (self.labels == [1, -1]).all()
            and self.weights[0] == self.weights[1]
            and self.flips[0] == self.flips[1]
            and (self.on_signals[:, :, 0] == [[1, 0], [-1, 0]]).all()
            and (self.on_noises[:, :, 0] == [[0, 1], [0, 1]]).all()
        )

    def moments(self, *, sums: bool) -> tuple[float, float]:
        """Top eigenvalue of the signals' second moment, and the variance of a coordinate of the noise.

        sums : of z = sum_p x^(p), as the linear encoder sees it; else of single patches, added up.
        """
        A = self.on_signals.sum(axis=1, keepdims=True) if sums else self.on_signals
        B = self.on_noises.sum(axis=1, keepdims=True) if sums else self.on_noises
        rows = A @ self.vectors
        second = np.einsum("c,cpa,cpb->ab", self.weights, rows, rows)
        noise = np.einsum("c,cpv,v->", self.weights, B**2, self.scales**2)
        return float(np.linalg.eigvalsh(second)[-1]) if second.size else 0.0, float(noise)

    def draw_clusters(self, count: int, rng: Generator) -> Integers:
        """The clusters of samples (count,); balanced: exactly by weight, in random order."""
        if self.balanced:
            return rng.permutation(np.repeat(np.arange(len(self.weights)), self.counts(count)))
        edges = np.cumsum(self.weights)
        edges[-1] = np.inf  # weights add up to 1 but for round-off
        return np.searchsorted(edges, rng.random(count), side="right")

    def counts(self, samples: int) -> Integers:
        """Samples of each cluster in exact proportion, or ValueError."""
        exact = self.weights * samples
        whole = np.rint(exact)
        if np.max(np.abs(exact - whole)) > _WHOLE * samples:
            raise ValueError(f"{samples} samples cannot be divided by the weights")
        return whole.astype(np.int64)


_RANK = 1e-12  # squared sine below which a signal lies in the span of those before it
_WHOLE = 1e-9


class Mixtures(NamedTuple):
    """The tables of one experiment, over the same signals and noises: of all, labelled and test data."""

    data: Mixture
    labelled: Mixture
    test: Mixture


def _draw_noise(space: Space, mixture: Mixture, count: int, rng: Generator) -> Floats:
    """xi_v of sample i in row v count + i, (N count, axes revealed afterwards)."""
    kinds = [space.draw(count, scale, rng, projected=mixture.projected) for scale in mixture.scales]
    found = np.zeros((len(kinds) * count, space.revealed))
    for v, drawn in enumerate(kinds):
        found[v * count : (v + 1) * count, : drawn.shape[1]] = drawn
    return found


def draw_table_unlabelled(
    space: Space,
    mixture: Mixture,
    count: int,
    *,
    overlap: float,
    signal_kept: float,
    label_rng: Generator,
    noise_rng: Generator,
    view_rng: Generator,
    kept_rng: Generator,
    fixed_views: bool = True,
) -> Unlabelled:
    """n0 samples and their views: the noise redrawn with this overlap, the signals lost with chance
    1 - ``signal_kept``, all of a view together. Fresh views are not drawn here.
    """
    clusters = mixture.draw_clusters(count, label_rng)
    noise = _draw_noise(space, mixture, count, noise_rng)
    if not fixed_views:
        return Unlabelled(mixture.labels[clusters], noise, None, clusters)
    views = _draw_noise(space, mixture, count, view_rng)
    views *= np.sqrt((1.0 - overlap) * (1.0 + overlap))
    views[:, : noise.shape[1]] += overlap * noise
    kept = np.where(kept_rng.random(count) < signal_kept, 1.0, 0.0)
    return Unlabelled(mixture.labels[clusters], noise, views, clusters, kept)


def draw_table_labelled(
    space: Space,
    mixture: Mixture,
    count: int,
    *,
    subset_of: Unlabelled | None,
    label_rng: Generator,
    noise_rng: Generator,
    flip_rng: Generator,
) -> Labelled:
    """n labelled samples, fresh or chosen among the unlabelled ones without repetition."""
    if subset_of is None:
        clusters = mixture.draw_clusters(count, label_rng)
        noise = _draw_noise(space, mixture, count, noise_rng)
    else:
        assert subset_of.clusters is not None
        known = subset_of.clusters
        chosen = label_rng.permutation(len(known))[:count]
        if mixture.balanced:
            each = [
                label_rng.permutation(np.flatnonzero(known == c))[:share]
                for c, share in enumerate(mixture.counts(count))
            ]
            chosen = label_rng.permutation(np.concatenate(each))
        clusters = known[chosen]
        rows = (np.arange(len(mixture.noises))[:, None] * len(known) + chosen).ravel()
        noise = subset_of.noise[rows]
    flips = np.where(flip_rng.random(count) < mixture.flips[clusters], -1.0, 1.0)
    true = mixture.labels[clusters]
    return Labelled(true, true * flips, noise, clusters)


@dataclass(frozen=True)
class FreshTable:
    """What views of unlabelled samples are drawn from, step after step.

    signals (S, at most D); clusters (n0,); noise (N n0, D) in coordinates of which all D axes are revealed;
    overlap, signal_kept : as of fixed views; view_rng, kept_rng : generators.
    """

    mixture: Mixture
    signals: Floats
    clusters: Integers
    noise: Floats
    overlap: float
    signal_kept: float
    view_rng: Generator
    kept_rng: Generator

    @property
    def squares(self) -> Floats:
        """|xi_iv|^2, (n0, N)."""
        found: Floats = np.sum(self.noise**2, axis=1).reshape(len(self.mixture.noises), -1).T
        return found

    def dictionary(self, revealed: int, chosen: Integers, *, network: bool) -> PatchDictionary:
        """Samples and new views of them: what the encoder sees, an entry each or (network) patches.

        revealed : axes in use. Owners are samples by their number of all; -1 for views, whose noise is not
        kept.
        """
        mixture, n = self.mixture, len(chosen)
        kinds = len(mixture.noises)
        space = Space(mixture.dim, revealed, mixture.rank)
        views = _draw_noise(space, mixture, n, self.view_rng)
        views *= np.sqrt((1.0 - self.overlap) * (1.0 + self.overlap))
        noise = self.noise.reshape(kinds, -1, self.noise.shape[1])[:, chosen].reshape(kinds * n, -1)
        views[:, : noise.shape[1]] += self.overlap * noise
        kept = np.where(self.kept_rng.random(n) < self.signal_kept, 1.0, 0.0)
        clusters, width = self.clusters[chosen], views.shape[1]
        if network:
            drawn = Unlabelled(mixture.labels[clusters], noise, views, clusters, kept)
            both = view_patches(mixture, pad(self.signals, width), drawn)
            assert both.owners is not None
            owned = (both.owners >= 0) & (both.owners < n)
            owners = np.where(owned, chosen[np.where(owned, both.owners, 0)], -1)
            pairs = np.concatenate([both.patches[:n], both.patches[n:]], axis=1)
            return replace(both, patches=pairs, labels=np.ones(n), owners=owners)
        signals = pad(self.signals, width)
        on_signals, on_noises = (
            part.sum(axis=1)[clusters] for part in (mixture.on_signals, mixture.on_noises)
        )
        return PatchDictionary(
            np.concatenate(
                [
                    sums_of(mixture, signals, clusters, pad(noise, width), None),
                    sums_of(mixture, signals, clusters, views, kept),
                ]
            ),
            np.stack([np.arange(n), np.arange(n, 2 * n)], axis=1),
            np.ones(n),
            on_signals=np.concatenate([on_signals, on_signals * kept[:, None]]),
            on_noises=np.concatenate([on_noises, np.zeros_like(on_noises)]),
            owners=np.concatenate([chosen, np.full(n, -1)]),
        )


def sums_of(
    mixture: Mixture, signals: Floats, clusters: Integers, noise: Floats, kept: Floats | None
) -> Floats:
    """z_i = sum_p x_i^(p), (n, D); signals (S, at most D); kept (n,) : factor of a sample's signals."""
    n = len(clusters)
    weights = mixture.on_signals.sum(axis=1)[clusters]
    if kept is not None:
        weights = weights * kept[:, None]
    found = np.zeros((n, noise.shape[1]))
    found[:, : signals.shape[1]] = weights @ signals
    for v in range(len(mixture.noises)):
        found += mixture.on_noises.sum(axis=1)[clusters, v][:, None] * noise[v * n : (v + 1) * n]
    return found


class _Entries:
    """Entries of a dictionary as they are met: weights on signals and on a sample's noises."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, bytes], int] = {}
        self.signals: list[Floats] = []
        self.noises: list[Floats] = []
        self.owners: list[int] = []

    def place(self, owner: int, on_signals: Floats, on_noises: Floats) -> int:
        if not on_noises.any():
            owner = -1
        key = (owner, (on_signals + 0.0).tobytes() + (on_noises + 0.0).tobytes())
        if key not in self.places:
            self.places[key] = len(self.owners)
            self.signals.append(on_signals)
            self.noises.append(on_noises)
            self.owners.append(owner)
        return self.places[key]


def _dictionary(
    mixture: Mixture,
    signals: Floats,
    clusters: Integers,
    noise: Floats,
    kept: Floats,
    labels: Floats,
) -> PatchDictionary:
    n, per_sample = len(clusters), mixture.on_signals.shape[1]
    entries = _Entries()
    patches = np.empty((n, per_sample), dtype=np.int64)
    for i, c in enumerate(clusters):
        for p in range(per_sample):
            on = mixture.on_signals[c, p] * kept[i]
            patches[i, p] = entries.place(i, on, mixture.on_noises[c, p])
    on_signals, on_noises = np.array(entries.signals), np.array(entries.noises)
    owners = np.array(entries.owners, dtype=np.int64)
    vectors = np.zeros((len(owners), noise.shape[1]))
    vectors[:, : signals.shape[1]] = on_signals @ signals
    owned = np.flatnonzero(owners >= 0)
    for v in range(len(mixture.noises)):
        vectors[owned] += on_noises[owned, v][:, None] * noise[v * n + owners[owned]]
    return PatchDictionary(
        vectors, patches, labels, on_signals=on_signals, on_noises=on_noises, owners=owners
    )


def label_dictionary(mixture: Mixture, signals: Floats, labelled: Labelled) -> PatchDictionary:
    """The distinct patches of labelled samples, each with its weights on signals and noises."""
    assert labelled.clusters is not None
    kept = np.ones(len(labelled.clusters))
    return _dictionary(mixture, signals, labelled.clusters, labelled.noise, kept, labelled.labels)


def view_patches(mixture: Mixture, signals: Floats, unlabelled: Unlabelled) -> PatchDictionary:
    """The distinct patches of samples and of their views, 2 n0 "samples", the views last; owners likewise."""
    assert unlabelled.clusters is not None
    assert unlabelled.augmented is not None
    assert unlabelled.kept is not None
    n, kinds = len(unlabelled.clusters), len(mixture.noises)
    width = unlabelled.augmented.shape[1]
    noise = np.zeros((kinds, 2, n, width))
    noise[:, 0, :, : unlabelled.noise.shape[1]] = unlabelled.noise.reshape(kinds, n, -1)
    noise[:, 1] = unlabelled.augmented.reshape(kinds, n, -1)
    clusters = np.concatenate([unlabelled.clusters, unlabelled.clusters])
    kept = np.concatenate([np.ones(n), unlabelled.kept])
    flat = noise.reshape(-1, width)
    return _dictionary(mixture, signals, clusters, flat, kept, mixture.labels[clusters])
