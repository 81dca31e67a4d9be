"""S3: supervised training that memorises noise, from its start to its test loss, s3_noise_memorised.md."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals, failure_rate
from numsim.config import Experiment
from numsim.theory import (
    elapsed_clock,
    memorised_test_loss,
    noisy_test_error,
    overlap_missed,
    success_probability,
    time_to_loss,
)

from .direct_training import (
    DIM,
    Trained,
    late_share,
    moved,
    outcome_ratios,
    trained,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_LARGE = 1.0
"""rho-bar = Omega(1) means an activation of at least this size."""
_LEVEL = 0.25
"""C2's lower bound of max_r <w, xi_i> / (sigma_0 sigma_p sqrt(d))."""
_NOISY = 0.4
"""Noise of a second evaluation, standard deviation of <w, xi>: N^2/8 shows and N^4/192 does not."""


@lru_cache
def _setting(name: str, snr_factor: float = 1.0, target: float = 0.01) -> Experiment:
    """n SNR^q = 0.12 at q = 3 with balanced classes, 0.13 at q = 4 with random labels and other units."""
    data: dict[str, Any] = {"dim": DIM}
    network: dict[str, Any] = {"filters": 16, "relative_init_scale": 0.03}
    samples, tested = 20, 300
    if name == "balanced":
        data |= {"snr": 0.18, "balanced": True}
    else:
        data |= {"snr": 0.3, "sigma_p": 0.5}
        network |= {"q": 4.0, "filters": 12, "relative_init_scale": 0.1, "output_scale": 2.0}
        samples, tested = 16, 1000
    data["snr"] *= snr_factor
    return Experiment(
        data=data,
        network=network,
        pretraining={"samples": 0},
        finetuning={"samples": samples, "target_loss": target, "max_steps": 20_000},
        evaluation={"samples": tested},
    ).resolved()


def _conclusion(run: Trained) -> bool:
    """Training loss <= eps, rho-bar = Omega(1) for every sample, no signal doubled, test loss log 2."""
    own = np.where(run.labels > 0, 0, 1)
    rho = run.rho.max(axis=1)[own, np.arange(len(own))]
    signal = max(float(np.abs(run.start[:, :, 0]).max()), 0.0)
    return bool(
        run.reached
        and float(rho.min()) >= _LARGE
        and np.abs(run.gamma).max() <= signal
        and abs(run.test.loss - math.log(2)) <= 0.01
    )


def _failure(e: Experiment) -> float:
    """Probability, at most, that the conclusion fails: S3 (5), and C2's bound for the samples' starts."""
    n, q = e.finetuning.samples, e.network.q
    law: dict[str, Any] = {"filters": e.network.filters, "q": q}
    doubled = success_probability(e.snr**q / (1 - 2 ** (2 - q)), [n // 2], **law)
    return 2 * doubled + n * overlap_missed(_LEVEL, e.network.filters)


def _clear(run: Trained) -> bool:
    """Whether the start says that no signal activation doubles, and no sample's start is below C2's bound."""
    return run.startable and bool(max(outcome_ratios(run)) <= 1 - 2 ** (2 - run.experiment.network.q))


# ------------------------------------------------------------------ one run against its start


class _Pair(NamedTuple):
    """A quantity of one run, predicted and measured, and the error its prediction may have."""

    predicted: float
    measured: float
    order: float = 0.0


def _pairs(run: Trained, power: float, absent: int) -> dict[str, _Pair]:
    """S3 (1) to (7) of one run, by the keywords of ``check``."""
    e, n = run.experiment, len(run.labels)
    q = e.network.q + power
    own = np.where(run.labels > 0, 0, 1)
    starts = [run.across()[own[i], :, i] for i in range(n)]
    pull = run.rate * e.noise_norm**2
    fit = time_to_loss(starts, [pull] * n, [1 / n] * n, loss=run.loss, q=q, scale=run.scale)
    first = np.array([start.max() for start in starts])
    winner = [int(start.argmax()) for start in starts]
    rho = run.rho[own, winner, np.arange(n)]
    each = elapsed_clock(first, fit.tops, q, pull)
    share = float(np.mean([late_share(a, b) for a, b in zip(first, fit.tops, strict=True)]))
    slower = each / elapsed_clock(first, fit.tops, q) - 1
    order = share * float(np.mean(slower))

    counts = [len(run.members(side)) for side in range(2)]
    clocks = [
        e.snr**2 * float(each[run.members(side)].sum()) * (1 - absent / max(counts[side], 1))
        for side in range(2)
    ]
    gained = measured = shrunk = across = 0.0
    signals = []
    for side in range(2):
        j_pull = run.rate * counts[side] * e.signal_norm**2
        signal = run.signal(side)
        gain = moved(signal, clocks[side], q, j_pull)
        gained, measured = gained + float(gain.sum()), measured + float(run.gamma[side][signal > 0].sum())
        against = run.start[1 - side, :, side]  # the other sign's filters on this class's patch
        loss = moved(against, -clocks[side], q, j_pull)
        shrunk, across = shrunk - float(loss.sum()), across + float(run.gamma[1 - side][against > 0].sum())
        after = [np.maximum(x, 0.0) ** q for x in (signal + gain, against + loss)]
        signals.append(run.scale * float(np.sum(after[0]) - np.sum(after[1])))

    law: dict[str, Any] = {"filters": e.network.filters, "q": q}
    size = run.scale * e.relative_init_scale**q
    raised = run.scale * _NOISY**q
    return {
        "steps to the loss": _Pair(fit.steps, run.steps),
        "rho-bar": _Pair(float(np.mean(fit.tops - first)), float(np.mean(rho))),
        "gamma": _Pair(gained, measured, order / 2 ** (2 - q)),
        "gamma, against the signal": _Pair(shrunk, across, order),
        "log 2 - test loss": _Pair(
            memorised_test_loss(signals, size, **law), math.log(2) - run.test.loss, 8 * order
        ),
        "test loss - log 2, noise raised": _Pair(
            -memorised_test_loss(signals, raised, **law), run.noisy.loss - math.log(2)
        ),
        "test error": _Pair(noisy_test_error(signals, size, **law), run.test.error),
    }


_ORDERS = {
    # what is left out: steps of finite size beyond the first order, and the signal's part of f, S3 (4)
    "steps to the loss": 2e-3,
    "rho-bar": 1e-3,
    "gamma": 2e-3,
    "gamma, against the signal": 2e-3,
    "log 2 - test loss": 4e-3,
    "test loss - log 2, noise raised": 4e-3,
    "test error": 1e-3,
}


def _compared(name: str, tables: list[dict[str, _Pair]]) -> list[Comparison]:
    """Means over runs of what was measured beyond the run's own prediction."""
    comparisons = []
    for quantity, order in _ORDERS.items():
        pairs = np.array([table[quantity] for table in tables])
        predicted, size = float(np.mean(pairs[:, 0])), float(np.mean(np.abs(pairs[:, 0])))
        draws = predicted + pairs[:, 1] - pairs[:, 0]
        # Relative to the size of what is averaged: terms of either sign may cancel.
        absolute = (order + float(np.mean(pairs[:, 2]))) * size
        comparisons.append(equals(f"{quantity}, {name}", predicted, draws, absolute=absolute))
    return comparisons


def check(
    trials: Trials,
    *,
    snr_factor: float = 1.0,
    target: float = 0.01,
    power: float = 0.0,
    absent: int = 0,
) -> Outcome:
    """The theorem's conclusion, and runs against their starts by S3 (1) to (7).

    snr_factor multiplies SNR (2: n SNR^q is larger by 8); target is the training loss to stop at; power is
    added to q in the clocks and the output; absent samples of each class are forgotten in the signal's clock.
    """
    e = _setting("balanced", snr_factor, target)
    runs = [trained(e, seed, _NOISY) for seed in trials.seeds(32, 300)]
    failures = sum(not _conclusion(run) for run in runs)
    comparisons = [
        failure_rate("conclusion of the theorem fails", _failure(_setting("balanced")), failures, len(runs))
    ]
    other = [trained(_setting("random labels", snr_factor, target), s, _NOISY) for s in trials.seeds(32, 300)]
    data: dict[str, Any] = {}
    for name, found in (("q = 3", runs), ("q = 4", other)):
        clear = [_pairs(run, power, absent) for run in found if _clear(run)]
        if len(clear) > 2:  # at twice the SNR there may be none
            comparisons += _compared(name, clear)
            data[name] = np.array([[table[k][:2] for k in _SHOWN] for table in clear])
    return Outcome(comparisons, len(runs) + len(other), data)


_SHOWN = ("rho-bar", "gamma", "gamma, against the signal", "log 2 - test loss")


def figure(evidence: Evidence) -> Figure:
    """Coefficients and test loss, run by run, against what the start predicts, at two powers."""
    from numsim.shown.claim_figures import MEASURED, PREDICTED, panels

    drawn, axes = panels(2)
    for axis, name in zip(axes, ("q = 3", "q = 4"), strict=True):
        pairs = np.abs(evidence.outcome.data[name])  # runs, quantities, predicted and measured
        ends = [pairs.min() / 2, pairs.max() * 2]
        axis.plot(ends, ends, **PREDICTED)
        for k, (words, marker) in enumerate(zip(_SHOWN, "osv^", strict=True)):
            axis.plot(*pairs[:, k].T, **{**MEASURED, "marker": marker, "markersize": 4, "label": words})
        axis.set(xlim=ends, ylim=ends)
        axis.set(xscale="log", yscale="log", xlabel=f"predicted, run by run, ${name}$", ylabel="measured")
    axes[0].legend(loc="upper left")
    return drawn


CLAIM = Claim(
    id="S3",
    title="Where the noise wins it is memorised, and the test loss stays log 2",
    source="Cao et al. 2022, Theorem 4.4; sharp forms new here",
    statement=(
        r"n^{-1} \mathrm{SNR}^{-q} = \Omega(1): \quad \overline{\rho} = \Omega(1), \quad \gamma = "
        r"O(\sigma_0 \lVert\mu\rVert), \quad L_{\text{test}} = \Theta(1)"
    ),
    check=check,
    controls={
        "twice the SNR: n SNR^q larger by 8": {"snr_factor": 2.0},
        "training stopped above the loss log(2)/n": {"target": 0.05},
        "exponent q + 0.02 in place of q": {"power": 0.02},
        "a sample forgotten in the signal's clock": {"absent": 1},
    },
    theory=(
        "after_clock",
        "elapsed_clock",
        "memorised_test_loss",
        "noisy_test_error",
        "success_probability",
        "time_to_loss",
    ),
    figure=figure,
)
