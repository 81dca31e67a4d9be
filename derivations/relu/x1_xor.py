"""X1: XOR of two signals is K1's curve at a quarter of the signal times sin^2 theta, x1_xor.md."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals
from numsim.config import Experiment
from numsim.config.experiment import Resolved
from numsim.runs.draw import draw
from numsim.runs.simulate import simulate
from numsim.theory import (
    coefficient_balance,
    memorisation_speed,
    memorisation_steps,
    memorised_margin,
    relu_signal,
    relu_test_error,
    xor_share,
    xor_side,
    xor_signal,
)

from .relu_runs import active_shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

CLUSTERS = ((0, 1, 1), (0, -1, 1), (1, 1, -1), (1, -1, -1))
"""Signal, sign and label of +u, -u, +v, -v."""
OPPOSED = (2, 3, 0, 1)
"""The cluster of the other label at an acute angle."""
RATE, TARGET, INIT = 0.1, 0.05, 1e-8
"""Speed of a memorised sample, final loss, initial filters: those of K1's small ones."""


class Setting(NamedTuple):
    """strength : n |mu|^4/(sigma_p^4 d); cosine : of the angle between the signals."""

    samples: int = 40
    filters: int = 40
    dim: float = 1e8
    strength: float = 20.0
    cosine: float = 0.0
    flips: float = 0.1


SETTINGS = (
    Setting(),
    Setting(strength=80.0, filters=24, flips=0.0),
    Setting(samples=80, dim=1e9, strength=5.0, flips=0.2),
    Setting(samples=80, strength=40.0, cosine=0.5),
    Setting(samples=80, dim=1e10, strength=200.0, cosine=0.8),
)
LINE = (0.0, 0.3, 0.5, 0.7, 0.85)
"""Cosines of the figure."""


@lru_cache(maxsize=64)
def experiment_of(setting: Setting, activation: str = "relu") -> Resolved:
    """The experiment with these settings, sigma_p = 1."""
    n, m, d = setting.samples, setting.filters, setting.dim
    norm = {"norm": (setting.strength * d / n) ** 0.25}
    names = ("u", "v")
    return Experiment(
        data={
            "dim": d,
            "signals": dict.fromkeys(names, norm),
            "cosines": {"u v": setting.cosine},
            "flip_probability": setting.flips,
            "clusters": [{"label": y, "patches": [{names[s]: j}, {"xi": 1}]} for s, j, y in CLUSTERS],
        },
        network={
            "q": 1.0,
            "filters": m,
            "relative_init_scale": INIT,
            "activation": activation,
            "slope": 1.0,  # of "leaky": the linear network
        },
        pretraining={"samples": 0},
        finetuning={
            "samples": n,
            "learning_rate": RATE * n * m / d,
            "target_loss": TARGET,
            "max_steps": math.ceil(20 / (RATE * TARGET)) if activation == "relu" else 200,
        },
        evaluation={"samples": 2000},
    ).resolved()


class Run(NamedTuple):
    """What a run has: error by cluster (4,), beta, the balances of labels of clusters (4,), samples that bear
    the labels (+1, -1), whether filters (2, m) of each sign start on the positive side of u and v, and the
    share of filters of a cluster's label that hold it in the end (4,).
    """

    errors: Floats
    inverse: float
    majorities: Floats
    own: Floats
    sides: npt.NDArray[np.bool_]
    held: Floats


@lru_cache(maxsize=4096)
def trained(setting: Setting, seed: int, activation: str = "relu") -> Run:
    """One run; its controls look at it too."""
    e = experiment_of(setting, activation)
    simulation = simulate(e, draw(e, seed), seed, record=2)
    arm, labelled = simulation.direct, simulation.instance.labelled
    assert labelled.clusters is not None
    assert simulation.instance.signals is not None
    assert arm.descent is not None
    labels = np.array([y for _, _, y in CLUSTERS])
    signs = labels[labelled.clusters] * labelled.labels
    majorities = np.array([float(signs[labelled.clusters == c].sum()) for c in range(4)])
    own = np.array([float(np.sum(labelled.labels == y)) for y in (1, -1)])
    sides = arm.initial @ simulation.instance.signals.T > 0
    last = arm.filters @ simulation.instance.signals.T
    held = np.array([np.mean(j * last[0 if y > 0 else 1, :, s] > 0) for s, j, y in CLUSTERS])
    shares = active_shares(arm.filters, labelled)
    shares = np.maximum(shares, 1 / setting.filters)  # never met at m = 24 and more
    margins = memorised_margin(arm.descent.steps, _speed(e, shares))
    inverse = coefficient_balance(shares, margins, np.ones(setting.samples))
    errors = np.asarray(getattr(arm.test, "error_by_cluster"))  # noqa: B009
    return Run(errors, inverse, majorities, own, sides, held)


def _speed(e: Resolved, shares: Floats) -> Floats:
    return memorisation_speed(
        shares,
        samples=e.finetuning.samples,
        filters=e.network.filters,
        learning_rate=e.finetuning.learning_rate,
        noise_norm=e.noise_norm,
        output_scale=1.0,
    )


class Wrong(NamedTuple):
    """What a control gets wrong; the defaults are right."""

    factor: float = 1.0
    power: float = 2.0
    angle: bool = True
    sides: bool = True
    counts: bool = True


def _around(pulls: Floats, c: int) -> dict[str, float]:
    """Pulls of a cluster, its mirror image, and the opposed ones."""
    mirror = c ^ 1
    places = {"own": c, "mirror": mirror, "opposed": OPPOSED[c], "opposed_mirror": OPPOSED[mirror]}
    return {name: float(pulls[k]) for name, k in places.items()}


def _holding(run: Run, pulls: Floats, cosine: float, wrong: Wrong) -> Floats:
    """Share of the filters of every cluster's label that hold it, X1 (5): from their first signs."""
    found = np.empty(4)
    for c, (signal, sign, label) in enumerate(CLUSTERS):
        first = run.sides[0 if label > 0 else 1] == (sign > 0)  # on the cluster's own side
        mine, other = first[:, signal], first[:, 1 - signal]
        final = mine.astype(np.float64)
        if wrong.sides:
            for start in (True, False):
                for beside in (True, False):
                    at = {"first": 1 if start else -1, "second": 1 if beside else -1}
                    side = xor_side(**_around(pulls, c), cosine=cosine, **at)  # type: ignore[arg-type]
                    final[(mine == start) & (other == beside)] = side > 0
        found[c] = final.mean()
    return found


def _expected(setting: Setting, run: Run, inverse: float, wrong: Wrong) -> Floats:
    """Error of every cluster, X1 (4), from the draw and beta."""
    e, n = experiment_of(setting), setting.samples
    norm = float(e.mixtures.data.norms[0])
    snr = norm / e.noise_norm
    snr *= (snr / 0.01) ** (wrong.power / 2 - 1)
    share = np.array([1 / inverse])
    speed = _speed(e, share)
    margin = float(memorised_margin(memorisation_steps(TARGET, speed), speed)[0])
    majorities = run.majorities if wrong.counts else np.full(4, n / 4)
    cosine = setting.cosine if wrong.angle else 0.0
    holding = _holding(run, majorities, setting.cosine, wrong)
    found = np.empty(4)
    for c, (_, _, label) in enumerate(CLUSTERS):
        own = run.own[0 if label > 0 else 1]
        law = {"own": own, "snr": snr, "dim": setting.dim, "inverse": inverse}
        pull, opposed = (relu_signal(majority=float(majorities[k]), **law) for k in (c, OPPOSED[c]))
        x = xor_signal(
            own=pull,
            opposed=opposed,
            cosine=cosine,
            share=float(holding[c]),
            other=float(holding[OPPOSED[c]]),
        )
        found[c] = relu_test_error(
            wrong.factor * x,
            inverse=inverse,
            filters=setting.filters,
            flip_probability=setting.flips,
            other=(n - own) / own,
            initial=(INIT / margin) ** 2 * setting.dim / own,
        )
    return found


def _errors(setting: Setting, seeds: list[int], inverse: float, wrong: Wrong) -> Comparison:
    runs = [trained(setting, seed) for seed in seeds]
    expected = np.array([_expected(setting, run, inverse, wrong).mean() for run in runs])
    mean = float(expected.mean())
    draws = np.array([run.errors.mean() for run in runs]) - expected + mean
    n, p = setting.samples, setting.flips
    name = f"test error, n = {n}, d = {setting.dim:g}, n |mu|^4/(sigma_p^4 d) = {setting.strength:g}"
    # K1 (13): the first step's push on filters of the other sign; sums over a cluster's samples as means.
    margin = math.log(1 / TARGET)
    pushed = RATE / (4 * margin) * (0.5 - mean)
    allowed = pushed + 2 * (mean - p) / n
    return equals(
        f"{name}, cos = {setting.cosine:g}, p = {p:g}", mean, draws, absolute=allowed, resolution=0.5
    )


def _held(setting: Setting, seed: int, sides: bool) -> list[tuple[float, float]]:
    """Measured and expected shares of filters that hold a cluster, where some of them change side.

    Left out are clusters so near a tie that one sample more or less decides.
    """
    run = trained(setting, seed)
    found = []
    for c in range(4):
        shares = set()
        for more in (-1.5, 0.0, 1.5):
            around = _around(run.majorities, c)
            around["own"] += more
            shares.add(xor_share(**around, cosine=setting.cosine))
        if len(shares) == 1 and (share := shares.pop()) != 0.5:
            found.append((float(run.held[c]), share if sides else 0.5))
    return found


def _left(seeds: list[int], sides: bool) -> Comparison:
    """Filters that change side, X1 (5) and (6)."""
    setting = SETTINGS[3]._replace(samples=20)
    pairs = np.array([pair for seed in seeds for pair in _held(setting, seed, sides)])
    mean = float(pairs[:, 1].mean())
    return equals(
        "share of filters that hold a cluster, where some change side", mean, pairs[:, 0] - pairs[:, 1] + mean
    )


def _linear(seeds: list[int]) -> Comparison:
    """A linear network's error is 1/2: what it gains on +u it loses on -u, for every draw."""
    setting = SETTINGS[0]
    draws = [float(trained(setting, seed, "leaky").errors.mean()) for seed in seeds]
    return equals("test error of a linear network", 0.5, draws)


def check(
    trials: Trials,
    *,
    factor: float = 1.0,
    power: float = 2.0,
    angle: bool = True,
    sides: bool = True,
    counts: bool = True,
) -> Outcome:
    """Test errors of XOR data against X1 (4), the filters that change side, and a linear network.

    factor : on x; power : of |mu|/(sigma_p sqrt(d)), from 0.01 on; angle : whether the signals' angle counts;
    sides : whether filters change side; counts : the draw's numbers of samples and flips, not their means.
    """
    wrong = Wrong(factor, power, angle, sides, counts)
    many = list(trials.seeds(120, 600))
    seeds = many[: trials.pick(40, 400)]
    inverse = float(np.mean([trained(SETTINGS[0], seed).inverse for seed in seeds]))
    comparisons = [
        *(_errors(setting, seeds, inverse, wrong) for setting in SETTINGS),
        _left(many, sides),
        _linear(seeds[: trials.pick(12, 60)]),
    ]
    few = seeds[: trials.pick(12, 100)]
    line = [SETTINGS[0]._replace(cosine=cosine, samples=80, dim=1e9, strength=80.0) for cosine in LINE]
    data = {
        "line": np.array([(s.cosine, _mean(s, few), *_both(s, few, inverse)) for s in line]),
        "curve": np.array(
            [
                (s.strength, _mean(s, few), *_both(s, few, inverse))
                for s in (SETTINGS[0]._replace(strength=x) for x in (1.0, 5.0, 20.0, 80.0, 320.0))
            ]
        ),
    }
    return Outcome(comparisons, len(seeds) * len(SETTINGS) + len(many), data)


def _mean(setting: Setting, seeds: list[int]) -> float:
    return float(np.mean([trained(setting, seed).errors.mean() for seed in seeds]))


def _both(setting: Setting, seeds: list[int], inverse: float) -> tuple[float, float]:
    """Predicted errors: as they are, and for infinitely many samples."""
    runs = [trained(setting, seed) for seed in seeds]
    predicted = np.mean([_expected(setting, run, inverse, Wrong()).mean() for run in runs])
    n, p = setting.samples, setting.flips
    snr = math.sqrt(math.sqrt(setting.strength / (n * setting.dim)))
    majority = (1 - 2 * p) * n / 4
    pull = relu_signal(majority=majority, own=n / 2, snr=snr, dim=setting.dim, inverse=inverse)
    x = xor_signal(own=pull, opposed=pull, cosine=setting.cosine)
    limit = relu_test_error(x, inverse=inverse, filters=setting.filters, flip_probability=p)
    return float(predicted), limit


def figure(evidence: Evidence) -> Figure:
    """Test error against n |mu|^4 / (sigma_p^4 d), and against the cosine of the signals' angle."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, panels

    drawn, (left, right) = panels(2)
    data = evidence.outcome.data
    for axes, rows in ((left, data["curve"]), (right, data["line"])):
        axes.plot(rows[:, 0], rows[:, 2], **PREDICTED)
        axes.plot(rows[:, 0], rows[:, 3], **{**CONTROL, "label": r"$n \to \infty$, equal clusters"})
        axes.plot(rows[:, 0], rows[:, 1], **MEASURED)
        axes.set(ylabel="test error", ylim=(0.0, 0.5))
    left.set(xscale="log", xlabel=r"$n\|\mu\|^4 / (\sigma_p^4 d)$, $\theta = 90°$")
    right.set(xlabel=r"$\cos\theta$, at $n\|\mu\|^4 / (\sigma_p^4 d) = 80$")
    left.legend()
    return drawn


CLAIM = Claim(
    id="X1",
    title="XOR of two signals: the ReLU curve at a quarter of the signal, times sin² of their angle",
    source="Meng, Zou and Cao 2024 (restated by others); the sharp form is new here",
    statement=(
        r"\text{error} = p + (1 - 2p)\, \mathbb{P}\left(\varphi(Z) - \varphi(Z') < "
        r"-\tfrac{\sin^2\theta}{4} (1 - 2p) \beta "
        r"\frac{\sqrt{n} \lVert\mu\rVert^2}{\sigma_p^2 \sqrt{2d}}\right)"
    ),
    check=check,
    controls={
        "every filter of its label holds a cluster": {"factor": 2.0},
        "the signal's constant 20 % too large": {"factor": 1.2},
        "SNR^2.3 in place of SNR^2": {"power": 2.3},
        "the signals' angle does not count": {"angle": False},
        "no filter changes side": {"sides": False},
        "clusters of n/4 samples each": {"counts": False},
    },
    theory=("xor_share", "xor_side", "xor_signal"),
    figure=figure,
)
