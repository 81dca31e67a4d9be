"""The arms of the two-stage experiment on a given instance: pre-train, fine-tune or train directly, evaluate.

All arms share the labelled data, the initial filters and their split, and what is random in the steps; of
the default two, ``simclr`` passes through contrastive pre-training first, ``direct`` does not
(derivations/model.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config.arms import Plan
from ..config.experiment import Experiment, Resolved
from ..config.parts import RULES, ResolvedFinetuning, ResolvedPretraining
from ..descent.contrastive import LINEAR_END
from ..descent.driver import NON_FINITE, Descent
from ..descent.evaluation import (
    TableTest,
    TestResult,
    evaluate,
    evaluate_arrays,
    evaluate_table,
    own_test_loss,
)
from ..descent.fresh_views import FreshDescent, FreshViews, pretrain_fresh_table, pretrain_fresh_views
from ..descent.losses import LOSSES, Settings, loss_named
from ..descent.network import split_filters
from ..descent.pretraining import (
    Contrast,
    activation_of,
    alignment,
    pretrain,
    pretrain_dictionary,
    sums_dictionary,
    view_dictionary,
)
from ..descent.supervised import train_dictionary
from ..models.dictionary import PatchDictionary, dense_dictionary
from ..models.mixture import FreshTable, Mixture, label_dictionary, view_patches
from ..models.signal_noise import Labelled, Unlabelled, signal_noise_dictionary
from ..models.space import pad
from ..models.streams import generator
from .draw import Instance

__all__ = ["Arm", "Pretrained", "Report", "Simulation", "pretrain_only", "simulate"]

Floats = npt.NDArray[np.float64]
Report = Callable[[str, int, float], None]


_OWN = 1000
"""Test samples of a user's own loss, which is asked one sample at a time."""


@dataclass(frozen=True)
class Pretrained:
    """The contrastive stage: last filters (2m, at least D), its descent, cos^2(W - W^0, mu), its settings."""

    filters: Floats
    descent: Descent | FreshDescent
    alignment: float
    settings: ResolvedPretraining | None = None
    mixture: Mixture | None = None


@dataclass(frozen=True)
class Arm:
    """One supervised training: filters (2, m, D) before and after (the bias, if any, is the last coordinate).

    descent is None where there was nothing finite to start from. pretrained : what it starts from, None for
    W^0; along : (step, test) every ``evaluation.every`` steps.
    """

    dictionary: PatchDictionary
    initial: Floats
    filters: Floats
    descent: Descent | None
    test: TestResult | TableTest
    plan: Plan
    pretrained: Pretrained | None = None
    along: Sequence[tuple[int, TestResult | TableTest]] = ()

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
    arms: Mapping[str, Arm]

    @property
    def simclr(self) -> Arm | None:
        """The arm of this name, if there is one."""
        return self.arms.get("simclr")

    @property
    def direct(self) -> Arm:
        """The arm of this name; None where the arms given have other names."""
        return self.arms.get("direct")  # type: ignore[return-value]


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

    shared = None
    arms = {}
    for plan in e.plans:
        if plan.pretraining is not None and instance.unlabelled is None:
            continue  # an instance that somebody made, for direct training
        own = shared
        if plan.pretraining is not None and (shared is None or plan.own_pretraining):
            assert instance.unlabelled is not None
            watcher = watch(f"pre-training, {plan.name}" if plan.own_pretraining else "pre-training")
            own = stages.pretrain(instance.unlabelled, plan.pretraining, watcher)
            shared = shared if plan.own_pretraining else own
        start = None if plan.pretraining is None else own
        arms[plan.name] = stages.train(plan, start, watch(_STAGES.get(plan.name, plan.name)))
    return Simulation(e, instance, shared, arms)


_STAGES = {"simclr": "fine-tuning", "direct": "direct training"}


def pretrain_only(
    experiment: Experiment, instance: Instance, seed: int | None = None, *, report: Report | None = None
) -> Pretrained:
    """The contrastive stage of ``simulate`` alone, for an instance that has unlabelled samples."""
    e = experiment.resolved()
    assert instance.unlabelled is not None
    stages = _Stages(e, instance, e.seed if seed is None else seed, record=2)
    watch = None if report is None else lambda step, loss: report("pre-training", step, loss)
    return stages.pretrain(instance.unlabelled, e.pretraining, watch)


@dataclass(frozen=True)
class _Stages:
    """The stages of one run; ``simulate`` has the meaning of seed and record."""

    experiment: Resolved
    instance: Instance
    seed: int
    record: int | None

    def pretrain(
        self,
        unlabelled: Unlabelled,
        settings: ResolvedPretraining,
        progress: Callable[[int, float], None] | None,
    ) -> Pretrained:
        e, instance = self.experiment, self.instance
        descent: Descent | FreshDescent
        network = e.network
        contrast = Contrast(
            settings.loss,
            settings.temperature,
            settings.normalised,
            settings.encoder == "network",
            settings.stop_at_linear_end,
        )
        sigma = None
        if contrast.network:
            sigma = activation_of(settings.q, network.activation, network.slope, network.width)
        batch_rng = generator(self.seed, "pretraining batches") if settings.batch else None
        plain = contrast.plain and settings.rule.plain and instance.mixtures is None
        if unlabelled.augmented is None and not plain:
            filters, descent = pretrain_fresh_table(
                instance.filters,
                self.fresh_table(unlabelled, settings),
                contrast,
                settings.rule,
                sigma,
                learning_rate=settings.learning_rate,
                batch_rng=batch_rng,
                max_steps=settings.steps,
                threshold=LINEAR_END if settings.stop_at_linear_end else 0.0,
                progress=progress,
                threads=e.threads,
            )
        elif contrast.network:
            filters, descent = pretrain_dictionary(
                instance.filters,
                view_pairs(e, instance),
                contrast,
                settings.rule,
                sigma,
                settings.learning_rate,
                batch_rng,
                max_steps=settings.steps,
                record=self.record,
                progress=progress,
                threads=e.threads,
            )
        elif unlabelled.augmented is not None:
            z, z_aug = instance.sums()
            filters, descent = pretrain(
                instance.filters,
                z,
                z_aug,
                learning_rate=settings.learning_rate,
                temperature=None if settings.loss == "spectral" else settings.temperature,
                max_steps=settings.steps,
                stop_at_linear_end=settings.stop_at_linear_end,
                loss=settings.loss,
                normalised=settings.normalised,
                rng=batch_rng,
                record=self.record,
                progress=progress,
                threads=e.threads,
                **{name: getattr(settings, name) for name in RULES},
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
        table = instance.mixtures is not None or settings.encoder == "network"
        general = table and instance.own is None
        mixture = (instance.mixtures or e.mixtures).data if general else None
        return Pretrained(filters, descent, alignment(moved, instance.mu), settings, mixture)

    def fresh_table(self, unlabelled: Unlabelled, settings: ResolvedPretraining) -> FreshTable:
        """What views are drawn from at every step."""
        instance = self.instance
        mixture = (instance.mixtures or self.experiment.mixtures).data
        clusters = unlabelled.clusters
        return FreshTable(
            mixture,
            _signals(instance, instance.filters.shape[1])[:, : mixture.rank],
            (unlabelled.labels < 0).astype(np.int64) if clusters is None else clusters,
            unlabelled.noise,
            settings.overlap,
            settings.signal_kept,
            generator(self.seed, "views"),
            generator(self.seed, "kept signals"),
        )

    def train(
        self, plan: Plan, pretrained: Pretrained | None, progress: Callable[[int, float], None] | None
    ) -> Arm:
        e, instance = self.experiment, self.instance
        filters = instance.filters if pretrained is None else pretrained.filters
        width = filters.shape[1]
        labelled = instance.labelled
        padded = labelled if instance.own is not None else replace(labelled, noise=pad(labelled.noise, width))
        dictionary, initial = training_start(instance, padded, filters)
        if not math.isfinite(initial.sum()):
            nothing = np.full_like(initial, np.nan)
            blank = TestResult(*[float("nan")] * 4)
            return Arm(dictionary, initial, nothing, None, blank, plan, pretrained)

        def test(trained: Floats) -> TestResult | TableTest:
            rng = generator(self.seed, "evaluation")
            if instance.own is not None:
                return evaluate_arrays(
                    trained,
                    instance.own.x_test,
                    instance.own.y_test,
                    loss_named(plan.finetuning.loss),
                    network_settings(e),
                    bias=instance.bias is not None,
                )
            W, direction, bias = test_network(instance, trained, width)
            general = e.network.activation != "relu" or plan.finetuning.loss != "logistic"
            if instance.mixtures is None and not general:
                return evaluate(W, direction, bias, rng=rng, **test_settings(e))
            signals, mixture = _signals(instance, width), (instance.mixtures or e.mixtures).test
            found = evaluate_table(
                W,
                signals,
                bias,
                mixture,
                q=e.network.q,
                output_scale=e.network.output_scale,
                activation=e.network.activation,
                slope=e.network.slope,
                width=e.network.width,
                loss=plan.finetuning.loss,
                samples=e.evaluation.samples,
                rng=rng,
            )
            if plan.finetuning.loss in LOSSES:
                return found
            own = (loss_named(plan.finetuning.loss), network_settings(e))
            loss, loss_se, by_cluster = own_test_loss(
                W, signals, bias, mixture, *own, samples=min(_OWN, e.evaluation.samples), rng=rng
            )
            return found._replace(loss=loss, loss_se=loss_se, loss_by_cluster=by_cluster)

        along: list[tuple[int, TestResult | TableTest]] = []

        def observe(step: int, trained: Floats) -> None:
            if step == 0:  # a descent that began anew
                along.clear()
            along.append((step, test(trained)))

        trained, descent = train_dictionary(
            initial,
            dictionary,
            record=self.record,
            progress=progress,
            rule=plan.finetuning.rule,
            batch_rng=generator(self.seed, "batches") if plan.finetuning.batch else None,
            flip_rng=generator(self.seed, "label noise") if plan.finetuning.label_noise else None,
            observe=(e.evaluation.every, observe) if e.evaluation.every else None,
            **training_settings(e, plan.finetuning),
        )
        return Arm(dictionary, initial, trained, descent, test(trained), plan, pretrained, along)


def view_pairs(e: Resolved, instance: Instance) -> PatchDictionary:
    """The distinct patches of the unlabelled samples: of each its own P and then its view's."""
    if instance.own is not None:
        return sums_or_patches(instance, network=True)
    patches = unlabelled_patches((instance.mixtures or e.mixtures).data, instance)
    n = e.pretraining.samples
    pairs = np.concatenate([patches.patches[:n], patches.patches[n:]], axis=1)
    return replace(patches, patches=pairs, labels=np.ones(n))


def sums_or_patches(instance: Instance, *, network: bool) -> PatchDictionary:
    """What the contrastive stage sees of own arrays: patches (network), or their sums, sample and view."""
    if not network:
        return sums_dictionary(*instance.sums())
    assert instance.own is not None
    assert instance.own.unlabelled is not None
    assert instance.own.views is not None
    return view_dictionary(instance.own.unlabelled, instance.own.views)


def unlabelled_patches(mixture: Mixture, instance: Instance) -> PatchDictionary:
    """The patches of the unlabelled samples and of their views, 2 n0 "samples", views last."""
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    assert unlabelled.augmented is not None
    signals = _signals(instance, unlabelled.augmented.shape[1])
    if unlabelled.clusters is None:
        clusters = (unlabelled.labels < 0).astype(np.int64)
        unlabelled = replace(unlabelled, clusters=clusters, kept=np.ones(len(clusters)))
    return view_patches(mixture, signals, unlabelled)


def _signals(instance: Instance, width: int) -> Floats:
    """mu_s (S, width)."""
    return pad(instance.mu[None] if instance.signals is None else instance.signals, width)


def network_settings(e: Resolved) -> Settings:
    """What a loss sees of the network."""
    n = e.network
    return Settings(n.q, n.filters, n.output_scale, n.activation, n.slope, n.width)


def training_start(instance: Instance, labelled: Labelled, filters: Floats) -> tuple[PatchDictionary, Floats]:
    """The dictionary and the initial halves (..., 2, m, D) of supervised training from filters (..., 2m, D).

    With a bias, that is the last coordinate of both. Leading axes, of all arrays, are replicates.
    """
    if instance.own is not None:
        dictionary = dense_dictionary(instance.own.x, instance.own.y)
    elif instance.mixtures is None:
        dictionary = signal_noise_dictionary(instance.mu, labelled)
    else:
        signals = _signals(instance, labelled.noise.shape[-1])
        dictionary = label_dictionary(instance.mixtures.labelled, signals, labelled)
    if instance.bias is not None:
        dictionary = dictionary.with_bias()
        filters = np.concatenate([filters, instance.bias[..., None]], axis=-1)
    return dictionary, split_filters(filters, instance.order)


def test_network(instance: Instance, trained: Floats, width: int) -> tuple[Floats, Floats, Floats | None]:
    """What ``evaluate`` tests: filters (..., 2, m, width), the signal's direction (width,), and the bias."""
    direction = np.zeros(width)
    direction[: len(instance.direction)] = instance.direction
    return trained[..., :width], direction, None if instance.bias is None else trained[..., width]


def training_settings(e: Resolved, settings: ResolvedFinetuning) -> dict[str, Any]:
    """Arguments of ``train_dictionary`` that an experiment and an arm settle, but for the rule."""
    network = e.network
    other = {name: getattr(network, name) for name in ("activation", "slope", "width")}
    return {
        **(other if network.activation != "relu" else {}),
        **({"loss": settings.loss} if settings.loss != "logistic" else {}),
        "q": network.q,
        "output_scale": network.output_scale,
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
