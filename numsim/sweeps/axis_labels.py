"""What the axes of a figure are called, in the papers' symbols, and the units they can be shown in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..config.experiment import Experiment

__all__ = ["SYMBOLS", "UNITS", "Unit", "label"]

SYMBOLS = {
    "data.dim": r"dimension $d$",
    "data.snr": r"$\mathrm{SNR} = \Vert\mu\Vert / (\sigma_p\sqrt{d})$",
    "data.signal_norm": r"signal strength $\Vert\mu\Vert$",
    "data.sigma_p": r"noise level $\sigma_p$",
    "data.flip_probability": r"label flips $p$",
    "network.filters": r"filters per sign $m$",
    "network.q": r"$q$",
    "network.init_scale": r"$\sigma_0$",
    "network.relative_init_scale": r"$\sigma_0\sigma_p\sqrt{d}$",
    "pretraining.samples": r"unlabelled samples $n_0$",
    "pretraining.temperature": r"temperature $\tau$",
    "pretraining.steps": r"steps of pre-training",
    "pretraining.overlap": r"overlap of views $a$",
    "pretraining.learning_rate": r"$\eta$ of pre-training",
    "finetuning.samples": r"labelled samples $n$",
    "finetuning.learning_rate": r"$\eta$ of supervised training",
    "finetuning.max_steps": r"steps of supervised training",
    "finetuning.target_loss": r"training loss $\varepsilon$",
}


class Unit(NamedTuple):
    """An axis as something else: of which setting, computed from the cell's experiment, and its symbol."""

    setting: str
    of: Callable[[Experiment], float]
    symbol: str


UNITS = {
    "kappa": Unit("data.snr", lambda e: e.kappa, r"$\kappa = n_0\,\mathrm{SNR}^2$"),
    "aspect": Unit("data.dim", lambda e: e.aspect, r"aspect ratio $c = n_0 / d$"),
}


def label(name: str) -> str:
    """The symbol of a setting; its dotted name where it has none."""
    return SYMBOLS.get(name, name)
