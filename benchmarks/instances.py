"""What several works share: drawn instances, and when two descents are equal."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from .alternatives import Run

Floats = npt.NDArray[np.float64]

Own = Callable[[Floats, int], Floats]

LIBRARIES = {"JAX": "jax", "PyTorch": "torch", "NumPy": ""}
"""Alternatives by the name in the table, and the module that each needs."""

SLOW = 1e-3
"""Of the default step size: hundreds of steps all lie in the linear stage, where experiments spend theirs."""

FLOOR = 1e-10
"""Two orders of the same sums, after hundreds of steps: E4."""
RESPONSE = 100.0
"""... or so many times the change that one round-off of the initial filters makes (E4 again): descents that
amplify round-off, as the supervised race does, are not more equal than that with any code."""


def alternative(library: str, stage: str) -> Callable[..., Run]:
    """``prepare_pretraining``, ``prepare_pretraining_as_written`` or ``prepare_training`` of a library."""
    module = import_module(f".alternatives.{library.lower().removeprefix('py')}_descent", __package__)
    found: Callable[..., Run] = getattr(module, f"prepare_{stage}")
    return found


def own_pretraining(
    z: Floats, z_aug: Floats, learning_rate: float, cores: int, seed: int | None = None, **settings: Any
) -> Own:
    """numsim's pre-training as (W (M, D), steps) -> last filters, never stopped early.

    seed : of batches, the same at every call; settings : of ``numsim.pretrain``, further ones.
    """
    import numsim

    def run(W: Floats, steps: int) -> Floats:
        return numsim.pretrain(
            W,
            z,
            z_aug,
            learning_rate=learning_rate,
            max_steps=steps,
            stop_at_linear_end=False,
            record=2,
            threads=cores,
            rng=None if seed is None else np.random.default_rng(seed),
            **settings,
        )[0]

    return run


def own_training(
    x: Floats, y: Floats, q: float, learning_rate: float, cores: int, seed: int | None = None, **settings: Any
) -> Own:
    """numsim's supervised training as (W (2, m, D), steps) -> last filters, never stopped early.

    seed : of batches and label noise, the same at every call; settings : of ``numsim.train``, further ones.
    """
    import numsim

    def run(W: Floats, steps: int) -> Floats:
        return numsim.train(
            W,
            x,
            y,
            q=q,
            learning_rate=learning_rate,
            max_steps=steps,
            target_loss=0.0,
            record=2,
            threads=cores,
            rng=None if seed is None else np.random.default_rng(seed),
            **settings,
        )[0]

    return run


def distance(found: Floats, expected: Floats, start: Floats) -> float:
    """Largest difference of two filters, relative to the largest change since the start."""
    scale = float(np.max(np.abs(expected - start)))
    return float(np.max(np.abs(found - expected))) / scale if scale else float("inf")


def tolerance(run: Own, steps: int, start: Floats, expected: Floats) -> float:
    """The largest distance at which two descents from ``start`` count as equal; run : numsim's."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=start.shape)
    disturbed = run(start * (1.0 + np.finfo(np.float64).eps * signs), steps)
    return max(FLOOR, RESPONSE * distance(disturbed, expected, start))


def patches(instance: Any) -> Floats:
    """The labelled samples' patches [y mu, xi] of a drawn instance, (n, 2, D)."""
    signal = instance.labelled.true_labels[:, None] * instance.mu
    return np.stack([signal, instance.labelled.noise], axis=1)


def experiment(*, samples: int, filters: int, labelled: int = 20, dim: float = 1e8, **more: Any) -> Any:
    """The headline experiment with other sizes; resolved, so that step sizes are there."""
    import numsim

    settings = {
        "data.dim": dim,
        "pretraining.samples": samples,
        "network.filters": filters,
        "finetuning.samples": labelled,
        **more,
    }
    return numsim.Experiment().replace(settings).resolved()
