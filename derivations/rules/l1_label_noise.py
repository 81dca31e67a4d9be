"""L1: growth of the signal under label noise while the noise is stationary, l1_label_noise.md."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, at_most, equals, slope
from numsim.config import Experiment
from numsim.runs.result import ArmResult
from numsim.runs.run import run
from numsim.theory import (
    label_noise_growth,
    label_noise_pull,
    label_noise_pull_expansion,
    memorisation_gain,
    stationary_mean,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_PAIRS = ((0.1, 0.1), (0.1, 0.2), (0.2, 0.1), (0.2, 0.2), (0.4, 0.1), (0.4, 0.2))
"""(a, p): what a step multiplies a memorised activation by, at most, and the flip probability."""
_LADDER = (0.05, 0.1)
"""Values of a at which the growth's slope in the step size is measured."""
_SAMPLES, _FILTERS, _DIM = 100, 10, 1e6
_SYSTEMATIC = 0.005
"""Cross-talk of patches, of order n/d = 1e-4 of a mean and 0.01 of a single pull, and unequal |xi_i|^2."""


class _Setting(NamedTuple):
    """One experiment; gain, flips : a and p of L1 (3); strength : n SNR^2."""

    gain: float
    flips: float
    steps: int
    strength: float = 0.05

    @property
    def unit(self) -> float:
        """eta |mu|^2 / m."""
        return self.gain * self.strength / 2


def _trained(s: _Setting, seed: int) -> ArmResult:
    """Direct training at q = 2 with label noise; the step size from a, L1 (2)."""
    experiment = Experiment(
        data={"dim": _DIM, "snr": math.sqrt(s.strength / _SAMPLES), "balanced": True},
        network={"q": 2.0, "filters": _FILTERS, "relative_init_scale": 1e-2},
        pretraining={"samples": 0},
        finetuning={
            "samples": _SAMPLES,
            "learning_rate": s.gain * _SAMPLES * _FILTERS / (2 * _DIM),
            "label_noise": s.flips,
            "target_loss": 0,
            "max_steps": s.steps,
        },
        evaluation={"samples": 1000},
    )
    return run(experiment, seed).direct


def _along(arm: ArmResult) -> tuple[Floats, Floats]:
    """Recorded steps (R,), and j <w_jr, mu> (R, 2, m) there."""
    path = arm.trajectory
    sign = np.array([1.0, -1.0])[:, None]
    return path["step"].values.astype(np.float64), path["signal_inner"].values * sign


def _held(arm: ArmResult, at: int) -> Floats:
    """What the filters of a sample's label contribute to its margin (n,) at a recorded step."""
    inner = np.maximum(arm.trajectory["noise_inner"].values[at], 0.0)  # (2, m, n)
    plus, minus = np.mean(inner**2, axis=1)
    found: Floats = np.where(arm.trajectory["label"].values > 0, plus, minus)
    return found


class _Stationary(NamedTuple):
    """From an eighth of a run, by when the noise is memorised, to its end: mean pull and training loss.

    pull : growth of log j <w, mu> a step in units of eta |mu|^2/m, of filters that are active on their class.
    """

    pull: float
    loss: float


@lru_cache(maxsize=1024)
def _stationary(s: _Setting, seed: int) -> _Stationary | None:
    """None where a sample is not memorised by then: the stage has not begun."""
    arm = _trained(s, seed)
    steps, along = _along(arm)
    first = int(np.searchsorted(steps, steps[-1] / 8))
    if (_held(arm, first) < 1e-3 * math.log(1 / max(s.flips, 1e-3) - 1)).any():
        return None
    active = along[first] > 0
    grown = np.log(along[-1][active] / along[first][active])
    pull = float(np.mean(grown) / (steps[-1] - steps[first]) / s.unit)
    return _Stationary(pull, float(np.mean(arm.trajectory["loss"].values[first:])))


class _Ending(NamedTuple):
    """Steps of S_j from 1e-5 f* to f*/30 (mean over classes), the loss at the end, the test error."""

    taken: float
    loss: float
    error: float


@lru_cache(maxsize=256)
def _ending(s: _Setting, seed: int) -> _Ending | None:
    """None where a class has no filter that is active on its signal, or a sample none: of one in 2^m each."""
    arm = _trained(s, seed)
    loss = arm.trajectory["loss"].values
    middle = math.log(1 / s.flips - 1)
    small, large = math.log(1e-5 * middle), math.log(middle / 30)
    steps, along = _along(arm)
    parts = np.mean(np.maximum(along, 0.0) ** 2, axis=2).T  # S_j (2, R)
    if (parts[:, 0] <= 0).any() or (_held(arm, 0) <= 0).any():
        return None
    sizes = np.log(parts)
    taken = [np.interp(large, size, steps) - np.interp(small, size, steps) for size in sizes]
    return _Ending(float(np.mean(taken)), float(np.mean(loss[steps > 0.8 * s.steps])), arm.test_error)


def _pairs(
    trials: Trials, *, noisy: bool, shift: float, halved: bool, order: int | None
) -> tuple[list[Comparison], dict[str, Any]]:
    """Growth and training loss of the stationary stage at six pairs (a, p), against L1 (9)."""
    found, curves = [], []
    seeds = list(trials.seeds(12, 20))
    for gain, flips in _PAIRS:
        s = _Setting(gain, flips if noisy else 0.0, round(trials.pick(450, 3000) / gain))
        runs = [one for seed in seeds if (one := _stationary(s, seed)) is not None]
        a, p = gain / 2 if halved else gain, flips + shift
        growth = label_noise_pull(a, p) if order is None else label_noise_pull_expansion(a, p, order)
        words, pulls = f"a = {gain:g}, p = {flips:g}", [one.pull for one in runs]
        found.append(equals(f"growth a step / (eta |mu|^2/m), {words}", growth, pulls, order=_SYSTEMATIC))
        loss = stationary_mean(lambda f: np.log1p(np.exp(-f)), gain, p)
        losses = [one.loss for one in runs]
        found.append(equals(f"training loss, {words}", loss, losses, order=_SYSTEMATIC))
        curves.append([gain, flips, float(np.mean(pulls)), float(np.std(pulls) / math.sqrt(len(pulls)))])
    return found, {"pairs": np.array(curves)}


def _slope(trials: Trials, power: float) -> Comparison:
    """The growth's exponent in the step size, at small a; what (8) leaves of it above 2 is allowed."""
    flips, seeds = 0.2, list(trials.seeds(12, 20))
    runs = []
    for seed in seeds:
        both = [_stationary(_Setting(a, flips, round(trials.pick(450, 3000) / a)), seed) for a in _LADDER]
        pulls = [one.pull for one in both if one is not None]
        if len(pulls) == len(_LADDER):
            runs.append([a * pull for a, pull in zip(_LADDER, pulls, strict=True)])
    growths = np.transpose(runs)
    first, last = (a * label_noise_pull_expansion(a, flips) for a in (_LADDER[0], _LADDER[-1]))
    beyond = math.log(last / first) / math.log(_LADDER[-1] / _LADDER[0]) - 2
    return slope("exponent of the growth in eta", power, _LADDER, growths, absolute=beyond)


def _taken_over(trials: Trials, twice: float) -> list[Comparison]:
    """Steps between two sizes of S against L1 (11), the loss at the end against (12), and test errors."""
    s = _Setting(0.4, 0.2, 6000, strength=0.3)
    seeds = list(trials.seeds(10, 20))
    with_noise = [one for seed in seeds if (one := _ending(s, seed)) is not None]
    sizes: dict[str, Any] = {"samples": _SAMPLES, "filters": _FILTERS, "noise_norm": math.sqrt(_DIM)}
    rate = s.gain / memorisation_gain(learning_rate=1.0, **sizes)
    signal = math.sqrt(s.strength / _SAMPLES * _DIM)
    growth = label_noise_growth(learning_rate=rate, signal_norm=signal, flip_probability=s.flips, **sizes)
    law = math.log(1e5 / 30) / (twice * growth)
    end = math.log(1 / (1 - s.flips))
    return [
        equals("steps that S takes, over L1 (11)", 1.0, [one.taken / law for one in with_noise], order=0.05),
        equals("training loss at the end", end, [one.loss for one in with_noise], order=0.02),
        at_most("test error with label noise", 1e-3, max(one.error for one in with_noise)),
    ]


def check(
    trials: Trials,
    *,
    noisy: bool = True,
    shift: float = 0.0,
    halved: bool = False,
    order: int | None = None,
    power: float = 2.0,
    twice: float = 2.0,
) -> Outcome:
    """L1 (8), (9), (11) and (12).

    ``noisy`` False runs without flips, ``shift`` changes p, ``halved`` the step size of the prediction;
    ``order`` takes its expansion; ``power`` is the exponent in the step size; ``twice`` the 2 of (11).
    """
    pairs, data = _pairs(trials, noisy=noisy, shift=shift, halved=halved, order=order)
    comparisons = [*pairs, _slope(trials, power), *_taken_over(trials, twice)]
    return Outcome(comparisons, len(_PAIRS) * trials.pick(12, 20), data)


def figure(evidence: Evidence) -> Figure:
    """Growth a step against a at two flip probabilities: L1 (9), its first order as control, measured."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, axes = panels(2)
    measured = evidence.outcome.data["pairs"]
    a = np.linspace(0.02, 0.5, 25)
    for axis, p in zip(axes, (0.1, 0.2), strict=True):
        axis.plot(a, [label_noise_pull(x, p) for x in a], **PREDICTED)
        axis.plot(
            a,
            [label_noise_pull_expansion(x, p, 1) for x in a],
            **{**CONTROL, "label": "control, first order"},
        )
        own = measured[measured[:, 1] == p]
        measured_points(axis, own[:, 0], own[:, 2], 2 * own[:, 3])
        axis.set(xlabel=r"$a = 2\eta s\sigma_p^2 d/(nm)$", title=f"$p$ = {p:g}")
        axis.legend()
    axes[0].set_ylabel(r"$\Delta \log \langle w, j\mu\rangle$ a step, in units of $\eta \Vert\mu\Vert^2/m$")
    return drawn


CLAIM = Claim(
    id="L1",
    title="Label noise lets the signal grow while the noise is stationary",
    source="arXiv 2510.17526, the growth new",
    statement=(
        r"\Delta\log\langle w_{j,r}, j\mu\rangle = \frac{\eta s\lVert\mu\rVert^2}{m}\,\bar g(a, p), \quad "
        r"\bar g = \tfrac{a}{2}\, p(1 - p) + O(a^2)"
    ),
    check=check,
    controls={
        "no flips": {"noisy": False},
        "p + 0.01 for p": {"shift": 0.01},
        "the growth of half the step size": {"halved": True},
        "the expansion to first order": {"order": 1},
        "growth proportional to the step size": {"power": 1.0},
        "a signal that grows half as fast": {"twice": 1.0},
    },
    theory=(
        "label_noise_growth",
        "label_noise_pull",
        "label_noise_pull_expansion",
        "memorisation_gain",
        "stationary_mean",
    ),
    figure=figure,
)
