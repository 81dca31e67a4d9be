"""Assumptions of theorems beyond the first paper as tables, ``conditions(experiment, theorem="L1")``.

Every row says from which text it is and how it came here: "read" in the paper, "restated" by others, or
"remembered", not checked against any text. Constants and logarithms inside O and Omega are taken as 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["THEOREMS", "Requirement", "requirements"]


class Requirement(NamedTuple):
    """name; source and how it is known; relation of actual to required, ">=" or "<="."""

    name: str
    source: str
    relation: str
    required: float
    actual: float


class _Facts(NamedTuple):
    """What the statements speak of, of an experiment."""

    d: float
    n: float
    m: float
    sigma: float
    sigma_0: float
    signal: float
    eta: float
    flips: float
    patches: float
    batch: float
    radius: float

    @property
    def noise(self) -> float:
        """sigma_p sqrt(d)."""
        return self.sigma * math.sqrt(self.d)


def _facts(e: Any) -> _Facts:
    mixture = e.mixtures.labelled
    stages = [plan.finetuning for plan in e.plans] or [e.finetuning]
    lengths = [norm for norm in mixture.norms if norm > 0]
    return _Facts(
        d=e.data.dim,
        n=e.finetuning.samples,
        m=e.network.filters,
        sigma=e.data.sigma_p,
        sigma_0=e.network.init_scale,
        signal=float(min(lengths, default=0.0)),
        eta=max(stage.learning_rate for stage in stages),
        flips=max(stage.label_noise for stage in stages),
        patches=mixture.on_signals.shape[1],
        batch=min((stage.batch for stage in stages if stage.batch), default=e.finetuning.samples),
        radius=max(stage.sam_radius for stage in stages),
    )


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.inf


def _label_noise(f: _Facts) -> list[Requirement]:
    """Of label-noise gradient descent; q = 2, mean over m filters, projected noise."""
    read = "arXiv 2510.17526, read"
    snr = f.signal / f.noise
    return [
        Requirement("dimension d >= n^2", read, ">=", f.n**2, f.d),
        Requirement("dimension d >= n |mu|^2 / sigma_p^2", read, ">=", f.n * (f.signal / f.sigma) ** 2, f.d),
        Requirement("signal SNR <= n^-1/2", read, "<=", f.n**-0.5, snr),
        Requirement("step eta <= 1 / (sigma_p^2 d)", read, "<=", f.noise**-2, f.eta),
        Requirement(
            "initial scale sigma0 >= n sigma_p^-1 d^-3/4", read, ">=", f.n / f.sigma * f.d**-0.75, f.sigma_0
        ),
        Requirement(
            "initial scale sigma0 <= |mu|^-1 d^-5/8", read, "<=", _over(f.d**-0.625, f.signal), f.sigma_0
        ),
        Requirement("initial scale sigma0 <= sigma_p^-1 d^-1/2", read, "<=", 1 / f.noise, f.sigma_0),
        Requirement(
            "label noise p >= log(d) / sqrt(m n)", read, ">=", math.log(f.d) / math.sqrt(f.m * f.n), f.flips
        ),
        Requirement("label noise p < 1", read, "<=", 1.0, f.flips),
    ]


def _two_stages(f: _Facts) -> list[Requirement]:
    """Of the two stages of training with label noise; ReLU, fixed flips."""
    told = "arXiv 2505.18909, restated by others"
    information = f.n * (f.signal / f.noise) ** 2
    return [
        Requirement("information n SNR^2 >= 1 (of order 1)", told, ">=", 1.0, information),
        Requirement("information n SNR^2 <= 1 (of order 1)", told, "<=", 1.0, information),
    ]


def _xor(f: _Facts) -> list[Requirement]:
    """Of XOR with ReLU."""
    told = "Meng, Zou and Cao 2024, restated by others"
    return [
        Requirement("signal n |mu|^4 >= sigma_p^4 d", told, ">=", 1.0, f.n * (f.signal / f.sigma) ** 4 / f.d)
    ]


def _sharpness(f: _Facts) -> list[Requirement]:
    """Of sharpness-aware minimisation against SGD; ReLU, P patches of which one is the signal."""
    memory = "arXiv 2310.07269, remembered, not checked against the paper"
    told = "arXiv 2310.07269, restated by others"
    needed = f.d**0.25 * f.n**-0.25 * f.patches * f.sigma
    return [
        Requirement("SGD learns: |mu| >= d^1/4 n^-1/4 P sigma_p", memory, ">=", needed, f.signal),
        Requirement("SAM learns: |mu| >= 1", memory, ">=", 1.0, f.signal),
        Requirement(
            "SAM's radius r >= m sqrt(B) / (P sigma_p sqrt(d)) (of this order)",
            told,
            ">=",
            f.m * math.sqrt(f.batch) / (f.patches * f.noise),
            f.radius,
        ),
    ]


THEOREMS: dict[str, Callable[[_Facts], list[Requirement]]] = {
    "L1": _label_noise,
    "L2": _two_stages,
    "X1": _xor,
    "A1": _sharpness,
}
"""By the claim that checks them, or will; "S6" stands for those of the first paper."""


def requirements(e: Any, theorem: str) -> list[Requirement]:
    """The rows of a theorem for a resolved experiment; of several arms the largest step, flips and radius."""
    return THEOREMS[theorem](_facts(e))
