"""Both arms of the two-stage experiment on a given instance: pre-train, fine-tune, train directly, evaluate.

Both arms share the labelled data, the initial filters and their split, and all settings; the ``simclr`` arm
passes through contrastive pre-training first (derivations/model.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config.experiment import Experiment, Resolved
from ..descent.driver import NON_FINITE, Descent
from ..descent.evaluation import TestResult, evaluate
from ..descent.fresh_views import FreshDescent, FreshViews, pretrain_fresh_views
from ..descent.network import split_filters
from ..descent.pretraining import alignment, pretrain
from ..descent.supervised import train_dictionary
from ..models.dictionary import PatchDictionary
from ..models.signal_noise import Labelled, Unlabelled, signal_noise_dictionary
from ..models.space import pad
from ..models.streams import generator
from .draw import Instance

__all__ = ["Arm", "Pretrained", "Report", "Simulation", "pretrain_only", "simulate"]

Floats = npt.NDArray[np.float64]
Report = Callable[[str, int, float], None]


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
