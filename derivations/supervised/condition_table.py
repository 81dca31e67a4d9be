"""The table of conditions under changed settings, and the exponents that S6 expects of it."""

from __future__ import annotations

import math
from functools import lru_cache

from numsim.config import Experiment
from numsim.theory import conditions
from numsim.theory.conditions import Condition

__all__ = ["BASE", "SETTING", "Exponents", "log_differences", "required_exponents", "row_key", "table"]

Exponents = dict[str, float]

BASE: dict[str, float] = {
    "data.dim": 2**20,
    "data.signal_norm": 256.0,
    "data.sigma_p": 1.0,
    "network.filters": 4,
    "network.init_scale": 2.0**-20,
    "pretraining.samples": 8,
    "pretraining.temperature": 0.5,
    "pretraining.learning_rate": 2.0**-23,
    "finetuning.samples": 16,
    "finetuning.learning_rate": 2.0**-23,
}
"""Where the exponents are taken: |mu| is below sigma_p sqrt(d) = 1024."""


@lru_cache(maxsize=512)
def _experiment(changes: tuple[tuple[str, float], ...]) -> Experiment:
    settings = {**BASE, **dict(changes)}
    parts: dict[str, dict[str, float]] = {}
    for name, value in settings.items():
        part, field = name.split(".")
        parts.setdefault(part, {})[field] = value
    return Experiment(**parts)


def table(**changes: float) -> dict[str, Condition]:
    """The conditions at BASE with changes (names with __ for a dot), by short names."""
    e = _experiment(tuple((name.replace("__", "."), value) for name, value in changes.items()))
    return {row_key(row.name): row for row in conditions(e)}


def row_key(name: str) -> str:
    """The short name of a row of the table."""
    for long, short in _SHORT.items():
        if name.startswith(long):
            return short
    return name


_SHORT = {
    "unlabelled samples n0": "n0",
    "dimension d >= n0": "d (n0)",
    "labelled samples": "n",
    "initial scale 2 m": "linear stage",
    "contrastive step": "eta (contrastive)",
    "supervised step": "eta (supervised)",
    "dimension d >= m": "d (m, n)",
    "initial scale sigma0 >=": "sigma0 from",
    "initial scale sigma0 <= m": "sigma0 to",
    "direct training": "n SNR^q",
    "ReLU learns": "n |mu|^4",
    "initial scale sigma0 <= n": "sigma0 (ReLU)",
}


def required_exponents(q: float, *, n_more: float = 0.0, m_floor: float = 2.0) -> dict[str, Exponents]:
    """Exponents of each required value in the settings, S6 (1) to (8); n_more : added to n's in the d row.

    Where |mu| < sigma_p sqrt(d), so that B = 1 / (sigma_p sqrt(d)).
    """
    found: dict[str, Exponents] = {
        "n0": {"data.dim": 1, "data.signal_norm": -2, "data.sigma_p": 2},
        "d (n0)": {"pretraining.samples": 4},
        "n": {},
        "eta (supervised)": {"data.dim": -1, "data.sigma_p": -2},
    }
    if q > 2:
        m, n = 2 / (q - 2), max(1 / (q - 2), 1.0)
        found |= {
            "d (m, n)": {"network.filters": max(m_floor, 2 * m), "finetuning.samples": 2 + 2 * n + n_more},
            "sigma0 from": {"finetuning.samples": 1, "data.dim": -1, "data.sigma_p": -1},
            "sigma0 to": {
                "network.filters": -m,
                "finetuning.samples": -n,
                "data.dim": -0.5,
                "data.sigma_p": -1,
            },
            "n SNR^q": {},
        }
    if q == 1:
        found |= {
            "n |mu|^4": {},
            "sigma0 (ReLU)": {"finetuning.samples": 0.5, "data.dim": -1, "data.sigma_p": -1},
        }
    return found


SETTING = {
    "n0": ("pretraining.samples", 1),
    "d (n0)": ("data.dim", 1),
    "n": ("finetuning.samples", 1),
    "linear stage": ("network.init_scale", -1),
    "eta (contrastive)": ("pretraining.learning_rate", -1),
    "eta (supervised)": ("finetuning.learning_rate", -1),
    "d (m, n)": ("data.dim", 1),
    "sigma0 from": ("network.init_scale", 1),
    "sigma0 to": ("network.init_scale", -1),
    "sigma0 (ReLU)": ("network.init_scale", -1),
}
"""What a row holds against its required value, and the sign with which it enters the ratio."""


def log_differences(q: float, quantity: str) -> dict[str, Exponents]:
    """Log-differences of every row's ``required`` or ``ratio`` when a setting is doubled."""
    at = {name: getattr(row, quantity) for name, row in table(network__q=q).items()}
    found: dict[str, Exponents] = {name: {} for name in at}
    for setting in BASE:
        key = setting.replace(".", "__")
        for name, row in table(network__q=q, **{key: 2 * BASE[setting]}).items():
            found[name][setting] = math.log2(getattr(row, quantity) / at[name])
    return found
