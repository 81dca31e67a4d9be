"""Noise patches in units of sigma_p, as every part of numsim that draws them does: what C1 measures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from numsim.claims import Trials
from numsim.config import Experiment
from numsim.descent import reference
from numsim.models.space import Space, pad
from numsim.runs.draw import draw

__all__ = ["noise_in_coordinates", "noise_in_space", "noise_of_instances"]

Floats = npt.NDArray[np.float64]

_SIGMA_P = 0.7
_FILTERS = 4
_PATCHES = 20


class _HeavyTailed:
    """A generator whose standard normals are Student's t, rescaled to variance 1."""

    def __init__(self, rng: np.random.Generator, freedom: float) -> None:
        self._rng, self._freedom = rng, freedom

    def standard_normal(self, size: Any) -> Floats:
        deviation = math.sqrt(self._freedom / (self._freedom - 2))
        return np.asarray(self._rng.standard_t(self._freedom, size) / deviation)


def noise_in_space(
    trials: Trials, repeats: int, dim: int, counts: tuple[int, ...], louder: float, projected: bool = True
) -> Floats:
    """Noise drawn after filters, in as many spaces: (repeats, sum of counts, D) in units of sigma_p."""
    found = []
    for _ in range(repeats):
        space = Space(dim)
        space.draw(min(_FILTERS, dim), 1.0, trials.rng)
        parts = [space.draw(count, louder * _SIGMA_P, trials.rng, projected=projected) for count in counts]
        found.append(np.concatenate([pad(part, space.revealed) for part in parts]))
    return np.array(found) / _SIGMA_P


def noise_of_instances(trials: Trials, louder: float) -> tuple[Floats, int, float]:
    """Unlabelled noise, views and labelled noise of ``draw``, (repeats, 24, D) in units of sigma_p.

    Also d, and the largest |<xi, mu>| / |mu|, which the projection makes 0.
    """
    e = Experiment(
        data={"dim": 24, "sigma_p": louder * _SIGMA_P},
        network={"filters": 6},
        pretraining={"samples": 8},
        finetuning={"samples": 8},
    ).resolved()
    repeats = trials.pick(40, 500)
    found, along = [], 0.0
    for seed in trials.seeds(repeats, repeats):
        instance = draw(e, seed)
        unlabelled = instance.unlabelled
        assert unlabelled is not None
        assert unlabelled.augmented is not None
        found.append(np.concatenate([unlabelled.noise, unlabelled.augmented, instance.labelled.noise]))
        along = max(along, float(np.max(np.abs(found[-1] @ instance.direction))))
    return np.array(found) / _SIGMA_P, e.data.dim, along


def noise_in_coordinates(trials: Trials, tails: float, louder: float) -> tuple[Floats, int]:
    """Noise in R^30 projected off a random direction, coordinate by coordinate."""
    dim, repeats = 30, trials.pick(250, 2000)
    rng: Any = trials.rng if math.isinf(tails) else _HeavyTailed(trials.rng, tails)
    directions = trials.rng.standard_normal((repeats, dim))
    drawn = [
        reference.draw_noise(rng, _PATCHES, direction, louder * _SIGMA_P, True) for direction in directions
    ]
    return np.array(drawn) / _SIGMA_P, dim
