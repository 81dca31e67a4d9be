"""The two-stage experiment and its direct twin: draw an instance, simulate both arms, evaluate.

Both arms share the labelled data, the initial filters and their split, and all settings; the ``simclr`` arm
passes through contrastive pre-training first. theory.md sections 1, 3 and 4.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..config.errors import ConfigError
from ..config.experiment import Experiment, Resolved
from ..config.sources import Given, as_experiment
from ..descent.blas import blas_threads
from ..descent.contrastive import alignment, pretrain
from ..descent.driver import NON_FINITE, Descent
from ..descent.evaluation import TestResult, evaluate
from ..descent.fresh_views import FreshDescent, FreshViews, pretrain_fresh_views
from ..descent.network import split_filters
from ..descent.supervised import train_dictionary
from ..models.dictionary import PatchDictionary
from ..models.signal_noise import (
    Labelled,
    Unlabelled,
    draw_labelled,
    draw_unlabelled,
    signal_noise_dictionary,
    signal_noise_entries,
)
from ..models.space import Rng, Space, each, pad
from ..models.streams import generator

if TYPE_CHECKING:
    from .result import Result

__all__ = [
    "Arm",
    "Instance",
    "Pretrained",
    "Simulation",
    "check_memory",
    "draw",
    "draw_supervised",
    "pretrain_only",
    "run",
    "simulate",
]

Floats = npt.NDArray[np.float64]
Report = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Instance:
    """Everything drawn before training, in D common coordinates (D at most 1 + 2m + 2 n0 + n).

    mu, direction : (D,), the signal and its unit vector; filters : (2m, D); bias : (2m,) or None;
    unlabelled : None without a contrastive stage; order : (2m,) the random split. Drawn for several seeds,
    all but mu and direction have a leading axis.
    """

    mu: Floats
    direction: Floats
    filters: Floats
    bias: Floats | None
    unlabelled: Unlabelled | None
    labelled: Labelled
    order: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pretrained:
    """The contrastive stage: last filters (2m, at least D), its descent, cos^2(W - W^0, mu)."""

    filters: Floats
    descent: Descent | FreshDescent
    alignment: float


@dataclass(frozen=True)
class Arm:
    """One supervised training: filters (2, m, D) before and after (the bias, if any, is the last coordinate).

    descent is None where there was nothing finite to start from.
    """

    dictionary: PatchDictionary
    initial: Floats
    filters: Floats
    descent: Descent | None
    test: TestResult

    @property
    def status(self) -> str:
        """How training ended; also not finite if the trained network's outputs on test data are not."""
        if self.descent is None or not math.isfinite(self.test.loss + self.test.error):
            return NON_FINITE
        return self.descent.status


@dataclass(frozen=True)
class Simulation:
    """A whole run in arrays; ``Result`` presents it."""

    experiment: Resolved
    instance: Instance
    pretrained: Pretrained | None
    simclr: Arm | None
    direct: Arm


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


@cache
def _memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(e: Resolved) -> None:
    """Refuse what cannot fit before allocating it: the Gram matrices and the coordinates."""
    m, n0, n = e.network.filters, e.pretraining.samples, e.finetuning.samples
    rows = 2 * m + 2 * n0 + n + 1
    entries = signal_noise_entries(n)
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


def run(experiment: Experiment | Given, seed: int | None = None, *, report: Report | None = None) -> Result:
    """Simulate both arms of the two-stage experiment, exactly in law at any dimension.

    Parameters
    ----------
    experiment : what to simulate: an Experiment, the name of a preset, the path of a file, or a mapping of
        settings.
    seed : replaces ``experiment.seed``.
    report : called as report(stage, step, loss) a few times a second.

    Returns
    -------
    Result : ``.simclr`` (None without pre-training), ``.direct``, ``.pretraining``, ``.theory``.

    Same experiment, seed, library versions and CPU type: same bits, in whatever company of other runs.

    Raises
    ------
    ConfigError : settings that cannot be run, all faults at once.
    """
    from .result import Result

    experiment = as_experiment(experiment)
    if seed is not None:
        experiment = experiment.replace({"seed": seed})
    e = experiment.resolved()
    with blas_threads(e.threads):
        return Result.of(simulate(e, draw(e), report=report))


def simulate(
    experiment: Experiment,
    instance: Instance,
    seed: int | None = None,
    *,
    record: int | None = None,
    report: Report | None = None,
) -> Simulation:
    """Train and evaluate both arms on a given instance (``run`` without drawing it).

    seed : of fresh views and test samples, replaces ``experiment.seed``; record : states kept at most along
    the way of each stage (None: up to 200).
    """
    e = experiment.resolved()
    stages = _Stages(e, instance, e.seed if seed is None else seed, record)

    def watch(stage: str) -> Callable[[int, float], None] | None:
        return None if report is None else lambda step, loss: report(stage, step, loss)

    pretrained = None
    simclr = None
    if instance.unlabelled is not None:
        pretrained = stages.pretrain(instance.unlabelled, watch("pre-training"))
        simclr = stages.train(pretrained.filters, watch("fine-tuning"))
    direct = stages.train(instance.filters, watch("direct training"))
    return Simulation(e, instance, pretrained, simclr, direct)


def pretrain_only(
    experiment: Experiment, instance: Instance, seed: int | None = None, *, report: Report | None = None
) -> Pretrained:
    """The contrastive stage of ``simulate`` alone, for an instance that has unlabelled samples."""
    e = experiment.resolved()
    assert instance.unlabelled is not None
    stages = _Stages(e, instance, e.seed if seed is None else seed, record=2)
    watch = None if report is None else lambda step, loss: report("pre-training", step, loss)
    return stages.pretrain(instance.unlabelled, watch)


@dataclass(frozen=True)
class _Stages:
    """The stages of one run; ``simulate`` has the meaning of seed and record."""

    experiment: Resolved
    instance: Instance
    seed: int
    record: int | None

    def pretrain(self, unlabelled: Unlabelled, progress: Callable[[int, float], None] | None) -> Pretrained:
        e, instance = self.experiment, self.instance
        settings = e.pretraining
        descent: Descent | FreshDescent
        if unlabelled.augmented is not None:
            z, z_aug = unlabelled.sums(instance.mu)
            filters, descent = pretrain(
                instance.filters,
                z,
                z_aug,
                learning_rate=settings.learning_rate,
                temperature=settings.temperature,
                max_steps=settings.steps,
                stop_at_linear_end=settings.stop_at_linear_end,
                record=self.record,
                progress=progress,
                threads=e.threads,
            )
        else:
            filters, descent = pretrain_fresh_views(
                instance.filters,
                instance.mu,
                unlabelled.labels,
                unlabelled.noise,
                FreshViews(
                    dim=e.data.dim,
                    sigma_p=e.data.sigma_p,
                    projected=e.data.projected,
                    overlap=settings.overlap,
                    rng=generator(self.seed, "views"),
                ),
                learning_rate=settings.learning_rate,
                temperature=settings.temperature,
                max_steps=settings.steps,
                stop_at_linear_end=settings.stop_at_linear_end,
                progress=progress,
                threads=e.threads,
            )
        moved = filters - pad(instance.filters, filters.shape[1])
        return Pretrained(filters, descent, alignment(moved, instance.mu))

    def train(self, filters: Floats, progress: Callable[[int, float], None] | None) -> Arm:
        e, instance = self.experiment, self.instance
        width = filters.shape[1]
        labelled = instance.labelled
        padded = Labelled(labelled.true_labels, labelled.labels, pad(labelled.noise, width))
        dictionary, initial = training_start(instance, padded, filters)
        if not math.isfinite(initial.sum()):
            nothing = np.full_like(initial, np.nan)
            return Arm(dictionary, initial, nothing, None, TestResult(*[float("nan")] * 4))
        trained, descent = train_dictionary(
            initial, dictionary, record=self.record, progress=progress, **training_settings(e)
        )
        test = evaluate(
            *test_network(instance, trained, width),
            rng=generator(self.seed, "evaluation"),
            **test_settings(e),
        )
        return Arm(dictionary, initial, trained, descent, test)


def training_start(instance: Instance, labelled: Labelled, filters: Floats) -> tuple[PatchDictionary, Floats]:
    """The dictionary and the initial halves (..., 2, m, D) of supervised training from filters (..., 2m, D).

    With a bias, that is the last coordinate of both. Leading axes, of all arrays, are replicates.
    """
    dictionary = signal_noise_dictionary(instance.mu, labelled)
    if instance.bias is not None:
        dictionary = dictionary.with_bias()
        filters = np.concatenate([filters, instance.bias[..., None]], axis=-1)
    return dictionary, split_filters(filters, instance.order)


def test_network(instance: Instance, trained: Floats, width: int) -> tuple[Floats, Floats, Floats | None]:
    """What ``evaluate`` tests: filters (..., 2, m, width), the signal's direction (width,), and the bias."""
    direction = np.zeros(width)
    direction[: len(instance.direction)] = instance.direction
    return trained[..., :width], direction, None if instance.bias is None else trained[..., width]


def training_settings(e: Resolved) -> dict[str, Any]:
    """Arguments of ``train_dictionary`` that an experiment settles."""
    settings = e.finetuning
    return {
        "q": e.network.q,
        "output_scale": e.network.output_scale,
        "learning_rate": settings.learning_rate,
        "max_steps": settings.max_steps,
        "target_loss": settings.target_loss,
    }


def test_settings(e: Resolved) -> dict[str, Any]:
    """Arguments of ``evaluate`` that an experiment settles."""
    return {
        "signal_norm": e.signal_norm,
        "sigma_p": e.data.sigma_p,
        "q": e.network.q,
        "output_scale": e.network.output_scale,
        "projected": e.data.projected,
        "flip_probability": e.data.flip_probability,
        "samples": e.evaluation.samples,
    }
