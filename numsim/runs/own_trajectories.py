"""Recorded states of a run on own arrays: rho per patch, and inner products; there is no gamma.

    w = c w^0 + sum_ip rho_ip x_i^(p) / |x_i^(p)|^2                                                   (1)

Equal patches share their coefficient in equal parts, so that (1) holds. A dim ``patch`` is there where a
sample has more than one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ..descent.driver import Descent
from ..models.dictionary import PatchDictionary
from .draw import Instance
from .simulate import Arm, Pretrained, sums_or_patches

__all__ = ["own_arm", "own_stage"]

Floats = npt.NDArray[np.float64]


def _per_patch(states: Floats, dictionary: PatchDictionary) -> Floats:
    """rho (..., n, P) of coefficients (..., K)."""
    squares = np.concatenate([np.einsum("kd,kd->k", block, block) for block in dictionary.blocks])
    shared = np.bincount(dictionary.patches.ravel(), minlength=len(squares))
    found: Floats = (states * (squares / np.maximum(shared, 1)))[..., dictionary.patches]
    return found


def own_arm(instance: Instance, arm: Arm) -> xr.Dataset:
    """What ``ArmResult.trajectory`` holds for own arrays."""
    _, m, width = arm.initial.shape
    dictionary = arm.dictionary
    n, per_sample = dictionary.patches.shape
    entries = len(dictionary.vectors)
    steps, losses, states = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 2 * m, entries))
    initial = np.ones(0)
    if arm.descent is not None:
        steps, losses = arm.descent.recorded_steps, arm.descent.recorded_losses
        states, initial = arm.descent.recorded_coefficients, arm.descent.recorded_initial
    start = arm.initial.reshape(2 * m, width) @ dictionary.vectors.T
    moved = states @ dictionary.vectors  # by way of the filters: a Gram matrix may be large
    inner = initial[:, None, None] * start + moved @ dictionary.vectors.T
    dims = ("step", "sign", "filter", "sample", *(["patch"] if per_sample > 1 else []))
    shape = (len(steps), 2, m, n, *([per_sample] if per_sample > 1 else []))
    variables: dict[str, tuple[Any, Any]] = {
        "rho": (dims, _per_patch(states, _without_bias(instance, dictionary)).reshape(shape)),
        "patch_inner": (dims, inner[..., dictionary.patches].reshape(shape)),
        "loss": ("step", losses),
    }
    if arm.plan.finetuning.weight_decay:
        variables["initial"] = ("step", initial)
    return xr.Dataset(
        variables,
        coords={
            "step": steps.astype(np.int32),
            "sign": np.array([1, -1], dtype=np.int32),
            "filter": np.arange(m, dtype=np.int32),
            "sample": np.arange(n, dtype=np.int32),
            "label": ("sample", dictionary.labels.astype(np.int32)),
            "pretraining_index": (("sign", "filter"), instance.order.reshape(2, m).astype(np.int32)),
        },
    )


def _without_bias(instance: Instance, dictionary: PatchDictionary) -> PatchDictionary:
    if instance.bias is None:
        return dictionary
    return PatchDictionary(dictionary.vectors[:, :-1], dictionary.patches, dictionary.labels)


def own_stage(instance: Instance, stage: Pretrained) -> xr.Dataset:
    """What ``PretrainingResult.trajectory`` holds for own arrays: rho of sums z, or of patches."""
    descent, settings = stage.descent, stage.settings
    assert isinstance(descent, Descent)
    assert settings is not None
    dictionary = sums_or_patches(instance, network=settings.encoder == "network")
    n, both = dictionary.patches.shape
    rho = _per_patch(descent.recorded_coefficients, dictionary)
    dims = ("step", "filter", "unlabelled", *(["patch"] if both > 2 else []))
    first, second = (part[..., 0] if both == 2 else part for part in np.split(rho, 2, axis=-1))
    variables: dict[str, tuple[Any, Any]] = {
        "rho": (dims, first),
        "rho_aug": (dims, second),
        "loss": ("step", descent.recorded_losses),
    }
    if settings.weight_decay:
        variables["initial"] = ("step", descent.recorded_initial)
    return xr.Dataset(
        variables,
        coords={
            "step": descent.recorded_steps.astype(np.int32),
            "filter": np.arange(len(instance.filters), dtype=np.int32),
            "unlabelled": np.arange(n, dtype=np.int32),
        },
    )
