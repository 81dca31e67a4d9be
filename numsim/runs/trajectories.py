"""Recorded states as labelled arrays: gamma and rho, derivations/model.md (10), and inner products."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ..descent.fresh_views import FreshDescent
from ..descent.pretraining import alignment
from ..models.decomposition import pretraining_coefficients, supervised_coefficients
from .draw import Instance
from .mixture_trajectories import mixture_arm, mixture_stage, names_of
from .own_trajectories import own_arm, own_stage
from .simulate import Arm, Pretrained

__all__ = ["arm_trajectory", "pretraining_trajectory"]


def arm_trajectory(instance: Instance, arm: Arm) -> xr.Dataset:
    """What ``ArmResult.trajectory`` holds."""
    if instance.own is not None:
        found = own_arm(instance, arm)
    elif instance.mixtures is not None:
        found = mixture_arm(instance, arm)
    else:
        found = _signal_noise_arm(instance, arm)
    if not arm.along:
        return found
    steps = np.array([step for step, _ in arm.along], dtype=np.int32)
    series = {
        f"test_{number}": ("evaluation_step", np.array([getattr(test, number) for _, test in arm.along]))
        for number in ("loss", "error")
    }
    return found.assign(series).assign_coords(evaluation_step=steps)


def _signal_noise_arm(instance: Instance, arm: Arm) -> xr.Dataset:
    _, m, width = arm.initial.shape
    dictionary = arm.dictionary
    signal, noise = dictionary.part("signal"), dictionary.part("noise")
    entries = len(dictionary.vectors)
    steps, losses, states = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 2 * m, entries))
    if arm.descent is not None:
        steps, losses = arm.descent.recorded_steps, arm.descent.recorded_losses
        states = arm.descent.recorded_coefficients
    gamma, rho = supervised_coefficients(states, dictionary, instance.mu, instance.labelled.noise)
    start = arm.initial.reshape(2 * m, width) @ dictionary.vectors.T
    variables: dict[str, tuple[Any, Any]] = {}
    if arm.plan.finetuning.weight_decay and arm.descent is not None:
        initial = arm.descent.recorded_initial
        variables["initial"] = ("step", initial)
        start = initial[:, None, None] * start
    inner = (start + states @ dictionary.gram()).reshape(-1, 2, m, entries)
    return xr.Dataset(
        variables
        | {
            "gamma": (("step", "sign", "filter"), gamma),
            "rho": (("step", "sign", "filter", "sample"), rho),
            "signal_inner": (("step", "sign", "filter"), inner[..., signal.start]),
            "noise_inner": (("step", "sign", "filter", "sample"), inner[..., noise]),
            "loss": ("step", losses),
        },
        coords={
            "step": steps.astype(np.int32),
            "sign": np.array([1, -1], dtype=np.int32),
            "filter": np.arange(m, dtype=np.int32),
            "sample": np.arange(len(dictionary.labels), dtype=np.int32),
            "label": ("sample", dictionary.labels.astype(np.int32)),
            "true_label": ("sample", instance.labelled.true_labels.astype(np.int32)),
            "pretraining_index": (("sign", "filter"), instance.order.reshape(2, m).astype(np.int32)),
        },
    )


def pretraining_trajectory(instance: Instance, stage: Pretrained) -> xr.Dataset:
    """What ``PretrainingResult.trajectory`` holds."""
    if instance.own is not None:
        return own_stage(instance, stage)
    if stage.mixture is not None and not isinstance(stage.descent, FreshDescent):
        return mixture_stage(instance, stage)
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    descent = stage.descent
    per_sample: tuple[str, ...] = ("step", "filter", "unlabelled")
    per_signal: tuple[str, ...] = ("step", "filter")
    names: dict[str, Any] = {}
    variables: dict[str, tuple[Any, Any]] = {}
    if isinstance(descent, FreshDescent):
        gamma, rho = descent.recorded_gamma, descent.recorded_rho
        aligned, signal = descent.recorded_alignment, descent.recorded_signal
        if stage.mixture is not None:
            names = names_of(stage.mixture)
            per_signal = (*per_signal, *(["signal"] if "signal" in names else []))
            per_sample = (*per_sample, *(["noise"] if "noise" in names else []))
        if stage.settings is not None and stage.settings.weight_decay:
            variables["initial"] = ("step", descent.recorded_initial)
    else:
        assert unlabelled.augmented is not None
        states = descent.recorded_coefficients
        dictionary = unlabelled.dictionary(instance.mu)
        gamma, rho, rho_aug = pretraining_coefficients(
            states, dictionary, instance.mu, unlabelled.noise, unlabelled.augmented
        )
        variables["rho_aug"] = (per_sample, rho_aug)
        both = dictionary.vectors
        initial = descent.recorded_initial
        moved = [state @ both for state in states]
        signal = instance.filters @ instance.mu + states @ (both @ instance.mu)
        if stage.settings is not None and stage.settings.weight_decay:
            moved = [part + (c - 1.0) * instance.filters for part, c in zip(moved, initial, strict=True)]
            signal += (initial - 1.0)[:, None] * (instance.filters @ instance.mu)
            variables["initial"] = ("step", initial)
        aligned = np.array([alignment(part, instance.mu) for part in moved])
    variables |= {
        "gamma": (per_signal, gamma),
        "rho": (per_sample, rho),
        "signal_inner": (per_signal, signal),
        "loss": ("step", descent.recorded_losses),
        "alignment": ("step", aligned),
    }
    return xr.Dataset(
        variables,
        coords={
            "step": descent.recorded_steps.astype(np.int32),
            "filter": np.arange(len(instance.filters), dtype=np.int32),
            "unlabelled": np.arange(len(unlabelled.labels), dtype=np.int32),
            "latent_label": ("unlabelled", unlabelled.labels.astype(np.int32)),
            **names,
        },
    )
