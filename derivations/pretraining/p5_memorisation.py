"""P5: training past the linear stage memorises noise of the samples and their views, p5_memorisation.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, at_least, at_most, equals
from numsim.descent.contrastive import alignment, power_matrix, pretrain, top_eigenpairs
from numsim.descent.fresh_views import FreshViews, pretrain_fresh_views
from numsim.theory import collective_descent, handover_ratio, linear_modes, memorised_alignment, signal_loss
from numsim.theory.memorisation import Memorisation

from ..identities.roundoff import unless_given
from .high_dimension import (
    DIM,
    EXACT,
    instance_of,
    rate_of,
    signal_ratio,
    unit_of,
    views_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_SAMPLES, _STEPS, _TAU = 20, 500, 2.0
_COMPARED = 1e-3  # s / tau from which on the label mode is compared: filters are along it by then
_FRESH_START = 1e-5  # s / tau at which theory takes over with fresh views, still linear


class _Run(NamedTuple):
    """A descent at its recorded steps (R,), and what theory needs of the draw.

    loss; alignment : cos^2(w - w^0, mu); ratio : R_t, NaN where not recorded; energy : of the label mode at
    the first of the steps, untouched : |w^0|^2, both times u / eta; law : unit, signal_norm, initial_overlap.
    """

    steps: npt.NDArray[np.int64]
    loss: Floats
    alignment: Floats
    ratio: Floats
    energy: float
    untouched: float
    law: dict[str, float]


def _fixed(seed: int, kappa: float, overlap: float, *, steps: int = _STEPS, stop: bool = False) -> _Run:
    """Pre-training with one fixed view a sample, far beyond the linear end, or (as a control) up to it."""
    e, instance = instance_of(seed, kappa, overlap=overlap, pretraining={"temperature": _TAU})
    z, z_aug = views_of(instance)
    both, rate = np.concatenate([z, z_aug]), rate_of(e)
    _, vectors = top_eigenpairs(z, z_aug, learning_rate=rate, temperature=_TAU)
    _, run = pretrain(
        instance.filters,
        z,
        z_aug,
        learning_rate=rate,
        temperature=_TAU,
        max_steps=steps,
        stop_at_linear_end=stop,
        record=100,
    )
    moved = [c @ both for c in run.recorded_coefficients]
    start = float(np.sum((instance.filters @ vectors[:, 0]) ** 2))
    overlaps = start / (len(instance.filters) * e.init_scale**2)
    return _Run(
        run.recorded_steps,
        run.recorded_losses,
        np.array([alignment(change, instance.mu) for change in moved]),
        np.array([signal_ratio(instance.filters + change, instance.mu) for change in moved]),
        start * unit_of(e) / rate,
        float(np.sum(instance.filters**2)) * unit_of(e) / rate,
        {"unit": unit_of(e), "signal_norm": e.signal_norm, "initial_overlap": overlaps},
    )


def _fresh(seed: int, kappa: float, overlap: float, *, steps: int = _STEPS) -> _Run:
    """The same with views drawn anew at every step, counted from where the filters are along v_1."""
    e, instance = instance_of(seed, kappa, overlap=overlap, pretraining={"temperature": _TAU})
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    last, run = pretrain_fresh_views(
        instance.filters,
        instance.mu,
        unlabelled.labels,
        unlabelled.noise,
        FreshViews(DIM, 1.0, True, overlap, np.random.default_rng(seed)),
        learning_rate=rate_of(e),
        temperature=_TAU,
        max_steps=steps,
        stop_at_linear_end=False,
    )
    signal = unlabelled.labels[:, None] * instance.mu
    mean = power_matrix(signal + unlabelled.noise, signal + overlap * unlabelled.noise, learning_rate=1.0)
    top = np.linalg.eigh(mean)[1][0, -1] ** 2
    scale = unit_of(e) / rate_of(e)
    along = np.sum(run.recorded_signal**2, axis=1) / e.signal_norm**2 * scale
    kept = slice(int(np.argmax(kappa * along > _FRESH_START)), None)
    ratio = np.full(len(along), math.nan)
    ratio[-1] = signal_ratio(last, instance.mu)
    return _Run(
        run.recorded_steps[kept] - run.recorded_steps[kept][0],
        run.recorded_losses[kept],
        run.recorded_alignment[kept],
        ratio[kept],
        float(along[kept][0] / top),
        float(np.sum(instance.filters**2)) * scale,
        {"unit": unit_of(e), "signal_norm": e.signal_norm},
    )


def _predicted(run: _Run, kappa: float, overlap: float, fresh: bool = False) -> Memorisation:
    """P5 (3) to (5), or (10), at the recorded steps; the ratio without its unit."""
    found = collective_descent(
        int(run.steps[-1]),
        kappa=kappa,
        samples=_SAMPLES,
        unit=run.law["unit"],
        energy=run.energy,
        overlap=overlap,
        fresh=fresh,
        untouched=run.untouched,
    )
    loss, cosine, similarity, positive, ratio = (values[run.steps] for values in found)
    return Memorisation(loss, cosine, similarity, positive, ratio * run.law["signal_norm"])


def _deviations(run: _Run, theory: Memorisation) -> dict[str, float]:
    """The whole descent against its two variables: the largest deviation of each measure."""
    late = theory.similarity > _COMPARED
    found = {
        "log loss": np.log(run.loss / theory.loss),
        "cos^2": run.alignment - theory.alignment,
        "log R_t": np.log(run.ratio / theory.ratio),
    }
    return {name: float(np.nanmax(np.abs(values[late]))) for name, values in found.items()}


def _limit(run: _Run, theory: Memorisation, root: float) -> tuple[float, float]:
    """cos^2 where filters grow without end, P5 (9), and how far it may be off.

    cos^2 - limit ~ X^(-2 root / (root - 1)) between the middle and the last step; the next order is the
    square of what is left, with a coefficient of 3 to 7.
    """
    middle = int(np.argmax(run.steps >= run.steps[-1] * 0.6))
    near, far = float(run.alignment[-1]), float(run.alignment[middle])
    fall = (theory.similarity[middle] / theory.similarity[-1]) ** (root / (root - 1))
    limit = (near - fall * far) / (1 - fall)
    return float(limit), 10 * (far - limit) ** 2 + EXACT


def _continued(run: _Run, kappa: float, overlap: float) -> Floats:
    """R_t as if the linear stage went on, P3 (13), at the recorded steps."""
    top = linear_modes(kappa, _SAMPLES, overlap)[0]
    law: dict[str, Any] = {"growth": run.law["unit"] * top.eigenvalue, "alignment": top.alignment, **run.law}
    law |= {"overlap": overlap, "samples": _SAMPLES, "dim": DIM, "sigma_p": 1.0}
    return np.array([handover_ratio(steps=float(t), **law) for t in run.steps])


def _memory(
    seeds: list[int], kappa: float, overlap: float, *, stop: bool, views: str, factor: float
) -> tuple[list[Comparison], _Run]:
    """Where fixed views lead: cos^2, loss and R_t long after the linear stage, the worst of all runs."""
    found: list[list[Comparison]] = []
    words = f"kappa = {kappa:g}, a = {overlap:g}"
    limit = factor * memorised_alignment(kappa, overlap)
    floor = signal_loss(_SAMPLES // 2, _SAMPLES // 2)
    before = linear_modes(kappa, _SAMPLES, overlap)[0]
    for seed in seeds:
        run = _fixed(seed, kappa, overlap, stop=stop) if views == "fixed" else _fresh(seed, kappa, overlap)
        theory = _predicted(run, kappa, overlap)
        end, error = float(run.alignment[-1]), EXACT
        if not stop:
            end, error = _limit(run, theory, math.sqrt(2 * (1 + kappa) / (1 - overlap)))
        comparisons = [
            equals(f"cos^2 after memorisation, {words}", limit, end, absolute=error),
            at_most(f"loss below log(n0/2), {words}", floor, run.loss[-1]),
        ]
        if views == "fixed" and not stop:
            linear = int(np.argmax(theory.similarity > _COMPARED))
            name = f"cos^2 in the linear stage, {words}"
            comparisons.append(equals(name, before.alignment, run.alignment[linear], absolute=10 * _COMPARED))
            comparisons += [
                equals(f"{name}, {words}", 0.0, value, absolute=2 * EXACT)
                for name, value in _deviations(run, theory).items()
            ]
            late = np.flatnonzero(theory.loss < floor)
            rise = float(np.min(np.diff(run.ratio[late]))) / run.ratio[-1]
            comparisons.append(at_least(f"R_t rises while memorising, {words}", 0.0, rise))
            continued = _continued(run, kappa, overlap)[late[0]]
            comparisons.append(
                at_most(f"R_t below its linear continuation, {words}", continued, run.ratio[late[0]])
            )
        found.append(comparisons)
    return [max(same, key=lambda c: c.error) for same in zip(*found, strict=True)], run


def _anchors(seed: int, kappa: float, overlap: float) -> tuple[list[Comparison], _Run]:
    """Where fresh views lead: the anchors' noise, P5 (10) and (11). Views differ by 1/R_t, up to 1e-4."""
    run = _fresh(seed, kappa, overlap)
    theory = _predicted(run, kappa, overlap, fresh=True)
    words = f"fresh views, kappa = {kappa:g}, a = {overlap:g}"
    floor = signal_loss(_SAMPLES // 2, _SAMPLES // 2)
    limit = memorised_alignment(kappa, overlap, fresh=True)
    return [
        *(equals(f"{name}, {words}", 0.0, v, absolute=1e-4) for name, v in _deviations(run, theory).items()),
        equals(f"cos^2 before, {words}", theory.alignment[0], run.alignment[0], absolute=1e-4),
        equals(f"cos^2 long after, {words}", limit, run.alignment[-1], absolute=run.law["unit"]),
        at_most(f"loss below log(n0/2), {words}", floor, run.loss[-1]),
    ], run


def _limits() -> list[Comparison]:
    """The limits P5 (8) and (11) are those of the two variables, which at n0 = 1e200 may grow for long.

    Up to what is left by then, X^-2 or less at X^2 > 300; of fresh views a share of order u is left behind.
    """
    found = []
    for kappa, overlap in ((4.0, 0.0), (1.0, 0.0), (0.3, 0.2), (30.0, 0.0), (4.0, 0.5)):
        for fresh in (False, True):
            unit = 0.02 / (2 * kappa + 1 + overlap)
            path = collective_descent(
                8000, kappa=kappa, samples=10**200, unit=unit, energy=1e-4, overlap=overlap, fresh=fresh
            )
            words = f"{'fresh' if fresh else 'fixed'} views, kappa = {kappa:g}, a = {overlap:g}"
            limit = memorised_alignment(kappa, overlap, fresh=fresh)
            absolute = unit if fresh else 1e-3
            found.append(equals(f"limit of cos^2, {words}", limit, path.alignment[-1], absolute=absolute))
    return found


def check(trials: Trials, *, stop: bool = False, views: str = "fixed", factor: float = 1.0) -> Outcome:
    """Descents past the linear stage against the two variables that carry them, and their limits.

    ``stop`` True ends at the linear end; ``views`` "fresh" draws them at every step, against the limits of
    fixed ones; ``factor`` multiplies the limit of cos^2.
    """
    seeds = list(trials.seeds(3, 30))
    wrong: dict[str, Any] = {"stop": stop, "views": views, "factor": factor}
    comparisons, run = _memory(seeds, 4.0, 0.0, **wrong)
    data: dict[str, Any] = {"steps": run.steps, "loss": run.loss, "cosine": run.alignment, "ratio": run.ratio}
    if not stop and views == "fixed":
        theory = _predicted(run, 4.0, 0.0)
        data |= {"theory loss": theory.loss, "theory cosine": theory.alignment, "theory ratio": theory.ratio}
        data |= {
            "linear ratio": _continued(run, 4.0, 0.0),
            "linear": linear_modes(4.0, _SAMPLES)[0].alignment,
        }
        comparisons += _memory(seeds, 1.0, 0.0, **wrong)[0] + _memory(seeds, 4.0, 0.5, **wrong)[0]
    if wrong == {"stop": False, "views": "fixed", "factor": 1.0}:
        for seed in seeds[: trials.pick(1, 5)]:
            comparisons += _anchors(seed, 4.0, 0.0)[0]
        comparisons += _anchors(seeds[0], 4.0, 0.2)[0] + _limits()
        few = {"steps": 30, "kappa": 2.0, "samples": 20, "unit": 0.05, "energy": 0.01}
        comparisons += [
            unless_given(collective_descent, few, overlap=0.0, fresh=False, untouched=0.0),
            unless_given(memorised_alignment, {"kappa": 2.0}, overlap=0.0, fresh=False),
        ]
    return Outcome(comparisons, len(seeds), data)


def figure(evidence: Evidence) -> Figure:
    """Loss, cos^2 and R_t of a run past the linear stage against its two variables, with the linear law."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, (loss, cosine, ratio) = panels(3)
    data = evidence.outcome.data
    late = data["steps"] >= 0.2 * _STEPS
    steps = data["steps"][late]
    for axes, name in ((loss, "loss"), (cosine, "cosine"), (ratio, "ratio")):
        axes.plot(steps, data[f"theory {name}"][late], **PREDICTED)
        measured_points(axes, steps[::3], data[name][late][::3])
        axes.set(xlabel="step $t$")
    loss.axhline(math.log(_SAMPLES / 2), color="0.5", linewidth=0.8)
    loss.set(title="loss, floor $\\log(n_0/2)$")
    cosine.axhline(data["linear"], **{**CONTROL, "label": "control: linear stage"})
    cosine.set(title=r"$\cos^2(w - w^0, \mu)$", ylim=(0.5, 1.0))
    ratio.plot(steps, data["linear ratio"][late], **{**CONTROL, "label": "linear continuation"})
    ratio.set(title="$R_t$", yscale="log")
    for axes in (cosine, ratio):
        axes.legend(fontsize="small")
    return drawn


CLAIM = Claim(
    id="P5",
    title="Past the linear stage the noise of samples and views is memorised",
    source="numsim (new)",
    statement=r"\cos^2(w - w^0, \mu) : \quad \frac{2\kappa}{2\kappa + 1 + a} \to "
    r"\frac{2\kappa}{2\kappa + 1 + a} \cdot \frac{1}{2} "
    r"\left( 1 + \sqrt{\frac{1 - a}{2 (1 + \kappa)}} \right) , \qquad L < \log(n_0 / 2)",
    check=check,
    controls={
        "stopped at the linear end": {"stop": True},
        "fresh views in place of fixed ones": {"views": "fresh"},
        "the alignment of the linear stage": {"factor": 2 / (1 + math.sqrt(1 / 10))},
    },
    theory=("collective_descent", "memorised_alignment"),
    figure=figure,
)
