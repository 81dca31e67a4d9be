"""S2: supervised training that learns the signal, from its start to its test loss, s2_signal_learned.md."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import (
    Claim,
    Comparison,
    Evidence,
    Outcome,
    Trials,
    at_most,
    equals,
    failure_rate,
    frequency,
)
from numsim.config import Experiment
from numsim.theory import (
    bounded_noise_probability,
    elapsed_clock,
    learned_test_loss,
    loss_bound,
    noisy_test_error,
    outcome_ratio,
    success_probability,
    time_to_loss,
)

from .direct_training import (
    DIM,
    Trained,
    late_share,
    moved,
    outcome_ratios,
    start_ratios,
    trained,
)
from .outcome_laws import clocks, laws, tested, wandering

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_NOISY = 1.5
"""Noise of a second evaluation: standard deviation of <w, xi> at the initial filters, so that it matters."""
_LARGE = 1.0
"""gamma = Omega(1) means an activation of at least this size; predicted is (m log(1/eps))^(1/q), 3 or 4."""
_DOUBLED = 2.0
_FAR = 0.6
"""Filters that start at most so near to the largest: a near tie magnifies errors of the clock."""
_WINDOW = (1 / 1.15, 1.15)
"""Ratios S2 (7) so near 1 that steps and initial filters of finite size decide, S2 (7) and (6)."""


@lru_cache
def _setting(name: str, snr_factor: float = 1.0) -> Experiment:
    """n SNR^q = 44 at q = 3, balanced; 39 at q = 4, random labels and other units; or 2.2, the switch."""
    data: dict[str, Any] = {"dim": DIM, "balanced": name != "random labels"}
    training = {"samples": 20, "target_loss": 0.01, "max_steps": 20_000}
    network: dict[str, Any] = {"filters": 16, "relative_init_scale": 0.03}
    if name == "balanced":
        data |= {"snr": 1.3}
    elif name == "random labels":
        data |= {"snr": 1.25, "sigma_p": 0.5}
        network |= {"q": 4.0, "filters": 12, "relative_init_scale": 0.1, "output_scale": 2.0}
        training |= {"samples": 16}
    else:  # n SNR^q = 2.2
        data |= {"snr": (2.2 / 10) ** (1 / 3)}
        training |= {"samples": 10}
    data["snr"] *= snr_factor
    return Experiment(
        data=data,
        network=network,
        pretraining={"samples": 0},
        finetuning=training,
        evaluation={"samples": 300},
    ).resolved()


# ------------------------------------------------------------------ the theorem


def _conclusion(run: Trained) -> bool:
    """Training loss <= eps, gamma = Omega(1) in both classes, no noise activation doubled, test loss low."""
    e = run.experiment
    start, end = run.across("start"), run.across("end")
    largest = max(float(run.noise(side).max()) for side in range(2))
    return bool(
        run.reached
        and run.loss <= e.finetuning.target_loss
        and run.gamma.max(axis=1).min() >= _LARGE
        and np.abs(run.rho).max() <= (_DOUBLED - 1) * largest
        and np.abs(end - start - run.rho).max() <= 1e-3 * largest  # rho is all that moved
        and run.test.loss <= loss_bound(run.loss, e.finetuning.samples)
    )


def _clear(run: Trained) -> bool:
    """Whether, by the start, no noise activation of either class doubles, and both have n/4 samples (C3)."""
    q, snr = run.experiment.network.q, run.experiment.snr
    share = 1 - _DOUBLED ** (2 - q)
    for side in range(2):
        members = run.members(side)
        if len(members) < len(run.labels) / 4:
            return False
        largest = float(run.noise(side).max())
        if outcome_ratio(float(run.signal(side).max()), [largest] * len(members), snr=snr, q=q) * share < 1:
            return False
    return True


# ------------------------------------------------------------------ one run against its start


class _Pair(NamedTuple):
    """A quantity of one run, predicted and measured, and the error its prediction may have."""

    predicted: float
    measured: float
    order: float = 0.0


def _pairs(run: Trained, power: float, stepped: bool) -> dict[str, _Pair]:
    """S2 (10) to (15) of one run, by the keywords of ``check``."""
    e = run.experiment
    q, n = e.network.q + power, e.finetuning.samples
    counts = [len(run.members(side)) for side in range(2)]
    fit = time_to_loss(
        [run.signal(side) for side in range(2)],
        [run.rate * count * e.signal_norm**2 for count in counts],
        [count / n for count in counts],
        loss=run.loss,
        q=q,
        scale=run.scale,
    )
    found: dict[str, list[_Pair]] = {
        "gamma": [],
        "gamma of the others": [],
        "rho": [],
        "rho, other class": [],
    }
    for side, count in enumerate(counts):
        signal, top = run.signal(side), float(fit.tops[side])
        winner, first = int(signal.argmax()), float(signal.max())
        flow, steps = (
            float(elapsed_clock(first, top, q, x * count * e.signal_norm**2)) for x in (0, run.rate)
        )
        order = late_share(first, top) * (steps / flow - 1)
        clock, pull = (steps, run.rate * count * e.signal_norm**2) if stepped else (flow, 0.0)
        gain = moved(signal, clock, q, pull)
        found["gamma"].append(_Pair(top - float(signal.max()), float(run.gamma[side, winner])))
        far = (signal > 0) & (signal <= _FAR * signal.max())
        found["gamma of the others"].append(
            _Pair(float(gain[far].sum()), float(run.gamma[side][far].sum()), order / (1 - _FAR))
        )
        each = clock / (count * e.snr**2)  # the same clock for every sample, while its noise says nothing
        start = run.noise(side)
        own_pull = run.rate * e.noise_norm**2 * stepped
        grown = moved(start, each, q, own_pull)
        members = run.members(side)
        found["rho"].append(_Pair(float(grown.sum()), float(run.rho[side][:, members].sum()), 2 * order))
        across = run.across()[1 - side][:, members]
        shrunk = moved(across, -each, q, own_pull)
        found["rho, other class"].append(
            _Pair(float(shrunk.sum()), float(run.rho[1 - side][:, members].sum()), 2 * order)
        )
    pairs = {name: _Pair(*np.mean(values, axis=0)) for name, values in found.items()}
    pairs["steps to the loss"] = _Pair(fit.steps, run.steps)
    pairs["test loss"] = _Pair(learned_test_loss(fit.margins), run.test.loss)
    size = run.scale * _NOISY**q
    pairs["test error, noise raised"] = _Pair(
        noisy_test_error(fit.margins, size, e.network.filters, q), run.noisy.error
    )
    return pairs


_ORDERS = {
    # what (10) leaves out: steps of finite size beyond the first order, and the noise's part of f, S2 (17)
    "gamma": 1e-3,
    "steps to the loss": 2e-3,
    "test loss": 2e-3,
    "gamma of the others": 2e-3,
    "rho": 2e-3,
    "rho, other class": 2e-3,
    "test error, noise raised": 2e-3,
}


_SHOWN = ("gamma", "gamma of the others", "rho", "test loss")


def _compared(
    name: str, runs: list[Trained], power: float, stepped: bool
) -> tuple[list[Comparison], list[dict[str, _Pair]]]:
    """Means over runs; each run's deviation counts in units of its own prediction."""
    tables = [_pairs(run, power, stepped) for run in runs]
    comparisons = []
    for quantity, order in _ORDERS.items():
        pairs = [table[quantity] for table in tables if table[quantity].predicted]  # 0: no other filter
        predicted = float(np.mean([p.predicted for p in pairs]))
        if quantity == "test error, noise raised":  # its own Monte-Carlo error is the larger one
            draws = [predicted + p.measured - p.predicted for p in pairs]
        else:
            draws = [predicted * p.measured / p.predicted for p in pairs]
        order += float(np.mean([p.order for p in pairs]))
        comparisons.append(equals(f"{quantity}, {name}", predicted, draws, order=order))
    return comparisons, tables


# ------------------------------------------------------------------ the switch


def _switch(
    trials: Trials, runs: list[Trained], exponent: float, rule: str
) -> tuple[list[Comparison], dict[str, Any]]:
    """S2 (9) and (12) of random starts, and every run near the switch against its own start, S2 (7)."""
    draws = trials.pick(300, 4000)
    comparisons = []
    data: dict[str, Any] = {}
    for q, count, filters, level, doubled in ((3.0, 10, 16, 0.9, 4.0), (4.0, 6, 12, 0.8, 8.0)):
        for words, strength, column in (("signal learned", level, 0), ("noise at most doubled", doubled, 1)):
            snr, seed = (strength / count) ** (1 / q), int(trials.rng.integers(2**63))
            ratios = start_ratios(seed, draws, count, filters, snr, q)[:, column]
            law = success_probability if column == 0 else bounded_noise_probability
            bar = 1.0 if column == 0 else 1 / (1 - _DOUBLED ** (2 - q))
            expected = law(snr ** (q + exponent), [count], filters=filters, q=q)
            won = int(np.sum(ratios > bar))
            if q == 3 and column == 0:
                data |= {"ratios": ratios / strength, "count": count, "filters": filters}
            comparisons.append(frequency(f"{words}, n_j SNR^{q:g} = {strength:g}", expected, won, draws))
    wrong = clear = 0
    for run in runs:
        for side, ratio in enumerate(outcome_ratios(run)):
            if rule == "max":
                starts = run.noise(side).max(axis=0)
                ratio *= len(starts) / float(
                    np.sum((starts / starts.max()) ** (2 - run.experiment.network.q))
                )
            if _WINDOW[0] < ratio < _WINDOW[1]:
                continue
            clear += 1
            wrong += (ratio > 1) != (run.gamma[side].max() >= _LARGE)
    comparisons.append(equals("outcomes predicted wrong near the switch", 0.0, wrong, absolute=0.5))
    return comparisons, data


def check(
    trials: Trials,
    *,
    snr_factor: float = 1.0,
    power: float = 0.0,
    exponent: float = 0.0,
    stepped: bool = True,
    bound: float = 1.0,
    rule: str = "power mean",
    symmetric: bool = True,
    constant: bool = False,
) -> Outcome:
    """The theorem's conclusion, and runs against their starts by S2 (7) to (15).

    snr_factor multiplies SNR (0.5: n SNR^q is smaller by 8); power is added to q in the clocks, exponent to
    the q of SNR^q in the laws; stepped = False reads the clocks as in the flow; bound : on the test loss, in
    units of (14); rule : the b_0 that calls outcomes, "max" in place of the power mean; symmetric : whether
    one of 2m Gaussians is the largest and below 0 with probability 4^-m, in (9) and (12) of one sample;
    constant : whether the switch is at one n SNR^q for any n.
    """
    e = _setting("balanced", snr_factor)
    runs = [trained(e, seed, _NOISY) for seed in trials.seeds(32, 300)]
    counts = [e.finetuning.samples // 2] * 2
    law: dict[str, Any] = {"filters": e.network.filters, "q": e.network.q}
    expected = bounded_noise_probability(_setting("balanced").snr ** law["q"], counts, **law)
    failures = sum(not _conclusion(run) for run in runs)
    comparisons = [
        failure_rate("conclusion of the theorem fails", 1 - expected, failures, len(runs)),
    ]
    other = [trained(_setting("random labels", snr_factor), seed, _NOISY) for seed in trials.seeds(32, 300)]
    bounds = [run.test.loss / loss_bound(run.loss, e.finetuning.samples) for run in runs if _clear(run)]
    comparisons.append(at_most("test loss over 6 eps + exp(-n^2), largest", bound, max(bounds, default=1.0)))
    data: dict[str, Any] = {}
    for name, found in (("q = 3", runs), ("q = 4", other)):
        clear = [run for run in found if _clear(run)]
        if len(clear) > 2:  # at half the SNR there may be none
            more, pairs = _compared(name, clear, power, stepped)
            comparisons += more
            data[name] = np.array([[table[k][:2] for k in _SHOWN] for table in pairs])
    near = [trained(_setting("switch"), seed, _NOISY) for seed in trials.seeds(32, 400)]
    more, found_data = _switch(trials, near, exponent, rule)
    return Outcome(
        [
            *comparisons,
            *more,
            *clocks(3.0),
            *clocks(4.0),
            *laws(trials, symmetric),
            *wandering(trials, constant),
            *tested(trials),
        ],
        len(runs) + len(other) + len(near),
        data | found_data,
    )


def figure(evidence: Evidence) -> Figure:
    """Probability that a class's signal is learned, S2 (9), and coefficients and test loss run by run."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    data = evidence.outcome.data
    count, law = data["count"], {"filters": data["filters"], "q": 3.0}
    strengths = np.geomspace(0.2, 6, 40)  # n_j SNR^q
    for added, style in ((1.0, PREDICTED), (4 / 3, CONTROL)):
        shares = [success_probability((x / count) ** added, [count], **law) for x in strengths]
        left.plot(
            strengths, shares, **{**style, "label": "predicted" if added == 1 else "control: SNR$^{q+1}$"}
        )
    x = np.geomspace(0.25, 5, 9)
    share = np.array([np.mean(data["ratios"] * level > 1) for level in x])
    error = np.sqrt((share * (1 - share) + 1e-3) / len(data["ratios"]))
    measured_points(left, x, share, error)
    left.set(xscale="log", xlabel=r"$n_j\,\mathrm{SNR}^q$", ylabel="P(signal of the class learned)")
    left.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    left.minorticks_off()
    left.legend(loc="lower right", fontsize=8)
    pairs = np.abs(data["q = 3"])  # runs, quantities, predicted and measured
    right.plot([pairs.min(), pairs.max()], [pairs.min(), pairs.max()], **{**PREDICTED, "label": "_"})
    for k, (name, marker) in enumerate(zip(_SHOWN, "osv^", strict=True)):
        right.plot(*pairs[:, k].T, **{**MEASURED, "marker": marker, "markersize": 4, "label": name})
    right.set(xscale="log", yscale="log", xlabel="predicted, run by run", ylabel="measured")
    right.legend()
    return drawn


CLAIM = Claim(
    id="S2",
    title="Where the signal wins it is learned, and the noise stays as it was",
    source="Cao et al. 2022, Theorem 4.3; sharp forms new here",
    statement=(
        r"n\,\mathrm{SNR}^q = \Omega(1): \quad \gamma = \Omega(1), \quad \lvert\rho\rvert = "
        r"O(\sigma_0 \sigma_p \sqrt{d}), \quad L_{\text{test}} \le 6\varepsilon + e^{-n^2}"
    ),
    check=check,
    controls={
        "n SNR^q smaller by 8": {"snr_factor": 0.5},
        "test loss at most eps": {"bound": 1 / 6},
        "maximum in place of the power mean of b_0": {"rule": "max"},
        "two Gaussians of which one is never below 0": {"symmetric": False},
        "one n SNR^q at the switch, whatever n": {"constant": True},
        "exponent q + 1 in place of q in n SNR^q": {"exponent": 1.0},
        "clocks of exponent q - 1.9 in place of q - 2": {"power": 0.1},
        "clocks of the flow, not of steps of finite size": {"stepped": False},
    },
    theory=(
        "after_clock",
        "along_test_error",
        "bounded_noise_probability",
        "critical_strength",
        "elapsed_clock",
        "learned_test_loss",
        "loss_bound",
        "noise_output_tail",
        "noisy_test_error",
        "outcome_ratio",
        "success_probability",
        "time_to_loss",
    ),
    figure=figure,
)
