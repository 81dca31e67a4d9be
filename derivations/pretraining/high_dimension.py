"""What the checks of pre-training (P1, P3, P5) share: instances at d = 1e15, and what to measure on filters.

At that dimension noise vectors are orthogonal and of equal length up to 1/sqrt(d) = 3e-8, so that laws for
d -> infinity at fixed n0 can be held against single runs, to five digits or more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from numsim.config import Experiment, Resolved
from numsim.runs.draw import Instance, draw

__all__ = ["DIM", "EXACT", "instance_of", "rate_of", "signal_ratio", "unit_of", "views_of"]

Floats = npt.NDArray[np.float64]

DIM = 10**15
EXACT = 1e-5
"""Relative error of a law for d -> infinity: sqrt(2 n0 / d) = 2e-7 in the Gram matrix of n0 = 20 samples, and
its growth with the steps of a descent."""


def instance_of(
    seed: int, kappa: float, *, samples: int = 20, overlap: float = 0.0, **parts: Any
) -> tuple[Resolved, Instance]:
    """n0 balanced samples at d = 1e15 with n0 SNR^2 = kappa, and 8 filters of relative scale 1e-6.

    parts : settings of the experiment's parts that differ.
    """
    settings: dict[str, dict[str, Any]] = {
        "data": {"dim": DIM, "snr": math.sqrt(kappa / samples), "balanced": True},
        "network": {"filters": 4, "relative_init_scale": 1e-6},
        "pretraining": {"samples": samples, "overlap": overlap, "steps": 10**6},
        "finetuning": {"samples": 2, "max_steps": 0},
        "evaluation": {"samples": 2},
    }
    for part, values in parts.items():
        settings[part] |= values
    e = Experiment(seed=seed, **settings).resolved()
    return e, draw(e)


def rate_of(e: Resolved) -> float:
    """eta of a resolved experiment."""
    return e.pretraining.learning_rate


def unit_of(e: Resolved) -> float:
    """u = (eta/tau) sigma_p^2 d / n0."""
    return rate_of(e) / e.pretraining.temperature * e.noise_norm**2 / e.pretraining.samples


def views_of(instance: Instance) -> tuple[Floats, Floats]:
    """z and z~ (n0, D)."""
    assert instance.unlabelled is not None
    return instance.unlabelled.sums(instance.mu)


def signal_ratio(filters: Floats, mu: Floats, untouched: float = 0.0) -> float:
    """Root-mean-square <w, mu> / sd<w, xi_new> of filters (M, D) for sigma_p = 1 and projected noise.

    untouched : squared length of the filters outside these D coordinates.
    """
    along = float(np.sum(filters[:, 0] ** 2))
    across = float(np.sum(filters[:, 1:] ** 2)) + untouched
    return float(mu[0]) * math.sqrt(along / across)
