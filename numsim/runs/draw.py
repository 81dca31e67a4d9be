"""Drawing an instance, all that a run trains on, exact in law at any dimension: derivations/model.md (12)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from ..config.errors import ConfigError, fault
from ..config.experiment import Experiment, Resolved
from ..config.own_arrays import source_of
from ..config.sources import Given, as_experiment
from ..models.mixture import Mixtures, draw_table_labelled, draw_table_unlabelled, sums_of
from ..models.samples import Rows
from ..models.signal_noise import Labelled, Unlabelled, draw_labelled, draw_unlabelled, signal_noise_entries
from ..models.space import Rng, Space, each, pad
from ..models.streams import generator

__all__ = ["Instance", "check_memory", "draw", "draw_supervised"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Instance:
    """Everything drawn before training, in D common coordinates (D at most 1 + 2m + 2 n0 + n).

    mu, direction : (D,), the first signal and its unit vector; signals : (S, D), all; filters : (2m, D);
    bias : (2m,) or None; unlabelled : None without a contrastive stage; order : (2m,) the random split.
    Drawn for several seeds, all but mu and direction have a leading axis. Of own arrays all samples are in
    ``own``, and nothing is in the others: mu is 0, labels are those of ``own``.
    """

    mu: Floats
    direction: Floats
    filters: Floats
    bias: Floats | None
    unlabelled: Unlabelled | None
    labelled: Labelled
    order: npt.NDArray[np.int64]
    signals: Floats | None = None
    mixtures: Mixtures | None = None
    own: Rows | None = None

    def sums(self) -> tuple[Floats, Floats]:
        """z and z~ (n0, D) of the unlabelled samples."""
        assert self.unlabelled is not None
        if self.own is not None:
            assert self.own.unlabelled is not None
            assert self.own.views is not None
            first, second = self.own.unlabelled, self.own.views
            if first.shape[1] == 1:
                return first[:, 0], second[:, 0]
            return first.sum(axis=1), second.sum(axis=1)
        if self.mixtures is None or self.signals is None:
            return self.unlabelled.sums(self.mu)
        known = self.unlabelled
        assert known.clusters is not None
        assert known.augmented is not None
        data, width = self.mixtures.data, known.augmented.shape[1]
        samples = sums_of(data, self.signals, known.clusters, pad(known.noise, width), None)
        return samples, sums_of(data, self.signals, known.clusters, known.augmented, known.kept)


def draw(experiment: Experiment | Given, seed: int | None = None) -> Instance:
    """Draw the instance that ``run(experiment, seed)`` trains on.

    experiment : an Experiment, the name of a preset, the path of a file, or a mapping of settings; seed :
    replaces its own.

    Order of revealing: filters, unlabelled noise, augmented noise (fixed views), labelled noise. With fresh
    views the augmented noise is revealed during training, which in law is the same.
    """
    e = as_experiment(experiment).resolved()
    chosen = e.seed if seed is None else seed
    check_memory(e)
    if e.data.own:
        return _draw_own(e, chosen)
    if e.table:
        return _draw_table(e, chosen)
    space = Space(e.data.dim)
    filters = _draw_filters(space, e, generator(chosen, "filters"))
    unlabelled = None
    if e.pretraining.samples:
        unlabelled = draw_unlabelled(
            space,
            e.pretraining.samples,
            sigma_p=e.data.sigma_p,
            projected=e.data.projected,
            balanced=e.data.balanced,
            overlap=e.pretraining.overlap,
            fixed_views=e.pretraining.views == "fixed",
            label_rng=generator(chosen, "labels"),
            noise_rng=generator(chosen, "noise"),
            view_rng=generator(chosen, "views"),
        )
    return _draw_rest(space, e, filters, unlabelled, lambda stream: generator(chosen, stream))


def draw_supervised(e: Resolved, seeds: Sequence[int]) -> Instance:
    """The instances of several seeds without a contrastive stage, bit for bit, as one with a leading axis."""
    space = Space(e.data.dim)
    filters = _draw_filters(space, e, [generator(seed, "filters") for seed in seeds])
    return _draw_rest(space, e, filters, None, lambda stream: [generator(seed, stream) for seed in seeds])


def _draw_filters(space: Space, e: Resolved, rng: Rng) -> Floats:
    return space.draw(2 * e.network.filters, e.init_scale, rng)


def _draw_rest(
    space: Space, e: Resolved, filters: Floats, unlabelled: Unlabelled | None, rng: Callable[[str], Rng]
) -> Instance:
    """Labelled samples, bias and split; rng(stream) : the generator of a purpose, or one a replicate."""
    m = e.network.filters
    labelled = draw_labelled(
        space,
        e.finetuning.samples,
        sigma_p=e.data.sigma_p,
        projected=e.data.projected,
        balanced=e.data.balanced,
        flip_probability=e.data.flip_probability,
        subset_of=unlabelled if e.finetuning.labelled == "subset" else None,
        label_rng=rng("labelled"),
        noise_rng=rng("labelled noise"),
        flip_rng=rng("flips"),
    )
    width = space.revealed
    if unlabelled is not None:
        augmented = None if unlabelled.augmented is None else pad(unlabelled.augmented, width)
        unlabelled = Unlabelled(unlabelled.labels, pad(unlabelled.noise, width), augmented)
    bias = each(lambda one: one.standard_normal(2 * m), rng("bias")) if e.network.bias else None
    return Instance(
        mu=space.signal(e.signal_norm),
        direction=space.signal(1.0),
        filters=pad(filters, width),
        bias=None if bias is None else bias * e.init_scale,
        unlabelled=unlabelled,
        labelled=Labelled(labelled.true_labels, labelled.labels, pad(labelled.noise, width)),
        order=each(lambda one: one.permutation(2 * m), rng("split")),
    )


def _draw_table(e: Resolved, seed: int) -> Instance:
    """The instance of a mixture: the signals' axes first, then as for signal-noise data."""
    mixtures, m = e.mixtures, e.network.filters

    def rng(stream: str) -> np.random.Generator:
        return generator(seed, stream)

    space = Space(e.data.dim, mixtures.data.rank, mixtures.data.rank)
    filters = _draw_filters(space, e, rng("filters"))
    unlabelled = None
    if e.pretraining.samples:
        unlabelled = draw_table_unlabelled(
            space,
            mixtures.data,
            e.pretraining.samples,
            overlap=e.pretraining.overlap,
            signal_kept=e.pretraining.signal_kept,
            label_rng=rng("labels"),
            noise_rng=rng("noise"),
            view_rng=rng("views"),
            kept_rng=rng("kept signals"),
            fixed_views=e.pretraining.views == "fixed",
        )
    labelled = draw_table_labelled(
        space,
        mixtures.labelled,
        e.finetuning.samples,
        subset_of=unlabelled if e.finetuning.labelled == "subset" else None,
        label_rng=rng("labelled"),
        noise_rng=rng("labelled noise"),
        flip_rng=rng("flips"),
    )
    width = space.revealed
    if unlabelled is not None:
        augmented = None if unlabelled.augmented is None else pad(unlabelled.augmented, width)
        unlabelled = replace(unlabelled, noise=pad(unlabelled.noise, width), augmented=augmented)
    bias = rng("bias").standard_normal(2 * m) * e.init_scale if e.network.bias else None
    return Instance(
        mu=pad(mixtures.data.vectors, width)[0],
        direction=pad(mixtures.data.directions, width)[0],
        filters=pad(filters, width),
        bias=bias,
        unlabelled=unlabelled,
        labelled=replace(labelled, noise=pad(labelled.noise, width)),
        order=rng("split").permutation(2 * m),
        signals=pad(mixtures.data.vectors, width),
        mixtures=mixtures,
    )


def _draw_own(e: Resolved, seed: int) -> Instance:
    """The rows of own arrays that this seed takes, and filters in their coordinates."""
    source, m = source_of(e.data), e.network.filters
    if source is None:
        raise ConfigError(fault("data.arrays", "a hash", "the arrays themselves: data=numsim.Samples(...)"))
    try:
        rows = source.rows(e.finetuning.samples, e.pretraining.samples, seed)
    except ValueError as error:
        raise ConfigError(f"data.source: {error}; lower data.test_share or finetuning.samples") from None
    nothing = np.zeros(e.data.dim)
    unlabelled = None
    if rows.unlabelled is not None:
        n0 = len(rows.unlabelled)
        unlabelled = Unlabelled(np.zeros(n0), np.empty((n0, 0)), np.empty((n0, 0)))
    return Instance(
        mu=nothing,
        direction=nothing,
        filters=generator(seed, "filters").standard_normal((2 * m, e.data.dim)) * e.init_scale,
        bias=generator(seed, "bias").standard_normal(2 * m) * e.init_scale if e.network.bias else None,
        unlabelled=unlabelled,
        labelled=Labelled(rows.y, rows.y, np.empty((len(rows.y), 0))),
        order=generator(seed, "split").permutation(2 * m),
        own=rows,
    )


@cache
def _memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(e: Resolved) -> None:
    """Refuse what cannot fit before allocating it: the Gram matrices and the coordinates."""
    m, n0, n = e.network.filters, e.pretraining.samples, e.finetuning.samples
    rows = 2 * m + 2 * n0 + n + 1
    entries = signal_noise_entries(n)
    if e.table:
        table = e.mixtures.labelled
        per_sample, kinds = table.on_signals.shape[1], len(table.noises)
        rows += (kinds - 1) * (2 * n0 + n) + len(table.signals)
        entries = n * per_sample + len(table.signals)
    if e.data.own:  # arrays are there already, and large ones are taken in batches
        return
    width = min(e.data.dim, rows)
    coordinates = (4 * n0 + 3 * (entries + 2 * m)) * width  # as drawn, and as sums of patches
    grams = 2.2 * n0**2 + 2 * entries**2
    needed = 8.0 * (coordinates + grams + 16 * m * (2 * n0 + entries))
    available = _memory()
    if needed > available:
        raise ConfigError(
            f"the experiment needs about {needed / 2**30:.3g} GiB of memory and this machine has "
            f"{available / 2**30:.3g}: reduce pretraining.samples ({n0}), finetuning.samples ({n}) "
            f"or network.filters ({m})"
        )
