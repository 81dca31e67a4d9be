"""K1: ReLU with flipped labels memorises in time beta n m/(eta eps sigma_p^2 d), k1_relu_memorisation.md."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals
from numsim.descent.evaluation import evaluate
from numsim.models.streams import generator
from numsim.theory import (
    coefficient_balance,
    inverse_active,
    memorisation_speed,
    memorisation_steps,
    memorised_loss,
    memorised_margin,
    relu_mean_error,
    relu_signal,
    relu_test_error,
)

from .relu_runs import Setting, active_shares, draw_relu, experiment_of, misread_share, train_relu

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]


SPEEDS = (
    Setting(),
    Setting(samples=30),
    Setting(filters=96),
    Setting(rate=0.1, target=0.05),
    Setting(target=2e-3),
    Setting(scale=0.5, rate=0.2),
    Setting(sigma_p=2.0, dim=1e14, flips=0.2),
)
"""Initial filters far above the samples' cross-talk sqrt(n/d): the first pattern of active filters stays."""

_SMALL = Setting(samples=20, filters=40, dim=1e8, signal=1.0, init=1e-8, rate=0.1, target=0.05)
ERRORS = (
    _SMALL._replace(flips=0.1),
    _SMALL,
    _SMALL._replace(samples=40, filters=24, flips=0.2, scale=0.5),
    _SMALL._replace(dim=1e6, sigma_p=2.0, signal=2.0, init=1e-7, flips=0.05, projected=False),
    _SMALL._replace(signal=2.5),
    _SMALL._replace(dim=1e12, signal=10.0, init=1e-3),
)
"""Initial filters far below it, as the theorem asks; in the last far above."""

KICKED = (
    _SMALL._replace(signal=0.3),
    _SMALL._replace(samples=40, signal=0.3, flips=0.1),
    _SMALL._replace(rate=0.3, signal=0.3, target=0.02),
)
"""Time to a loss in the theorem's regime: initial filters far below the cross-talk, which decides alpha."""

_ANY = _SMALL._replace(flips=0.1, balanced=False)
CURVE = {strength: _ANY._replace(signal=math.sqrt(strength)) for strength in (0.027, 1.4, 7.7)}
"""n |mu|^4 / (sigma_p^4 d) at which the error is 0.4, p + 0.1 and p + 0.01 for many samples."""

LARGE = ERRORS[-1]._replace(samples=10, flips=0.2, signal=40.0, balanced=False)
"""Initial filters far above the cross-talk: beta has a closed form, nothing of the draw is used. Few samples
and many flips, whose scatter decides."""


class Trained(NamedTuple):
    """One run: steps, last loss, alpha_i (n,) before and after, test error, labels (n,) true and observed."""

    steps: int
    loss: float
    first: Floats
    last: Floats
    error: float
    true: Floats
    observed: Floats


@lru_cache(maxsize=4096)
def _trained(setting: Setting, seed: int) -> Trained:
    e, drawn = experiment_of(setting), draw_relu(setting, seed)
    end, descent = train_relu(setting, drawn)
    error = math.nan
    if setting not in SPEEDS and setting not in KICKED:
        test = evaluate(
            end,
            drawn.mu / e.signal_norm,
            signal_norm=e.signal_norm,
            sigma_p=e.data.sigma_p,
            q=1.0,
            output_scale=setting.scale,
            projected=e.data.projected,
            flip_probability=setting.flips,
            samples=1000,
            rng=generator(seed, "evaluation"),
        )
        error = test.error
    labelled = drawn.labelled
    first, last = (active_shares(filters, labelled) for filters in (drawn.filters, end))
    return Trained(descent.steps, descent.loss, first, last, error, labelled.true_labels, labelled.labels)


def _speed(setting: Setting, shares: Floats) -> Floats:
    e = experiment_of(setting)
    rate = e.finetuning.learning_rate
    assert rate is not None
    return memorisation_speed(
        shares,
        samples=setting.samples,
        filters=setting.filters,
        learning_rate=rate,
        noise_norm=e.noise_norm,
        output_scale=setting.scale,
    )


class Wrong(NamedTuple):
    """What a control gets wrong; the defaults are right."""

    factor: float = 1.0
    power: float = 2.0
    flips: bool = True
    kicks: bool = True


def _signals(setting: Setting, run: Trained, wrong: Wrong) -> tuple[float, float, list[tuple[float, float]]]:
    """beta, mean margin, and for each class its x of K1 (11) and the other label's share."""
    shares = run.last if wrong.kicks else run.first
    margins = memorised_margin(run.steps, _speed(setting, shares))
    inverse = coefficient_balance(shares, margins, np.ones(setting.samples))
    e = experiment_of(setting)
    snr = e.snr * (e.snr / experiment_of(ERRORS[0]).snr) ** (wrong.power / 2 - 1)
    found = []
    for label in (1.0, -1.0):
        mine = run.true == label
        majority = float(np.sum(run.observed[mine] * label)) if wrong.flips else float(np.sum(mine))
        own = float(np.sum(run.observed == label))
        x = relu_signal(majority=majority, own=own, snr=snr, dim=e.data.dim, inverse=inverse)
        found.append((wrong.factor * x, own))
    return inverse, float(np.mean(margins)), found


def _expected_error(setting: Setting, run: Trained, wrong: Wrong) -> float:
    """K1 (12) averaged over the two classes."""
    inverse, margin, classes = _signals(setting, run, wrong)
    errors = [
        relu_test_error(
            x,
            inverse=inverse,
            filters=setting.filters,
            flip_probability=setting.flips,
            other=(setting.samples - own) / own,
            initial=(setting.init * setting.scale / margin) ** 2 * setting.dim / own,
        )
        for x, own in classes
    ]
    return sum(errors) / 2


def _pushed(setting: Setting, runs: list[Trained]) -> float:
    """What the first step's push on the other class's filters adds to the error at most, K1 (13)."""
    inverse, margin, classes = _signals(setting, runs[0], Wrong())
    x, own = classes[0]
    push = setting.rate / (4 * margin)
    initial = (setting.init * setting.scale / margin) ** 2 * setting.dim / own
    error, more = (
        relu_test_error(
            x / (1 + by),
            inverse=inverse,
            filters=setting.filters,
            flip_probability=setting.flips,
            initial=initial,
        )
        for by in (0.0, push)
    )
    return more - error


def _errors(setting: Setting, seeds: list[int], wrong: Wrong) -> Comparison:
    runs = [_trained(setting, seed) for seed in seeds]
    expected = np.array([_expected_error(setting, run, wrong) for run in runs])
    mean, allowed = float(expected.mean()), _pushed(setting, runs)
    draws = np.array([run.error for run in runs]) - expected + mean
    p = setting.flips
    name = f"test error, n = {setting.samples}, d = {setting.dim:g}, p = {p:g}, x ~ {setting.signal:g}"
    return equals(name, mean, draws, absolute=allowed + (mean - p) / setting.samples, resolution=0.5)


@lru_cache(maxsize=256)  # the same in a check and most of its controls
def _from_the_setting(setting: Setting, inverse: float, scatter: bool = True) -> float:
    """K1 (15), or K1 (12) at p n/2 flips a class, from beta and the setting: margins are expected ones."""
    e, share = experiment_of(setting), np.array([1 / inverse])
    speed = _speed(setting, share)
    margin = float(memorised_margin(memorisation_steps(setting.target, speed), speed)[0])
    n, p = setting.samples, setting.flips
    x = relu_signal(majority=(1 - 2 * p) * n / 2, own=n / 2, snr=e.snr, dim=e.data.dim, inverse=inverse)
    law: dict[str, Any] = {"inverse": inverse, "filters": setting.filters, "flip_probability": p}
    law["initial"] = (setting.init * setting.scale / margin) ** 2 * setting.dim / (n / 2)
    if not scatter:
        return relu_test_error(x, **law)
    return relu_mean_error(x, samples=n, balanced=setting.balanced, **law)


def _curve(trials: Trials, seeds: list[int], settled: bool) -> list[Comparison]:
    """Errors at three strengths and p = 0.1 against K1 (15), with the mean beta of small initial filters.

    Theory has bounds for that, 1 and 2 log 2 (K2), and it is measured once for all strengths: 1.27.
    """
    found = []
    for samples in trials.pick((20,), (20, 100)):
        few = seeds if samples == 20 else seeds[:200]
        settings = [s._replace(samples=samples, dim=1e8 * (samples / 20) ** 2) for s in CURVE.values()]
        runs = {setting: [_trained(setting, seed) for seed in few] for setting in settings}
        inverse = float(np.mean([1 / run.last for run in runs[settings[1]]]))
        if not settled:
            inverse = inverse_active(_ANY.filters)
        for strength, setting in zip(CURVE, settings, strict=True):
            expected = _from_the_setting(setting, inverse)
            allowed = _pushed(setting, runs[setting]) + (expected - setting.flips) / samples
            name = f"error from the setting, n = {samples}, n |mu|^4 / (sigma_p^4 d) = {strength:g}"
            draws = [run.error for run in runs[setting]]
            found.append(equals(name, expected, draws, absolute=allowed, resolution=0.5))
    return found


def _large(seeds: list[int], scatter: bool) -> Comparison:
    """The error where nothing of the draw is used, and where the labels' scatter decides: K1 (8), (15)."""
    expected = _from_the_setting(LARGE, inverse_active(LARGE.filters), scatter)
    draws = [_trained(LARGE, seed).error for seed in seeds]
    allowed = (expected - LARGE.flips) / LARGE.samples
    return equals(
        "error from the setting, large initial filters", expected, draws, absolute=allowed, resolution=0.5
    )


def _kicked(setting: Setting, seeds: list[int], later: bool) -> Comparison:
    """Steps to a loss from small initial filters, given who is active in the end: K1 (5) and (7).

    Filters that the first steps switch on come a step or two later than the rest. later : whether filters
    are switched on after the first step, too.
    """
    runs = [_trained(setting, seed) for seed in seeds]
    first = np.array([1 / inverse_active(setting.filters, kicked=True)])
    shares = [run.last if later else first for run in runs]
    expected = np.array(
        [memorisation_steps(run.loss, _speed(setting, x)) for run, x in zip(runs, shares, strict=True)]
    )
    draws = np.array([run.steps for run in runs]) - expected + expected.mean()
    name = f"steps to the loss, small filters, n = {setting.samples}, c = {setting.rate:g} alpha"
    return equals(name, float(expected.mean()), draws, absolute=2.0)


def _steps(setting: Setting, seeds: list[int], others: bool) -> Comparison:
    """Steps against the time at which K1 (5) and (7) reach the last loss.

    The next order is O(c) steps; the margins' start, 0.4 sigma_0 sigma_p sqrt(d), is worth 2/c times itself.
    """
    runs = [_trained(setting, seed) for seed in seeds]
    count = setting.samples / (setting.samples - 1) if others else 1.0
    expected = [memorisation_steps(run.loss, count * _speed(setting, run.first)) for run in runs]
    mean = float(np.mean(expected))
    draws = np.array([run.steps for run in runs]) - np.array(expected) + mean
    changed = [
        f"{name} = {value:g}"
        for name, value in setting._asdict().items()
        if value != getattr(SPEEDS[0], name)
    ]
    allowed = setting.rate / 2 + 2 * setting.init / setting.rate
    return equals(
        f"steps to the loss, {', '.join(changed) or 'first setting'}", mean, draws, absolute=allowed
    )


def _losses(setting: Setting, seeds: list[int], discrete: bool) -> Comparison:
    """Loss after the steps taken, at the flow's time: K1 (5) with the shift of K1 (7)."""
    runs = [_trained(setting, seed) for seed in seeds]
    shift = math.log(1 / (2 * setting.target)) / 2 if discrete else 0.0
    expected = np.array([memorised_loss(run.steps + shift, _speed(setting, run.first)) for run in runs])
    mean = float(np.mean(expected))
    draws = np.array([run.loss for run in runs]) - expected + mean
    order = setting.rate * setting.target / 4  # half of c steps, of 2 / (c epsilon)
    return equals("loss after so many steps", mean, draws, order=order)


_ARGUMENTS = ((2.0, 2.0, 10, 4.0, 4.0), (0.3, 2.0, 10, 0.25, 0.0), (1.0, 1.3, 20, 1.0, 0.0))
"""x, beta, m, other label's share, initial filters: where every part of K1 (12) tells."""


def check(
    trials: Trials,
    *,
    factor: float = 1.0,
    power: float = 2.0,
    flips: bool = True,
    kicks: bool = True,
    others: bool = False,
    later: bool = True,
    discrete: bool = True,
    settled: bool = True,
    scatter: bool = True,
    finite: bool = True,
    spread: bool = True,
) -> Outcome:
    """Test errors, steps to a loss, losses and active filters against K1 (5) to (15).

    factor : on x; power : of |mu|^2/(sigma_p^2 sqrt(d)), by SNR, from the first setting on; flips : whether
    flipped samples count against the signal; kicks : whether the filters that training switches on count;
    others : n - 1 for n in the speed; later : whether steps after the first switch filters on; discrete :
    the shift of K1 (7); settled : beta of small initial filters, not of large ones; scatter : of the labels
    in K1 (15); finite : the 1/m of K1 (8); spread : the 1/m of K1 (12).
    """
    wrong = Wrong(factor, power, flips, kicks)
    many = list(trials.seeds(240, 1500))
    more = many[: trials.pick(72, 600)]  # flips scatter, where they are many
    seeds = more[: trials.pick(32, 300)]
    few = seeds[: trials.pick(10, 40)]
    comparisons = [
        *_curve(trials, many[: trials.pick(100, 1500)], settled),
        _large(many, scatter),
        *(_errors(s, more if s.flips > 0.1 else seeds, wrong) for s in ERRORS),
        *(_steps(setting, few, others) for setting in SPEEDS),
        *(_kicked(setting, seeds, later) for setting in KICKED),
        _losses(SPEEDS[0], seeds, discrete),
    ]
    for m in (3, 48):
        few_filters = Setting(samples=100, filters=m)
        drawn = [draw_relu(few_filters, seed) for seed in seeds]
        shares = np.concatenate([active_shares(one.filters, one.labelled) for one in drawn])
        name = f"1 / (share of active filters), m = {m}"
        comparisons.append(equals(name, inverse_active(m) if finite else 2.0, 1 / shares[shares > 0]))
    for x, inverse, m, other, initial in _ARGUMENTS:
        closed = relu_test_error(
            x, inverse=inverse, filters=m if spread else 10**4, other=other, initial=initial
        )
        found = misread_share(x, inverse, m, other, initial)
        name = f"misread share by quadrature, x = {x:g}, v = {inverse - 1 + initial:g}, ratio {other:g}"
        comparisons.append(equals(name, closed, found, order=1e-3))
    drawn_errors = [(s.signal, _mean_error(s, seeds)) for s in CURVE.values()]
    data = {
        "steps": np.array([(c.predicted, c.measured) for c in comparisons if c.name.startswith("steps")]),
        "errors": np.array(drawn_errors),
        "inverse": float(np.mean([1 / _trained(CURVE[1.4], seed).last for seed in seeds])),
    }
    count = len(many) + len(CURVE) * len(more) + len(seeds) * len(ERRORS)
    return Outcome(comparisons, count + len(few) * (len(SPEEDS) + len(KICKED)), data)


def _mean_error(setting: Setting, seeds: list[int]) -> float:
    return float(np.mean([_trained(setting, seed).error for seed in seeds]))


def figure(evidence: Evidence) -> Figure:
    """Test error against n |mu|^4 / (sigma_p^4 d) with and without flips, and steps against K1 (6), (7)."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    data = evidence.outcome.data
    strength = np.geomspace(0.02, 12.0, 25)

    def curve(samples: int) -> list[float]:
        law: dict[str, Any] = {"inverse": data["inverse"], "filters": _ANY.filters, "flip_probability": 0.1}
        signals = [0.8 * data["inverse"] * math.sqrt(s / 2) for s in strength]
        if not samples:
            return [relu_test_error(x, **law) for x in signals]
        return [relu_mean_error(x, samples=samples, balanced=False, **law) for x in signals]

    left.plot(strength, curve(20), **PREDICTED)
    left.plot(strength, curve(0), **{**CONTROL, "label": r"control: $n \to \infty$"})
    errors = data["errors"]
    measured_points(left, errors[:, 0] ** 2, errors[:, 1])
    left.set(xscale="log", xlabel=r"$n\|\mu\|^4 / (\sigma_p^4 d)$", ylabel="test error", ylim=(-0.02, 0.5))
    left.legend()
    steps = data["steps"]
    ends = np.array([steps.min() / 1.3, steps.max() * 1.3])
    right.plot(ends, ends, **PREDICTED)
    right.plot(*steps.T, **MEASURED)
    right.set(xscale="log", yscale="log", xlabel="steps predicted", ylabel="steps to the target loss")
    for axis in (right.xaxis, right.yaxis):
        axis.set_ticks([200, 500, 1000, 2000], labels=["200", "500", "1000", "2000"])
    right.minorticks_off()
    return drawn


CLAIM = Claim(
    id="K1",
    title="ReLU with label flips: time to memorise, and the test error that follows",
    source="Kou et al. 2023; sharp forms new here",
    statement=(
        r"t = \frac{\beta n m}{\eta \varepsilon \sigma_p^2 d}, \qquad "
        r"\text{error} = p + (1 - 2p)\, \mathbb{P}\left(\varphi(Z) - \varphi(Z') < "
        r"-(1 - 2p) \beta \frac{\sqrt{n} \lVert\mu\rVert^2}{\sigma_p^2 \sqrt{2d}}\right)"
    ),
    check=check,
    controls={
        "flipped samples do not count against the signal": {"flips": False},
        "the signal's constant 20 % too large": {"factor": 1.2},
        "SNR^2.2 in place of SNR^2": {"power": 2.2},
        "only filters that are active at the start": {"kicks": False},
        "n - 1 in place of n": {"others": True},
        "filters switched on by the first step alone": {"later": False},
        "the flow's loss, without the shift of finite steps": {"discrete": False},
        "beta of large initial filters for small ones": {"settled": False},
        "exactly p n/2 flips in classes of n/2": {"scatter": False},
        "beta = 2 without its 1/m": {"finite": False},
        "outputs averaged over infinitely many filters": {"spread": False},
    },
    theory=(
        "coefficient_balance",
        "inverse_active",
        "memorisation_speed",
        "memorisation_steps",
        "memorised_loss",
        "memorised_margin",
        "relu_mean_error",
        "relu_signal",
        "relu_test_error",
    ),
    figure=figure,
)
