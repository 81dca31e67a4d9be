"""Recorded states as labelled arrays: gamma and rho, derivations/model.md (10), and inner products."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ..descent.fresh_views import FreshDescent
from ..descent.pretraining import alignment
from ..models.decomposition import pretraining_coefficients, supervised_coefficients
from .draw import Instance
from .simulate import Arm, Pretrained

__all__ = ["arm_trajectory", "pretraining_trajectory"]


def arm_trajectory(instance: Instance, arm: Arm) -> xr.Dataset:
    """What ``ArmResult.trajectory`` holds."""
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
    inner = (start + states @ dictionary.gram()).reshape(-1, 2, m, entries)
    return xr.Dataset(
        {
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
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    descent = stage.descent
    per_sample = ("step", "filter", "unlabelled")
    variables: dict[str, tuple[Any, Any]] = {}
    if isinstance(descent, FreshDescent):
        gamma, rho = descent.recorded_gamma, descent.recorded_rho
        aligned, signal = descent.recorded_alignment, descent.recorded_signal
    else:
        assert unlabelled.augmented is not None
        states = descent.recorded_coefficients
        dictionary = unlabelled.dictionary(instance.mu)
        gamma, rho, rho_aug = pretraining_coefficients(
            states, dictionary, instance.mu, unlabelled.noise, unlabelled.augmented
        )
        variables["rho_aug"] = (per_sample, rho_aug)
        both = dictionary.vectors
        aligned = np.array([alignment(state @ both, instance.mu) for state in states])
        signal = instance.filters @ instance.mu + states @ (both @ instance.mu)
    variables |= {
        "gamma": (("step", "filter"), gamma),
        "rho": (per_sample, rho),
        "signal_inner": (("step", "filter"), signal),
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
        },
    )
