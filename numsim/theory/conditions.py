"""The theorems' conditions as a table: required, actual, met. They inform; nothing is refused.

Of which theorem, ``theorem`` says: "S6" are the first paper's, the others are in regimes.py. Constants and
logarithms inside the papers' O and Omega are not known: both are taken as 1 here, so that a row says by which
factor a condition is met or missed, not whether the theorem's proof covers the run.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .powers import power
from .regimes import THEOREMS, requirements

__all__ = ["Condition", "conditions"]


FIRST = "S6"
"""The conditions of the first paper."""


class Condition(NamedTuple):
    """One row. relation is ">=" or "<=" between actual and required; ratio > 1 is the room left."""

    name: str
    source: str
    relation: str
    required: float
    actual: float
    ratio: float
    met: bool


def _row(name: str, source: str, relation: str, required: float, actual: float) -> Condition:
    large, small = (actual, required) if relation == ">=" else (required, actual)
    ratio = large / small if small > 0 else math.inf
    return Condition(name, source, relation, required, actual, ratio, ratio >= 1)


def conditions(experiment: Any, theorem: str | None = None) -> list[Condition]:
    """A theorem's conditions for an experiment, a row each.

    experiment : whose settings are held against them; an Experiment, the name of a preset, the path of a
    file, or a mapping of settings.
    theorem : "S6", of the first paper: Zhang and Cao 4.1 and Cao et al. 4.2 to 4.4, none for data, losses,
    activations or rules that these do not speak of; "L1", "L2", "X1" or "A1" (``regimes``), of the experiment
    whatever it is. None: the experiment's own ``theorem``, else "S6".

    Rows for pre-training are left out where there is none, those that need q > 2 where q <= 2; at q = 1 there
    are those of Kou et al. instead. B = min(1/(sigma_p sqrt(d)), 1/|mu|).
    Source: S6; where each is used in the proofs: S6 (1) to (10).
    """
    if not hasattr(experiment, "resolved"):
        from ..config.sources import as_experiment  # only then: theory itself stands on no configuration

        experiment = as_experiment(experiment)
    e = experiment.resolved()
    theorem = e.theorem if theorem is None else theorem
    if theorem not in (None, FIRST, *THEOREMS):
        raise ValueError(f"theorem is {theorem!r}, expected one of {', '.join((FIRST, *THEOREMS))}")
    if theorem in THEOREMS:
        return [] if e.data.own else [_row(*row) for row in requirements(e, theorem)]
    if not _covered(e):
        return []
    d, n, m, q = e.data.dim, e.finetuning.samples, e.network.filters, e.network.q
    snr, signal, noise = e.snr, e.signal_norm, e.data.sigma_p * math.sqrt(d)
    rows = []
    if e.pretraining.samples:
        zc, n0, tau = "Zhang-Cao 4.1", e.pretraining.samples, e.pretraining.temperature
        rows += [
            _row("unlabelled samples n0 >= max(SNR^-2, 1)", zc, ">=", max(_over(1, snr**2), 1.0), n0),
            _row("dimension d >= n0^4", zc, ">=", float(n0) ** 4, d),
            _row("labelled samples n >= 1", zc, ">=", 1.0, n),
            _row(
                "initial scale 2 m sigma0^2 (sigma_p^2 d + |mu|^2) <= tau (linear stage)",
                zc,
                "<=",
                math.sqrt(tau / (2 * m)) / math.hypot(noise, signal),
                e.init_scale,
            ),
            _row(
                "contrastive step eta <= tau / (2 |mu|^2 + sigma_p^2 d / n0)",
                zc,
                "<=",
                tau / (2 * signal**2 + noise**2 / n0),
                e.pretraining.learning_rate,
            ),
        ]
    source = "Cao et al. 4.2"
    bound = min(1 / noise, _over(1, signal))
    rows.append(
        _row(
            "supervised step eta <= min(|mu|^-2, sigma_p^-2 d^-1)",
            source,
            "<=",
            bound**2,
            e.finetuning.learning_rate,
        )
    )
    if q > 2:
        d_needed = power(m, max(2, 4 / (q - 2))) * power(n, max(4, (2 * q - 2) / (q - 2)))
        highest = power(m, -2 / (q - 2)) * power(n, -max(1 / (q - 2), 1)) * bound
        rows += [
            _row("dimension d >= m^max(2, 4/(q-2)) n^max(4, (2q-2)/(q-2))", source, ">=", d_needed, d),
            _row("initial scale sigma0 >= n d^-1/2 B", source, ">=", n / math.sqrt(d) * bound, e.init_scale),
            _row(
                "initial scale sigma0 <= m^(-2/(q-2)) n^(-max(1/(q-2), 1)) B",
                source,
                "<=",
                highest,
                e.init_scale,
            ),
            _row(
                "direct training learns the signal: n SNR^q >= 1",
                "Cao et al. 4.3",
                ">=",
                1.0,
                n * power(snr, q),
            ),
        ]
    if q == 1:
        kou = "Kou et al. 2023"
        rows += [
            _row("ReLU learns the signal: n |mu|^4 >= sigma_p^4 d", kou, ">=", 1.0, n * d * power(snr, 4)),
            _row(
                "initial scale sigma0 <= n^1/2 / (sigma_p d)",
                kou,
                "<=",
                math.sqrt(n / d) / noise,
                e.init_scale,
            ),
        ]
    return rows


def _covered(e: Any) -> bool:
    """Whether it is gradient descent, InfoNCE and logistic loss, on signal-noise data with ReLU powers."""
    stage = e.pretraining
    contrastive = not stage.samples or (stage.has_linear_stage and stage.rule.plain)
    supervised = e.finetuning.rule.plain and e.finetuning.loss == "logistic"
    return bool(
        not (e.table or e.data.own)
        and not e.arms
        and e.network.activation == "relu"
        and contrastive
        and supervised
    )


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.inf
