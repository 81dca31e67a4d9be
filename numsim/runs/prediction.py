"""What a run measured beside what theory predicts for it: spectrum, growth, hand-over, race."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config.experiment import Resolved
from ..config.parts import ResolvedFinetuning
from ..descent.contrastive import LINEAR_END
from ..descent.driver import STATUSES
from ..descent.fresh_views import FreshDescent
from ..descent.power_matrix import top_eigenpairs
from ..models.space import pad
from ..theory import (
    eigenvector_ratio,
    fresh_view_spectrum,
    handover_ratio,
    linear_stage_steps,
    power_unit,
    race,
    saturation,
    spectrum,
)
from ..theory.spectrum import Spectrum
from .simulate import Arm, Simulation

__all__ = ["compare", "predicted_spectrum", "predicted_unit"]

Floats = npt.NDArray[np.float64]

_QUANTITIES = (
    "top_eigenvalue",
    "alignment",
    "eigenvector_ratio",
    "growth_per_step",
    "steps",
    "ratio",
    "initial_overlap",
)


def compare(simulation: Simulation) -> dict[str, Any]:
    """Predicted and measured quantities of one run, as plain numbers.

    NaN where a quantity is undefined, or where the prediction does not apply to the run.

    pretraining : {quantity: {"predicted", "measured"}} for the top eigenvalue (growth per step), alignment
        cos^2(v_1, mu), eigenvector ratio |<v_1, mu>| / |mean y_i <v_1, xi_i>|, steps to the linear end and
        the ratio <w, mu> / sd<w, xi_new> at hand-over. Theory takes only the filters' initial overlap with
        v_1 from the draw.
    Both are None where no statement covers the rule, the loss or the activation.
    race : {arm: {class: ...}}: start values, blow-up times, predicted ratio and winner, measured winner
    ("undecided" while neither has blown up).
    """
    e = simulation.experiment
    scales = {"snr": e.snr, "signal_norm": e.signal_norm, "init_scale": e.init_scale, "kappa": e.kappa}
    result: dict[str, Any] = {"scales": scales, "pretraining": None, "race": None}
    if e.table or e.data.own:
        return result
    if simulation.pretrained is not None and e.pretraining.rule.plain and e.pretraining.has_linear_stage:
        result["pretraining"] = _pretraining(simulation)
    if e.network.q > 2 and e.network.activation == "relu":
        races = {
            name: _race(e, arm, simulation.instance.mu, simulation.instance.labelled.true_labels)
            for name, arm in simulation.arms.items()
            if arm.descent is not None and _raced(arm.plan.finetuning)
        }
        result["race"] = races or None
    return result


def _raced(settings: ResolvedFinetuning) -> bool:
    """Whether S1 speaks of this training: gradient descent on the logistic loss."""
    return settings.rule.plain and settings.loss == "logistic"


def predicted_spectrum(e: Resolved) -> Spectrum:
    """The spectrum that governs the run: of A for fixed views, of its mean for fresh ones."""
    a = e.pretraining.overlap
    if e.pretraining.views == "fresh":
        return fresh_view_spectrum(e.kappa, a)
    return spectrum(e.kappa, e.aspect, a, projected=e.data.projected)


def predicted_unit(e: Resolved) -> float:
    """The unit of that spectrum, u = (eta/tau) sigma_p^2 d / n0."""
    s = e.pretraining
    return power_unit(
        learning_rate=s.learning_rate,
        temperature=s.temperature,
        sigma_p=e.data.sigma_p,
        dim=e.data.dim,
        samples=s.samples,
    )


def _pretraining(simulation: Simulation) -> dict[str, dict[str, float]]:
    assert simulation.pretrained is not None
    measured = _measured(simulation)
    predicted = _predicted(
        simulation.experiment,
        measured["initial_overlap"],
        steps=simulation.pretrained.descent.steps,
        ended=simulation.pretrained.descent.status == STATUSES[0],
    )
    return {
        name: {"predicted": predicted.get(name, math.nan), "measured": measured.get(name, math.nan)}
        for name in _QUANTITIES
    }


def _measured(simulation: Simulation) -> dict[str, float]:
    """What the run shows; for fresh views without the spectrum, since A is another one every step."""
    e, instance, pretrained = simulation.experiment, simulation.instance, simulation.pretrained
    assert pretrained is not None
    assert instance.unlabelled is not None
    steps = pretrained.descent.steps
    found = {"initial_overlap": 1.0, "ratio": _signal_ratio(pretrained.filters, instance.mu, e)}
    if pretrained.descent.status == STATUSES[0]:  # where a stage was cut short is not its linear end
        found["steps"] = float(steps)
    if isinstance(pretrained.descent, FreshDescent):
        found["growth_per_step"] = _late_growth(pretrained.descent)
        return found
    z, z_aug = instance.unlabelled.sums(instance.mu)
    values, vectors = top_eigenpairs(
        z, z_aug, learning_rate=e.pretraining.learning_rate, temperature=e.pretraining.temperature
    )
    top = vectors[:, 0]
    found["top_eigenvalue"] = float(values[0])
    found["alignment"] = float((top @ instance.direction) ** 2)
    noise_part = abs(float(np.mean(instance.unlabelled.labels * (instance.unlabelled.noise @ top))))
    if noise_part > 0:
        found["eigenvector_ratio"] = abs(float(top @ instance.mu)) / noise_part
    start = instance.filters @ top
    end = pad(pretrained.filters, len(top)) @ top
    found["initial_overlap"] = float(np.mean(start**2)) / e.init_scale**2
    if steps > 0 and np.isfinite(end).all():
        factor = math.sqrt(float(np.sum(end**2)) / float(np.sum(start**2)))
        found["growth_per_step"] = factor ** (1 / steps)
    return found


def _predicted(e: Resolved, initial_overlap: float, *, steps: int, ended: bool) -> dict[str, float]:
    """What theory says, as far as it applies to the run.

    The length of the stage and the ratio need a top direction that outgrows the bulk by the linear end, and
    d > 2 n0; growth and ratio after ``steps`` need a run that did not go beyond the linear end.
    """
    s = e.pretraining
    unit = predicted_unit(e)
    limit = predicted_spectrum(e)
    growth = limit.top * unit
    found = {"top_eigenvalue": growth, "alignment": limit.alignment, "initial_overlap": 1.0}
    if s.views == "fixed":
        found["eigenvector_ratio"] = eigenvector_ratio(
            e.kappa, e.aspect, s.overlap, projected=e.data.projected
        )
    if not initial_overlap > 0:
        return found
    # The softmax has slowed the last steps of the stage by a known factor.
    delay = saturation(LINEAR_END) / math.log1p(growth)
    linear_end = delay + linear_stage_steps(
        growth=growth,
        learning_rate=s.learning_rate,
        temperature=s.temperature,
        filters=e.network.filters,
        init_scale=e.init_scale,
        initial_overlap=initial_overlap,
        threshold=LINEAR_END,
    )
    if ended or steps <= linear_end:
        over = steps if s.views == "fixed" else steps / 2  # the steps that _late_growth looks at
        found["growth_per_step"] = (1 + growth) ** (1 - delay / over if ended and steps > 0 else 1)
    lead = 2 * linear_end * (math.log1p(growth) - math.log1p(limit.edge * unit))
    if lead < math.log(s.samples) or e.data.dim <= 2 * s.samples:
        return found
    found["steps"] = linear_end
    if ended or steps <= linear_end:
        found["ratio"] = handover_ratio(
            growth=growth,
            alignment=limit.alignment,
            steps=max(0.0, steps - delay) if ended else steps,
            unit=unit if s.views == "fixed" else 0.0,
            overlap=s.overlap,
            samples=s.samples,
            dim=e.data.dim,
            signal_norm=e.signal_norm,
            sigma_p=e.data.sigma_p,
            initial_overlap=initial_overlap,
        )
    return found


def _late_growth(descent: FreshDescent) -> float:
    """Factor per step of root-mean-square <w, mu> over the second half of the stage: no one A exists."""
    steps, signal = descent.recorded_steps, descent.recorded_signal
    if len(steps) < 3:
        return math.nan
    middle = len(steps) // 2
    sizes = np.sqrt(np.mean(signal**2, axis=1))
    if not sizes[middle] > 0:
        return math.nan
    return float((sizes[-1] / sizes[middle]) ** (1 / (steps[-1] - steps[middle])))


def _signal_ratio(filters: Floats, mu: Floats, e: Resolved) -> float:
    """Root-mean-square <w, mu> over root-mean-square sd of <w, xi_new>, over all filters (2m, D)."""
    norm = float(np.linalg.norm(mu))
    if norm == 0:
        return 0.0
    along = filters[:, : len(mu)] @ (mu / norm)
    squares = np.sum(filters**2, axis=1) - (along**2 if e.data.projected else 0.0)
    noise = e.data.sigma_p * math.sqrt(float(np.sum(squares)))
    return norm * math.sqrt(float(np.sum(along**2))) / noise if noise > 0 else math.inf


def _winner(e: Resolved, signal: float, noise: float) -> str:
    """Who has blown up: the larger activation a, once its output alone is of order one, (s/m) a^q > 1/10."""
    blown_up = (0.1 * e.network.filters / e.network.output_scale) ** (1 / e.network.q)
    if not (np.isfinite([signal, noise]).all() and max(signal, noise) > blown_up):
        return "undecided"
    return "signal" if signal > noise else "noise"


def _race(e: Resolved, arm: Arm, mu: Floats, true_labels: Floats) -> dict[str, dict[str, Any]]:
    """Per class: a_0 and b_0 (median over the class's samples), the race they predict, who won."""
    assert arm.descent is not None
    m = e.network.filters
    start = (arm.initial.reshape(2 * m, -1) @ arm.dictionary.vectors.T).reshape(2, m, -1)
    end = arm.descent.inner.reshape(2, m, -1)
    signals, noises = arm.dictionary.part("signal"), arm.dictionary.part("noise")
    noise_norm = e.data.sigma_p * math.sqrt(e.data.dim)
    table: dict[str, dict[str, Any]] = {}
    for index, label in enumerate((1.0, -1.0)):
        members = np.flatnonzero(arm.dictionary.labels == label)
        if not len(members):
            continue
        signal = [float(inner[index][:, signals][:, index].max()) for inner in (start, end)]
        noise = [float(np.median(inner[index][:, noises][:, members].max(axis=0))) for inner in (start, end)]
        predicted = race(
            signal_start=signal[0],
            noise_start=noise[0],
            class_samples=float(np.sum(arm.dictionary.labels[true_labels == label] * label)),
            samples=len(arm.dictionary.labels),
            filters=m,
            q=e.network.q,
            signal_norm=e.signal_norm,
            noise_norm=noise_norm,
            learning_rate=arm.plan.finetuning.learning_rate,
            output_scale=e.network.output_scale,
        )
        table[f"{label:+.0f}"] = {
            "samples": len(members),
            "signal_start": signal[0],
            "noise_start": noise[0],
            "signal_time": predicted.signal_time,
            "noise_time": predicted.noise_time,
            "ratio": predicted.ratio,
            "predicted": predicted.winner,
            "measured": _winner(e, signal[1], noise[1]),
        }
    return table
