"""Recorded states of a run on a mixture: gamma per signal, rho per noise, and inner products.

derivations/model.md (14). Dims ``signal`` and ``noise`` are there where there is more than one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ..descent.driver import Descent
from ..descent.pretraining import alignment
from ..models.dictionary import PatchDictionary
from ..models.mixture import Mixture
from .draw import Instance
from .simulate import Arm, Pretrained, unlabelled_patches

__all__ = ["mixture_arm", "mixture_stage", "names_of"]

Floats = npt.NDArray[np.float64]
Variables = dict[str, tuple[Any, Any]]


def _coefficients(
    states: Floats, dictionary: PatchDictionary, norms: Floats, noise: Floats, owners: int
) -> tuple[Floats, Floats]:
    """gamma (..., S) and rho (..., owners, N) of states (..., K); noise (N owners, D)."""
    assert dictionary.on_signals is not None
    assert dictionary.on_noises is not None
    assert dictionary.owners is not None
    gamma = states @ dictionary.on_signals * norms**2
    kinds = dictionary.on_noises.shape[1]
    squares = np.sum(noise**2, axis=1).reshape(kinds, owners)
    owned = np.flatnonzero(dictionary.owners >= 0)
    rho = np.zeros((*states.shape[:-1], owners, kinds))
    for v in range(kinds):
        onto = np.zeros((len(owned), owners))
        onto[np.arange(len(owned)), dictionary.owners[owned]] = dictionary.on_noises[owned, v]
        rho[..., v] = states[..., owned] @ onto * squares[v]
    return gamma, rho


def _dims(*names: str, signals: int = 1, noises: int = 1) -> tuple[str, ...]:
    return (*names, *(["signal"] if signals > 1 else []), *(["noise"] if noises > 1 else []))


def _squeezed(values: Floats) -> Floats:
    """Without the last axis where it has one entry."""
    return values[..., 0] if values.shape[-1] == 1 else values


def names_of(mixture: Mixture) -> dict[str, Any]:
    """The coordinates of the dims signal and noise, where there is more than one."""
    found: dict[str, Any] = {}
    if len(mixture.signals) > 1:
        found["signal"] = list(mixture.signals)
    if len(mixture.noises) > 1:
        found["noise"] = list(mixture.noises)
    return found


def mixture_arm(instance: Instance, arm: Arm) -> xr.Dataset:
    """What ``ArmResult.trajectory`` holds for a mixture."""
    assert instance.mixtures is not None
    assert instance.signals is not None
    mixture, labelled = instance.mixtures.labelled, instance.labelled
    _, m, width = arm.initial.shape
    dictionary = arm.dictionary
    n, kinds = len(dictionary.labels), len(mixture.noises)
    vectors = dictionary.vectors
    steps, losses, states = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 2 * m, len(vectors)))
    initial = np.ones(0)
    if arm.descent is not None:
        steps, losses = arm.descent.recorded_steps, arm.descent.recorded_losses
        states, initial = arm.descent.recorded_coefficients, arm.descent.recorded_initial
    gamma, rho = _coefficients(states, dictionary, mixture.norms, labelled.noise, n)
    sign = np.array([1.0, -1.0])[:, None, None]
    split = (len(steps), 2, m)
    start = arm.initial.reshape(2 * m, width)

    def inner(rows: Floats) -> Floats:
        seen = np.ones((len(rows), width))  # with a bias, whose coordinate is the last
        seen[:, : rows.shape[1]] = rows
        seen[:, rows.shape[1] : width - (instance.bias is not None)] = 0.0
        found: Floats = initial[:, None, None] * (start @ seen.T) + states @ (vectors @ seen.T)
        return found

    noises = inner(labelled.noise).reshape(*split, kinds, n).swapaxes(-1, -2)
    per_sample = _dims("step", "sign", "filter", "sample", noises=kinds)
    per_signal = _dims("step", "sign", "filter", signals=len(mixture.signals))
    variables: Variables = {
        "gamma": (per_signal, _squeezed(gamma.reshape(*split, len(mixture.signals)) * sign)),
        "rho": (per_sample, _squeezed(rho.reshape(*split, n, kinds))),
        "signal_inner": (
            per_signal,
            _squeezed(inner(instance.signals).reshape(*split, len(mixture.signals))),
        ),
        "noise_inner": (per_sample, _squeezed(noises)),
        "loss": ("step", losses),
    }
    if arm.plan.finetuning.weight_decay:
        variables["initial"] = ("step", initial)
    assert labelled.clusters is not None
    coords: dict[str, Any] = {
        "step": steps.astype(np.int32),
        "sign": np.array([1, -1], dtype=np.int32),
        "filter": np.arange(m, dtype=np.int32),
        "sample": np.arange(n, dtype=np.int32),
        "label": ("sample", dictionary.labels.astype(np.int32)),
        "true_label": ("sample", labelled.true_labels.astype(np.int32)),
        "sample_cluster": ("sample", labelled.clusters.astype(np.int32)),
        "pretraining_index": (("sign", "filter"), instance.order.reshape(2, m).astype(np.int32)),
        **names_of(mixture),
    }
    return xr.Dataset(variables, coords=coords)


def mixture_stage(instance: Instance, stage: Pretrained) -> xr.Dataset:
    """What ``PretrainingResult.trajectory`` holds for a mixture, or for the network encoder."""
    descent, unlabelled, settings = stage.descent, instance.unlabelled, stage.settings
    assert isinstance(descent, Descent)
    assert unlabelled is not None
    assert unlabelled.augmented is not None
    assert settings is not None
    assert stage.mixture is not None
    mixture = stage.mixture
    signals = instance.mu[None] if instance.signals is None else instance.signals
    n, kinds = len(unlabelled.labels), len(mixture.noises)
    patches = unlabelled_patches(mixture, instance)
    states = descent.recorded_coefficients
    if settings.encoder == "network":
        vectors, on_patches = patches.vectors, states
    else:
        z, z_aug = instance.sums()
        vectors = np.concatenate([z, z_aug])
        onto = np.zeros((2 * n, len(patches.vectors)))  # a sum has each of its patches
        for p in range(patches.patches.shape[1]):
            np.add.at(onto, (np.arange(2 * n), patches.patches[:, p]), 1.0)
        on_patches = states @ onto
    both = np.concatenate(
        [part.reshape(kinds, n, -1) for part in (unlabelled.noise, unlabelled.augmented)], axis=1
    )
    gamma, rho = _coefficients(on_patches, patches, mixture.norms, both.reshape(kinds * 2 * n, -1), 2 * n)
    initial = descent.recorded_initial
    along = initial[:, None, None] * (instance.filters @ signals.T) + states @ (vectors @ signals.T)
    moved = [state @ vectors + (c - 1.0) * instance.filters for state, c in zip(states, initial, strict=True)]
    per_sample = _dims("step", "filter", "unlabelled", noises=kinds)
    per_signal = _dims("step", "filter", signals=len(mixture.signals))
    variables: Variables = {
        "gamma": (per_signal, _squeezed(gamma)),
        "rho": (per_sample, _squeezed(rho[..., :n, :])),
        "rho_aug": (per_sample, _squeezed(rho[..., n:, :])),
        "signal_inner": (per_signal, _squeezed(along)),
        "loss": ("step", descent.recorded_losses),
        "alignment": ("step", np.array([alignment(part, instance.mu) for part in moved])),
    }
    if settings.weight_decay:
        variables["initial"] = ("step", initial)
    coords = {
        "step": descent.recorded_steps.astype(np.int32),
        "filter": np.arange(len(instance.filters), dtype=np.int32),
        "unlabelled": np.arange(n, dtype=np.int32),
        "latent_label": ("unlabelled", unlabelled.labels.astype(np.int32)),
        **names_of(mixture),
    }
    return xr.Dataset(variables, coords=coords)
