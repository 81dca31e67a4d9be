"""M1: momentum, a race with a velocity, and clusters of unequal strength, m1_momentum.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals, failure_rate
from numsim.config import Experiment
from numsim.config.experiment import Resolved
from numsim.descent.supervised import train
from numsim.runs.draw import Instance, draw
from numsim.runs.simulate import Arm, simulate
from numsim.theory import (
    MomentumRace,
    cluster_clock,
    crossing_inertia,
    inertia,
    momentum_race,
    momentum_steps,
    noise_output_tail,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_SAMPLES, _FILTERS, _Q = 40, 10, 3.0
_LOSS = 0.01
_LEADING = 2
"""Activations of a patch that are followed."""
_NEAR = 1.15
"""Within this factor of a tie nothing is said about which samples are memorised: S2."""


class Setting(NamedTuple):
    """ratio : strength of the weak clusters over the strong; share : of the samples that are weak.

    rise : growth a step, k A^(q-2)/(1 - beta), of the activation A that fits the strong; init : sigma_0
    sigma_p sqrt(d).
    """

    ratio: float
    share: float = 0.2
    snr: float = 0.5
    momenta: tuple[float, ...] = (0.0, 0.97, 0.99)
    rise: float = 0.5
    init: float = 0.03
    dim: float = 1e14


@lru_cache(maxsize=64)
def experiment_of(s: Setting) -> Resolved:
    """An arm for every momentum, all at the same eta/(1 - beta)."""
    weak = round(_SAMPLES * s.share)
    size = (_FILTERS * math.log(1 / _LOSS)) ** (1 / _Q)
    effective = s.rise / size ** (_Q - 2) * 2 * _SAMPLES * _FILTERS / (_Q * s.snr**2 * s.dim)
    effective /= _SAMPLES - weak
    rows = ((1.0, _SAMPLES - weak), (s.ratio, weak))
    return Experiment(
        data={
            "dim": s.dim,
            "signals": {"mu": {"norm": s.snr * math.sqrt(s.dim)}},
            "clusters": [
                {"label": y, "weight": count, "patches": [{"mu": y * strength}, {"xi": 1}]}
                for y in (1, -1)
                for strength, count in rows
            ],
        },
        network={"q": _Q, "filters": _FILTERS, "activation": "power", "relative_init_scale": s.init},
        pretraining={"samples": 0},
        finetuning={"samples": _SAMPLES, "target_loss": _LOSS, "max_steps": 100_000},
        arms={
            _name(beta): {"finetuning": {"momentum": beta, "learning_rate": effective * (1 - beta)}}
            for beta in s.momenta
        },
        evaluation={"samples": 2000},
    ).resolved()


def _name(momentum: float) -> str:
    return f"beta{momentum:g}".replace(".", "_")


class End(NamedTuple):
    """Leading noise activations (n, ...); test loss and error of the weak clusters, means of both signs."""

    noise: Floats
    loss: float
    error: float


class Run(NamedTuple):
    """One draw: leading activations at the start, of the signal and of every noise (n, ...), largest last;
    weak (n,) clusters; and the ends by momentum.
    """

    signal: Floats
    noise: Floats
    weak: npt.NDArray[np.bool_]
    ends: dict[float, End]


def _own(filters: Floats) -> Floats:
    """u_r = j w_jr, (2, m, D): with an odd activation all filters are of one kind."""
    own: Floats = filters * np.array([1.0, -1.0])[:, None, None]
    return own


def _leading(filters: Floats, instance: Instance) -> tuple[Floats, Floats]:
    """The _LEADING largest <u_r, mu> and, of every sample, y_i <u_r, xi_i> (n, ...), largest last."""
    labelled, signals = instance.labelled, instance.signals
    assert signals is not None
    u = _own(filters)
    along = u @ labelled.noise.T * labelled.labels
    noise = np.sort(along.reshape(-1, len(labelled.labels)), axis=0)[-_LEADING:].T
    signal: Floats = np.sort((u @ signals[0]).ravel())[-_LEADING:]
    return signal, noise


@lru_cache(maxsize=4096)
def trained(s: Setting, seed: int) -> Run:
    """All arms of one draw; controls look at it too."""
    e = experiment_of(s)
    simulation = simulate(e, draw(e, seed), seed, record=2)
    instance, clusters = simulation.instance, simulation.instance.labelled.clusters
    assert clusters is not None
    arms = [simulation.arms[_name(beta)] for beta in s.momenta]
    ends = {beta: _end(arm, instance) for beta, arm in zip(s.momenta, arms, strict=True)}
    return Run(*_leading(arms[0].initial, instance), clusters % 2 == 1, ends)


def _end(arm: Arm, instance: Instance) -> End:
    test: Any = arm.test
    weak_loss, weak_error = test.loss_by_cluster[1::2], test.error_by_cluster[1::2]
    _, noise = _leading(arm.filters, instance)
    return End(noise, float(weak_loss.mean()), float(weak_error.mean()))


class Wrong(NamedTuple):
    """What a control gets wrong; the defaults are right."""

    velocity: bool = True
    inertial: bool = True
    power: float = _Q
    later: bool = True


@lru_cache(maxsize=256)
def _race(s: Setting, seeds: tuple[int, ...], beta: float, power: float) -> MomentumRace:
    """M1 (10) from the starts of all runs."""
    return _ends(s, _starts(_runs(s, seeds)), beta, power)


def _starts(runs: list[Run]) -> dict[str, npt.NDArray[Any]]:
    """What ``_ends`` takes of many runs."""
    return {name: np.stack([getattr(run, name) for run in runs]) for name in ("signal", "noise", "weak")}


def _ends(s: Setting, starts: Mapping[str, Any], beta: float, power: float = _Q) -> MomentumRace:
    """M1 (10) at a momentum beta and the setting's eta/(1 - beta)."""
    e = experiment_of(s)
    assert s.momenta[0] == 0
    return momentum_race(
        starts["signal"],
        starts["noise"],
        strengths=np.where(starts["weak"], s.ratio ** (power / _Q), 1.0),
        filters=_FILTERS,
        q=_Q,
        signal_norm=s.snr * e.noise_norm,
        noise_norm=e.noise_norm,
        learning_rate=e.plans[0].finetuning.learning_rate * (1 - beta),
        momentum=beta,
        loss=_LOSS,
    )


def _outputs(race: MomentumRace, strength: float) -> Floats:
    """Margins of clusters of this strength, M1 (11)."""
    outputs: Floats = np.sum((strength * race.signal) ** _Q, axis=-1) / _FILTERS
    return outputs


def _runs(s: Setting, seeds: tuple[int, ...]) -> list[Run]:
    """Runs whose draw has weak samples, and a filter that is active on the signal: nearly all."""
    runs = [trained(s, seed) for seed in seeds]
    return [run for run in runs if run.weak.any() and run.signal[-1] > 0]


def _weak_losses(s: Setting, seeds: tuple[int, ...], wrong: Wrong) -> tuple[list[Comparison], Floats]:
    """Test loss of the weak clusters at every momentum, run by run, and the rows of the figure."""
    runs = _runs(s, seeds)
    found, rows = [], []
    for beta in s.momenta:
        race = _race(s, seeds, beta if wrong.velocity else 0.0, wrong.power)
        expected = np.logaddexp(0.0, -_outputs(race, s.ratio))
        measured = np.array([run.ends[beta].loss for run in runs])
        mean = float(expected.mean())
        name = f"test loss of the weak clusters, strength {s.ratio:g}, beta = {beta:g}"
        found.append(equals(name, mean, measured - expected + mean, order=0.01, resolution=0.5))
        deviation = float(measured.std(ddof=1)) / math.sqrt(len(runs))
        rows.append([s.ratio, beta, mean, float(measured.mean()), deviation])
    return found, np.array(rows)


def _memorised(settings: tuple[Setting, ...], seeds: tuple[int, ...], wrong: Wrong) -> Comparison:
    """Without momentum: a weak sample is memorised iff its clock would end before M1 (7)."""
    asked = right = 0
    for s in settings:
        for run in (trained(s, seed) for seed in seeds):
            counts = [float((~run.weak).sum()), float(run.weak.sum())]
            if min(counts) == 0 or run.signal[-1] <= 0:
                continue
            law: dict[str, Any] = {"counts": counts, "snr": s.snr, "q": _Q, "scale": 1 / _FILTERS}
            law["strengths"] = [1.0, s.ratio ** (wrong.power / _Q)]
            strong, weak = (cluster_clock(float(run.signal[-1]), of=k, **law) for k in (0, 1))
            if not wrong.later:  # the race before the strong are fitted
                weak = float(run.signal[-1]) ** (2 - _Q) / (
                    s.snr**2 * float(np.dot(counts, [1.0, s.ratio**_Q]))
                )
            largest = [float(run.noise[where].max()) for where in (~run.weak, run.weak)]
            first = [b ** (2 - _Q) / clock for b, clock in zip(largest, (strong, weak), strict=True)]
            if first[0] < _NEAR or 1 / _NEAR < first[1] < _NEAR:
                continue
            end = float(run.ends[0.0].noise[run.weak].max())
            memorised = end**_Q / _FILTERS > 0.1
            asked += 1
            right += memorised == (first[1] < 1)
    return failure_rate("whether a weak sample is memorised is called wrong", 0.01, asked - right, asked)


_RACES = ((0.9, 0.01), (0.9, 0.5), (0.97, 0.5), (0.99, 0.1), (0.99, 3.0))
"""Momentum and Lambda of the blow-ups."""
_RISE = 4.0


def _pull(strength: float, beta: float, start: float = 1.0) -> float:
    """k at Lambda = ``strength``, M1 (3)."""
    return float(strength * 2 * (1 - beta) ** 2 / (1 + beta) / start ** (_Q - 2))


def _steps(strength: float, beta: float) -> float:
    """Steps of a race at this Lambda, M1 (4)."""
    return momentum_steps(_RISE, start=1.0, pull=_pull(strength, beta), momentum=beta, q=_Q)


@lru_cache(maxsize=1024)
def _taken(beta: float, strength: float, seed: int, inertial: bool) -> float | None:
    """Steps of one filter by M1 (4) to where the engine takes it, over those that it was given."""
    n, m, dim = 4, 4, 1e14
    base: dict[str, Any] = {
        "data": {"dim": dim, "snr": 100.0},
        "network": {"q": _Q, "filters": m, "activation": "power", "relative_init_scale": 1e-5},
        "pretraining": {"samples": 0},
        "evaluation": {"samples": 2},
    }
    first = Experiment(**base, finetuning={"samples": n, "max_steps": 1, "learning_rate": 1e-30}).resolved()
    instance = draw(first, seed)
    along = _own(instance.filters[instance.order].reshape(2, m, -1)) @ instance.mu
    leading = np.unravel_index(along.argmax(), along.shape)
    start = float(along[leading])
    if start < np.abs(along).max() / 2:  # a larger one on the wrong side may cross, and be first: M1 (6)
        return None
    pull = _pull(strength, beta, start)  # of all samples: k = eta s q |mu|^2/(2m)
    exact: dict[str, Any] = {"start": start, "pull": pull, "momentum": beta, "q": _Q}
    assert math.isclose(inertia(**exact), strength, rel_tol=1e-9)
    steps = round(momentum_steps(_RISE * start, **exact))
    trained = {
        "samples": n,
        "learning_rate": pull * 2 * m / (_Q * first.signal_norm**2),
        "momentum": beta,
        "target_loss": 0,
        "max_steps": steps,
    }
    e = Experiment(**base, finetuning=trained).resolved()
    arm = simulate(e, instance, seed, record=2).direct
    end = float((_own(arm.filters) @ instance.mu)[leading])
    law = exact if inertial else {**exact, "pull": pull / (1 - beta), "momentum": 0.0}
    return momentum_steps(end, **law) / steps


def _races(seeds: tuple[int, ...], wrong: Wrong) -> list[Comparison]:
    """Steps to four times the start: the engine's against M1 (4)."""
    found = []
    for beta, strength in _RACES:
        ratios = [r for seed in seeds if (r := _taken(beta, strength, seed, wrong.inertial)) is not None]
        name = f"steps to 4 times the start over M1 (4), beta = {beta:g}, Lambda = {strength:g}"
        found.append(equals(name, 1.0, ratios, order=1.5 / _steps(strength, beta), absolute=1e-3))
    return found


def _race_points(seeds: tuple[int, ...]) -> Floats:
    """Lambda, and steps times 1 - beta, of the first draw's races."""
    rows = []
    for beta, strength in _RACES:
        ratio = next((r for seed in seeds if (r := _taken(beta, strength, seed, True)) is not None), math.nan)
        rows.append((strength, _steps(strength, beta) * ratio * (1 - beta)))
    return np.array(rows)


_WIDTH, _MANY = 0.05, 201


@lru_cache(maxsize=2)
def _crossing() -> float:
    """The smallest Lambda, as a share of M1 (6), at which a filter on the wrong side crosses 0."""
    beta, small = 0.99, 1e-6
    critical = crossing_inertia(_Q)
    shares = np.linspace(1 - _WIDTH, 1 + _WIDTH, _MANY)
    filters = np.zeros((2, _MANY, 1))
    filters[0, :, 0] = -small * shares ** (1 / (_Q - 2))
    trained, _ = train(
        filters,
        np.ones((1, 1, 1)),
        np.ones(1),
        q=_Q,
        activation="power",
        learning_rate=_pull(critical, beta, small) * 2 * _MANY / _Q,
        momentum=beta,
        max_steps=4000,
        target_loss=0.0,
        record=2,
    )
    crossed = trained[0, :, 0] > 0
    return float(shares[crossed].min()) if crossed.any() else math.inf


_NOISY = Setting(0.08, share=0.1, init=0.15, momenta=(0.0, 0.9))


def _errors(seeds: tuple[int, ...], wrong: Wrong) -> list[Comparison]:
    """Test error of the weak clusters where untouched noise is as large as their signal, M1 (11), (12)."""
    runs = _runs(_NOISY, seeds)
    size = _NOISY.init**_Q / _FILTERS
    found = []
    for beta in _NOISY.momenta:
        race = _race(_NOISY, seeds, beta if wrong.velocity else 0.0, wrong.power)
        outputs = _outputs(race, _NOISY.ratio ** (wrong.power / _Q))
        expected = noise_output_tail(outputs / size, _FILTERS, _Q, odd=True)
        mean = float(expected.mean())
        draws = np.array([run.ends[beta].error for run in runs]) - expected + mean
        name = f"test error of the weak clusters, strength {_NOISY.ratio:g}, beta = {beta:g}"
        found.append(equals(name, mean, draws, order=0.02, resolution=0.5))
    return found


_SETTINGS = (
    Setting(0.15),
    Setting(0.2, share=0.1, momenta=(0.0, 0.97)),
    Setting(0.3, share=0.4, momenta=(0.0,)),
    Setting(0.5, momenta=(0.0,)),
)


def check(
    trials: Trials, *, velocity: bool = True, inertial: bool = True, power: float = _Q, later: bool = True
) -> Outcome:
    """M1 (4), (6), (7), (10) to (12).

    velocity : whether the prediction has one, or descends at eta/(1 - beta); inertial : the same of the
    blow-ups; power : of the strengths' ratio; later : whether the weak race goes on after the strong's.
    """
    wrong = Wrong(velocity, inertial, power, later)
    more = tuple(trials.seeds(20, 240))
    seeds = more[: len(more) // 2]
    comparisons, rows = [], []
    for s in _SETTINGS[:2]:
        own, row = _weak_losses(s, seeds, wrong)
        comparisons += own
        rows.append(row)
    comparisons += _races(seeds[: trials.pick(6, 30)], wrong)
    resolved = 2 * _WIDTH / (_MANY - 1)
    name = "smallest Lambda that crosses 0 over M1 (6)"
    comparisons.append(equals(name, 1.0, _crossing(), order=2 * resolved))
    comparisons += [_memorised(_SETTINGS, seeds, wrong), *_errors(more, wrong)]
    starts = _starts(_runs(_SETTINGS[0], seeds))
    data = {"losses": np.concatenate(rows), "races": _race_points(seeds), **starts}
    return Outcome(comparisons, len(seeds) * len(_SETTINGS) + len(more), data)


def figure(evidence: Evidence) -> Figure:
    """Test loss of the weak clusters against beta; steps to four times the start against Lambda."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    data, s = evidence.outcome.data, _SETTINGS[0]
    betas = np.concatenate([np.linspace(0, 0.9, 7), 1 - np.geomspace(0.08, 0.008, 9)])
    ends = [_outputs(_ends(s, data, float(beta)), s.ratio) for beta in betas]
    curve = [np.logaddexp(0.0, -outputs).mean() for outputs in ends]
    left.plot(1 - betas, curve, **PREDICTED)
    left.axhline(curve[0], **{**CONTROL, "label": r"control, gradient descent at $\eta/(1-\beta)$"})
    own = data["losses"][data["losses"][:, 0] == s.ratio]
    measured_points(left, 1 - own[:, 1], own[:, 3], 2 * own[:, 4])
    left.set(xscale="log", xlabel=r"$1 - \beta$", ylabel="test loss of the weak clusters", ylim=(0, 0.7))
    left.invert_xaxis()
    left.legend()
    strengths = np.geomspace(3e-3, 30, 40)
    beta = 0.99
    steps = np.array([_steps(x, beta) for x in strengths])
    law: dict[str, Any] = {"start": 1.0, "momentum": 0.0, "q": _Q}
    pulls = [_pull(x, beta) / (1 - beta) for x in strengths]
    slow = np.array([momentum_steps(_RISE, pull=k, **law) for k in pulls])
    right.loglog(strengths, steps * (1 - beta), **PREDICTED)
    right.loglog(
        strengths, slow * (1 - beta), **{**CONTROL, "label": r"control, gradient descent at $\eta/(1-\beta)$"}
    )
    right.plot(*data["races"].T, **MEASURED)
    right.set(xlabel=r"$\Lambda$", ylabel=r"steps to four times the start, times $1 - \beta$")
    right.legend()
    return drawn


CLAIM = Claim(
    id="M1",
    title="Momentum: a race with a velocity, which carries the signal past the clusters that are strong",
    source="Jelassi and Li 2022 (restated by others); the sharp forms are new here",
    statement=(
        r"\tfrac{1+\beta}{2}\, a'' + (1 - \beta)\, a' = k a^{q-1}, \qquad "
        r"\Lambda = \frac{(1 + \beta)\, k\, a_0^{q-2}}{2 (1 - \beta)^2}"
    ),
    check=check,
    controls={
        "gradient descent at eta/(1 - beta)": {"velocity": False},
        "blow-ups of gradient descent at eta/(1 - beta)": {"inertial": False},
        "a weak cluster counts by its strength to the 2.8": {"power": 2.8},
        "the weak race ends when the strong are fitted": {"later": False},
    },
    theory=(
        "cluster_clock",
        "crossing_inertia",
        "inertia",
        "momentum_race",
        "momentum_steps",
        "noise_output_tail",
    ),
    figure=figure,
)
