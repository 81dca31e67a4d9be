"""What K1 and K2 run: ReLU networks on signal-noise data with label flips, drawn and trained."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.config import Experiment
from numsim.descent.driver import Descent
from numsim.descent.supervised import train_dictionary
from numsim.models.dictionary import PatchDictionary
from numsim.models.signal_noise import Labelled, draw_labelled, signal_noise_dictionary
from numsim.models.space import Space, pad

__all__ = ["Drawn", "Setting", "active_shares", "draw_relu", "experiment_of", "misread_share", "train_relu"]

Floats = npt.NDArray[np.float64]


class Setting(NamedTuple):
    """One experiment at q = 1. rate : eta s^2 sigma_p^2 d / (n m), the speed of a sample all filters hold."""

    samples: int = 10
    filters: int = 48
    dim: float = 1e15
    sigma_p: float = 1.0
    signal: float = 1e-2
    flips: float = 0.0
    init: float = 1e-2
    rate: float = 0.3
    target: float = 0.01
    scale: float = 1.0
    projected: bool = True
    balanced: bool = True


@lru_cache(maxsize=64)
def experiment_of(setting: Setting) -> Experiment:
    """The experiment with these settings, and n |mu|^4 / (sigma_p^4 d) = signal^2."""
    noise = setting.sigma_p * math.sqrt(setting.dim)
    return Experiment(
        data={
            "dim": setting.dim,
            "sigma_p": setting.sigma_p,
            "signal_norm": setting.sigma_p * (setting.signal**2 * setting.dim / setting.samples) ** 0.25,
            "flip_probability": setting.flips,
            "balanced": setting.balanced,
            "projected": setting.projected,
        },
        network={
            "q": 1.0,
            "filters": setting.filters,
            "relative_init_scale": setting.init,
            "output_scale": setting.scale,
        },
        pretraining={"samples": 0},
        finetuning={
            "samples": setting.samples,
            "learning_rate": setting.rate * setting.samples * setting.filters / (setting.scale * noise) ** 2,
            "target_loss": setting.target,
            "max_steps": math.ceil(20 / (setting.rate * setting.target)),
        },
    ).resolved()


class Drawn(NamedTuple):
    """One instance: mu (D,), filters (2, m, D), labelled samples."""

    mu: Floats
    filters: Floats
    labelled: Labelled

    @property
    def dictionary(self) -> PatchDictionary:
        """The patches of the labelled samples."""
        return signal_noise_dictionary(self.mu, self.labelled)


def draw_relu(setting: Setting, seed: int) -> Drawn:
    """Filters and labelled samples, drawn dimension-free."""
    e, m = experiment_of(setting), setting.filters
    rng = np.random.default_rng(seed)
    space = Space(e.data.dim)
    filters = space.draw(2 * m, e.init_scale, rng)
    labelled = draw_labelled(
        space,
        setting.samples,
        sigma_p=e.data.sigma_p,
        projected=e.data.projected,
        balanced=e.data.balanced,
        flip_probability=e.data.flip_probability,
        subset_of=None,
        label_rng=rng,
        noise_rng=rng,
        flip_rng=rng,
    )
    return Drawn(space.signal(e.signal_norm), pad(filters, space.revealed).reshape(2, m, -1), labelled)


def active_shares(filters: Floats, labelled: Labelled) -> Floats:
    """alpha_i (n,): the share of the filters of sample i's observed sign on which its noise is active."""
    inner = filters @ labelled.noise.T
    side = (labelled.labels < 0).astype(np.int64)
    share: Floats = np.mean(inner > 0, axis=1)[side, np.arange(len(side))]
    return share


def train_relu(
    setting: Setting, drawn: Drawn, *, steps: int | None = None, record: int = 2, q: float = 1.0
) -> tuple[Floats, Descent]:
    """Filters (2, m, D) after training to the target loss, or ``steps`` steps, and the descent."""
    e = experiment_of(setting)
    rate = e.finetuning.learning_rate
    assert rate is not None
    return train_dictionary(
        drawn.filters,
        drawn.dictionary,
        q=q,
        output_scale=setting.scale,
        learning_rate=rate,
        max_steps=e.finetuning.max_steps if steps is None else steps,
        target_loss=setting.target if steps is None else 0.0,
        record=record,
    )


def misread_share(x: float, inverse: float, filters: int, other: float, initial: float) -> float:
    """The probability in K1 (12) with E max(0, h) and its variance as sums over K1 (10)'s Gaussians."""
    grid = np.linspace(-7.0, 7.0, 225)
    weights = np.exp(-(grid**2) / 2) / np.sum(np.exp(-(grid**2) / 2))
    outputs = []
    for share in (1.0, other):
        spread = math.sqrt(share * (inverse - 1) + initial)
        active = np.maximum(math.sqrt(share) * grid[:, None] + spread * grid, 0.0)
        mean = active @ weights
        outputs.append((mean, (active**2) @ weights - mean**2))
    margin = x + outputs[0][0][:, None] - outputs[1][0]
    variance = (outputs[0][1][:, None] + outputs[1][1]) / filters
    scatter = np.sqrt(np.maximum(variance, 1e-18))
    misread = np.vectorize(math.erfc, otypes=[float])(margin[::4, ::4] / scatter[::4, ::4] / math.sqrt(2)) / 2
    coarse = weights[::4] / np.sum(weights[::4])
    return float(coarse @ misread @ coarse)
