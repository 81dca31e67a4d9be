"""P3: length of the linear stage and strength of the signal at its end, p3_hand_over.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, at_least, at_most, equals
from numsim.config import Resolved
from numsim.descent.contrastive import LINEAR_END
from numsim.descent.power_matrix import top_eigenpairs
from numsim.runs.prediction import compare
from numsim.runs.simulate import simulate
from numsim.theory import (
    coefficient_growth,
    fresh_handover_ratio,
    fresh_view_spectrum,
    handover_ratio,
    linear_modes,
    linear_stage_steps,
    saturation,
)

from .high_dimension import DIM, EXACT, instance_of, rate_of, unit_of, views_of
from .linear_stage import FreshRun, average_run, fresh_end, fresh_run, path_of, stage_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_SAMPLES, _KAPPA, _GROWTH = 20, 4.0, 0.02
_SECOND = 0.5 * _GROWTH**2  # what P3 (12) leaves out, of order lambda_1^2 (note, Check)


def _averages(
    seed: int, kappa: float, overlap: float, n: int = _SAMPLES, energy: float = 1.0
) -> list[Comparison]:
    """Eigenvalues of A, R_t, gamma and rho at every step, against P3 (3), (4), (13) and (16).

    energy : the filters' o. Lengths are in units of the noise, sigma_0 and sigma_p are arbitrary.
    """
    unit, steps, dim = 0.05, 40, 4 * n
    rate = {"learning_rate": unit * n / DIM}
    e, instance = instance_of(seed, kappa, samples=n, overlap=overlap, pretraining=rate)
    modes = linear_modes(kappa, n, overlap)
    law: dict[str, Any] = {"growth": unit * modes[0].eigenvalue, "alignment": modes[0].alignment}
    law |= {"unit": unit, "overlap": overlap, "samples": n, "initial_overlap": energy}
    sigma_0, sigma_p = 0.3, 1.7
    measured = average_run(e, instance, steps, dim, energy)
    expected = np.zeros(len(measured.eigenvalues))
    counted = np.repeat([m.eigenvalue for m in modes], [m.multiplicity for m in modes])
    expected[: len(counted)] = unit * counted
    norm = math.sqrt(kappa / n * dim)
    ratio = [
        handover_ratio(steps=t, dim=dim, signal_norm=norm * sigma_p, sigma_p=sigma_p, **law)
        for t in range(steps + 1)
    ]
    gamma, rho = coefficient_growth(
        np.arange(steps + 1),
        signal_norm=sigma_p * e.signal_norm,
        noise_norm=sigma_p * e.noise_norm,
        init_scale=sigma_0,
        **law,
    )
    gamma, rho = gamma / (sigma_0 * sigma_p), rho / (sigma_0 * sigma_p)
    late = slice(steps // 2, None)  # P3 (16) leaves out gamma along the other label mode
    found = {
        "eigenvalues of A": np.max(np.abs(np.sort(expected) - measured.eigenvalues)) / unit,
        "cos^2": measured.alignment / modes[0].alignment - 1,
        "R_t": np.max(np.abs(measured.ratio * norm / ratio - 1)),
        "gamma": np.max(np.abs(measured.gamma[late] / gamma[late] - 1)),
        "rho": np.max(np.abs(measured.rho[1:] / rho[1:] - 1)),
    }
    if overlap == 1:
        del found["rho"]  # xi_i and xi~_i are one: not determined
    looser = {"gamma": 1 / n**2}
    words = f"n0 = {n}, kappa = {kappa:g}, a = {overlap:g}" + (f", o = {energy:g}" if energy != 1 else "")
    return [
        equals(f"{name}, {words}", 0.0, value, absolute=EXACT + looser.get(name, 0.0))
        for name, value in found.items()
    ]


def _lag(kappa: float, overlap: float, end: float) -> tuple[float, float]:
    """What P3 (12) leaves out: in log <w, v_1> at a given max |s| / tau, and in log X at a given step."""
    apart = 1 - overlap
    pulled = apart * end / (3 * (2 * kappa + 1 + overlap) + apart)
    in_growth = pulled * end * (1 + end)
    return in_growth, in_growth + pulled + apart / (2 * _SAMPLES * (1 + kappa))


def _hand_overs(
    seeds: list[int], overlap: float, *, tilted: bool, saturated: bool, longer: float, shift: float
) -> tuple[list[Comparison], dict[str, Any]]:
    """Steps to the linear end and R_T there, from random filters at small steps: the worst of all runs."""
    top, tau = linear_modes(_KAPPA, _SAMPLES, overlap)[0], 0.5
    unit = _GROWTH / top.eigenvalue
    law: dict[str, Any] = {"growth": _GROWTH, "alignment": top.alignment, "unit": unit}
    law |= {"overlap": overlap, "samples": _SAMPLES, "dim": DIM, "sigma_p": 1.0}
    pretraining = {"temperature": tau, "learning_rate": tau * unit * _SAMPLES / DIM}
    slow, delay = math.log1p(_GROWTH), saturation(LINEAR_END, _GROWTH) if saturated else 0.0
    # a filter along mu alone would have T without sqrt(2 kappa/(2 kappa + 1 + a))
    earlier = 0.0 if tilted else math.log1p((1 + overlap) / (2 * _KAPPA)) / (2 * slow)
    late, relative, shortage = [], [], []
    for seed in seeds:
        e, instance = instance_of(seed, _KAPPA, overlap=overlap, pretraining=pretraining)
        stage = stage_of(e, instance, longer)
        linear = linear_stage_steps(
            growth=_GROWTH,
            learning_rate=rate_of(e),
            temperature=tau,
            filters=e.network.filters,
            init_scale=e.init_scale,
            initial_overlap=stage.overlap,
            threshold=LINEAR_END,
        )
        late.append(stage.crossing - (linear + delay / slow + earlier))
        lost = saturation(stage.end, _GROWTH) if saturated and longer == 1 else delay
        law |= {"signal_norm": e.signal_norm, "initial_overlap": stage.overlap}
        predicted = handover_ratio(steps=stage.steps - lost / slow, **law)
        relative.append(stage.ratio / predicted / (1 + shift))
        shortage.append(stage.shortage - lost)
    in_growth, in_steps = (lag + _SECOND + EXACT for lag in _lag(_KAPPA, overlap, LINEAR_END))
    found = {
        "R_T, measured / predicted - 1": (np.array(relative) - 1, in_growth),
        "steps to max |s|/tau = 0.3, late by": (np.array(late), in_steps / slow),
        "growth lost, less S": (np.array(shortage), in_growth),
    }
    # Each run obeys: its worst is held to the error of the law, no mean and no statistics.
    return [
        equals(f"{name}, a = {overlap:g}", 0.0, runs[np.argmax(np.abs(runs))], absolute=allowed)
        for name, (runs, allowed) in found.items()
    ], {"relative": np.array(relative)}


def _small_rate(growth: float, kappa: float) -> dict[str, float]:
    """The step size at which lambda_1 is this, d >> n0."""
    return {"learning_rate": growth / (2 * kappa + 1) * _SAMPLES / DIM}


def _limits(seed: int) -> list[Comparison]:
    """S where views are as similar as samples of a class, at ever smaller steps; T in log sigma_0."""
    found = []
    for growth in (_GROWTH, _GROWTH / 2):
        stage = stage_of(*instance_of(seed, 1e4, pretraining=_small_rate(growth, 1e4)))
        lost = saturation(stage.end, growth)
        name = f"growth lost, kappa = 1e4, lambda_1 = {growth:g}"
        absolute = _SECOND * (growth / _GROWTH) ** 2 + EXACT
        found.append(equals(name, lost, stage.shortage, absolute=absolute))
    costs, steps = math.log(1000) / math.log1p(_GROWTH), []
    for scale in (1e-6, 1e-9):
        network = {"relative_init_scale": scale}
        settings: dict[str, Any] = {"network": network, "pretraining": _small_rate(_GROWTH, _KAPPA)}
        steps.append(stage_of(*instance_of(seed, _KAPPA, **settings)).steps)
    name = "steps that a factor 1000 in sigma_0 costs"
    return [*found, equals(name, costs, steps[1] - steps[0], absolute=1.0 + costs / _SAMPLES**2)]


def _in_units() -> Comparison:
    """T to max |s| = tau from filters of average overlap, as the theorem's units have it: P3 (8)."""
    growth, tau, filters, scale, sigma_p, norm, dim = 0.03, 0.7, 6, 1e-4, 1.3, 2.5, 1e6
    noise = sigma_p**2 * dim / _SAMPLES
    kappa = norm**2 / noise
    share = 2 * kappa / (1 + 2 * kappa)
    expected = math.log(math.sqrt(tau / (2 * filters) * share) / (scale * norm)) / math.log1p(growth)
    steps = linear_stage_steps(
        growth=growth,
        learning_rate=growth / (1 + 2 * kappa) * tau / noise,
        temperature=tau,
        filters=filters,
        init_scale=scale,
    )
    return equals("T in units of the theorem", expected, steps, order=1e-12)


def _fresh_ratio(e: Resolved, run: FreshRun, steps: int) -> float:
    """Measured R_T over P3 (18)."""
    norm, sigma_p = math.sqrt(_KAPPA / _SAMPLES * run.dim), 1.7
    predicted = fresh_handover_ratio(
        growth=run.top,
        alignment=run.alignment,
        steps=steps,
        unit=unit_of(e),
        overlap=e.pretraining.overlap,
        samples=_SAMPLES,
        dim=run.dim,
        signal_norm=sigma_p * norm,
        sigma_p=sigma_p,
        initial_overlap=run.overlap,
    )
    return float(run.ratio * norm / predicted)


def _fresh(seed: int, overlap: float) -> list[Comparison]:
    """Growth and R_T with views drawn at every step, on average over filters, P3 (17) and (18)."""
    steps = 100
    e, instance = instance_of(seed, _KAPPA, overlap=overlap)
    run = fresh_run(e, instance, steps, seed, average=True)
    limit = fresh_view_spectrum(_KAPPA, overlap).top * unit_of(e)
    words = f"fresh views, a = {overlap:g}"
    return [
        equals(f"lambda_1 of the mean of A, {words}", limit, run.top, order=1 / _SAMPLES),
        equals(f"growth over the last steps, {words}", run.top, run.growth, order=1e-4),
        equals(f"R_T, measured / predicted, {words}", 1.0, _fresh_ratio(e, run, steps), order=3e-4),
        equals(f"records of <w, mu>, gamma and rho, {words}", 0.0, run.records, absolute=EXACT),
    ]


def _kicked(trials: Trials) -> Comparison:
    """R_T of random filters, kicked by their untouched part, at steps so large (lambda_1 = 4) as to tell."""
    unit = 4.0 / fresh_view_spectrum(_KAPPA).top
    rate, found = {"learning_rate": unit * _SAMPLES / DIM}, []
    for seed in trials.seeds(40, 200):
        e, instance = instance_of(seed, _KAPPA, network={"filters": 30}, pretraining=rate)
        found.append(_fresh_ratio(e, fresh_run(e, instance, 6, seed), 6) ** 2)
    return equals("R_T^2 of random filters, fresh views, large steps", 1.0, found, order=1 / _SAMPLES**2)


def _fresh_end(seed: int) -> list[Comparison]:
    """Fresh views end at the first step with max |s| / tau > 0.3, a step being a factor 1.1^2."""
    end = fresh_end(*instance_of(seed, _KAPPA, pretraining={"temperature": 2.0}), seed)
    name = "max |s|/tau at the end, fresh views"
    return [at_least(name, LINEAR_END, end), at_most(name, LINEAR_END * 1.1**2, end)]


def _defaults(trials: Trials) -> list[Comparison]:
    """lambda_1 at the default step size is 0.1: at d >> n0, with an overlap, and at n0 = d/2."""
    found = []
    for overlap in (0.0, 0.5):
        e, instance = instance_of(int(trials.rng.integers(2**63)), _KAPPA, overlap=overlap)
        z, z_aug = views_of(instance)
        values, _ = top_eigenpairs(z, z_aug, learning_rate=rate_of(e), temperature=1.0)
        name = f"lambda_1 at the default step, a = {overlap:g}"
        found.append(equals(name, 0.1, values[0], order=1 / _SAMPLES**2))
    draws = []
    for seed in trials.seeds(20, 100):
        e, instance = instance_of(seed, 2.0, samples=60, data={"dim": 120}, pretraining={"temperature": 3.0})
        z, z_aug = views_of(instance)
        draws.append(top_eigenpairs(z, z_aug, learning_rate=rate_of(e), temperature=3.0)[0][0])
    return [*found, equals("lambda_1 at the default step, n0 = d/2", 0.1, draws, order=2 / 60)]


def _reported(trials: Trials) -> list[Comparison]:
    """What a run of the whole experiment reports beside its own measurements, at the default step size."""
    found: dict[str, list[float]] = {"growth_per_step": [], "ratio": [], "steps": []}
    for seed in trials.seeds(12, 100):
        run = simulate(*instance_of(seed, _KAPPA, pretraining={"temperature": 0.5}))
        table = compare(run)["pretraining"]
        for name, values in found.items():
            measured, predicted = table[name]["measured"], table[name]["predicted"]
            if name == "growth_per_step":  # so near 1 that its excess says more
                values.append((measured - 1) / (predicted - 1))
            else:  # the end is passed by half a step on average
                values.append((measured - (0.5 if name == "steps" else 0.0)) / predicted)
    fresh = simulate(*instance_of(seed, _KAPPA, pretraining={"views": "fresh"}))
    growth = compare(fresh)["pretraining"]["growth_per_step"]
    coarse = 0.05 * (saturation(LINEAR_END) + LINEAR_END + 0.05)  # the step size in P3 (12)
    return [
        equals("a run's R_T, reported / predicted", 1.0, found["ratio"], order=coarse),
        equals("a run's growth, reported / predicted", 1.0, found["growth_per_step"], order=0.002),
        equals("a run's steps, reported / predicted", 1.0, found["steps"], order=coarse / 10),
        equals("growth, fresh views", growth["predicted"] - 1, growth["measured"] - 1, order=1 / _SAMPLES),
    ]


def check(
    trials: Trials, *, tilted: bool = True, saturated: bool = True, longer: float = 1.0, shift: float = 0.0
) -> Outcome:
    """Length of the stage and R_T at its end.

    ``tilted`` False leaves the factor 2 kappa/(2 kappa + 1 + a) out of T, ``saturated`` False the softmax's
    saturation; ``longer`` goes on that many times as long; ``shift`` puts R_T off by a factor 1 + shift.
    """
    seeds = list(trials.seeds(20, 200))
    wrong: dict[str, Any] = {"tilted": tilted, "saturated": saturated, "longer": longer, "shift": shift}
    comparisons, data = _hand_overs(seeds, 0.0, **wrong)
    comparisons += _hand_overs(seeds, 1.0, **wrong)[0]
    if wrong == {"tilted": True, "saturated": True, "longer": 1.0, "shift": 0.0}:  # nothing of it in the rest
        for seed in seeds[: trials.pick(1, 10)]:
            for kappa, overlap in ((4.0, 0.0), (0.5, 0.0), (1.0, 1.0)):
                comparisons += _averages(seed, kappa, overlap)
            comparisons += _averages(seed, 1.0, 0.3, energy=1.6)
            comparisons += _averages(seed, 2.0, 0.5, n=4)  # where what is of order 1/n0^2 shows
            comparisons += _limits(seed) + _fresh(seed, 0.0) + _fresh(seed, 0.5)
        comparisons += [_in_units(), _kicked(trials), *_fresh_end(seeds[0])]
        comparisons += _defaults(trials) + _reported(trials)
        data |= _path(seeds[0])
    return Outcome(comparisons, len(seeds), data)


def _path(seed: int) -> dict[str, Any]:
    """R_t along one run that goes on past the linear end, and its linear law."""
    e, instance = instance_of(seed, _KAPPA, pretraining=_small_rate(_GROWTH, _KAPPA))
    stage = stage_of(e, instance)
    steps, measured = path_of(e, instance, int(1.4 * stage.steps))
    top = linear_modes(_KAPPA, _SAMPLES)[0]
    law: dict[str, Any] = {"growth": stage.growth, "alignment": top.alignment, "unit": unit_of(e)}
    law |= {"overlap": 0.0, "samples": _SAMPLES, "dim": DIM, "sigma_p": 1.0}
    law |= {"signal_norm": e.signal_norm, "initial_overlap": stage.overlap}
    linear = np.array([handover_ratio(steps=float(t), **law) for t in steps])
    return {"steps": steps, "path": measured, "linear": linear, "end": stage.steps}


def figure(evidence: Evidence) -> Figure:
    """R_t along a run against its linear law, and R_T of many runs against its prediction."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, (path, end) = panels(2)
    data = evidence.outcome.data
    past = data["steps"] >= data["end"]
    path.semilogy(data["steps"], data["linear"], **{**PREDICTED, "label": "predicted, linear"})
    measured_points(path, data["steps"], data["path"])
    path.axvline(data["end"], color="0.5", linewidth=0.8)
    control = {**CONTROL, "label": "control: past the end", "zorder": 3}
    path.semilogy(data["steps"][past], data["path"][past], **control)
    path.set(xlabel="step $t$", ylabel="$R_t$")
    path.legend()
    runs = np.arange(len(data["relative"]))
    end.axhline(1.0, **PREDICTED)
    measured_points(end, runs, data["relative"])
    for wrong in evidence.controls:
        if "saturation" in wrong.words and "relative" in wrong.outcome.data:
            style = {**CONTROL, "label": "control: no saturation"}
            end.plot(runs, wrong.outcome.data["relative"], **style)
    end.set(xlabel="run", ylabel="$R_T$, measured / predicted", ylim=(0.75, 1.05))
    end.legend()
    return drawn


CLAIM = Claim(
    id="P3",
    title="Length of the linear stage, and signal to fresh noise at its end",
    source="Zhang-Cao, Theorem 5.3; R_T, coefficients and saturation in closed form new here",
    statement=r"R_T = \frac{\langle w, \mu\rangle}{\operatorname{sd}\langle w, \xi_{\mathrm{new}}\rangle} "
    r"\to \sqrt{2 n_0}\, \mathrm{SNR}^2 \sqrt{d} , \qquad "
    r"T = \frac{1}{\log(1 + \lambda_1)} \log \frac{\sqrt{\tau / 2m} \sqrt{2\kappa / (1 + 2\kappa)}}"
    r"{\sigma_0 \lVert\mu\rVert}",
    check=check,
    controls={
        "training on past the linear stage": {"longer": 1.05},
        "R_T too large by 0.2 %": {"shift": 0.002},
        "T without the factor 2 kappa/(2 kappa + 1 + a)": {"tilted": False},
        "saturation of the softmax left out": {"saturated": False},
    },
    theory=(
        "coefficient_growth",
        "fresh_handover_ratio",
        "handover_ratio",
        "linear_modes",
        "linear_stage_steps",
        "saturation",
    ),
    figure=figure,
)
